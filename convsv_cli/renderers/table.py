"""The table for people: every layer, what each column proves, and what was taken for granted."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING

from convsv_cli.renderers.network_text import blocks_table, bound_lines
from convsv_cli.renderers.numbers import figure
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import AUDITED, EXACT, UPPER, Audit, LayerAudit, Method, Report
from convsv_cli.sanitize import inert

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

WIDE = 10_000
"""Columns where there is no terminal: nothing is ever cut."""
TEXTS = ("layer", "op", "kernel")
EXPENDABLE = ("op", "bound/exact", "kernel", "heuristic", "stride", "n")
"""Columns that a narrow terminal goes without, the first ones first."""


def render(report: Report, terminal: Terminal) -> str:
    """Each audit in turn, and the models that could not be audited.

    Texts from the files are made inert here, and only here.
    """
    report = inert(report)
    failures = [f"failed: {failure.message}\n" for failure in report.failures]
    return "\n".join([*(_audit(audit, terminal) for audit in report.audits), *failures])


def _audit(audit: Audit, terminal: Terminal) -> str:
    """Title, table, products, remarks and legend."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        width=terminal.width or WIDE,
        force_terminal=terminal.color,
        color_system="standard" if terminal.color else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    ran = [m for m in audit.methods if any(layer.measurement(m.name) for layer in audit.layers)]
    methods = [method for method in ran if method.column]
    parts: list[RenderableType] = [
        _title(audit),
        "",
        _table(audit, methods, terminal.width),
        "",
        *bound_lines(audit),
        *_largest_line(audit),
    ]
    if terminal.explain and audit.bound.blocks:
        parts += ["", blocks_table(audit.bound.blocks)]
    remarks = _remarks(audit)
    for part in [*parts, *(["", *remarks] if remarks else []), "", *_legend(methods)]:
        console.print(part, soft_wrap=terminal.width is None)
    text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _title(audit: Audit) -> str:
    model = audit.model
    opset = f" opset {model.opset}" if model.opset is not None else ""
    inputs = [f"{name} {_times(shape) or 'scalar'}" for name, shape in model.input_shape]
    covered = f"{audit.audited} of {len(audit.layers)} weight layers audited"
    return " · ".join([model.path, f"{model.format}{opset}", *inputs, covered])


def _table(audit: Audit, methods: list[Method], width: int | None) -> Table:
    """All columns; those that fit where there is a terminal, which is never answered by cutting names."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    columns = _columns(audit, methods)
    for name in EXPENDABLE:
        if width is None or _width(columns) <= width:
            break
        columns.pop(name, None)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in TEXTS else "right", overflow="fold")
    largest = _largest(audit)
    for layer, *cells in zip(audit.layers, *columns.values(), strict=True):
        style = "bold yellow" if layer.name == largest else "red" if layer.status != AUDITED else ""
        table.add_row(*cells, style=style)
    return table


def _columns(audit: Audit, methods: list[Method]) -> dict[str, list[str]]:
    """Each column's cells, from left to right; a layer that was not audited says so below `bound`."""
    layers = audit.layers
    columns = {
        "layer": [layer.name for layer in layers],
        "op": [layer.op for layer in layers],
        "kernel": [_kernel(layer) for layer in layers],
        "stride": [_size(layer.stride) for layer in layers],
        "n": [_size(layer.input_size or ()) for layer in layers],
    }
    for method in methods:
        columns[method.column] = [_figure(layer, method) for layer in layers]
    exact, upper = (next((m for m in methods if m.kind == kind), None) for kind in (EXACT, UPPER))
    if exact and upper:
        columns[f"{upper.column}/{exact.column}"] = [_ratio(layer, upper, exact) for layer in layers]
    return columns


def _width(columns: dict[str, list[str]]) -> int:
    return sum(max(map(len, [name, *cells])) + 2 for name, cells in columns.items()) - 2


def _kernel(layer: LayerAudit) -> str:
    groups = f" groups {layer.groups}" if layer.groups > 1 else ""
    dilation = f" dilation {_size(layer.dilation)}" if set(layer.dilation) - {1} else ""
    return _times(layer.kernel_shape) + groups + dilation


def _figure(layer: LayerAudit, method: Method) -> str:
    if layer.status != AUDITED:
        return layer.status if method.kind == UPPER else ""
    measurement = layer.measurement(method.name)
    return figure(measurement.value, method.kind) if measurement else ""


def _ratio(layer: LayerAudit, above: Method, below: Method) -> str:
    upper, lower = layer.measurement(above.name), layer.measurement(below.name)
    return f"{upper.value / lower.value:.2f}" if upper and lower and lower.value else ""


def _largest(audit: Audit) -> str:
    """The name of the layer with the largest exact norm, or the largest bound where one has no exact norm."""
    for kind in (EXACT, UPPER):
        for method in audit.methods:
            measured = [
                (m.value, layer.name) for layer in audit.layers if (m := layer.measurement(method.name))
            ]
            if method.kind == kind and measured and len(measured) == audit.audited:
                return max(measured)[1]
    return ""


def _largest_line(audit: Audit) -> list[str]:
    name = _largest(audit)
    return [f"largest layer: {name}"] if name else []


def _remarks(audit: Audit) -> list[str]:
    """Layers without figures, and each assumption with the number of layers it was made for."""
    skipped = [
        f"not audited: {layer.name}: {layer.reason}" for layer in audit.layers if layer.status != AUDITED
    ]
    others = [f"note: {f.message}" for f in audit.findings if not f.node]
    stopped = [f"{f.node}: {f.message}" for f in audit.findings if f.rule == "work-limit"]
    unavailable = [f for f in audit.findings if f.rule == "exact-unavailable"]
    missing = [f"{f.node}: {f.message}" for f in unavailable]
    counts = Counter(line for layer in audit.layers for line in layer.assumed)
    assumed = [f"assumed: {line} ({_layers(count)})" for line, count in counts.items()]
    return [*skipped, *missing, *stopped, *assumed, *others]


def _legend(methods: list[Method]) -> list[str]:
    width = max((len(method.column) for method in methods), default=0)
    return [f"{method.column:{width}}  {method.proves}" for method in methods]


def _times(sizes: tuple[int | str, ...]) -> str:
    return "×".join(str(size) for size in sizes)


def _size(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else _times(sizes)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


RENDERER = Renderer(name="table", suffixes=(".txt",), render=render)
