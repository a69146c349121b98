"""Documents of `diff`, schema 1.0."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from convsv_cli import report
from convsv_cli.wire.form import Digest, Ends, Form, Norm, Text, Tool, members
from convsv_cli.wire.verdict import Conclusion, Outcome

SCHEMA_VERSION = "1.0"


class Side(Form, frozen=True, kw_only=True):
    """One of the models."""

    path: str
    sha256: Digest


class Change(Form, frozen=True, kw_only=True):
    """A layer before and after.

    Attributes:
        name: The layer, in the new audit where it is there; null for the network.
        before: Its name in the old one; null where it was not there.
        kind: larger and smaller are proven: the intervals of the norm do not meet. Of the network, of which
            only bounds are known, its bound is larger or smaller.
        matched: How both were recognised as one: by name, by weight, or by shape and order, which is a guess.
        old: What was proven of the norm, or Lipschitz constant; null where nothing was.
        new: Likewise, of the new one.
        ratio: Of the upper ends, new to old.
    """

    name: Text = field(name="layer")
    before: Text
    kind: str = field(name="change")
    matched: Text
    old: Ends | None
    new: Ends | None
    ratio: Norm


class Gate(Form, frozen=True, kw_only=True):
    """One limit, and what became of it."""

    node: str
    limit: Norm
    outcome: Outcome
    reason: Text


class Difference(Form, frozen=True, kw_only=True):
    """Two audits, and what has changed.

    Attributes:
        changes: The network's, then each layer's; those that were removed come last.
        gates: What became of the limits of --max-increase.
        outcome: How it ends; null where --max-increase was not given.
    """

    schema_version: Annotated[str, Meta(pattern=r"^1\.")]
    tool: Tool
    command: Literal["diff"]
    old: Side
    new: Side
    changes: tuple[Change, ...]
    gates: tuple[Gate, ...]
    outcome: Conclusion | None


def document(found: report.Difference) -> dict[str, Any]:
    """The JSON object."""
    verdict = found.new.verdict
    form = Difference.of(
        found,
        schema_version=SCHEMA_VERSION,
        tool=Tool(version=found.version),
        command="diff",
        old=Side.of(found.old.model),
        new=Side.of(found.new.model),
        gates=tuple(map(Gate.of, verdict.gates)) if verdict else (),
        outcome=verdict and report.conclusion(verdict, found.new.findings),
    )
    return members(form)
