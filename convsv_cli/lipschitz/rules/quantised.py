"""Whole numbers that stand for real ones: (x - zero point) * scale."""

from __future__ import annotations

import math

from convsv_cli.lipschitz.axis_matrices import root
from convsv_cli.lipschitz.operands import magnitude, require_constant
from convsv_cli.lipschitz.operation import Operation, Rule, Tensor, UnboundedError
from convsv_cli.numerics.intervals import Range, outward_range
from convsv_cli.numerics.rounding import times


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


def _range(operation: Operation) -> Range:
    factors, scales = _factors(operation), operation.input(1).range
    most = factors.magnitude * scales.magnitude
    return outward_range(-most, most)


RULES = {"DequantizeLinear": Rule(lipschitz=dequantised, range=_range)}
