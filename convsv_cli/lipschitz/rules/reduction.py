"""Reductions along axes: sums, norms, the largest; and cumulative sums."""

from __future__ import annotations

import math
from collections.abc import Callable

from convsv_cli.lipschitz.operands import (
    first,
    integers,
    magnitude,
    optional_integers,
    same,
    size_of,
)
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import UP, UP_MANY, root, times

UNDISPUTED = frozenset(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"))
"""What reductions of no axis are the identity in every runtime."""


def summed(operation: Operation) -> float:
    """ReduceSum, ReduceL1: sqrt(n) where n entries become one."""
    return times(root(_count(operation)), first(operation).lipschitz)


def averaged(operation: Operation) -> float:
    """ReduceMean: 1 / sqrt(n); an unknown size may be 1."""
    return times(UP / math.sqrt(_least(operation)), first(operation).lipschitz)


def nonexpansive(operation: Operation) -> float:
    """ReduceMax, ReduceMin, ReduceL2, ReduceLogSumExp: 1; the gradient is a distribution or a unit vector."""
    return first(operation).lipschitz


def multiplied(operation: Operation) -> float:
    """ReduceProd: sqrt(n) B^(n - 1) for entries of absolute value at most B."""
    count = _count(operation)
    steepest = _power(operation.input(0).range.magnitude, max(0, count - 1))
    if not math.isfinite(steepest):
        raise UnboundedError("a product of activations that may be arbitrarily large")
    return times(root(count), steepest, UP_MANY, first(operation).lipschitz)


def squared(operation: Operation) -> float:
    """ReduceSumSquare: 2 sqrt(n) B for entries of absolute value at most B."""
    largest = magnitude(operation.input(0), "a sum of squares of activations that may be arbitrarily large")
    return times(2.0, root(_count(operation)), largest, first(operation).lipschitz)


def logarithm(operation: Operation) -> float:
    """ReduceLogSum: 1 / (sqrt(n) a) for entries of at least a > 0."""
    smallest = operation.input(0).range.lower
    if smallest <= 0:
        raise UnboundedError("the logarithm of a sum that may be arbitrarily close to zero")
    return times(UP / math.sqrt(_least(operation)), UP / smallest, first(operation).lipschitz)


def accumulated(operation: Operation) -> float:
    """CumSum: 1 / (2 sin(pi / (2 (2 n + 1)))) for n terms, the last of which does not count if exclusive."""
    source, terms = first(operation), _terms(operation) - bool(operation.attribute("exclusive", 0))
    if terms < 1:
        return 0.0
    return times(UP_MANY / (2 * math.sin(math.pi / (2 * (2 * terms + 1)))), source.lipschitz)


def _terms(operation: Operation) -> int:
    """How many entries are along the axis of a CumSum; the most along any, where that is not known."""
    if operation.input(1).held:
        return max(operation.input(0).sizes(), default=1)
    axes = integers(operation, 1, "axis")
    if len(axes) != 1:
        raise UnboundedError("its axis is not one number")
    return size_of(operation.input(0), axes[0])


def _sizes(operation: Operation) -> list[int | None]:
    """Of the axes that are reduced.

    Raises:
        UnboundedError: which these are is not known.
    """
    given, shape = operation.optional(1), operation.input(0).shape
    if given is not None and given.held:
        return [_shrunk(operation)]
    axes = optional_integers(operation, 1)
    if not axes and operation.attribute("noop_with_empty_axes", 0):
        if operation.node.op in ("ReduceProd", "ReduceSumSquare", "ReduceLogSum"):
            raise UnboundedError("it reduces no axis, and runtimes do not agree on what that means")
        return []
    if shape is None:
        return [None]
    return [shape[axis] for axis in axes] if axes else list(shape)


def _shrunk(operation: Operation) -> int:
    """How many entries become one, by the shapes: where axes are held fixed that are not known.

    Raises:
        UnboundedError: a shape is not known.
    """
    if operation.attribute("noop_with_empty_axes", 0) and operation.node.op not in UNDISPUTED:
        raise UnboundedError(
            "which axes it reduces is not known, and runtimes do not agree on what none mean"
        )
    before, after = math.prod(operation.input(0).sizes()), math.prod(operation.output_shape())
    return before // after if after else 0


def _count(operation: Operation) -> int:
    """How many entries become one."""
    sizes = _sizes(operation)
    if None in sizes:
        operation.input(0).sizes()
    return math.prod(size for size in sizes if size is not None)


def _least(operation: Operation) -> int:
    """At least so many entries become one."""
    return math.prod(size for size in _sizes(operation) if size)


def _power(base: float, exponent: int) -> float:
    try:
        return base**exponent
    except OverflowError:
        return math.inf


def _sum_range(operation: Operation) -> Range:
    source, count = operation.input(0).range, _count(operation)
    return outward_range(count * source.lower, count * source.upper)


def _norm_range(power: float) -> Callable[[Operation], Range]:
    """Of the sum of absolute values (power 1), and of the length (power 1/2).

    Where no axis is reduced, runtimes do not agree on whether absolute values are taken.
    """

    def range_(operation: Operation) -> Range:
        largest = _count(operation) ** power * operation.input(0).range.magnitude
        return outward_range(0.0 if _sizes(operation) else -largest, largest)

    return range_


def _square_range(operation: Operation) -> Range:
    return outward_range(0.0, _count(operation) * _power(operation.input(0).range.magnitude, 2))


def _product_range(operation: Operation) -> Range:
    largest = _power(operation.input(0).range.magnitude, _count(operation))
    return outward_range(0.0 if operation.input(0).range.lower >= 0 else -largest, largest)


def _log_sum_exp_range(operation: Operation) -> Range:
    source, more = operation.input(0).range, math.log(max(1, _count(operation)))
    return outward_range(source.lower + more, source.upper + more)


def _log_sum_range(operation: Operation) -> Range:
    source, count = operation.input(0).range, _count(operation)
    if source.lower <= 0 or not count or not source.finite:
        return ANYTHING
    return outward_range(math.log(count * source.lower), math.log(count * source.upper))


def _accumulated_range(operation: Operation) -> Range:
    """Sums of up to n terms; none, where exclusive."""
    source, terms = operation.input(0).range, _terms(operation)
    return outward_range(terms * min(0.0, source.lower), terms * max(0.0, source.upper))


RULES = {
    "ReduceSum": Rule(lipschitz=summed, range=_sum_range),
    "ReduceL1": Rule(lipschitz=summed, range=_norm_range(1.0)),
    "ReduceMean": Rule(lipschitz=averaged, range=same),
    "ReduceMax": Rule(lipschitz=nonexpansive, range=same),
    "ReduceMin": Rule(lipschitz=nonexpansive, range=same),
    "ReduceL2": Rule(lipschitz=nonexpansive, range=_norm_range(0.5)),
    "ReduceLogSumExp": Rule(lipschitz=nonexpansive, range=_log_sum_exp_range),
    "ReduceProd": Rule(lipschitz=multiplied, range=_product_range),
    "ReduceSumSquare": Rule(lipschitz=squared, range=_square_range),
    "ReduceLogSum": Rule(lipschitz=logarithm, range=_log_sum_range),
    "CumSum": Rule(lipschitz=accumulated, range=_accumulated_range),
}
