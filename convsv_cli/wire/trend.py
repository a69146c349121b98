"""Documents of `report` about several reports, version 1.0: no reports that could be read back."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from convsv_cli import report
from convsv_cli.version import __version__
from convsv_cli.wire.form import Form, Norm, Texts, Tool, members

VERSION = "1.0"


class Layer(Form, frozen=True, kw_only=True):
    """A layer of some report.

    Attributes:
        certified_upper: Upper end of its norm, an entry a report; null where that has none.
    """

    name: str
    certified_upper: tuple[Norm, ...]


class Network(Form, frozen=True, kw_only=True):
    """The network.

    Attributes:
        lipschitz_upper: Its bound, an entry a report; null where that has none.
    """

    lipschitz_upper: tuple[Norm, ...]


class Trend(Form, frozen=True, kw_only=True):
    """The same figures in several reports, in the order in which these were given.

    Attributes:
        reports: Their names.
        layers: In the order of their first appearance.
    """

    trend_version: Annotated[str, Meta(pattern=r"^1\.")]
    tool: Tool
    reports: Texts
    layers: tuple[Layer, ...]
    network: Network


def document(found: report.Trend) -> dict[str, Any]:
    """The JSON object."""
    form = Trend(
        trend_version=VERSION,
        tool=Tool(version=__version__),
        reports=found.names,
        layers=tuple(Layer(name=name, certified_upper=figures) for name, figures in found.layers),
        network=Network(lipschitz_upper=found.network),
    )
    return members(form)
