"""What a node of a constant expression will cost, known before it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

from convsv_cli import limits
from convsv_cli.loaders.loader import TOO_LARGE, outgrows
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.model.graph import UnknownValueError

ENDLESS = 2**62
NODE = 40 * limits.OBJECT
"""Steps that any node takes, and each input or output beyond the first few."""
FEW = 8
ENTRY = limits.OBJECT // 10
"""Steps for each number in an attribute."""
BEYOND, FAIR = 16, 4
"""Steps that each element takes of those beyond so many times what is stored; others the file pays for."""
SHARE = 0.5
"""Of all steps, that constants may take: the rest is for what is done with them."""
# fmt: off
BROADCASTING = frozenset((
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Clip", "Where", "And", "Or", "Xor", "Equal",
    "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
))
# fmt: on
SLOW = {
    **dict.fromkeys(("Pow", "Mod", "Sin", "Cos", "Exp", "Log", "Tanh", "Sigmoid", "QuantizeLinear"), 16),
    **dict.fromkeys(("CumSum", "Cast", "CastLike", "DequantizeLinear", "Gather", "GatherElements"), 4),
    **dict.fromkeys(("Trilu", "Where", "Clip", "Min", "Max", "Round", "Sqrt", "Expand"), 4),
}
"""Steps that each element takes, where they are more than one."""
SLOW_TYPE = 8
"""How many times as long processors take that have no such numbers."""


@dataclass(kw_only=True)
class Growth:
    """How much an expression has made.

    Attributes:
        stored: elements that go into it, as the file stores them.
        made: elements of all its results so far.
    """

    stored: int = 0
    made: int = 0

    def charge(self, node: NodeProto, operands: Sequence[Array | None]) -> None:
        """Take what a node costs, before it is computed.

        Args:
            node: of the newest operator set.
            operands: its inputs; None for those left out.

        Raises:
            UnknownValueError: the expression makes far more than what is stored for it, or takes more than
                the model may still take.
        """
        present = [operand for operand in operands if operand is not None]
        made = result_elements(node, present)
        self.made += made
        if outgrows(self.made, self.stored):
            raise UnknownValueError(TOO_LARGE)
        widest = max((operand.dtype.itemsize for operand in present), default=8)
        with known_within_limits():
            limits.spend(_steps(node, present, made), lambda: _named(node), share=SHARE)
            limits.hold(2 * max(4, widest) * made, lambda: _named(node))

    def charge_reading(self, size: int, name: str) -> None:
        """Take what is done with so many elements once they are there, before or after they are made.

        Args:
            size: of a tensor.
            name: of the tensor.

        Raises:
            UnknownValueError: it is more than the model may still take.
        """
        with known_within_limits():
            beyond = max(0, size - FAIR * self.stored)
            steps, share = limits.OBJECT + size + BEYOND * beyond, SHARE if beyond else 1.0
            limits.spend(steps, lambda: f"reading the tensor {name!r} again", share=share)


@contextmanager
def known_within_limits() -> Iterator[None]:
    """Have what a limit refuses be a value that is not known: others may be.

    Raises:
        UnknownValueError: instead of `LimitError`.
    """
    try:
        yield
    except limits.LimitError as error:
        raise UnknownValueError(f"one of more constants than convsv computes: {error}") from error


def result_elements(node: NodeProto, operands: Sequence[Array]) -> int:
    """An upper bound on the number of elements that a node computes, without computing it.

    Args:
        node: of the newest operator set.
        operands: its inputs, without those left out.
    """
    count = COUNTS.get(node.op_type, _broadcast if node.op_type in BROADCASTING else _given)
    try:
        return max(0, count(operands))
    except (ValueError, IndexError, OverflowError):
        return _given(operands)  # shapes that do not fit: the computation will say so


def _steps(node: NodeProto, operands: Sequence[Array], made: int) -> float:
    """Of what it reads and makes, of Python, and of products of matrices."""
    touched = made if node.op_type in COUNTS else made + _given(operands)
    slow = any(operand.dtype.itemsize == 2 or operand.dtype.isbuiltin != 1 for operand in operands)
    factor = SLOW.get(node.op_type, 1) * (SLOW_TYPE if slow else 1)
    ends = max(0, len(node.input) + len(node.output) - FEW)
    numbers = sum(len(each.ints) + len(each.floats) + len(each.strings) for each in node.attribute)
    repeats = len(operands) - 1 if node.op_type in BROADCASTING and len(operands) > 2 else 1
    further = _products(operands) if node.op_type == "MatMul" else _pieces(node, operands)
    return factor * repeats * touched + NODE * (1 + ends) + ENTRY * numbers + further


def _products(operands: Sequence[Array]) -> float:
    """Multiplications of a product of matrices; of numbers that processors have, eight at a time."""
    if len(operands) != 2 or not all(operand.ndim for operand in operands):
        return 0
    left, right = (operand.shape for operand in operands)
    count = math.prod(left) * math.prod(right) // max(left[-1], 1)
    fast = all(operand.dtype in (np.float32, np.float64) for operand in operands)
    return float(count / 8 if fast else count * 4)


def _pieces(node: NodeProto, operands: Sequence[Array]) -> float:
    """What the reference implementation does one after the other."""
    if node.op_type in ("GatherND", "ScatterND") and len(operands) > 1:
        return limits.OBJECT * math.prod(operands[1].shape[:-1])
    if node.op_type == "Split":
        parts = next((each.i for each in node.attribute if each.name == "num_outputs"), 0)
        return limits.OBJECT * (max(0, parts) + sum(operand.size for operand in operands[1:2]))
    if node.op_type == "QuantizeLinear" and len(operands) > 1:
        block = next((each.i for each in node.attribute if each.name == "block_size"), 0)
        return max(0, block) * operands[1].size * 4
    return 0


def is_text(node: NodeProto, operands: Sequence[Array | None]) -> bool:
    """Whether a node makes or takes strings, which are objects of Python.

    Args:
        node: of the newest operator set.
        operands: its inputs; None for those left out.
    """
    held = any(operand is not None and operand.dtype.kind in "OUS" for operand in operands)
    to = {each.name: each.i for each in node.attribute if each.name in ("to", "output_dtype")}
    return held or TensorProto.STRING in to.values()


def _named(node: NodeProto) -> str:
    name = node.name or next(iter(node.output), "")
    return f"the {node.op_type} {name!r}"


def _given(operands: Sequence[Array]) -> int:
    return sum(operand.size for operand in operands)


def _broadcast(operands: Sequence[Array]) -> int:
    return math.prod(np.broadcast_shapes(*(operand.shape for operand in operands)))


def _filled(operands: Sequence[Array]) -> int:
    target = tuple(int(size) for size in operands[-1].astype(np.int64).ravel())
    return math.prod(np.broadcast_shapes(*(operand.shape for operand in operands[:-1]), target))


def _tiled(operands: Sequence[Array]) -> int:
    return int(operands[0].size * math.prod(int(count) for count in operands[1].astype(np.int64)))


def _ranged(operands: Sequence[Array]) -> int:
    start, stop, step = (float(operand.ravel()[0]) for operand in operands)
    count = abs((stop - start) / step) if step else 0.0
    return math.ceil(count) if count < ENDLESS else ENDLESS  # also where it is NaN


def _multiplied(operands: Sequence[Array]) -> int:
    left, right = operands[0].shape, operands[1].shape
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    return int(math.prod(batch) * math.prod(left[-2:-1]) * math.prod(right[-1:] if len(right) > 1 else ()))


def _gathered(operands: Sequence[Array]) -> int:
    table, indices = operands[0].shape, operands[1].shape
    return int(math.prod(indices) * math.prod(table) // max(min(table, default=1), 1))


def _gathered_parts(operands: Sequence[Array]) -> int:
    table, indices = operands[0].shape, operands[1].shape
    return int(math.prod(indices[:-1]) * math.prod(table[indices[-1] :]))


def _scattered(operands: Sequence[Array]) -> int:
    """The copy, and what is written into it; updates that are too small would be broadcast."""
    return int(operands[0].size) + _gathered_parts(operands)


COUNTS: dict[str, Callable[[Sequence[Array]], int]] = {
    "Expand": _filled,
    "ConstantOfShape": _filled,
    "Tile": _tiled,
    "Range": _ranged,
    "MatMul": _multiplied,
    "Gather": _gathered,
    "GatherND": _gathered_parts,
    "ScatterND": _scattered,
}
