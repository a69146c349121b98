"""Linear maps by constants, and products of matrices that both vary."""

from __future__ import annotations

import math

import numpy as np

from convsv_cli.lipschitz.broadcasting import copies
from convsv_cli.lipschitz.operation import UNBOUNDED_PRODUCT, Operation, Rule, Tensor, UnboundedError
from convsv_cli.numerics.arithmetic import root, times, total
from convsv_cli.numerics.ranges import ANYTHING, Range, outward
from convsv_cli.numerics.rounding import margin


def convolved(operation: Operation) -> float:
    """Conv, ConvTranspose: the norm of the kernel, at every input size and with every zero padding."""
    if not operation.input(1).constant:
        raise UnboundedError("its kernel varies with the network's input")
    bias = operation.optional(2)
    if bias is not None and not bias.constant:
        raise UnboundedError("its bias varies with the network's input")
    return times(_norm(operation, 1), operation.input(0).lipschitz)


def multiplied(operation: Operation) -> float:
    """MatMul, Einsum: by a constant its norm; of two activations A and B, sup|A| L_B + sup|B| L_A."""
    if len(operation.given) != 2:
        raise UnboundedError(f"a product of {len(operation.given)} tensors")
    a, b = operation.input(0), operation.input(1)
    if a.constant or b.constant:
        mapped, index = (a, 1) if b.constant else (b, 0)
        if operation.node.op == "Einsum":
            mapped.sizes()  # runtimes stretch an axis of length 1, which one of unknown length may have
        return times(_norm(operation, index), _stack(operation), mapped.lipschitz)
    if operation.node.op == "Einsum":
        raise UnboundedError("a product of two activations")
    return total(
        (
            times(_largest_norm(a), _stack(operation), b.lipschitz),
            times(_largest_norm(b), _stack(operation), a.lipschitz),
        )
    )


def affine(operation: Operation) -> float:
    """Gemm: alpha A B + beta C."""
    addend = operation.optional(2)
    varying = 0.0
    if addend is not None and not addend.constant:
        varying = times(abs(operation.attribute("beta", 1.0)), copies(addend, operation), addend.lipschitz)
    a, b = operation.input(0), operation.input(1)
    if a.constant == b.constant:
        if a.constant:
            return varying
        raise UnboundedError("a product of two activations")
    mapped, index = (a, 1) if b.constant else (b, 0)
    return total((times(_norm(operation, index), mapped.lipschitz), varying))


def _norm(operation: Operation, index: int) -> float:
    """Of the map by the constant at an input."""
    for norm in operation.norms():
        return norm
    raise UnboundedError(f"its input {operation.input(index).name!r} is not known before the network runs")


def _stack(operation: Operation) -> float:
    """More than the matrices' own norms: a batch of them that is broadcast against another.

    The norm of a constant counts all its matrices together; of activations, each copy counts.
    """
    a, b = operation.input(0), operation.input(1)
    if a.constant or b.constant:
        return 1.0
    first, second = a.sizes()[:-2], b.sizes()[:-2]
    whole = np.broadcast_shapes(first, second)
    fewest = min(math.prod(first), math.prod(second))
    return root(math.prod(whole) / max(fewest, 1))


def _largest_norm(tensor: Tensor) -> float:
    """Of the matrices in a tensor: at most sqrt(rows * columns) times the largest entry."""
    if not math.isfinite(tensor.range.magnitude):
        raise UnboundedError(UNBOUNDED_PRODUCT.format(names=repr(tensor.name)))
    return times(root(math.prod(tensor.sizes()[-2:])), tensor.range.magnitude)


def _convolved_range(operation: Operation) -> Range:
    """Each output is a sum of at most all taps of its channel; each of them may lie in the padding."""
    source = operation.input(0).range
    weight = operation.input(1)
    if not source.finite or not weight.constant or weight.read is None:
        return ANYTHING
    kernel = weight.value().astype(np.float64)
    if operation.node.op == "ConvTranspose":
        groups = operation.attribute("group", 1)
        per_group = kernel.reshape(groups, -1, *kernel.shape[1:])
        kernel = per_group.swapaxes(1, 2).reshape(-1, per_group.shape[1], *kernel.shape[2:])
    padded = source.hull(Range(lower=0, upper=0))
    return _row_range(kernel.reshape(len(kernel), -1), padded, operation.optional(2))


def _product_range(operation: Operation) -> Range:
    a, b = operation.input(0), operation.input(1)
    mapped, matrix = (a, b) if b.constant else (b, a)
    if not mapped.range.finite or not matrix.constant or matrix.read is None or operation.node.op == "Einsum":
        return ANYTHING
    values = matrix.value().astype(np.float64)
    if values.ndim < 2:
        values = values.reshape(-1, 1) if matrix is b else values.reshape(1, -1)
    turned = operation.attribute("transB" if matrix is b else "transA", 0)
    if values.ndim == 1:  # a column on the right, a row on the left
        values = values[:, None] if matrix is b else values[None]
    rows = values if (matrix is b) == bool(turned) else values.swapaxes(-1, -2)
    rows = rows.reshape(-1, rows.shape[-1]) * operation.attribute("alpha", 1.0)
    return _row_range(rows, mapped.range, operation.optional(2), operation.attribute("beta", 1.0))


def _row_range(rows: np.ndarray, source: Range, bias: Tensor | None, beta: float = 1.0) -> Range:
    """Of rows times entries in `source`, plus a bias."""
    positive, negative = rows.clip(min=0).sum(1), rows.clip(max=0).sum(1)
    lost = margin(rows.shape[1] + 1) * (positive - negative) * source.magnitude  # terms may cancel
    lower = float((positive * source.lower + negative * source.upper - lost).min())
    upper = float((positive * source.upper + negative * source.lower + lost).max())
    if bias is None:
        return outward(lower, upper)
    ends = sorted((beta * bias.range.lower, beta * bias.range.upper))
    products, shift = outward(lower, upper), outward(*ends)
    return outward(products.lower + shift.lower, products.upper + shift.upper)


RULES = {
    "Conv": Rule(lipschitz=convolved, range=_convolved_range),
    "ConvTranspose": Rule(lipschitz=convolved, range=_convolved_range),
    "MatMul": Rule(lipschitz=multiplied, range=_product_range),
    "Gemm": Rule(lipschitz=affine, range=_product_range),
    "Einsum": Rule(lipschitz=multiplied),
}
