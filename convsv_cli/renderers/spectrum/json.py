"""JSON, whose schema is in `renderers/schema/`: fields are only ever added within a major version."""

from __future__ import annotations

from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Spectra


def render(spectra: Spectra, terminal: Terminal) -> str:  # noqa: ARG001
    """The document, with keys in a fixed order; what is not finite is null."""
    from convsv_cli.wire import form
    from convsv_cli.wire import spectra as wire

    return form.text(wire.document(spectra))
