"""How steep functions really are: the constants that bounds are held against."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from benchmarks.written_patterns import PATTERNS, Pattern
from benchmarks.written_scalars import SCALARS, Function
from benchmarks.written_terms import SOURCE

GRID, REACH, FINE = 200_001, 30.0, 1e-9
SAMPLES, STEPS, RATE = 200, 60, 0.05
STEEP = 100.0
"""Slopes along a line of numbers beyond this are those of a jump."""


def steepest_slope(function: Function) -> float:
    """The supremum of |f'| of a function of one number: on a grid, then around its best point."""
    x = torch.linspace(-REACH, REACH, GRID, dtype=torch.float64)
    width = 2 * REACH / (GRID - 1)
    best = 0.0
    while width > FINE:
        slopes = _slopes(function, x)
        place = x[slopes.argmax()]
        best = max(best, float(slopes.max()))
        x = torch.linspace(float(place - width), float(place + width), 101, dtype=torch.float64)
        width /= 50
    return best


def _slopes(function: Function, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(function(x).sum(), x)
    return slopes.abs()


def jacobian_norm(function: Function, x: Tensor) -> Tensor:
    """At one point."""
    matrix = torch.func.jacrev(lambda z: function(z).flatten())(x)
    return torch.linalg.matrix_norm(matrix.reshape(matrix.shape[0], -1), 2)


def highest_found(pattern: Pattern) -> float:
    """The largest Jacobian norm of random points of many sizes, and of the best after some steps uphill."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(SAMPLES, *pattern.shape, generator=generator, dtype=torch.float64)
    points *= 10 ** (8 * torch.rand(SAMPLES, *[1] * len(pattern.shape), generator=generator) - 6)
    norms = torch.stack([jacobian_norm(pattern.function, x) for x in points]).nan_to_num(0)
    x, best = points[norms.argmax()], float(norms.max())
    for _ in range(STEPS):
        x = x.detach().requires_grad_()
        norm = jacobian_norm(pattern.function, x)
        (uphill,) = torch.autograd.grad(norm, x)
        best = max(best, float(norm.detach().nan_to_num(0)))
        uphill = uphill.nan_to_num(0)
        x = x.detach() + RATE * x.detach().norm() * uphill / uphill.norm().clamp_min(1e-300)
    return best


@cache
def true_constant(name: str) -> float:
    """Of a pattern."""
    pattern = PATTERNS[name]
    if name in SCALARS:
        return steepest_slope(pattern.function)
    return float(jacobian_norm(pattern.function, pattern.peak))


def joint_slope(model: ModelProto, count: int, reach: float = 8.0) -> float:
    """The largest slope of all results together, of a model that computes functions of each number.

    By differences along a line, which are no larger than the largest slope; infinite where a result jumps.

    Args:
        model: in double precision, of `count` numbers.
        count: of places on the line.
        reach: the line's ends; beyond them exponentials might overflow.
    """
    x = np.linspace(-reach, reach, count)
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(model).run(None, {SOURCE: x})
        slopes = [np.diff(each) / np.diff(x) for each in results if each.dtype.kind == "f"]
        found = float(np.sqrt(sum(np.square(each) for each in slopes)).max())
    return found if found < STEEP else float("inf")
