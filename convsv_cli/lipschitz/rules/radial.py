r"""Vectors times a function of their length, and functions of lengths: normalization, written out.

Let d be n entries along some axes, or one entry each of some tensors, r = |d| and rho = c r.

*Radial.* y = psi(rho) d has the Jacobian psi I + rho psi' u u^T, u = d/|d|, with the eigenvalues psi and
(rho psi)' = psi + rho psi'. So its norm is the larger of sup|psi| and sup|(rho psi)'| over rho >= 0, whatever
c > 0 is. With d = Px, P = I - 11^T/n, and factors g, the Jacobian is diag(g) (psi I + rho psi' u u^T) P. As
Pu = u, P commutes with what is in the middle, and |diag(g) P| times that norm is a bound, attained where the
supremum is |psi| at d = 0, as for psi = 1/sqrt(rho^2 + eps).

*Length.* chi(rho) has the gradient c chi' u: the rule of `convsv.Length` is that of rho, with its factor c;
chi is a function of one number behind it. Of tensors with factors c_i, it is the root of the sum of
(c_i L_i)^2.

The entries of y are within sup rho |psi| / c.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.axis_matrices import centred_norm
from convsv_cli.lipschitz.lengths import finite
from convsv_cli.lipschitz.operands import copies
from convsv_cli.lipschitz.operation import Lengths, Operation, Rule, Tensor, UnboundedError
from convsv_cli.lipschitz.scalar.expressions import Expression, X
from convsv_cli.lipschitz.scalar.steepness import steepness, values
from convsv_cli.numerics.intervals import Range, outward_range
from convsv_cli.numerics.rounding import UP_MANY, root_of_squares, times

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTHS = Range(lower=0.0)
"""What rho is in."""
NEAR_ZERO = "it divides {} by its length, which may be near zero"


def radial(operation: Operation) -> float:
    """A vector times a function of its length."""
    function: Expression = operation.attribute("function", X)
    steepest = max(values(function, LENGTHS).magnitude, steepness(X * function, LENGTHS))
    if not math.isfinite(steepest):
        raise UnboundedError(NEAR_ZERO.format(repr(operation.input(0).name)))
    return times(
        _factor(operation), steepest, root_of_squares(_lipschitz(t, operation) for t in _parts(operation))
    )


def _parts(operation: Operation) -> list[Tensor]:
    """The tensors that make up the length; the input after the first one is the factors g."""
    return [operation.input(0), *(tensor for tensor in operation.inputs[2:] if tensor is not None)]


def _lipschitz(tensor: Tensor, operation: Operation) -> float:
    return 0.0 if tensor.constant else times(copies(tensor, operation), tensor.lipschitz)


def _factor(operation: Operation) -> float:
    """|diag(g) P|, or max|g|; 1 without factors."""
    scale = operation.optional(1)
    if scale is None:
        return 1.0
    factors = _values(scale)
    largest = float(np.abs(factors).max(initial=0.0))
    shape, axes = operation.input(0).shape, _axes(operation)
    if not operation.attribute("centred", 0) or shape is None or None in shape:
        return largest
    try:
        return _centred(factors, [size or 0 for size in shape], axes)
    except ValueError:
        return largest


def _centred(factors: NDArray[np.float64], shape: list[int], axes: tuple[int, ...]) -> float:
    """The largest |diag(g) P| over what is normalized together."""
    aligned = factors.reshape((1,) * (len(shape) - factors.ndim) + factors.shape)
    sizes = [size if axis in axes else aligned.shape[axis] for axis, size in enumerate(shape)]
    whole = np.moveaxis(np.broadcast_to(aligned, sizes), axes, range(-len(axes), 0))
    count = math.prod(shape[axis] for axis in axes)
    return min(float(np.abs(factors).max(initial=0.0)), centred_norm(whole.reshape(-1, count)))


def _values(tensor: Tensor) -> NDArray[np.float64]:
    values_ = tensor.value().astype(np.float64)
    if not np.isfinite(values_).all():
        raise UnboundedError(f"its input {tensor.name!r} holds NaN or infinity")
    return values_


def _count(operation: Operation) -> int:
    """How many entries are along the axes."""
    sizes, axes = operation.input(0).sizes(), _axes(operation)
    return math.prod(sizes[axis] for axis in axes)


def _axes(operation: Operation) -> tuple[int, ...]:
    return operation.attribute("axes", ())


def longest(operation: Operation) -> float:
    """Upper bound of the length of the vectors along the axes that `radial` gives, without their factors."""
    longest = _farthest(operation.attribute("function", X))
    return longest * math.sqrt(_count(operation) / operation.attribute("square", 1.0)) * UP_MANY


def _farthest(function: Expression) -> float:
    """Upper bound of sup rho |psi|: c / a where psi is at most c / (a rho)."""
    factor, power, inner = 1.0, 1.0, function
    while True:
        if inner.op == "Mul" and inner.operands[1].constant and power == 1:
            factor *= abs(inner.operands[1].numbers[0])
        elif inner.op in ("Reciprocal", "Pow"):
            power *= inner.numbers[0] if inner.numbers else -1.0
        else:
            break
        inner = inner.operands[0]
    growth = _growth(inner)
    if growth is not None and growth[1] * power == -1:
        return float(factor * growth[0] ** power) * UP_MANY
    return values(X * function, LENGTHS).magnitude


def _growth(part: Expression) -> tuple[float, float] | None:
    """A positive a, and d, with which a function is at least a rho^d; None where none is known."""
    first = _growth(part.operands[0]) if part.operands else None
    if part.op == "x":
        return 1.0, 1.0
    if first is None:
        return None
    a, degree = first
    second = part.operands[1].numbers[0] if len(part.operands) > 1 and part.operands[1].constant else None
    found: tuple[float, float] | None = None
    if part.op == "Add" and second is not None and second >= 0:
        found = a, degree
    elif part.op == "Mul" and second is not None and second > 0:
        found = a * second, degree
    elif part.op == "Pow" and part.numbers[0] > 0:
        found = a ** part.numbers[0], degree * part.numbers[0]
    elif (
        (part.op in ("Clip", "ClippedLength") and part.numbers[1] == math.inf)
        or part.op == "Hypot"
        or (part.op == "LeakyRelu" and part.numbers[1] == 1)
    ):
        found = a, degree
    return found


def _radial_range(operation: Operation) -> Range:
    """Each entry is at most as long as the vector; deviations add up to zero: sqrt(1 - 1/n) of that."""
    scale, count = operation.optional(1), max(1, _count(operation))
    largest = 1.0 if scale is None else scale.range.magnitude
    share = math.sqrt(1 - 1 / count) if operation.attribute("centred", 0) else 1.0
    radius = longest(operation) * share * largest
    return outward_range(-radius, radius)


def _radial_lengths(operation: Operation) -> Lengths:
    """Along the axis of which the vectors are."""
    shape, axes, scale = operation.input(0).shape, _axes(operation), operation.optional(1)
    if shape is None or len(axes) != 1:
        return {}
    largest = 1.0 if scale is None else scale.range.magnitude
    return finite({axes[0] - len(shape): times(longest(operation), largest)})


def length(operation: Operation) -> float:
    """The root of a mean, or sum, of squares."""
    squares: tuple[float, ...] = operation.attribute("squares", ())
    if _axes(operation):
        (factor,), source = squares, operation.input(0)
        sizes = [source.shape[axis] if source.shape else None for axis in _axes(operation)]
        count = math.prod(size or 1 for size in sizes)
        return times(math.sqrt(factor / max(count, 1)) * UP_MANY, source.lipschitz)
    parts = zip(operation.given, squares, strict=True)
    return root_of_squares(
        times(math.sqrt(w) * UP_MANY, _lipschitz(tensor, operation)) for tensor, w in parts
    )


def _length_range(operation: Operation) -> Range:
    squares: tuple[float, ...] = operation.attribute("squares", ())
    largest = math.sqrt(
        math.fsum(w * t.range.magnitude**2 for t, w in zip(operation.given, squares, strict=True))
    )
    return Range(lower=0.0, upper=outward_range(0.0, largest).upper)


RULES = {
    "convsv.Radial": Rule(lipschitz=radial, apart=True, range=_radial_range, lengths=_radial_lengths),
    "convsv.Length": Rule(lipschitz=length, apart=True, range=_length_range),
}
