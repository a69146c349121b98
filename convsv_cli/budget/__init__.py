"""Budgets: configuration and audit become a verdict, findings and an exit code."""

from __future__ import annotations

from convsv_cli.budget.baseline import Baseline, baseline_of
from convsv_cli.budget.configuration import Budget, Configuration, Ignore, LayerBudget, Limit, PairBudget
from convsv_cli.budget.judge import Judge, growth_judge, judges, outcome
from convsv_cli.budget.judgement import judged
from convsv_cli.budget.reading import BUDGETS, nearest_configuration, read_configuration, the_configuration
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
    "PairBudget",
    "baseline_of",
    "growth_judge",
    "judged",
    "judges",
    "nearest_configuration",
    "outcome",
    "read_configuration",
    "starting_budget",
    "the_configuration",
    "with_unused",
]
