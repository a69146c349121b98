"""Budgets: configuration and audit become a verdict, findings and an exit code."""

from __future__ import annotations

from convsv_cli.budget.baseline import Baseline, baseline_of
from convsv_cli.budget.configuration import Budget, Configuration, Ignore, LayerBudget, Limit
from convsv_cli.budget.discovery import BUDGETS, nearest_configuration
from convsv_cli.budget.judge import Judge, outcome
from convsv_cli.budget.judgement import judged
from convsv_cli.budget.reading import read_configuration
from convsv_cli.budget.starting import starting_budget
from convsv_cli.budget.unused import with_unused

__all__ = [
    "BUDGETS",
    "Baseline",
    "Budget",
    "Configuration",
    "Ignore",
    "Judge",
    "LayerBudget",
    "Limit",
    "baseline_of",
    "judged",
    "nearest_configuration",
    "outcome",
    "read_configuration",
    "starting_budget",
    "with_unused",
]
