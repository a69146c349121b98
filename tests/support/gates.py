"""Audits and budgets as values, for what gates make of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from convsv_cli.budget import Budget, Judge, Limit
from convsv_cli.report import Audit, Interval, LayerAudit, Measurement, Place
from tests.support.documents import AUDIT, AUDITED

TODAY = date(2026, 7, 1)
PLACE = Place(path="convsv.toml", line=7)


def row(name: str, lower: float, upper: float, **fields: object) -> LayerAudit:
    certified = Measurement(value=upper, enclosure=Interval(lower=lower, upper=upper))
    return replace(
        AUDITED, name=name, weight=f"{name}.weight", measurements=(("certified", certified),), **fields
    )


def audit(*rows: LayerAudit, **fields: object) -> Audit:
    return replace(AUDIT, layers=rows, findings=(), **fields)


def limit(value: float, line: int = 7) -> Limit:
    return Limit(value=value, place=replace(PLACE, line=line))


def judge(**fields: object) -> Judge:
    return Judge(budget=Budget(path="convsv.toml", **fields), today=TODAY)
