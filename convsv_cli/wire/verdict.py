"""Findings, and what a budget makes of an audit."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from convsv_cli.wire.form import Ends, Form, Norm, Text

Outcome = Literal["passed", "exceeded", "undecided", "missing", "ignored"]
Conclusion = Literal["mistaken", "failed", "incomplete", "passed"]


class Place(Form, frozen=True, kw_only=True):
    """A line of a file that users wrote."""

    path: str
    line: Annotated[int, Meta(ge=0, extra_json_schema={"minimum": 1})]


class Finding(Form, frozen=True, kw_only=True):
    """Something that a reader should act on.

    Attributes:
        node: The layer or node; empty for the whole network or file.
        measured: The certified upper end that a budget is about.
        limit: What it must not exceed.
        place: The line of the budget.
    """

    rule: str
    severity: Literal["error", "warning", "note"]
    node: str = ""
    message: str
    measured: Norm = None
    limit: Norm = None
    place: Place | None = None


class Gate(Form, frozen=True, kw_only=True):
    """One limit, and what became of it.

    Attributes:
        node: The layer; empty for the whole network.
        enclosure: What is proven of the norm or Lipschitz constant; null where nothing is.
        outcome: passed: the upper end keeps the limit. exceeded: the lower end does not. undecided: the limit
            lies between both. missing: there is no bound. ignored: an ignore covers it.
        limit_lower: The least that the limit may be, of a baseline that knows its norms within intervals;
            absent where the limit is all there is to know.
        start: Of a limit on the network from one tensor to another: the first; absent for all of it.
        end: The second.
        quantity: Of a limit on what is proven of a quantised network: quantised-lipschitz or quantised-step;
            absent for a norm or Lipschitz constant.
    """

    node: str = ""
    limit: Norm = None
    enclosure: Ends | None = None
    outcome: Outcome
    reason: Text = None
    place: Place | None = None
    limit_lower: Norm | UnsetType = UNSET
    start: str | UnsetType = field(name="from", default=UNSET)
    end: str | UnsetType = field(name="to", default=UNSET)
    quantity: str | UnsetType = UNSET


class Verdict(Form, frozen=True, kw_only=True):
    """All gates of a budget.

    Attributes:
        budget: Path of the configuration, or of the baseline.
        outcome: How it ends, as the exit code tells it: a part of the budget holds nothing, a limit is
            exceeded, something is left open, or all limits are kept.
    """

    budget: str
    outcome: Conclusion | UnsetType = UNSET
    gates: tuple[Gate, ...] = ()
