"""A checkpoint file to the named tensors of its network, whatever these are wrapped in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from convsv_cli.errors import UsageError
from convsv_cli.loaders.checkpoint.archives import PICKLE, archive_members, read_legacy, read_pickle
from convsv_cli.loaders.checkpoint.chain import chain_of
from convsv_cli.loaders.checkpoint.containers import is_matrix, mark
from convsv_cli.loaders.checkpoint.contents import Contents, Source
from convsv_cli.loaders.checkpoint.script import is_script, script_tensors
from convsv_cli.loaders.checkpoint.search import AVERAGES, OPTIMISER, WRAPPERS, LeftOut, Search, Tensors
from convsv_cli.loaders.checkpoint.steps import NoChainError
from convsv_cli.loaders.files import locating
from convsv_cli.loaders.loader import NamedTensors, StoredTensor
from convsv_cli.loaders.names import notes_on, training_state, without_training_state
from convsv_cli.loaders.zip_records import zip_records
from convsv_cli.remote.files import opened

_INVISIBLE = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
MAX_LEADS = 8
ZIP = b"PK\x03\x04"
_AVERAGE = frozenset(("ema", "swa", "avg", "average", "averaged", "shadow"))
_SEPARATORS = re.compile(r"[._]")
AVERAGED = "averages of the audited weights"
LEFT_OUT = "also holds {!r}: not audited ({} {}: {})"


@locating
def tensors_of(path: Path) -> NamedTensors:
    """The named tensors of the network in a checkpoint; nothing in the file is executed.

    Raises:
        UnreadableModelError: it is damaged, or of another kind.
        UnsafeModelError: it would run code elsewhere, or claims more than it holds.
    """
    contents = pickled(path)
    if contents is None:
        return script_tensors(path, archive_members(zip_records(path)))
    return unwrapped(contents.value, contents.stored)


@locating
def onnx_model(path: Path) -> ModelProto:
    """The ONNX model that a pickled `nn.Sequential` is.

    Raises:
        UsageError: the file holds something else, or modules of which convsv does not know what they do.
        UnreadableModelError, UnsafeModelError: as `tensors_of`.
    """
    contents = pickled(path)
    if contents is None:
        raise UsageError("a TorchScript archive has its code, which convsv does not follow")
    return chain_in(contents)


def chain_in(contents: Source) -> ModelProto:
    """The ONNX model that an `nn.Sequential` is.

    Raises:
        UsageError: as `onnx_model`.
    """
    try:
        return chain_of(contents)
    except NoChainError as error:
        raise UsageError(str(error)) from error


def pickled(path: Path) -> Contents | None:
    """What is pickled in a file; None for a TorchScript archive."""
    with opened(path) as file:
        zipped = file.read(len(ZIP)) == ZIP
    if not zipped:
        return read_legacy(path)
    members = archive_members(zip_records(path))
    return None if is_script(members) else read_pickle(path, members, PICKLE, "data")


def unwrapped(value: Any, stored: Callable[[Tensors], dict[str, StoredTensor]]) -> NamedTensors:
    """The tensors of the network in a checkpoint, by name.

    At the top, a wrapper such as "state_dict" is opened, the first in the order of `WRAPPERS`; averaged
    weights only where there is nothing better. Several networks side by side keep their keys as prefixes.

    Args:
        value: all that it holds.
        stored: checks tensors, and gives their values.

    Raises:
        UnsafeModelError: containers that hold each other, so that there is no end of names.
    """
    search = Search(value)
    tensors = search.run()
    if not any(map(is_matrix, tensors.values())):
        search = Search(value, trusts_names=False)
        tensors = search.run()
    tensors, averages = _split(tensors, search)
    notes, left_out = _notes(tensors, averages, search)
    from_module = any(id(tensor) in search.of_modules for tensor in tensors.values())
    return NamedTensors(
        tensors=stored(tensors),
        format="pickled_module" if from_module else "checkpoint",
        notes=notes,
        left_out=left_out,
        trained=True,
    )


def _notes(
    tensors: Tensors, averages: list[LeftOut], search: Search
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What was left out, in plain words, and that of it which could be weights."""
    audited = set(map(mark, tensors.values()))
    weights = {name: tensor for name, tensor in tensors.items() if is_matrix(tensor)}
    noted: list[str] = []
    doubtful: list[str] = []
    once = {(left.name, *map(mark, left.tensors.values())): left for left in search.left_out}
    directions: list[str] = []
    for left in (*once.values(), *averages):
        named = {f"{left.name}.{name}": tensor for name, tensor in left.tensors.items()}
        directions += training_state(named)
        tensors_left = without_training_state(named)
        count = len(set(map(mark, tensors_left.values())) - audited)
        sure = left.why in (OPTIMISER, AVERAGED) or _is_average(_within(left, audited), weights, search)
        why = AVERAGED if sure and left.why != OPTIMISER else left.why
        if count:
            text = LEFT_OUT.format(left.name, count, "tensor" if count == 1 else "tensors", why)
            (noted if sure else doubtful).append(text)
    return (*noted, *doubtful, *notes_on(directions)), tuple(doubtful)


def _within(left: LeftOut, audited: Collection[Hashable]) -> LeftOut:
    """Those that are not audited all the same, by their names below the first part that says "average"."""
    tensors = {f"{left.name}.{name}": t for name, t in left.tensors.items() if mark(t) not in audited}
    prefixes = {_averaging(name) for name in tensors}
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    below = {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items()}
    return replace(left, name=prefix, tensors=below)


def _split(tensors: Tensors, search: Search) -> tuple[Tensors, list[LeftOut]]:
    """The tensors without those that are averages of others among them."""
    groups: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        if prefix := _averaging(name):
            groups.setdefault(prefix, {})[name.removeprefix(f"{prefix}.")] = tensor
    main = {name: tensor for name, tensor in tensors.items() if not _averaging(name)}
    matrices = {name: tensor for name, tensor in main.items() if is_matrix(tensor)}
    averages = []
    for prefix, group in groups.items():
        weights = {name: tensor for name, tensor in group.items() if is_matrix(tensor)}
        left = LeftOut(name=prefix, tensors=weights, why=AVERAGED)
        if _is_average(left, matrices, search, same_file=True):
            averages.append(left)
    gone = {left.name for left in averages}
    return {name: tensor for name, tensor in tensors.items() if _averaging(name) not in gone}, averages


def _averaging(name: str) -> str:
    """The beginning of a name, up to the part that says that it is of averages; empty for others."""
    parts = name.split(".")
    first = next(
        (i for i, part in enumerate(parts) if not _AVERAGE.isdisjoint(part.lower().split("_"))), None
    )
    return "" if first is None else ".".join(parts[: first + 1])


def _is_average(left: LeftOut, weights: Tensors, search: Search, *, same_file: bool = False) -> bool:
    """Whether its name says so, and the network's weights include each of its tensors, by name and shape.

    Where they are numbered, only shapes count.

    Within one network, `ema_encoder` is of `encoder`, and of no other part.
    """
    prefix = _averaging(left.name)
    if not prefix or not left.tensors or not weights:
        return False
    for tensors in (weights, left.tensors):
        search.count_names(tensors, 0)
    if all(name.rpartition(".")[2].isdecimal() for name in left.tensors):
        shapes = [Counter(tensor.shape for tensor in found.values()) for found in (left.tensors, weights)]
        return shapes[0] <= shapes[1]
    words = ["_".join(w for w in part.split("_") if w.lower() not in _AVERAGE) for part in prefix.split(".")]
    leads = {*WRAPPERS, *AVERAGES, *_INVISIBLE}
    leads |= set() if same_file else {*prefix.split("."), *words}
    base = "".join(f"{word}." for word in words if word and same_file)
    known = {(end, tensor.shape) for name, tensor in weights.items() for end in _ends(name, leads)}
    return all(
        any((end, tensor.shape) in known for end in _ends(base + name, leads))
        for name, tensor in left.tensors.items()
    )


def _ends(name: str, leads: set[str]) -> Iterator[str]:
    """A name without separators, and without each of the first parts that say nothing."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        yield _SEPARATORS.sub("", "".join(parts[index:]))
        if part not in leads or index >= MAX_LEADS:
            return
