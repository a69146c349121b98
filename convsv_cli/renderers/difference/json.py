"""JSON, whose schema is in `renderers/schema/`: fields are only ever added within a major version."""

from __future__ import annotations

from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Difference


def render(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """The document, with keys in a fixed order; what is not finite is null."""
    from convsv_cli.wire import difference as wire
    from convsv_cli.wire import form

    return form.text(wire.document(difference))
