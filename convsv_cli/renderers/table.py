"""The table for people: every layer, what each column proves, and what was taken for granted."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING

from convsv_cli.renderers.numbers import figure
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import AUDITED, EXACT, UPPER, Audit, LayerAudit, Method
from convsv_cli.sanitize import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

WIDE = 10_000
"""Columns where there is no terminal: nothing is ever cut."""


def render(audit: Audit, terminal: Terminal) -> str:
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
    methods = [m for m in audit.methods if any(layer.measurement(m.name) for layer in audit.layers)]
    parts: list[RenderableType] = [_title(audit), _table(audit, methods), *_products(audit, methods)]
    for part in [*parts, "", *_remarks(audit), *_legend(methods)]:
        console.print(part, soft_wrap=terminal.width is None)
    text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _title(audit: Audit) -> str:
    model = audit.model
    opset = f" opset {model.opset}" if model.opset is not None else ""
    inputs = [f"{printable(name)} {_times(shape)}" for name, shape in model.input_shape]
    covered = f"{audit.audited} of {len(audit.layers)} weight layers audited"
    return " · ".join([printable(model.path), f"{model.format}{opset}", *inputs, covered])


def _table(audit: Audit, methods: list[Method]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("layer", "op", "kernel"):
        table.add_column(name, overflow="fold")
    for name in ("stride", "n", *(method.name for method in methods)):
        table.add_column(name, justify="right", no_wrap=True)
    if _both(methods):
        table.add_column("bound/exact", justify="right", no_wrap=True)
    largest = _largest(audit)
    for layer in audit.layers:
        style = "bold yellow" if layer.name == largest else "red" if layer.status != AUDITED else ""
        table.add_row(*_cells(layer, methods), style=style)
    return table


def _cells(layer: LayerAudit, methods: list[Method]) -> list[str]:
    kernel = _times(layer.kernel_shape)
    groups = f" groups {layer.groups}" if layer.groups > 1 else ""
    dilation = f" dilation {_size(layer.dilation)}" if set(layer.dilation) - {1} else ""
    cells = [printable(layer.name), layer.op, kernel + groups + dilation]
    if layer.status != AUDITED:
        return [*cells, "", "", layer.status]
    cells += [_size(layer.stride), _size(layer.input_size or ())]
    measured = [(method, layer.measurement(method.name)) for method in methods]
    cells += [figure(m.value, method.kind) if m else "" for method, m in measured]
    values = {method.kind: m.value for method, m in measured if m}
    if _both(methods):
        exact = values.get(EXACT)
        cells.append(f"{values[UPPER] / exact:.2f}" if exact else "")
    return cells


def _both(methods: list[Method]) -> bool:
    return {EXACT, UPPER} <= {method.kind for method in methods}


def _largest(audit: Audit) -> str:
    """The name of the layer with the largest exact norm, or else the largest bound."""
    for kind in (EXACT, UPPER):
        for method in audit.methods:
            measured = [
                (m.value, layer.name) for layer in audit.layers if (m := layer.measurement(method.name))
            ]
            if method.kind == kind and measured:
                return max(measured)[1]
    return ""


def _products(audit: Audit, methods: list[Method]) -> list[str]:
    products = dict(audit.network.product)
    figures = [
        f"{m.name} {figure(products[m.name], m.kind)}" for m in methods if products[m.name] is not None
    ]
    if not figures:
        return []
    largest = printable(_largest(audit))
    return [
        f"product of layer norms: {', '.join(figures)}",
        "  not a bound of the network: it ignores skips, normalisation and pooling",
        f"largest layer: {largest}",
    ]


def _remarks(audit: Audit) -> list[str]:
    """Layers without figures, and each assumption with the number of layers it was made for."""
    skipped = [
        f"not audited: {printable(layer.name)}: {printable(layer.reason)}"
        for layer in audit.layers
        if layer.status != AUDITED
    ]
    others = [f"note: {printable(f.message)}" for f in audit.findings if not f.node]
    unavailable = [f for f in audit.findings if f.rule == "exact-unavailable"]
    missing = [f"{printable(f.node)}: {printable(f.message)}" for f in unavailable]
    counts = Counter(line for layer in audit.layers for line in layer.assumed)
    assumed = [f"assumed: {printable(line)} ({_layers(count)})" for line, count in counts.items()]
    return [*skipped, *missing, *assumed, *others]


def _legend(methods: list[Method]) -> list[str]:
    width = max((len(method.name) for method in methods), default=0)
    return [f"{method.name:{width}}  {method.proves}" for method in methods]


def _times(sizes: tuple[int | str, ...]) -> str:
    return "×".join(printable(str(size)) for size in sizes)


def _size(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else _times(sizes)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


RENDERER = Renderer(name="table", suffixes=(".txt",), render=render)
