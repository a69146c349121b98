"""Linear maps by constants, products of matrices that both vary, and codes times scales."""

from __future__ import annotations

import math

import numpy as np

from convsv_cli.lipschitz.lengths import broadcast, finite, length
from convsv_cli.lipschitz.operands import copies, magnitude, require_constant
from convsv_cli.lipschitz.operation import UNBOUNDED_PRODUCT, Lengths, Operation, Rule, Tensor, UnboundedError
from convsv_cli.model.layer import CONV, TRANSPOSED
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.linear_maps.matrices import labels
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import margin, root, times, total, up

PACKED_BIAS = 5
"""The input that is added by MatMulNBits."""


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
    if operation.node.op == "Einsum" and len(operation.given) == 1:
        return times(root(_summed(operation)), operation.input(0).lipschitz)
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


def _summed(operation: Operation) -> int:
    """How many entries an Einsum of one tensor adds up for each of its results.

    Each entry is in one sum at most, and others than those of a diagonal, a repeated label, in none.
    """
    terms, output = labels(operation.node)
    head, dots, tail = terms[0].partition("...")
    sizes = operation.input(0).sizes()
    known = dict(zip(head, sizes, strict=False)) | dict(zip(tail[::-1], sizes[::-1], strict=False))
    plain = head + tail
    fits = len(plain) <= len(sizes) if dots else len(plain) == len(sizes)
    ends = (*sizes[: len(head)], *sizes[len(sizes) - len(tail) :])
    if (
        not fits
        or ("..." in output) != bool(dots)
        or any(known[a] != n for a, n in zip(plain, ends, strict=True))
    ):
        raise UnboundedError("its equation does not fit its input")
    return math.prod(size for label, size in known.items() if label not in output)


def packed(operation: Operation) -> float:
    """MatMulNBits and MatMulBnb4 of com.microsoft: by a constant matrix, plus a constant bias."""
    bias = operation.optional(PACKED_BIAS)
    if bias is not None and not bias.constant:
        raise UnboundedError("its bias varies with the network's input")
    return times(_norm(operation, 1), operation.input(0).lipschitz)


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


def _lengths(operation: Operation) -> Lengths:
    """Along the axis that a matrix maps: its norm times the length before, and that of the bias."""
    found = next((found for found in operation.maps() if isinstance(found, LinearMap)), None)
    if found is None or len(found.constant.shape) != 2 or operation.attribute("transA", 0):
        return {}
    mapped, index = operation.input(found.data), 1 - found.data
    axis = -1 if found.data == 0 else -2
    result = times(_norm(operation, index), length(mapped, axis))
    if found.bias is not None:
        result = total((result, times(abs(found.bias[1]), broadcast(operation.input(2), axis, operation))))
    return finite({axis: result})


def _packed_lengths(operation: Operation) -> Lengths:
    """Without a bias, as of any matrix."""
    return {} if operation.optional(PACKED_BIAS) is not None else _lengths(operation)


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
    """Of the matrices in a tensor: sqrt(rows) times the longest row, or sqrt(columns) the longest column."""
    sizes, found = tensor.sizes()[-2:], length(tensor, -1)  # of a vector, its length
    if len(sizes) == 2:
        found = min(times(root(sizes[0]), found), times(root(sizes[1]), length(tensor, -2)))
    if not math.isfinite(found):
        raise UnboundedError(UNBOUNDED_PRODUCT.format(names=repr(tensor.name)))
    return found


def _range(operation: Operation) -> Range:
    """Each output is a sum over all taps of its channel at most; each of them may lie in the padding.

    It is also at most the length of its row times that of what it sees.
    """
    found = next((found for found in operation.maps() if isinstance(found, LinearMap)), None)
    if found is None:
        return ANYTHING
    source, seen = operation.input(found.data).range, _seen(found, operation)
    if not source.finite and not math.isfinite(seen):
        return ANYTHING
    rows = _by_output(found)
    if len(found.kernel_shape) > 2:
        source = source.hull(Range(lower=0, upper=0))
    bias, factor = None, 1.0
    if found.bias is not None:
        bias, factor = operation.input(2), found.bias[1]
    longest = float(np.linalg.norm(rows, axis=1).max(initial=0.0)) * up(rows.shape[1] + 4)
    by_entries = _row_range(rows, source) if source.finite else ANYTHING
    reach = times(longest, seen)
    products = Range(lower=max(by_entries.lower, -reach), upper=min(by_entries.upper, reach))
    return products if bias is None else _shifted(products, bias, factor)


def _packed_range(operation: Operation) -> Range:
    """As of any matrix, and with the bias."""
    products, bias = _range(operation), operation.optional(PACKED_BIAS)
    return products if bias is None else _shifted(products, bias, 1.0)


def _seen(found: LinearMap, operation: Operation) -> float:
    """Upper bound of the length of the vectors that are multiplied by rows."""
    mapped = operation.input(found.data)
    if len(found.constant.shape) == 2:
        return math.inf if operation.attribute("transA", 0) else length(mapped, -1 if found.data == 0 else -2)
    if operation.node.op not in (CONV, TRANSPOSED):
        return math.inf
    return times(root(math.prod(found.kernel_shape[2:])), length(mapped, 1 - len(found.kernel_shape)))


def _by_output(found: LinearMap) -> np.ndarray:
    """The kernel with one row for each output channel, float64."""
    kernel, geometry = found.kernel().astype(np.float64), found.geometry
    if geometry.transposed:
        blocks = kernel.reshape(geometry.groups, -1, *kernel.shape[1:])
        kernel = blocks.swapaxes(1, 2).reshape(-1, blocks.shape[1], *kernel.shape[2:])
    return kernel.reshape(len(kernel), -1)


def _row_range(rows: np.ndarray, source: Range) -> Range:
    """Of rows times entries in `source`."""
    positive, negative = rows.clip(min=0).sum(1), rows.clip(max=0).sum(1)
    lost = margin(rows.shape[1] + 1) * (positive - negative) * source.magnitude  # terms may cancel
    lower = float((positive * source.lower + negative * source.upper - lost).min())
    upper = float((positive * source.upper + negative * source.lower + lost).max())
    return outward_range(lower, upper)


def _shifted(products: Range, bias: Tensor, beta: float) -> Range:
    """With a multiple of a bias added."""
    shift = outward_range(*sorted((beta * bias.range.lower, beta * bias.range.upper)))
    return outward_range(products.lower + shift.lower, products.upper + shift.upper)


def _einsum_range(operation: Operation) -> Range:
    """Of sums of so many entries, where there is one operand."""
    if len(operation.given) != 1:
        return ANYTHING
    source, count = operation.input(0).range, _summed(operation)
    return outward_range(count * source.lower, count * source.upper)


def dequantised(operation: Operation) -> float:
    """DequantizeLinear, where scales vary and what they scale is held fixed, known or not.

    It is linear in the scales: the largest factor of one, times the root of how many entries one is for.
    """
    if not operation.input(0).constant:
        raise UnboundedError("it is given whole numbers, which jump with the network's input")
    require_constant(operation, 2)
    scales, factors = operation.input(1), _factors(operation)
    whole = Tensor(name=operation.input(0).name, bound=0.0, known=factors)
    return times(magnitude(whole), root(_shared(operation, scales)), scales.lipschitz)


def _shared(operation: Operation, scales: Tensor) -> int:
    """How many entries one scale is for, at most: all, those of one place along an axis, or a block."""
    if len(scales.sizes()) > 1:
        return operation.attribute("block_size", 0) or math.prod(operation.output_shape())
    return math.prod(operation.output_shape()) // max(1, math.prod(scales.sizes()))


def _factors(operation: Operation) -> Range:
    """What scales are multiplied by."""
    data, zero = operation.input(0).range, operation.optional(2)
    zeros = Range(lower=0.0, upper=0.0) if zero is None else zero.range
    return outward_range(data.lower - zeros.upper, data.upper - zeros.lower)


def _dequantised_range(operation: Operation) -> Range:
    factors, scales = _factors(operation), operation.input(1).range
    most = factors.magnitude * scales.magnitude
    return outward_range(-most, most)


RULES = {
    CONV: Rule(lipschitz=convolved, range=_range),
    TRANSPOSED: Rule(lipschitz=convolved, range=_range),
    "MatMul": Rule(lipschitz=multiplied, range=_range, lengths=_lengths),
    "Gemm": Rule(lipschitz=affine, range=_range, lengths=_lengths),
    **dict.fromkeys(
        ("com.microsoft.MatMulBnb4", "com.microsoft.MatMulNBits"),
        Rule(lipschitz=packed, range=_packed_range, lengths=_packed_lengths),
    ),
    "Einsum": Rule(lipschitz=multiplied, range=_einsum_range),
    "DequantizeLinear": Rule(lipschitz=dequantised, range=_dequantised_range),
}
