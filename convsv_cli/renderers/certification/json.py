"""JSON, whose schema is in `renderers/schema/`: fields are only ever added within a major version."""

from __future__ import annotations

from typing import Any

from convsv_cli.renderers.certification import words
from convsv_cli.renderers.certification.curve import points
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Certification

POINTS = 101


def render(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """The document, with keys in a fixed order; what is not finite is null."""
    from convsv_cli.wire import form

    return form.text(document(certification))


def document(certification: Certification) -> dict[str, Any]:
    """As JSON values; `schema/certification-1.schema.json` describes it."""
    from convsv_cli.wire import certification as wire

    curve = [(point.radius, point.share) for point in points(certification, POINTS)]
    return wire.document(certification, curve=curve, reasons=words.reasons(certification))
