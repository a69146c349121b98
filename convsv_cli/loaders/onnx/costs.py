"""What constant expressions cost: the size of each result, known beforehand, and the budget of a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto

from convsv_cli.loaders.onnx.tensors import Array, Stored
from convsv_cli.model.graph import UnknownValueError

MAX_MULTIPLICATIONS = 2**28
ENDLESS = 2**62
STEP = 2**15
"""Elements that could be computed in the time that any node takes."""
FIRST = 2**30
"""Elements that any model may compute, which takes seconds."""
TIMES = 64
"""How often every stored element may be computed with."""
# fmt: off
BROADCASTING = frozenset((
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Where", "And", "Or", "Xor", "Equal",
    "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
))
# fmt: on


@dataclass
class Budget:
    """How many elements may still be computed for one model; it grows with what the model stores."""

    left: int = FIRST
    _seen: dict[int, Stored] = field(default_factory=dict)

    def credit(self, stored: Stored, elements: int) -> None:
        """For a stored tensor, once."""
        if id(stored) not in self._seen:
            self._seen[id(stored)] = stored  # keeping it alive keeps its id unique
            self.left += TIMES * elements

    def spend(self, elements: int) -> None:
        """For a result of so many elements.

        Raises:
            UnknownValueError: there are not enough left.
        """
        self.left -= elements + STEP
        if self.left < 0:
            raise UnknownValueError("one of more constants than convsv computes of such a file")


def result_elements(node: NodeProto, operands: list[Array | None]) -> int:
    """An upper bound on the number of elements that a node computes, without computing it."""
    present = [operand for operand in operands if operand is not None]
    count = COUNTS.get(node.op_type, _broadcast if node.op_type in BROADCASTING else _given)
    try:
        return count(present)
    except (ValueError, IndexError):
        return _given(present)  # shapes that do not fit: the computation will say so


def multiplications(node: NodeProto, operands: list[Array | None]) -> int:
    """An upper bound on the multiplications of a matrix product; 0 for other operators."""
    if node.op_type != "MatMul" or any(operand is None or not operand.ndim for operand in operands):
        return 0
    left, right = (operand.shape for operand in operands if operand is not None)
    return int(math.prod(left) * math.prod(right) // max(left[-1], 1))


def _given(operands: list[Array]) -> int:
    return sum(operand.size for operand in operands)


def _broadcast(operands: list[Array]) -> int:
    return math.prod(np.broadcast_shapes(*(operand.shape for operand in operands)))


def _filled(operands: list[Array]) -> int:
    target = tuple(int(size) for size in operands[-1].astype(np.int64).ravel())
    return math.prod(np.broadcast_shapes(*(operand.shape for operand in operands[:-1]), target))


def _tiled(operands: list[Array]) -> int:
    return int(operands[0].size * math.prod(int(count) for count in operands[1].astype(np.int64)))


def _ranged(operands: list[Array]) -> int:
    start, stop, step = (float(operand.ravel()[0]) for operand in operands)
    count = abs((stop - start) / step) if step else 0.0
    return math.ceil(count) if count < ENDLESS else ENDLESS  # also where it is NaN


def _multiplied(operands: list[Array]) -> int:
    left, right = operands[0].shape, operands[1].shape
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    return int(math.prod(batch) * math.prod(left[-2:-1]) * math.prod(right[-1:] if len(right) > 1 else ()))


def _gathered(operands: list[Array]) -> int:
    table, indices = operands[0].shape, operands[1].shape
    return int(math.prod(indices) * math.prod(table) // max(min(table, default=1), 1))


def _gathered_parts(operands: list[Array]) -> int:
    table, indices = operands[0].shape, operands[1].shape
    return int(math.prod(indices[:-1]) * math.prod(table[indices[-1] :]))


COUNTS: dict[str, Callable[[list[Array]], int]] = {
    "Expand": _filled,
    "ConstantOfShape": _filled,
    "Tile": _tiled,
    "Range": _ranged,
    "MatMul": _multiplied,
    "Gather": _gathered,
    "GatherND": _gathered_parts,
}
