"""JSON, whose schema is in `schema/`: fields are only ever added within a major version."""

from __future__ import annotations

from typing import Any

from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import Report


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """The document, with keys in a fixed order; what is not finite is null."""
    from convsv_cli.wire import form

    return form.text(document(report))


def document(report: Report) -> dict[str, Any]:
    """The report as JSON values; `schema/audit-1.schema.json` describes it."""
    from convsv_cli.wire import audit

    return audit.document(report)


RENDERER = Renderer(name="json", suffixes=(".json",), render=render)
