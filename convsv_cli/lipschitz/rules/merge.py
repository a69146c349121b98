"""Where branches meet: sums, products, the larger of two, and choices by a constant condition."""

from __future__ import annotations

import math

import numpy as np

from convsv_cli.lipschitz.lengths import of_product, of_quotient, of_sum
from convsv_cli.lipschitz.operands import any_of_them, copies, gain_of_scaling, magnitude
from convsv_cli.lipschitz.operation import UNBOUNDED_PRODUCT, Operation, Rule, Tensor, UnboundedError
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import UP, root_of_squares, times, total


def added(operation: Operation) -> float:
    """Add, Sub, Sum: the sum of the terms' constants; one that is broadcast counts with all its copies."""
    return total(_spread(tensor, operation) for tensor in operation.given)


def averaged(operation: Operation) -> float:
    """Mean of several tensors."""
    return times(added(operation), UP / len(operation.given))


def larger(operation: Operation) -> float:
    """Max, Min: |max(a, b) - max(a', b')| <= max(|a - a'|, |b - b'|), entry by entry."""
    return root_of_squares(_spread(tensor, operation) for tensor in operation.given)


def chosen(operation: Operation) -> float:
    """Where: each entry is one of two, as long as the condition does not vary."""
    condition, *branches = (operation.input(i) for i in range(3))
    if not condition.constant:
        raise UnboundedError("which entries are taken varies with the network's input")
    return root_of_squares(_spread(tensor, operation) for tensor in branches)


def multiplied(operation: Operation) -> float:
    """Mul: by a constant, its largest entry; of activations a and b, sup|a| L_b + sup|b| L_a."""
    a, b = operation.input(0), operation.input(1)
    if b.constant or a.constant:
        varying, constant = (a, b) if b.constant else (b, a)
        return times(_scaling(varying, constant, operation), varying.lipschitz)
    return total((_part(a, b, operation), _part(b, a, operation)))


def divided(operation: Operation) -> float:
    """Div: by a constant, its smallest entry; else L_a / min|b| + sup|a| L_b / min|b|^2."""
    a, b = operation.input(0), operation.input(1)
    if b.constant and b.read is not None:
        values = np.abs(b.value().astype(np.float64))
        if not values.all():
            raise UnboundedError("a division by a constant that holds zeros")
        return times(gain_of_scaling(np.nextafter(1 / values, np.inf), a, operation), a.lipschitz)
    smallest = max(b.range.lower, -b.range.upper)
    if smallest <= 0:
        raise UnboundedError(f"a division by {b.name!r}, which may be arbitrarily close to zero")
    if b.constant:
        return times(_spread(a, operation), UP / smallest)
    largest = magnitude(a, "a quotient of two activations, where {names} may be arbitrarily large")
    first = times(_spread(a, operation), UP / smallest)
    return total((first, times(largest, _spread(b, operation), smallest**-2)))


def _spread(tensor: Tensor, operation: Operation) -> float:
    """The constant of a tensor after it was broadcast to the output's shape."""
    return 0.0 if tensor.constant else times(copies(tensor, operation), tensor.lipschitz)


def _scaling(varying: Tensor, constant: Tensor, operation: Operation) -> float:
    if constant.read is not None:
        return gain_of_scaling(np.abs(constant.value().astype(np.float64)), varying, operation)
    largest = magnitude(constant, "a product with {names}, which convsv cannot compute")
    return times(largest, copies(varying, operation))


def _part(fixed: Tensor, varying: Tensor, operation: Operation) -> float:
    """What changes of `varying` do to a product with `fixed`."""
    return times(magnitude(fixed, UNBOUNDED_PRODUCT), _spread(varying, operation))


def _sum_range(operation: Operation) -> Range:
    ranges = [tensor.range for tensor in operation.given]
    return outward_range(math.fsum(r.lower for r in ranges), math.fsum(r.upper for r in ranges))


def _difference_range(operation: Operation) -> Range:
    a, b = operation.input(0).range, operation.input(1).range
    return outward_range(a.lower - b.upper, a.upper - b.lower)


def _product_range(operation: Operation) -> Range:
    a, b = operation.input(0), operation.input(1)
    if a.name == b.name:
        squares = sorted((a.range.lower**2, a.range.upper**2))
        return outward_range(0.0 if a.range.lower <= 0 <= a.range.upper else squares[0], squares[1])
    ends = [x * y for x in (a.range.lower, a.range.upper) for y in (b.range.lower, b.range.upper)]
    return ANYTHING if any(map(math.isnan, ends)) else outward_range(min(ends), max(ends))


def _quotient_range(operation: Operation) -> Range:
    a, b = operation.input(0).range, operation.input(1).range
    if b.lower <= 0 <= b.upper or not a.finite:
        return ANYTHING
    ends = [x / y for x in (a.lower, a.upper) for y in (b.lower, b.upper)]
    return outward_range(min(ends), max(ends))


def _largest_range(operation: Operation) -> Range:
    ranges = [tensor.range for tensor in operation.given]
    return Range(lower=max(r.lower for r in ranges), upper=max(r.upper for r in ranges))


def _smallest_range(operation: Operation) -> Range:
    ranges = [tensor.range for tensor in operation.given]
    return Range(lower=min(r.lower for r in ranges), upper=min(r.upper for r in ranges))


def _chosen_range(operation: Operation) -> Range:
    return operation.input(1).range.hull(operation.input(2).range)


RULES = {
    "Add": Rule(lipschitz=added, range=_sum_range, lengths=of_sum),
    "Sub": Rule(lipschitz=added, range=_difference_range, lengths=of_sum),
    "Sum": Rule(lipschitz=added, range=_sum_range, lengths=of_sum),
    "Mean": Rule(lipschitz=averaged, range=any_of_them),
    "Mul": Rule(lipschitz=multiplied, range=_product_range, lengths=of_product),
    "Div": Rule(lipschitz=divided, range=_quotient_range, lengths=of_quotient),
    "Max": Rule(lipschitz=larger, apart=True, range=_largest_range),
    "Min": Rule(lipschitz=larger, apart=True, range=_smallest_range),
    "Where": Rule(lipschitz=chosen, apart=True, range=_chosen_range),
}
