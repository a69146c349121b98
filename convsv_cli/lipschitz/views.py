"""Tensors whose entries are entries of another one: picked along axes, and told by their sign.

Slices, rolls, shuffles and circular padding pick entries; Relu, Neg and their like are linear on either side
of zero. So two of them may be of different entries, or of the same entries on different sides.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convsv_cli import limits
from convsv_cli.lipschitz.operands import integers, optional_integers, slices
from convsv_cli.lipschitz.operation import Operation, Tensor

Indices = NDArray[np.int64]
WHAT = "following the entries of tensors"
PICKED = 8
"""Steps of the model's allowance for each index, which is written, copied and counted."""


class Sides(NamedTuple):
    """A function of one number that moves no more than |u| below for u < 0, |u| above for u > 0.

    It also has the sign of these. Those of Relu, Neg and LeakyRelu are their values at -1 and 1.
    """

    below: float = -1.0
    above: float = 1.0

    def after(self, first: Sides) -> Sides:
        """This function of what another one gives."""
        below, above = (abs(u) * (self.above if u > 0 else self.below) for u in first)
        return Sides(below, above)


SAME = Sides()


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A tensor y[i, j, ...] = f(x[I[i], J[j], ...]).

    Attributes:
        root: what x is called; a tensor by its name.
        part: which of the disjoint parts of `root` x is; None where it is all of it.
        shape: of x; None where it is unknown.
        picks: the indices I, by axis; all in order where there are none.
        sides: what f is; 1 on both where it is the identity.
    """

    root: Hashable
    part: int | None = None
    shape: tuple[int | None, ...] | None = None
    picks: Mapping[int, Indices] = field(default_factory=dict)
    sides: Sides = SAME

    def picked(self, axis: int, at: Indices | Sequence[int] | slice, size: int) -> View:
        """Of this, entries along an axis.

        Args:
            axis: from 0.
            at: which ones; a negative index counts from the end.
            size: of this along the axis.

        Raises:
            LimitError: the indices are more than the model may take.
        """
        old = self.indices(axis, size)
        new = old[at] if isinstance(at, slice) else old[np.asarray(at, np.int64)]
        limits.spend(PICKED * new.size + limits.OBJECT, WHAT, share=0.5)
        return replace(self, picks={**self.picks, axis: new})

    def indices(self, axis: int, size: int) -> Indices:
        """Those along an axis of this many entries.

        Raises:
            LimitError: they are more than the model may take.
        """
        if axis in self.picks:
            return self.picks[axis]
        limits.spend(PICKED * size + limits.OBJECT, WHAT, share=0.5)
        limits.hold(PICKED * size, WHAT)
        return np.arange(size, dtype=np.int64)

    def circular(self, axis: int) -> bool:
        """Whether entries follow each other along the axis, the first one the last."""
        picks, size = self.picks[axis], self.size(axis)
        return size is not None and bool(((picks[1:] - picks[:-1] - 1) % size == 0).all())

    def size(self, axis: int) -> int | None:
        """Of x along an axis; None where it is unknown."""
        return None if self.shape is None else self.shape[axis]


def viewed(operation: Operation, views: Mapping[str, View]) -> list[View] | None:
    """The outputs as views; None where they are none.

    Args:
        operation: a node.
        views: of its inputs that vary.

    Raises:
        UnboundedError: what it picks is not known.
        LimitError: it picks more than the model may.
    """
    op = operation.node.op
    if op in PICKERS and {tensor.name for tensor in operation.varying} == {operation.input(0).name}:
        return PICKERS[op](operation, views[operation.input(0).name])
    if op == "Concat":
        return _joined(operation, views)
    sides = _sides(operation) if len({tensor.name for tensor in operation.varying}) == 1 else None
    if sides is None:
        return None
    source = views[operation.varying[0].name]
    return [replace(source, sides=sides.after(source.sides))]


def pick_of_gather(operation: Operation) -> tuple[int, Indices] | None:
    """The axis and the indices of a Gather, whose result may have other axes."""
    rank = len(operation.input(0).shape or ())
    if operation.node.op != "Gather" or not rank or not operation.input(1).constant:
        return None
    axis = operation.attribute("axis", 0)
    return axis % rank, operation.input(1).value().astype(np.int64)


def _gathered(operation: Operation, source: View) -> list[View] | None:
    found = pick_of_gather(operation)
    if found is None or found[1].ndim != 1:
        return None
    axis, indices = found
    return [source.picked(axis, indices, operation.input(0).sizes()[axis])]


def _sliced(operation: Operation, source: View) -> list[View]:
    sizes = operation.input(0).sizes()
    for axis, at in slices(operation):
        source = source.picked(axis % len(sizes), at, sizes[axis])
    return [source]


def _split(operation: Operation, source: View) -> list[View]:
    sizes = operation.input(0).sizes()
    axis = operation.attribute("axis", 0) % len(sizes)
    counts = [operation.output_shape(i)[axis] for i in range(len(operation.outputs))]
    ends = np.cumsum(counts).tolist()
    return [
        source.picked(axis, slice(end - count, end), sizes[axis])
        for count, end in zip(counts, ends, strict=True)
    ]


def _padded(operation: Operation, source: View) -> list[View] | None:
    """With copies of entries, as far as runtimes agree on which: no more are added than there are."""
    mode, sizes = operation.attribute("mode", "constant"), operation.input(0).sizes()
    pads, axes = integers(operation, 1, "pads"), optional_integers(operation, 3) or range(len(sizes))
    if mode not in FILLED or min(pads) < 0:
        return None
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        size = sizes[axis]
        if max(before, after) >= size + (mode == "wrap"):
            return None
        if before or after:
            limits.spend(PICKED * (before + size + after), WHAT, share=0.5)
            limits.hold(PICKED * (before + size + after), WHAT)
            places = np.arange(-before, size + after, dtype=np.int64)
            source = source.picked(axis % len(sizes), FILLED[mode](places, size), size)
    return [source]


def _same(_: Operation, source: View) -> list[View]:
    return [source]


def _joined(operation: Operation, views: Mapping[str, View]) -> list[View] | None:
    """Views of one tensor that differ along one axis only, put together along it."""
    parts = [views[tensor.name] for tensor in operation.given if tensor.name in views]
    if len(parts) < len(operation.given) or not all(_alike(parts[0], part) for part in parts):
        return None
    if len(parts) == 1:
        return parts
    sizes = [tensor.sizes() for tensor in operation.given]
    limits.spend(PICKED * sum(map(sum, sizes)) + limits.OBJECT * len(sizes), WHAT, share=0.5)
    axis = operation.attribute("axis", 0) % len(sizes[0])
    limits.hold(PICKED * sum(size[axis] for size in sizes), WHAT)
    for other in {other for part in parts for other in part.picks} - {axis}:
        first = parts[0].indices(other, sizes[0][other])
        if not all(np.array_equal(first, part.indices(other, len(first))) for part in parts[1:]):
            return None
    picks = [part.indices(axis, size[axis]) for part, size in zip(parts, sizes, strict=True)]
    return [replace(parts[0], picks={**parts[0].picks, axis: np.concatenate(picks)})]


def _alike(first: View, other: View) -> bool:
    return (first.root, first.part, first.sides) == (other.root, other.part, other.sides)


def _sides(operation: Operation) -> Sides | None:
    """What the node does to each entry, where that has sides."""
    op = operation.node.op
    if op in HALVES:
        return HALVES[op]
    if op == "LeakyRelu":
        return Sides(-operation.attribute("alpha", float(np.float32(0.01))), 1.0)
    if op == "Clip":
        lower, upper = (_number(operation.optional(i), default) for i, default in ((1, -1.0), (2, 1.0)))
    elif op in ("Max", "Min") and len(operation.given) == 2 and len(operation.varying) == 1:
        other = next(tensor for tensor in operation.given if tensor.constant)
        if _broadcasts(operation):
            return None
        number = _number(other, 0.0)
        lower, upper = (number, 1.0) if op == "Max" else (-1.0, number)
    else:
        return None
    if lower is None or upper is None or not lower <= upper or not lower * upper <= 0:
        return None
    return Sides(0.0 if lower == 0 else -1.0, 0.0 if upper == 0 else 1.0)


def _number(tensor: Tensor | None, default: float) -> float | None:
    """The one number that all entries of a constant are; None where they are not."""
    if tensor is None:
        return default
    values = tensor.value()
    return float(values.reshape(-1)[0]) if values.size == 1 else None


def _broadcasts(operation: Operation) -> bool:
    return operation.outputs[0][1] is None or operation.varying[0].shape != operation.outputs[0][1]


FILLED: Mapping[str, Callable[[Indices, int], Indices]] = {
    "edge": lambda places, size: places.clip(0, size - 1),
    "reflect": lambda places, size: size - 1 - np.abs(size - 1 - places % (2 * size - 2)),
    "wrap": lambda places, size: places % size,
}
"""Which entries are at places before and after the first and the last one."""
HALVES = {"Relu": Sides(0.0, 1.0), "Neg": Sides(1.0, -1.0), "Abs": Sides(1.0, 1.0)}
PICKERS = {"Slice": _sliced, "Split": _split, "Gather": _gathered, "Pad": _padded, "Identity": _same}
