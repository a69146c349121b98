"""JSON, whose schemas are in `schema/`: fields are only ever added within a major version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import Clipping, Difference, Methods, Report, Spectra, Sweep, Trend

Result = Report | Trend | Difference | Methods | Spectra | Sweep | Clipping


def render(result: Result, terminal: Terminal) -> str:  # noqa: ARG001
    """The document, with keys in a fixed order; what is not finite is null."""
    from convsv_cli.wire import form

    return form.text(document(result))


def document(result: Result) -> dict[str, Any]:
    """The result as JSON values; the schema of its command in `schema/` describes it."""
    from convsv_cli.wire import audit, clipping, comparison, methods, spectra, sweep

    documents: dict[type[Result], Callable[[Any], dict[str, Any]]] = {
        Report: audit.document,
        Trend: comparison.trend_document,
        Difference: comparison.difference_document,
        Methods: methods.document,
        Spectra: spectra.document,
        Sweep: sweep.document,
        Clipping: clipping.document,
    }
    return documents[type(result)](result)


RENDERER = Renderer(name="json", suffixes=(".json",), render=render)
