"""The columns of a table of layers, as text."""

from __future__ import annotations

from convsv_cli.renderers.coverage_text import status
from convsv_cli.renderers.numbers import figure
from convsv_cli.report import AUDITED, EXACT, UPPER, Audit, LayerAudit, Method
from convsv_cli.sanitize import printable

TEXTS = ("layer", "op", "kernel")
"""Columns that are read from the left."""


def methods_of(audit: Audit) -> list[Method]:
    """The methods that ran and have a column."""
    ran = {name for layer in audit.layers for name, _ in layer.measurements}
    return [method for method in audit.methods if method.column and method.name in ran]


def columns(audit: Audit) -> dict[str, list[str]]:
    """Each column's cells, from left to right; a layer that was not audited says so below `bound`."""
    layers, methods = audit.layers, methods_of(audit)
    cells = {
        "layer": [printable(layer.name) for layer in layers],
        "op": [printable(layer.op) for layer in layers],
        "kernel": [_kernel(layer) for layer in layers],
        "stride": [size(layer.stride) for layer in layers],
        "n": [size(layer.input_size or ()) for layer in layers],
    }
    for method in methods:
        cells[method.column] = [_figure(layer, method) for layer in layers]
    exact, upper = (next((m for m in methods if m.kind == kind), None) for kind in (EXACT, UPPER))
    if exact and upper:
        cells[f"{upper.column}/{exact.column}"] = [_ratio(layer, upper, exact) for layer in layers]
    return cells


def times(sizes: tuple[int | str, ...]) -> str:
    """3×224×224."""
    return "×".join(printable(str(size)) for size in sizes)


def size(sizes: tuple[int, ...]) -> str:
    """One number where all are alike."""
    return str(sizes[0]) if len(set(sizes)) == 1 else times(sizes)


def _kernel(layer: LayerAudit) -> str:
    groups = f" groups {layer.groups}" if layer.groups > 1 else ""
    dilation = f" dilation {size(layer.dilation)}" if set(layer.dilation) - {1} else ""
    return times(layer.kernel_shape) + groups + dilation


def _figure(layer: LayerAudit, method: Method) -> str:
    if layer.status != AUDITED:
        return status(layer) if method.kind == UPPER else ""
    measurement = layer.measurement(method.name)
    return figure(measurement.value, method.kind) if measurement else ""


def _ratio(layer: LayerAudit, above: Method, below: Method) -> str:
    upper, lower = layer.measurement(above.name), layer.measurement(below.name)
    return f"{upper.value / lower.value:.2f}" if upper and lower and lower.value else ""
