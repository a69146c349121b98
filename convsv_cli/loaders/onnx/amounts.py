"""How much a node makes of constants, known before it does."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from convsv_cli.loaders.onnx.tensors import Array

MAX_MULTIPLICATIONS = 2**28
ENDLESS = 2**62
# fmt: off
BROADCASTING = frozenset((
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Where", "And", "Or", "Xor", "Equal",
    "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
))
# fmt: on


def result_elements(node: NodeProto, operands: list[Array | None]) -> int:
    """How many elements a node will make, at most, known before it does."""
    present = [operand for operand in operands if operand is not None]
    count = COUNTS.get(node.op_type, _broadcast if node.op_type in BROADCASTING else _given)
    try:
        return count(present)
    except (ValueError, IndexError):
        return _given(present)  # shapes that do not fit: the computation will say so


def multiplications(node: NodeProto, operands: list[Array | None]) -> int:
    """How many a matrix product takes, at most; none for other operators."""
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
