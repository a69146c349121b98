"""A ratchet on made-up audits."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from convsv_cli.budget import Baseline, Budget, Judge
from convsv_cli.report import Audit
from tests.support.documents import BOUND
from tests.support.gates import audit


def ratchet(old: Audit, increase: float = 0.0, *, strict: bool = False) -> Judge:
    """The judge that allows so much growth over an old audit."""
    baseline = Baseline(path="main.json", audit=old, increase=increase, strict=strict)
    return Judge(budget=Budget(path=""), today=date(2026, 1, 1), baseline=baseline)


def outcomes(old: Audit, new: Audit, increase: float = 0.0) -> dict[str, str]:
    """By node, what became of its gate."""
    return {gate.node: gate.outcome for gate in ratchet(old, increase).gates(new)}


def bounded(lipschitz: float, *rows: object) -> Audit:
    """An audit of these rows, with that bound of the network."""
    return audit(*rows, bound=replace(BOUND, lipschitz=lipschitz))
