r"""Normalization by statistics: stored ones, which make it linear, those of the input, and of neighbours.

*Layer, group and instance normalization.* Let P = I - 11^T/n, D = Px, v = |D|^2/n and s = sqrt(v + eps) for
the n entries x that are normalized together. The Jacobian of D/s is

    P/s - D D^T/(n s^3) = (I - t u u^T) P / s,    u = D/|D|,  t = |D|^2/(n s^2) = v/(v + eps) in [0, 1).

I - t u u^T commutes with P, as Pu = u, and has the eigenvalues 1 and 1 - t. So that of diag(g) D/s has at
most the norm |diag(g) P| |I - t u u^T| / s <= |diag(g) P| / sqrt(eps), attained where x is constant (D = 0).

*Root mean square.* The same without P: x/sqrt(|x|^2/n + eps) has the Jacobian (I - t u u^T)/s with u = x/|x|,
and max|g|/sqrt(eps) is attained at x = 0.

*The statistics.* The mean amplifies by 1/sqrt(n). The gradient of 1/s is -D/(n s^3), of norm
sqrt(v)/(sqrt(n) (v + eps)^1.5); the largest, at v = eps/2, is 2/(3 sqrt(3) sqrt(n) eps).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.digits import short
from convsv_cli.lipschitz.axis_matrices import LARGE, centred_norm
from convsv_cli.lipschitz.lengths import broadcast, finite
from convsv_cli.lipschitz.operands import ZERO, first, require_constant, unbounded
from convsv_cli.lipschitz.operation import Lengths, Operation, Rule, Tensor, UnboundedError
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import UP_MANY, times, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

EPSILON = float(np.float32(1e-5))  # the default; as a float it is less than 1e-5
NO_EPSILON = (
    "it divides by the standard deviation of its input, "
    "to which onnxruntime adds nothing, and ONNX's definition only 1e-9"
)
ALPHA = float(np.float32(1e-4))  # the default
TINY = 1e-300  # more than what underflows


def batch_normalized(operation: Operation) -> float:
    """BatchNormalization with stored statistics: max |scale| / sqrt(var + eps), exactly."""
    source = first(operation)
    return times(float(np.abs(_factors(operation)).max(initial=0.0)) * UP_MANY, source.lipschitz)


def _factors(operation: Operation) -> NDArray[np.float64]:
    """The factor of each channel."""
    extra = any(operation.node.outputs[1:])  # only training has these, used or not
    if operation.attribute("training_mode", 0) or extra:
        raise UnboundedError("it is in training mode: it normalizes by the statistics of its input")
    scale, variance = _values(operation.input(1)), _values(operation.input(4))
    shifted = variance + operation.attribute("epsilon", EPSILON)
    if scale.shape != variance.shape or not (shifted > 0).all():
        raise UnboundedError("its variances are not positive, or differ in number from its scales")
    return scale / np.sqrt(shifted)


def _batch_range(operation: Operation) -> Range:
    """Per channel: factor (x - mean) + bias; what rounding does is proportional to the terms."""
    factors = _factors(operation)
    mean, bias = _values(operation.input(3)), _values(operation.input(2))
    source = operation.input(0).range
    if not source.finite or not factors.size or not mean.shape == bias.shape == factors.shape:
        return ANYTHING
    ends = np.array([factors * (source.lower - mean) + bias, factors * (source.upper - mean) + bias])
    slack = np.abs(factors) * (source.magnitude + np.abs(mean)) + np.abs(bias)
    lost = float(slack.max()) * (UP_MANY - 1)
    return outward_range(float(ends.min()) - lost, float(ends.max()) + lost)


def layer_normalized(operation: Operation) -> float:
    """LayerNormalization: |diag(scale)(I - 11^T/n)| / sqrt(eps), attained; or what its statistics need."""
    scale, epsilon = _scale(operation), _epsilon(operation)
    sizes = _normalized_sizes(operation)
    norm = float(np.abs(scale).max(initial=0.0)) if sizes is None else _centred(scale, sizes)
    gains, n = [norm / math.sqrt(epsilon) * UP_MANY], max(1, math.prod(sizes or (1,)))
    if _named(operation, 1):
        gains.append(UP_MANY / math.sqrt(n))
    if _named(operation, 2):
        gains.append(inverse_deviation_gain(n, epsilon))
    return times(max(gains), operation.input(0).lipschitz)


def _normalized_sizes(operation: Operation) -> tuple[int, ...] | None:
    """The dimensions from the attribute `axis` on; None where one is unknown."""
    shape, axis = operation.input(0).shape, operation.attribute("axis", -1)
    if shape is None:
        return None
    if not -len(shape) <= axis < len(shape):
        raise UnboundedError(f"it has no axis {axis}")
    known = tuple(size for size in shape[axis:] if size is not None)
    return known if len(known) == len(shape[axis:]) else None


def _centred(scale: NDArray[np.float64], sizes: tuple[int, ...]) -> float:
    """`centred_norm` of the scales of what is normalized together: of all that it may be broadcast to."""
    outer = scale.shape[: max(0, scale.ndim - len(sizes))]
    try:
        whole = np.broadcast_to(scale, (*outer, *sizes))
    except ValueError as error:
        raise UnboundedError("its scale does not fit its input") from error
    if math.prod(sizes) > 1 and whole.size > LARGE:
        return float(np.abs(scale).max(initial=0.0))
    return centred_norm(whole.reshape(math.prod(outer), math.prod(sizes)))


def scaled(operation: Operation) -> float:
    """Instance, group and RMS normalization: max|scale| / sqrt(eps), whatever is normalized together.

    Attained where a scale belongs to two entries or more (RMS: to one) that are normalized together.
    """
    return times(
        _largest_scale(operation) / math.sqrt(_epsilon(operation)) * UP_MANY, operation.input(0).lipschitz
    )


def inverse_deviation_gain(n: int, epsilon: float) -> float:
    """The Lipschitz constant of 1/sqrt(v + eps) for the variance v of n entries."""
    return 2 / (3 * math.sqrt(3 * n) * epsilon) * UP_MANY


def _values(tensor: Tensor) -> NDArray[np.float64]:
    """Those of a constant, all finite."""
    values = tensor.value().astype(np.float64)
    if not np.isfinite(values).all():
        raise UnboundedError(f"its input {tensor.name!r} holds NaN or infinity")
    return values


def _scale(operation: Operation) -> NDArray[np.float64]:
    """Input 1; the bias after it must not vary either."""
    require_constant(operation, 1, 2)
    return _values(operation.input(1))


def _epsilon(operation: Operation) -> float:
    epsilon = operation.attribute("epsilon", EPSILON)
    if not epsilon > 0:
        raise UnboundedError(f"epsilon is {short(epsilon)}: it divides by a deviation that may be near zero")
    return epsilon


def _named(operation: Operation, index: int) -> bool:
    return len(operation.outputs) > index and bool(operation.outputs[index][0])


def _standard_range(square: Callable[[Operation], int]) -> Callable[[Operation], Range]:
    """Of scale z + bias, where `square` bounds the squares of the standardized entries z."""

    def reached(operation: Operation) -> Range:
        radius = _largest_scale(operation) * math.sqrt(max(0, square(operation))) * UP_MANY
        bias = operation.optional(2)
        offset = ZERO if bias is None else bias.range
        return outward_range(offset.lower - radius, offset.upper + radius)

    return reached


def _standard_lengths(square: Callable[[Operation], int]) -> Callable[[Operation], Lengths]:
    """Along the last axis, where that alone is normalized: of scale z + bias, |z|^2 <= n."""

    def reached(operation: Operation) -> Lengths:
        shape, axis = operation.input(0).shape, operation.attribute("axis", -1)
        if shape is None or axis not in (-1, len(shape) - 1) or any(_named(operation, i) for i in (1, 2)):
            return {}
        longest = times(_largest_scale(operation), math.sqrt(square(operation)) * UP_MANY)
        bias = operation.optional(2)
        shift = 0.0 if bias is None else broadcast(bias, -1, operation)
        return finite({-1: total((longest, shift))})

    return reached


def _largest_scale(operation: Operation) -> float:
    return float(np.abs(_scale(operation)).max(initial=0.0))


def _from_axis(operation: Operation) -> int:
    """RMSNormalization: the squares of all n entries add up to n at most."""
    operation.input(0).sizes()
    return math.prod(_normalized_sizes(operation) or ())


def _layer_range(operation: Operation) -> Range:
    """With those of the statistics where they are asked for; z_i^2 <= n - 1, as the z add up to zero."""
    parts = [_standard_range(lambda op: _from_axis(op) - 1)(operation)]
    if _named(operation, 1):
        parts.append(operation.input(0).range)
    epsilon = operation.attribute("epsilon", EPSILON)
    if _named(operation, 2):
        parts.append(outward_range(0.0, epsilon**-0.5) if epsilon > 0 else ANYTHING)
    return parts[0].hull(*parts[1:])


def _of_instances(operation: Operation) -> int:
    return math.prod(operation.input(0).sizes()[2:]) - 1


def _of_groups(operation: Operation) -> int:
    return math.prod(operation.input(0).sizes()[1:]) // max(1, operation.attribute("num_groups", 1)) - 1


def _unit(operation: Operation) -> Lengths:
    """LpNormalization: at most 1 along its axis."""
    shape, axis = operation.input(0).shape, operation.attribute("axis", -1)
    return {} if shape is None else {axis if axis < 0 else axis - len(shape): 1.0}


def divided_by_neighbours(operation: Operation) -> float:
    """Upper bound for y_i = x_i / S_i^b, S_i = k + a sum x_j^2 over a window of m channels, a = alpha/size.

    The Jacobian has S_i^-b (1 - 2 b p_i) on its diagonal, p_i = a x_i^2 / S_i, and -2 a b x_i x_j S_i^(-b-1)
    for the others of the window. With r_i = a sum x_j^2 / S_i over these, S_i = k/(1 - p_i - r_i). For a, b
    >= 0 and k > 0:

    * the diagonal is at most k^-b: |1 - 2 b p| (1 - p)^b <= 1, as 2 b p (1 - p)^b <= 2 (b/(b+1))^(b+1) < 1;
    * the rest of row i has the norm 2 b S_i^-b sqrt(p_i r_i) <= k^-b b q (1 - q)^b with q = p_i + r_i, which
      is at most k^-b t with t = (b/(b+1))^(b+1), at q = 1/(b+1);
    * rows of m - 1 other entries, of which each column has m - 1 too, have together at most the norm
      sqrt(m - 1) times the largest (Cauchy-Schwarz, row by row).

    So the norm is at most k^-b (1 + sqrt(m - 1) t), and at least k^-b (at x = 0). With a = 0 it is k^-b.
    """
    rate, power, largest = _coefficients(operation)
    spread = 0.0
    if rate > 0 and power > 0:
        spread = math.sqrt(_neighbours(operation)) * (power / (power + 1)) ** (power + 1)
    return times(largest * (1 + spread) * UP_MANY, operation.input(0).lipschitz)


def _coefficients(operation: Operation) -> tuple[float, float, float]:
    """a, b and k^-b."""
    rate = operation.attribute("alpha", ALPHA)
    power, bias = operation.attribute("beta", 0.75), operation.attribute("bias", 1.0)
    with np.errstate(all="ignore"):
        largest = float(np.power(bias, -power)) if bias > 0 else math.inf
    if not (rate >= 0 and power >= 0 and math.isfinite(rate + power + largest)):
        raise UnboundedError(
            f"alpha {short(rate)}, beta {short(power)}, bias {short(bias)}:"
            " it may divide by what is near zero"
        )
    return rate, power, max(largest, TINY)


def _neighbours(operation: Operation) -> int:
    """M - 1."""
    size = operation.attribute("size", 0)
    if size < 1:
        raise UnboundedError("it has no window: the attribute `size` is missing")
    shape = operation.input(0).shape
    channels = shape[1] if shape is not None and len(shape) > 1 else None
    return (size if channels is None else max(1, min(size, channels))) - 1


def _divided_range(operation: Operation) -> Range:
    """Entries keep their sign, and grow by k^-b at most."""
    _, _, largest = _coefficients(operation)
    source = operation.input(0).range
    return outward_range(min(0.0, source.lower) * largest, max(0.0, source.upper) * largest)


RULES = {
    "BatchNormalization": Rule(lipschitz=batch_normalized, range=_batch_range),
    "LayerNormalization": Rule(
        lipschitz=layer_normalized, range=_layer_range, lengths=_standard_lengths(_from_axis)
    ),
    "InstanceNormalization": Rule(lipschitz=scaled, range=_standard_range(_of_instances)),
    "GroupNormalization": Rule(lipschitz=scaled, range=_standard_range(_of_groups)),
    "RMSNormalization": Rule(
        lipschitz=scaled, range=_standard_range(_from_axis), lengths=_standard_lengths(_from_axis)
    ),
    "LpNormalization": Rule(  # x / |x| turns by any angle near zero
        lipschitz=unbounded("it divides {input} by its norm, which may be near zero"),
        range=lambda _: Range(lower=-1.0, upper=1.0),
        lengths=_unit,
    ),
    "MeanVarianceNormalization": Rule(lipschitz=unbounded(NO_EPSILON)),  # a bound of 1e9 would be useless
    "LRN": Rule(lipschitz=divided_by_neighbours, range=_divided_range),
}
