r"""Softmax whose sum is not quite that of its exponentials: e^z / (sum e^z + c), e^z / max(sum e^z, c).

With S = sum e^z and p = e^z / S, y = e^z phi(S) is p psi(S), psi(S) = S phi(S).

*Shifted.* For z = x - max x, S is in [1, n]. With the index m of the largest entry, dS = S <p - e_m, dx>, and

    dy = psi dp + psi'(S) S p <p - e_m, dx>.

|dp/dx| is at most 1/2 (Gao & Pavel 2017, arXiv 1704.00805). As |p|^2 <= p_m, |p - e_m|^2 is at most 1 - p_m,
and |p| |p - e_m| at most sqrt(p_m (1 - p_m)) <= 1/2. So the constant is at most half of sup|psi| +
sup|S psi'(S)| over [1, n].

*As it is.* Let z = x. For phi = 1 / (S + c), c > 0, y is a part of softmax (x, log c): 1/2. For phi =
1 / max(S, c), dy = dp or, where S < c, diag(e^x / c) dx, whose entries are at most 1.
"""

from __future__ import annotations

import math

from convsv_cli.lipschitz.lengths import finite
from convsv_cli.lipschitz.operation import Lengths, Operation, Rule, UnboundedError
from convsv_cli.lipschitz.scalar.expressions import Expression, X
from convsv_cli.lipschitz.scalar.steepness import swing, values
from convsv_cli.numerics.intervals import Range
from convsv_cli.numerics.rounding import times, total


def shared(operation: Operation) -> float:
    """The bounds above."""
    function = _function(operation)
    if operation.attribute("shifted", 0):
        over = _sums(operation)
        steepest = times(0.5, total((values(X * function, over).magnitude, swing(X * function, over))))
    elif function.operands[0].op == "Add":
        steepest = 0.5
    else:
        steepest = 1.0
    if not math.isfinite(steepest):
        raise UnboundedError("its exponentials are divided by what may be near zero")
    return times(steepest, operation.input(0).lipschitz)


def _function(operation: Operation) -> Expression:
    return operation.attribute("function", X)


def _sums(operation: Operation) -> Range:
    """What S is in."""
    sizes, axes = operation.input(0).sizes(), operation.attribute("axes", (-1,))
    return Range(lower=1.0, upper=float(math.prod(sizes[axis] for axis in axes)))


def _largest(operation: Operation) -> float:
    """Upper bound of psi: of the sum of all entries, none of which is negative."""
    if not operation.attribute("shifted", 0):
        return 1.0
    return values(X * _function(operation), _sums(operation)).magnitude


def _range(operation: Operation) -> Range:
    largest = _largest(operation)
    return Range(lower=-largest if operation.attribute("shifted", 0) else 0.0, upper=largest)


def _lengths(operation: Operation) -> Lengths:
    """No vector is longer than the sum of the absolute values of its entries."""
    rank, axes = len(operation.input(0).sizes()), operation.attribute("axes", (-1,))
    return finite({axes[0] - rank: _largest(operation)}) if len(axes) == 1 else {}


RULES = {"convsv.Shares": Rule(lipschitz=shared, range=_range, lengths=_lengths)}
