"""Calculators, one a module, in the order of the report's columns."""

from __future__ import annotations

from convsv_cli.calculators import exact, heuristic, singla_feizi
from convsv_cli.calculators.calculator import Calculator

CALCULATORS: tuple[Calculator, ...] = (heuristic.CALCULATOR, exact.CALCULATOR, singla_feizi.CALCULATOR)
