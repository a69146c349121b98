"""Documents of audits compared: `diff`, schema 1.2, and `report` about several reports, schema 2.0.

The latter cannot be read back: it is no report of a model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from convsv_cli import report
from convsv_cli.version import __version__
from convsv_cli.wire.form import ADDED, Ends, Form, Known, Norm, Text, Texts, Tool, identifier, members
from convsv_cli.wire.verdict import Conclusion, Outcome

DIFFERENCE_VERSION, TREND_VERSION = "1.2", "2.0"
DIFFERENCE, TREND = identifier("diff", DIFFERENCE_VERSION), identifier("trend", TREND_VERSION)


class Side(Form, frozen=True, kw_only=True):
    """One of the models."""

    path: str
    sha256: Known


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
        reason: Why both say nothing of what has changed: bounds of the network for other inputs, or that were
            made in other ways.
        distance: What was proven of the norm of the difference of both weights; null where that was not asked
            for, or cannot be said.
        share: The upper end of the distance, relative to the lower end of the old norm.
        no_distance: Why there is no distance, where that was asked for.
    """

    name: Text = field(name="layer")
    before: Text
    kind: str = field(name="change")
    matched: Text
    old: Ends | None
    new: Ends | None
    ratio: Norm
    reason: Text
    distance: Annotated[Ends | None, ADDED] = None
    share: Annotated[Norm, ADDED] = None
    no_distance: Annotated[Text, ADDED] = None


class Gate(Form, frozen=True, kw_only=True):
    """One limit, and what became of it."""

    node: str
    limit: Norm
    outcome: Outcome
    reason: Text


class Difference(Form, frozen=True, kw_only=True):
    """Two audits, and what has changed.

    Attributes:
        schema: What the schema of the document is called.
        changes: The network's, then each layer's; those that were removed come last.
        gates: What became of the limits of --max-increase.
        outcome: How it ends; null where --max-increase was not given.
    """

    schema: Annotated[str, ADDED, Meta(extra_json_schema={"const": DIFFERENCE})] = field(
        name="$schema", default=DIFFERENCE
    )
    schema_version: Annotated[str, Meta(pattern=r"^1\.")]
    tool: Tool
    command: Literal["diff"]
    old: Side
    new: Side
    changes: tuple[Change, ...]
    gates: tuple[Gate, ...]
    outcome: Conclusion | None


class Layer(Form, frozen=True, kw_only=True):
    """A layer of some report.

    Attributes:
        certified_upper: Upper end of its norm, one entry per report; null where it has none.
    """

    name: str
    certified_upper: tuple[Norm, ...]


class Network(Form, frozen=True, kw_only=True):
    """The network.

    Attributes:
        lipschitz_upper: Its bound, one entry per report; null where it has none.
        reason: Why these tell nothing of growth: two of them were made in other ways; null where they do.
    """

    lipschitz_upper: tuple[Norm, ...]
    reason: Text


class Trend(Form, frozen=True, kw_only=True):
    """The same figures in several reports, in the order in which these were given.

    Attributes:
        schema: What the schema of the document is called.
        reports: Their names.
        layers: In the order of their first appearance.
    """

    schema: Annotated[str, Meta(extra_json_schema={"const": TREND})] = field(name="$schema", default=TREND)
    schema_version: Annotated[str, Meta(pattern=r"^2\.")]
    tool: Tool
    command: Literal["report"]
    reports: Texts
    layers: tuple[Layer, ...]
    network: Network


def difference_document(found: report.Difference) -> dict[str, Any]:
    """The JSON object."""
    verdict = found.new.verdict
    form = Difference.of(
        found,
        schema=DIFFERENCE,
        schema_version=DIFFERENCE_VERSION,
        tool=Tool(version=found.version),
        command="diff",
        old=Side.of(found.old.model),
        new=Side.of(found.new.model),
        gates=tuple(map(Gate.of, verdict.gates)) if verdict else (),
        outcome=verdict and report.conclusion(verdict, found.new.findings),
    )
    return members(form)


def trend_document(found: report.Trend) -> dict[str, Any]:
    """The JSON object."""
    form = Trend(
        schema_version=TREND_VERSION,
        tool=Tool(version=__version__),
        command="report",
        reports=found.names,
        layers=tuple(Layer(name=name, certified_upper=figures) for name, figures in found.layers),
        network=Network(lipschitz_upper=found.network, reason=found.reason or None),
    )
    return members(form)
