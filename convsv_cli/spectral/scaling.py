"""Scaling by powers of two, which is exact, so that no square over- or underflows."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import torch

from convsv_cli.numerics.rounding import round_up
from convsv_cli.report import Interval

LARGEST_EXPONENT = 1000  # of a power of two whose inverse is a normal float64 too


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A power of two that brings tensors to a norm of about 1."""

    exponent: int

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Scale:
        """The scale of a float64 tensor that is not zero: of its Frobenius norm, without overflow."""
        largest = math.frexp(float(tensor.abs().max()))[1]
        largest = min(max(largest, -LARGEST_EXPONENT), LARGEST_EXPONENT)
        norm = torch.linalg.vector_norm(tensor * math.ldexp(1.0, -largest))
        exponent = largest + math.frexp(float(norm))[1]
        return cls(exponent=min(max(exponent, -LARGEST_EXPONENT), LARGEST_EXPONENT))

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, scaled."""
        return tensor * math.ldexp(1.0, -self.exponent)

    def shrink(self, value: float) -> float:
        """An upper end at the tensor's own scale, scaled."""
        return math.nextafter(value * math.ldexp(1.0, -self.exponent), math.inf)

    def restore(self, interval: Interval) -> Interval:
        """The interval at the tensor's own scale, rounded outwards."""
        factor = math.ldexp(1.0, self.exponent)
        lower = min(interval.lower * factor, sys.float_info.max)
        upper = round_up(interval.upper) * factor
        return Interval(lower=max(0.0, math.nextafter(lower, 0)), upper=math.nextafter(upper, math.inf))
