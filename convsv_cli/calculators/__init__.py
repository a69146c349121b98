"""Calculators, one per module, in the order of the report's columns."""

from __future__ import annotations

from convsv_cli.calculators import certified, exact, heuristic, singla_feizi, zero_padded
from convsv_cli.calculators.calculator import Calculator

CALCULATORS: tuple[Calculator, ...] = (
    heuristic.CALCULATOR,
    exact.CALCULATOR,
    certified.CALCULATOR,
    zero_padded.CALCULATOR,
    singla_feizi.CALCULATOR,
)
