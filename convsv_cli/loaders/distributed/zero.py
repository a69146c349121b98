"""ZeRO's partitions: the float32 weights that DeepSpeed's optimiser keeps, put together again.

With stages 1 and 2, the parameters of a group follow each other in a vector, of which each rank has a piece;
with stage 3, each rank has an equal share of each parameter, the last one padded, one after the other. The
shapes are in the files of the model, which also have what is not trained. (So does `zero_to_fp32.py`, which
DeepSpeed puts beside each checkpoint.)
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from convsv_cli import limits
from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.values import Tensor, as_shape
from convsv_cli.loaders.loader import NamedTensors, StoredTensor

HINT = "save the checkpoint again"
VECTORS = {1: "single_partition_of_fp32_groups", 2: "single_partition_of_fp32_groups", 3: "fp32_flat_groups"}
LARGEST = 1 << 62
Shapes = Mapping[str, tuple[int, ...]]


def zero_tensors(models: Sequence[Contents], states: Sequence[Contents]) -> NamedTensors | None:
    """The weights of a rank as its optimiser has them; None where the files are of no such optimiser.

    Args:
        models: the files of the model, by rank; one where all ranks have the same.
        states: the files of the optimiser, by rank.

    Raises:
        UnreadableModelError: files are missing, or contradict each other.
        UnsafeModelError, LimitError: they claim more than they hold.
    """
    model = _dict(models[0].value)
    groups = model.get("param_shapes")
    if groups is None or not states:
        if len(models) > 1:
            raise _wrong("the files of the optimiser, which has the weights, are missing")
        return None
    kept = [_dict(_dict(state.value).get("optimizer_state_dict")) for state in states]
    stage, count = kept[0].get("zero_stage"), kept[0].get("partition_count")
    count = max((n for n in count if type(n) is int), default=0) if isinstance(count, list) else count
    if type(stage) is not int or stage not in VECTORS or count != len(states):
        said = [str(n) if type(n) is int and abs(n) < LARGEST else "?" for n in (count, stage)]
        raise _wrong(f"it is of {said[0]} ranks by ZeRO {said[1]}, and files of {len(states)} are there")
    shapes = [_shapes(group) for group in (groups if isinstance(groups, list) else [groups])]
    vectors = [_vectors(state, own.get(VECTORS[stage])) for state, own in zip(states, kept, strict=True)]
    padded = kept[0].get("param_alignment_paddings")
    found = _whole(shapes, vectors, padded) if stage < len(VECTORS) else _shared(shapes, vectors)
    found |= _frozen(models, model) | _buffers(models[0], model)
    for alias, name in _dict(model.get("shared_params")).items():
        if isinstance(alias, str) and isinstance(name, str) and name in found:
            found[alias] = found[name]
    return NamedTensors(tensors=found, format="")


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Vectors one after the other.

    Attributes:
        vectors: each [n].
        ends: where each ends.
    """

    vectors: Sequence[StoredTensor]
    ends: Sequence[int]

    @property
    def length(self) -> int:
        """Of all together."""
        return self.ends[-1] if self.ends else 0

    def cut(self, start: int, length: int) -> Iterator[tuple[StoredTensor, int, int]]:
        """Pieces (vector, first and last entry) that make up so many entries from one on, which are in it."""
        index = bisect_right(self.ends, start)
        while length > 0:
            vector = self.vectors[index]
            first = start - (self.ends[index] - vector.shape[0])
            taken = min(length, vector.shape[0] - first)
            if taken > 0:
                yield vector, first, first + taken
            start, length, index = start + taken, length - taken, index + 1


def _line(vectors: Sequence[StoredTensor]) -> _Line:
    return _Line(vectors=vectors, ends=list(accumulate(vector.shape[0] for vector in vectors)))


def _whole(
    shapes: Sequence[Shapes], vectors: Sequence[Sequence[StoredTensor]], padded: Any
) -> dict[str, StoredTensor]:
    """Of stages 1 and 2: of each group, the pieces of all ranks are one vector."""
    if any(len(own) != len(shapes) for own in vectors):
        raise _wrong("its groups of parameters are not those of its optimiser")
    found: dict[str, StoredTensor] = {}
    for group, own in enumerate(shapes):
        line, position = _line([vectors[rank][group] for rank in range(len(vectors))]), 0
        gaps = _gaps(padded, group, len(own))
        for (name, shape), gap in zip(own.items(), gaps, strict=True):
            count = math.prod(shape)
            found[name] = _spliced(name, shape, [(line, position, count)])
            position += count + gap
        unit = 2 * len(vectors)  # ranks align the vector's end to so many entries
        if -(-position // unit) != -(-line.length // unit):
            raise _wrong(f"a group has {position} entries, and its optimiser {line.length}")
    return found


def _gaps(padded: Any, group: int, count: int) -> list[int]:
    """How many entries follow each parameter that are none."""
    if not isinstance(padded, list):
        return [0] * count
    own = padded[group] if group < len(padded) else None
    if not isinstance(own, list) or len(own) != count or any(type(n) is not int or n < 0 for n in own):
        raise _wrong("its paddings are not those of its parameters")
    return own


def _shared(shapes: Sequence[Shapes], vectors: Sequence[Sequence[StoredTensor]]) -> dict[str, StoredTensor]:
    """Of stage 3: each rank has a share of each parameter; that of the last is padded."""
    lines, position = [_line(own) for own in vectors], 0
    found: dict[str, StoredTensor] = {}
    for name, shape in ((name, shape) for group in shapes for name, shape in group.items()):
        share = -(-math.prod(shape) // len(lines))
        found[name] = _spliced(name, shape, [(line, position, share) for line in lines])
        position += share
    if any(line.length != position for line in lines):
        raise _wrong(f"its parameters have {position} entries a rank, and its optimiser {lines[0].length}")
    return found


def _spliced(name: str, shape: tuple[int, ...], cuts: Sequence[tuple[_Line, int, int]]) -> StoredTensor:
    """The tensor whose entries are those of the cuts (start and length), one after the other."""
    limits.spend(limits.OBJECT * len(cuts), "putting partitions together")
    if any(start + length > line.length for line, start, length in cuts):
        raise _wrong(f"the partitions of {name!r} are too short")
    pieces = [piece for line, start, length in cuts for piece in line.cut(start, length)]
    dtypes = {vector.dtype for vector, _, _ in pieces}
    unusable = next((vector.unusable for vector, _, _ in pieces if vector.unusable), "")

    def read() -> torch.Tensor:
        limits.hold(8 * math.prod(shape), "putting partitions together")
        parts = [vector.read()[first:last] for vector, first, last in pieces]
        return torch.cat([*parts, torch.zeros(0)])[: math.prod(shape)].reshape(shape)

    return StoredTensor(
        shape=shape,
        dtype=dtypes.pop() if len(dtypes) == 1 else "float32",
        read=read,
        unusable=unusable,
        identity=("partitions", name),
    )


def _frozen(models: Sequence[Contents], model: Mapping[Any, Any]) -> dict[str, StoredTensor]:
    """Parameters that are not trained: whole in one file, or in shares in those of all ranks."""
    found = {}
    for name, shape in _shapes(model.get("frozen_param_shapes") or {}).items():
        parts = [_dict(_dict(one.value).get("frozen_param_fragments")).get(name) for one in models]
        lines = [_line(_vectors(one, [part])) for one, part in zip(models, parts, strict=True)]
        if sum(line.length for line in lines) < math.prod(shape):
            raise _wrong(f"the partitions of {name!r} are too short")
        found[name] = _spliced(name, shape, [(line, 0, line.length) for line in lines])
    return found


def _buffers(contents: Contents, model: Mapping[Any, Any]) -> dict[str, StoredTensor]:
    module, names = _dict(model.get("module")), model.get("buffer_names")
    named = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    buffers = {name: module[name] for name in named if isinstance(module.get(name), Tensor)}
    return contents.stored(buffers)


def _vectors(contents: Contents, values: Any) -> list[StoredTensor]:
    """Tensors in the order of their values, whatever their shapes."""
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, Tensor) for value in values):
        raise _wrong("its optimiser has no partitions of weights")
    found = contents.stored({str(index): value for index, value in enumerate(values)})
    return [_flat(tensor) for tensor in found.values()]


def _flat(tensor: StoredTensor) -> StoredTensor:
    return StoredTensor(
        shape=(math.prod(tensor.shape),),
        dtype=tensor.dtype,
        read=lambda: tensor.read().reshape(-1),
        unusable=tensor.unusable,
        identity=tensor.identity,
    )


def _shapes(group: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a group's parameters, by name."""
    if not isinstance(group, dict) or not all(isinstance(name, str) for name in group):
        raise _wrong("its parameters have no names")
    try:
        found = {name: as_shape(shape) for name, shape in group.items()}
    except TypeError as error:
        raise _wrong("a shape that is none") from error
    if any(n < 0 for shape in found.values() for n in shape) or any(map(_is_huge, found.values())):
        raise UnsafeModelError("a parameter with an impossible shape")
    return found


def _is_huge(shape: tuple[int, ...]) -> bool:
    return math.prod(shape) >= LARGEST or any(n >= LARGEST for n in shape)


def _dict(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}


def _wrong(why: str) -> UnreadableModelError:
    return UnreadableModelError(f"a checkpoint of DeepSpeed that contradicts itself: {why}", hint=HINT)
