"""Files of ranks, one beside the other, by their names: how tensors are split follows from these.

* Megatron: `mp_rank_00/model_optim_rng.pt`, by tensor rank, then `_000` by pipeline rank, each in a folder.
* DeepSpeed: `mp_rank_00_model_states.pt`, by tensor rank; with ZeRO beside the optimiser's files, see `zero`.
* FSDP, as Accelerate saves it: `pytorch_model_0_rank0.bin`, see `sharded_tensors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.reading import pickled, unwrapped
from convsv_cli.loaders.distributed.joined import joined
from convsv_cli.loaders.distributed.sharded_tensors import assembled_state
from convsv_cli.loaders.distributed.zero import zero_tensors
from convsv_cli.loaders.files import locate, locating
from convsv_cli.loaders.loader import NamedTensors, StoredTensor

MEGATRON = re.compile(r"mp_rank_(?P<rank>\d{1,6})(?P<stage>(?:_\d{1,6}){0,2})")
DEEPSPEED = re.compile(r"(?:zero_pp_rank_(?P<data>\d{1,6})_)?mp_rank_(?P<rank>\d{1,6})_model_states\.pt")
OPTIMISER = re.compile(
    r"(?:bf16_|fp16_)?zero_pp_rank_(?P<data>\d{1,6})_mp_rank_(?P<rank>\d{1,6})_optim_states\.pt"
)
SHARDED = re.compile(r"(?P<stage>.*_rank_?)(?P<rank>\d{1,6})\.(?:bin|pt|pth)", re.DOTALL)
MOST_FILES = 10_000
HINT = "copy the whole folder"
STAGE = "pipeline{}.{}"
Kind = re.Pattern[str]


@dataclass(frozen=True, kw_only=True)
class Rank:
    """A file of a rank.

    Attributes:
        name: relative to the folder of all.
        number: of the rank.
        stage: what else tells files apart, such as the stage of a pipeline; empty for nothing.
        data: the number among those that split each tensor's values; 0 where the file is for all.
    """

    name: str
    number: int
    stage: str
    data: int

    @property
    def label(self) -> str:
        """What rows are called that are of this rank alone."""
        return f"rank{self.number}"


@locating
def tensors_of(path: Path) -> NamedTensors:
    """The tensors of a network of which the file of one rank is given; nothing in any is executed.

    Raises:
        UnreadableModelError: a file is damaged, or that of a rank is missing.
        UnsafeModelError: a file is unsafe to read, or elsewhere.
    """
    if DEEPSPEED.fullmatch(path.name):
        models, states = _files(path, DEEPSPEED), _files(path, OPTIMISER)
        found = _joined([_of_rank(path, models, states, number) for number in _numbers(models)])
    elif MEGATRON.fullmatch(path.parent.name):
        found = _stages(path, _files(path, MEGATRON))
    else:
        shards = _files(path, SHARDED)
        found = assembled_state([(rank.name, _opened(path, rank)) for rank in _complete(shards)])
    return replace(found, files=parts_of(path), format="checkpoint", trained=True)


def parts_of(path: Path) -> tuple[str, ...]:
    """Names of the files of all other ranks, relative to the folder of this one."""
    kinds = (DEEPSPEED, OPTIMISER) if DEEPSPEED.fullmatch(path.name) else (_kind(path),)
    up = "../" if kinds == (MEGATRON,) else ""
    own = f"{path.parent.name}/{path.name}" if up else path.name
    names = (rank.name for kind in kinds for rank in _files(path, kind))
    return tuple(f"{up}{name}" for name in names if name != own)


def _kind(path: Path) -> Kind:
    return MEGATRON if MEGATRON.fullmatch(path.parent.name) else SHARDED


def _files(path: Path, kind: Kind) -> list[Rank]:
    """The files of this kind that are of the same checkpoint, by rank."""
    root = path.parent.parent if kind is MEGATRON else path.parent
    below = f"/{path.name}" if kind is MEGATRON else ""
    own = kind.fullmatch(path.name)
    found = []
    for entry in root.iterdir():
        named = kind.fullmatch(entry.name)
        if named is None or (below and not (entry / path.name).exists()):
            continue
        said = named.groupdict()
        stage = said.get("stage") or ""
        if kind is SHARDED and own is not None and stage != own["stage"]:
            continue
        stage = "" if kind is SHARDED else stage
        data = int(said.get("data") or 0)
        found.append(Rank(name=f"{entry.name}{below}", number=int(said["rank"]), stage=stage, data=data))
        if len(found) > MOST_FILES:
            raise UnsafeModelError(f"more than {MOST_FILES} files of ranks")
    return sorted(found, key=lambda rank: (rank.stage, rank.number, rank.data, rank.name))


def _numbers(ranks: Sequence[Rank]) -> list[int]:
    """The numbers of the ranks, from 0 on.

    Raises:
        UnreadableModelError: one is missing.
    """
    numbers = sorted({rank.number for rank in ranks})
    if numbers != list(range(len(numbers))):
        missing = next(number for number in range(len(numbers)) if number not in numbers)
        raise UnreadableModelError(f"the file of rank {missing} is missing", hint=HINT)
    return numbers


def _complete(ranks: Sequence[Rank]) -> Sequence[Rank]:
    _numbers(ranks)
    return ranks


def _opened(path: Path, rank: Rank) -> Contents:
    """What is pickled in the file of a rank, which must be in the folder of all."""
    root = path.parent.parent if "/" in rank.name else path.parent
    locate(root / path.name, rank.name, "the folder")
    found = pickled(root / rank.name)
    if found is None:
        raise UnreadableModelError(f"{rank.name!r} is a program, not the state of a rank", hint=HINT)
    return found


def _of_rank(
    path: Path, models: Sequence[Rank], states: Sequence[Rank], number: int
) -> tuple[Rank, NamedTensors]:
    """The tensors of a tensor rank of DeepSpeed: those of its optimiser, where its files are there."""
    own = [rank for rank in models if rank.number == number]
    of_optimiser = [_opened(path, rank) for rank in states if rank.number == number]
    contents = [_opened(path, rank) for rank in own]
    found = zero_tensors(contents, of_optimiser)
    return own[0], found or unwrapped(contents[0].value, contents[0].stored)


def _stages(path: Path, ranks: Sequence[Rank]) -> NamedTensors:
    """The tensors of all stages of a pipeline; where there are several, their names begin with the stage."""
    found: list[tuple[str, NamedTensors]] = []
    for stage in dict.fromkeys(rank.stage for rank in ranks):
        own = _complete([rank for rank in ranks if rank.stage == stage])
        opened = [(rank, _opened(path, rank)) for rank in own]
        found.append((stage, _joined([(rank, unwrapped(c.value, c.stored)) for rank, c in opened])))
    if len(found) == 1:
        return found[0][1]
    return NamedTensors(
        tensors={STAGE.format(s, name): t for s, one in found for name, t in one.tensors.items()},
        format="",
        notes=tuple(dict.fromkeys(note for _, one in found for note in one.notes)),
        left_out=tuple(dict.fromkeys(note for _, one in found for note in one.left_out)),
    )


def _joined(ranks: Sequence[tuple[Rank, NamedTensors]]) -> NamedTensors:
    """The tensors of all ranks, joined along the axes that they are split along."""
    shares = [dict(_apart(rank.name, found)) for rank, found in ranks]
    tensors, notes = joined(shares, [rank.label for rank, _ in ranks])
    first = ranks[0][1]
    return replace(first, tensors=tensors, notes=(*first.notes, *notes), left_out=(*first.left_out, *notes))


def _apart(file: str, found: NamedTensors) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors with identities that no tensor of another file has."""
    for name, tensor in found.tensors.items():
        yield name, replace(tensor, identity=None if tensor.identity is None else (file, tensor.identity))
