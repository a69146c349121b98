"""Linear maps by constants, and products of matrices that both vary."""

from __future__ import annotations

import math

import numpy as np

from convsv_cli.lipschitz.operands import copies
from convsv_cli.lipschitz.operation import UNBOUNDED_PRODUCT, Operation, Rule, Tensor, UnboundedError
from convsv_cli.model.layer import CONV, TRANSPOSED
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import margin, root, times, total


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


def _range(operation: Operation) -> Range:
    """Each output is a sum over all taps of its channel at most; each of them may lie in the padding."""
    found = next((found for found in operation.maps() if isinstance(found, LinearMap)), None)
    source = ANYTHING if found is None else operation.input(found.data).range
    if found is None or not source.finite:
        return ANYTHING
    rows = _by_output(found)
    if len(found.kernel_shape) > 2:
        source = source.hull(Range(lower=0, upper=0))
    bias, factor = None, 1.0
    if found.bias is not None:
        bias, factor = operation.input(2), found.bias[1]
    return _row_range(rows, source, bias, factor)


def _by_output(found: LinearMap) -> np.ndarray:
    """The kernel with one row for each output channel, float64."""
    kernel, geometry = found.kernel().astype(np.float64), found.geometry
    if geometry.transposed:
        blocks = kernel.reshape(geometry.groups, -1, *kernel.shape[1:])
        kernel = blocks.swapaxes(1, 2).reshape(-1, blocks.shape[1], *kernel.shape[2:])
    return kernel.reshape(len(kernel), -1)


def _row_range(rows: np.ndarray, source: Range, bias: Tensor | None, beta: float = 1.0) -> Range:
    """Of rows times entries in `source`, plus a bias."""
    positive, negative = rows.clip(min=0).sum(1), rows.clip(max=0).sum(1)
    lost = margin(rows.shape[1] + 1) * (positive - negative) * source.magnitude  # terms may cancel
    lower = float((positive * source.lower + negative * source.upper - lost).min())
    upper = float((positive * source.upper + negative * source.lower + lost).max())
    if bias is None:
        return outward_range(lower, upper)
    ends = sorted((beta * bias.range.lower, beta * bias.range.upper))
    products, shift = outward_range(lower, upper), outward_range(*ends)
    return outward_range(products.lower + shift.lower, products.upper + shift.upper)


RULES = {
    CONV: Rule(lipschitz=convolved, range=_range),
    TRANSPOSED: Rule(lipschitz=convolved, range=_range),
    "MatMul": Rule(lipschitz=multiplied, range=_range),
    "Gemm": Rule(lipschitz=affine, range=_range),
    "Einsum": Rule(lipschitz=multiplied),
}
