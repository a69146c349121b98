"""Sums, differences, products with constants, the larger or smaller of two tensors, and other formats."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from onnx import TensorProto
from torch import Tensor

from convsv_cli.local import pieces
from convsv_cli.local.arithmetic import BFLOAT16, FLOAT16, FLOAT32, Arithmetic
from convsv_cli.local.lowering.context import MOST, Lowering, Table
from convsv_cli.local.lowering.movement import numbers
from convsv_cli.local.maps import Map, Shape
from convsv_cli.local.runtimes import Load, OffAffine, formula, kept, scaled
from convsv_cli.local.steps import NoLocalCertificateError
from convsv_cli.model.graph import Node
from convsv_cli.numerics.rounding import gamma

FORMATS: Mapping[int, Arithmetic] = {
    TensorProto.FLOAT: FLOAT32,
    TensorProto.DOUBLE: FLOAT32,
    TensorProto.FLOAT16: FLOAT16,
    TensorProto.BFLOAT16: BFLOAT16,
}
"""What a number that has been cast is at least as precise as."""


def added(node: Node, to: Lowering) -> None:
    """Add, Sub and Sum."""
    _sum(node, to, output=node.outputs[0])


def _sum(node: Node, to: Lowering, *, output: str = "") -> str:
    signs = (1.0, -1.0) if node.op == "Sub" else (1.0,) * len(node.inputs)
    given = to.shape(node.outputs[0])
    parts: list[tuple[str, Map, float]] = []
    shift, size = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for name, sign in zip(node.inputs, signs, strict=True):
        if to.varies(name):
            parts.append(to.copy(fitted(node, to, name, given), sign))
        else:
            value = to.constant(name).double() * sign
            shift, size = shift + value, size + value.abs()
    constant = None if len(parts) == len(node.inputs) else shift
    error = None if constant is None else gamma(len(node.inputs)) * size
    largest = float(size.max()) if size.numel() else 0.0
    return to.affine(
        node,
        parts,
        shift=constant,
        shift_error=error,
        off=formula(len(node.inputs), largest, size),
        output=output,
    )


def averaged(node: Node, to: Lowering) -> None:
    """Mean of several tensors."""
    total = _sum(node, to)
    count = torch.full((), len(node.inputs), dtype=torch.float64)
    part = to.scaling(total, 1 / count, roundings=2)
    to.affine(node, [part], off=scaled(1 / count, count), output=node.outputs[0])


def multiplied(node: Node, to: Lowering) -> None:
    """Mul and Div by a constant."""
    first, second = node.inputs
    if to.varies(first) and to.varies(second):
        raise NoLocalCertificateError("it multiplies or divides two tensors that both vary")
    if node.op == "Div" and to.varies(second):
        raise NoLocalCertificateError("it divides by a tensor that varies")
    name, other = (first, second) if to.varies(first) else (second, first)
    constant = to.constant(other).double()
    factor = 1 / constant if node.op == "Div" else constant
    if not factor.isfinite().all():
        raise NoLocalCertificateError("it multiplies by NaN or infinity")
    fits = fitted(node, to, name, to.shape(node.outputs[0]))
    to.affine(
        node,
        [to.scaling(fits, factor, roundings=2)],
        off=scaled(factor, constant if node.op == "Div" else None),
        folded=to.foldable(name),
        output=node.outputs[0],
    )


def negated(node: Node, to: Lowering) -> None:
    """Neg."""
    to.affine(node, [to.copy(node.inputs[0], -1.0)], output=node.outputs[0])


def extreme(node: Node, to: Lowering) -> None:
    """Max and Min: max(a, b) = b + relu(a - b), and min(a, b) = b - relu(b - a)."""
    given, sign = to.shape(node.outputs[0]), 1.0 if node.op == "Max" else -1.0
    varying = [fitted(node, to, name, given) for name in node.inputs if to.varies(name)]
    constants = [to.constant(name).double() for name in node.inputs if not to.varies(name)]
    made = varying[0]
    for name in varying[1:]:
        made = larger(node, to, made, name, sign)
    for value in constants:
        made = _beyond(node, to, made, value, sign)
    to.affine(node, [to.copy(made)], output=node.outputs[0])


def larger(node: Node, to: Lowering, first: str, second: str, sign: float = 1.0) -> str:
    """The larger of two tensors of one shape, entry by entry; the smaller for a sign of -1."""
    apart = to.affine(node, [to.copy(first, sign), to.copy(second, -sign)])
    above = _relu(node, to, apart)
    return to.affine(node, [to.copy(second), to.copy(above, sign)])


def _beyond(node: Node, to: Lowering, name: str, value: Tensor, sign: float) -> str:
    apart = to.affine(node, [to.copy(name, sign)], shift=-sign * value)
    above = _relu(node, to, apart)
    return to.affine(node, [to.copy(above, sign)], shift=value, off=kept(value))


def _relu(node: Node, to: Lowering, name: str) -> str:
    return to.elementwise(node, name, torch.relu, lambda _lower, _upper: pieces.relu(), lipschitz=1.0)


def fitted(node: Node, to: Lowering, name: str, given: Shape) -> str:
    """The tensor, repeated to fit a shape."""
    shape = to.shape(name)
    if shape == given:
        return name
    if math.prod(given) > MOST:
        raise NoLocalCertificateError(f"it repeats its tensor to more than {MOST:,} entries")
    index = numbers(shape).broadcast_to(given).flatten()[None] - 1
    return to.select(node, name, index, given)


def cast(node: Node, to: Lowering) -> None:
    """Cast: the same number, rounded to a format."""
    format_ = FORMATS.get(node.attribute("to", 0))
    if format_ is None:
        raise NoLocalCertificateError("it makes numbers of a kind that are not real")
    one = torch.ones((), dtype=torch.float64)
    to.affine(node, [to.scaling(node.inputs[0], one)], off=_rounded(format_), output=node.outputs[0])


def _rounded(format_: Arithmetic) -> OffAffine:
    """Once; nothing is claimed of a network that goes on in another format of 16 bits than is assumed."""

    def off(arithmetic: Arithmetic, load: Load) -> Tensor:
        if arithmetic.real:
            return torch.zeros_like(load.size)
        if format_ not in (FLOAT32, arithmetic):
            return torch.full_like(load.size, torch.inf)
        return format_.rounded(1, load.size)

    return off


ROWS: Table = {
    "Add": added,
    "Cast": cast,
    "Div": multiplied,
    "Max": extreme,
    "Mean": averaged,
    "Min": extreme,
    "Mul": multiplied,
    "Neg": negated,
    "Sub": added,
    "Sum": added,
}
