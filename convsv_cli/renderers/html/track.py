"""Marks on an axis: what a template draws in a table's row."""

from __future__ import annotations

from dataclasses import dataclass

RANGE, INTERVAL, EXCEEDING = "range", "interval", "exceeding"
ESTIMATE, BOUND, LIMIT, STEP, PRODUCT, SEEN = "estimate", "bound", "limit", "step", "product", "seen"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something from `start` to `end`, in percent of the axis; `kind` tells how it is drawn."""

    kind: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Track:
    """The marks of a row, and the same in words."""

    words: str
    marks: tuple[Mark, ...]


def point(kind: str, at: float) -> Mark:
    """A mark in one place."""
    return Mark(kind=kind, start=at, end=at)
