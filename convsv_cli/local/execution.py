"""How far a runtime may be from an activation that is not piecewise linear, step by step.

It is assumed to compute the function as `lipschitz.scalar` spells it out, in one operator or in several: sums
and products rounded once, primitives (exp, tanh, erf, and what else has a name there) right to `ULPS` units
of float32, and in 16 bits, each step stored. The functions of libraries are right to 2 ulps (expf, tanhf,
erff, log1pf: CUDA C++ Programming Guide, "Mathematical Functions"; glibc manual, "Errors in Math Functions"),
or to 1 (SLEEF's u10, in PyTorch); the rest is for how primitives are put together of these, and for the
approximations of onnxruntime.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from convsv_cli.lipschitz.scalar.expressions import Expression, jet
from convsv_cli.lipschitz.scalar.primitives import primitive
from convsv_cli.local.arithmetic import SMALLEST_32, STORED, Arithmetic
from convsv_cli.local.tabulated import Hulls, grid, hulls
from convsv_cli.numerics.intervals import Array, Intervals
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF_32, UP_MANY, gamma

ULPS = 16
SPARE = 1.1
"""For the errors of exp, and of what it is of, where it is far from 0."""
BENT = ("LeakyRelu", "Clip")  # rounded once at most
RELATIVE = ("Exp", "Reciprocal", "Pow", "Softsign", *BENT)
"""Primitives of which even small values are right to some ulps; others may be off by that many parts of 1."""


def execution_error(
    expression: Expression,
    lower: torch.Tensor,
    upper: torch.Tensor,
    arithmetic: Arithmetic,
    *,
    spelled: bool = False,
) -> torch.Tensor:
    """The most that a runtime's value may differ from the function's, [batch, *shape]; infinite for unknown.

    Args:
        expression: the function.
        lower, upper: where the runtime's argument is, [batch, *shape], lower <= upper; may be infinite.
        arithmetic: of the runtime.
        spelled: whether softplus may be log(1 + exp(x)) there, of which nothing is known where exp overflows.
    """
    if arithmetic.real:
        return torch.zeros_like(lower)
    points, table = grid(), _table(expression, arithmetic, spelled=spelled)
    low, high = (x.detach().cpu().double().numpy().reshape(-1) for x in (lower, upper))
    first, last = np.searchsorted(points, low, "right") - 1, np.searchsorted(points, high, "left")
    found = table.between(first, last).upper
    return torch.from_numpy(found).reshape(lower.shape).to(lower.device)


@lru_cache(maxsize=256)
def _table(expression: Expression, arithmetic: Arithmetic, *, spelled: bool) -> Hulls:
    """Bounds over the cells of the grid."""
    points = grid()
    with np.errstate(all="ignore"):
        found = _error(expression, Intervals(points[:-1], points[1:]), arithmetic, spelled=spelled)
    return hulls(Intervals(found, found))


def _error(part: Expression, x: Intervals, arithmetic: Arithmetic, *, spelled: bool) -> Array:
    """Of a part, over each interval: what its operands are off by, and the rounding of its own result.

    Where f is off by e_f and g by e_g, their product is off by |f| e_g + |g| e_f + e_f e_g, and P(f) by e_f
    times the steepest slope of P over all that f may be computed as. What x itself is off by is counted
    where it is made, but for the numbers that count as 0 as operands.
    """
    if part.op == "x":
        return np.full_like(x.lower, SMALLEST_32)
    values = [jet(operand, x).value for operand in part.operands]
    off = [_error(operand, x, arithmetic, spelled=spelled) for operand in part.operands]
    size = jet(part, x).value.absolute().upper
    if part.constant or part.op == "Add":
        passed = sum(off, np.zeros_like(size))
    elif part.op == "Mul":
        f, g = (value.absolute().upper for value in values)
        passed = _times(f, off[1]) + _times(g, off[0]) + off[0] * off[1]
    else:
        near = Intervals(values[0].lower - off[0], values[0].upper + off[0])
        steep = primitive(part.op, *part.numbers).slope(near).absolute().upper
        passed = _times(steep, off[0]) + _constants(part, near, arithmetic, spelled=spelled)
    total = (passed + _rounding(part, size, passed, arithmetic)) * UP_MANY
    beyond = np.isnan(total) | ((size + total) * UP_MANY > arithmetic.largest)
    return np.where(beyond, np.inf, total)


def _constants(part: Expression, near: Intervals, arithmetic: Arithmetic, *, spelled: bool) -> Array:
    """What else a primitive may be off: by its numbers as they are stored, and by how it is computed."""
    nothing = np.zeros_like(near.upper)
    if part.op == "LeakyRelu":  # slopes that underflow
        return _times(near.absolute().upper, nothing + arithmetic.lost)
    if part.op == "Pow" and not bool(arithmetic.holds(torch.tensor(part.numbers, dtype=torch.float64)).all()):
        return nothing + np.inf
    if part.op == "Softplus" and spelled:
        return np.where((np.exp(near.upper) + 1) * SPARE > arithmetic.largest, np.inf, 0.0)
    return nothing


def _rounding(part: Expression, size: Array, passed: Array, arithmetic: Arithmetic) -> Array:
    """Of the last step, whose result is at most `size`, and what was passed on to it."""
    units = 1 if part.constant or part.op in ("Add", "Mul", *BENT) else ULPS
    floor = 0.0 if part.constant or part.op in ("Add", "Mul", *RELATIVE) else _floor(part)
    largest = size + passed + floor
    result = gamma(units, UNIT_ROUNDOFF_32) * largest + 4 * SMALLEST_32 * (1 + largest)
    if arithmetic.unit > UNIT_ROUNDOFF_32:
        result = result + gamma(STORED, arithmetic.unit) * (largest + result) + STORED * arithmetic.lost
    return np.asarray(result)


def _floor(part: Expression) -> float:
    """What errors are relative to where values are small: the 1 that Elu subtracts is multiplied by alpha."""
    return max(1.0, *(abs(number) for number in part.numbers), 1.0)


def _times(a: Array, b: Array) -> Array:
    """The product; what is not off stays so, however steep the function."""
    return np.where(b == 0, 0.0, a * b)
