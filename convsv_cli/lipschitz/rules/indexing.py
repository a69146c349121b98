"""Entries that are looked up, or written, at places that do not vary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli import limits
from convsv_cli.lipschitz.lengths import looked_up
from convsv_cli.lipschitz.operands import same, size_of
from convsv_cli.lipschitz.operation import Operation, Rule, Tensor, UnboundedError
from convsv_cli.numerics.intervals import Range
from convsv_cli.numerics.rounding import root, root_of_squares, times, total

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.int64]
    """A number for each entry that is read or written, equal for the same place; or one for each axis."""

PLACE = 32
"""Steps of the model's allowance for each of these numbers, which are sorted."""


def gathered(operation: Operation) -> float:
    """Gather, GatherElements, GatherND: the root of how often the same entry is looked up."""
    indices = _fixed(operation)
    return times(root(_meeting(operation, indices)), operation.input(0).lipschitz)


def scattered(operation: Operation) -> float:
    """ScatterElements, ScatterND, Scatter: data and updates.

    Overwritten, or the larger of both: each result depends on one of the data and some of the updates, each
    of these at one place: the root of the sum of squares, even if the indices are not known; an upper bound
    where all data are overwritten. Added: the updates count with the root of how many meet at a place.
    """
    data, updates = operation.input(0), operation.input(2)
    reduction = operation.attribute("reduction", "none")
    indices = _fixed(operation)
    if reduction in ("none", "max", "min"):
        return root_of_squares((data.lipschitz, updates.lipschitz))
    if reduction != "add":
        raise UnboundedError(f"its reduction {reduction!r} makes products, or is unknown to convsv")
    if updates.constant:
        return data.lipschitz
    meeting = root(_meeting(operation, indices))
    return total((data.lipschitz, times(meeting, updates.lipschitz)))


def stored(operation: Operation) -> float:
    """TensorScatter: updates take the place of some entries, at most one each."""
    if operation.optional(2) is not None and not operation.input(2).constant:
        raise UnboundedError(f"where it writes, {operation.input(2).name!r}, varies with the network's input")
    return root_of_squares((operation.input(0).lipschitz, operation.input(1).lipschitz))


def _fixed(operation: Operation) -> Tensor:
    """The indices.

    Raises:
        UnboundedError: they vary.
    """
    indices = operation.input(1)
    if not indices.constant:
        raise UnboundedError(f"where it looks, {indices.name!r}, jumps with the network's input")
    return indices


def _meeting(operation: Operation, indices: Tensor) -> int:
    """How many indices point at the same entry: all that may, where they are held fixed and not known."""
    if not indices.held:
        return _repeats(_places(operation, indices))
    sizes, op = indices.sizes(), operation.node.op
    if op == "Gather":
        return math.prod(sizes)
    if op in ("GatherND", "ScatterND"):
        return math.prod(sizes[operation.attribute("batch_dims", 0) : -1])
    return sizes[operation.attribute("axis", 0)]


def _repeats(places: Places) -> int:
    return int(np.unique(places, return_counts=True)[1].max()) if len(places) else 0


def _places(operation: Operation, indices: Tensor) -> Places:
    """Where each index points.

    Raises:
        LimitError: there are more than the model may have.
    """
    found = indices.value()
    limits.spend(PLACE * found.size, f"what the indices {indices.name!r} repeat")
    values = found.astype(np.int64)
    if operation.node.op in ("GatherND", "ScatterND"):
        return _of_tuples(operation, values)
    axis = operation.attribute("axis", 0)
    columns = _wrapped(operation, values.reshape(-1, 1), (axis,))
    if operation.node.op == "Gather":
        return columns[:, 0]
    along = np.moveaxis(columns.reshape(values.shape), axis, -1)
    lines = np.arange(math.prod(along.shape[:-1]), dtype=np.int64).reshape(*along.shape[:-1], 1)
    return _numbered(np.broadcast_to(lines, along.shape).ravel(), along.ravel())


def _numbered(*columns: Places) -> Places:
    """One number for each row, equal for equal rows."""
    whole = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, at = np.unique(column, return_inverse=True)
        whole = np.unique(whole * len(values) + at, return_inverse=True)[1]
    return whole


def _of_tuples(operation: Operation, values: Places) -> Places:
    """The last axis of indices is a tuple of indices; those of different batches are different places."""
    batch = operation.attribute("batch_dims", 0)
    length = values.shape[-1]
    flat = _wrapped(operation, values.reshape(-1, length), tuple(range(batch, batch + length)))
    size = math.prod(values.shape[:batch])
    owner = np.repeat(np.arange(size, dtype=np.int64), len(flat) // max(1, size))
    return _numbered(owner, *flat.T)


def _wrapped(operation: Operation, places: Places, axes: tuple[int, ...]) -> Places:
    """Negative indices count from the end."""
    if not (places < 0).any():
        return places
    sizes = np.array([size_of(operation.input(0), axis) for axis in axes], np.int64)
    wrapped: Places = np.where(places < 0, places + sizes, places)
    return wrapped


def _scattered_range(operation: Operation) -> Range:
    """The hull of data and updates where these are not added."""
    if operation.attribute("reduction", "none") in ("none", "max", "min"):
        return operation.input(0).range.hull(operation.input(2).range)
    return Range()


RULES = {
    "Gather": Rule(lipschitz=gathered, range=same, lengths=looked_up),
    **dict.fromkeys(("GatherElements", "GatherND"), Rule(lipschitz=gathered, range=same)),
    "TensorScatter": Rule(
        lipschitz=stored, range=lambda operation: operation.input(0).range.hull(operation.input(1).range)
    ),
    **dict.fromkeys(
        ("Scatter", "ScatterElements", "ScatterND"), Rule(lipschitz=scattered, range=_scattered_range)
    ),
}
