"""Tables 6 and 7 of Singla & Feizi (arXiv 1911.10258) beside convsv's figures for a ResNet-18 state dict.

    python benchmarks/paper_tables.py resnet18-f37072fd.pth

The checkpoint has torchvision's names (`layer1.0.conv1.weight` ...); layers that it lacks are left out. As in
the paper, strides are ignored and padding is circular, at the size of each layer's input for 224x224 images.
The paper's times are its authors', on their machine.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from convsv_cli.api import load
from convsv_cli.auditing import audit_network
from convsv_cli.model.layer import Layer
from convsv_cli.report import LayerAudit, Measurement, Settings


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the paper prints about one layer; `n` is the size of the layer's input.

    Table 7's bound is the lesser of Table 6's two, except for layer2.0.conv2: 7.284 there, 7.384 in Table 6.
    """

    layer: str
    n: int
    r: float
    s: float
    exact: float
    heuristic: float
    bound: float
    exact_seconds: float
    bound_seconds: float


def _row(layer: str, n: int, *figures: float) -> Row:
    names = ("r", "s", "exact", "heuristic", "bound", "exact_seconds", "bound_seconds")
    return Row(layer=layer, n=n, **dict(zip(names, figures, strict=True)))


PAPER = (
    _row("conv1", 224, 47.292, 46.373, 15.917, 4.128, 46.373, 3.166, 0.280),
    _row("layer1.0.conv1", 56, 9.545, 9.612, 6.006, 3.109, 9.545, 75.481, 0.007),
    _row("layer1.0.conv2", 56, 6.571, 6.296, 5.341, 2.163, 6.296, 80.777, 0.008),
    _row("layer1.1.conv1", 56, 8.921, 8.712, 6.999, 2.934, 8.712, 80.213, 0.008),
    _row("layer1.1.conv2", 56, 5.402, 5.520, 3.816, 1.937, 5.402, 81.744, 0.008),
    _row("layer2.0.conv1", 56, 6.994, 6.923, 4.706, 1.978, 6.923, 30.634, 0.010),
    _row("layer2.0.conv2", 28, 7.447, 7.384, 5.722, 2.405, 7.284, 71.551, 0.027),
    _row("layer2.1.conv1", 28, 6.779, 7.180, 4.410, 2.282, 6.779, 72.608, 0.026),
    _row("layer2.1.conv2", 28, 7.571, 7.716, 4.885, 2.965, 7.571, 72.885, 0.026),
    _row("layer3.0.conv1", 28, 8.580, 8.454, 7.395, 2.890, 8.454, 28.750, 0.043),
    _row("layer3.0.conv2", 14, 8.195, 8.067, 6.583, 2.679, 8.067, 68.778, 0.154),
    _row("layer3.1.conv1", 14, 8.062, 8.127, 6.361, 2.524, 8.062, 69.220, 0.151),
    _row("layer3.1.conv2", 14, 9.910, 9.757, 7.677, 3.658, 9.757, 68.673, 0.151),
    _row("layer4.0.conv1", 14, 11.238, 11.003, 9.991, 3.834, 11.003, 32.103, 0.287),
    _row("layer4.0.conv2", 7, 10.979, 10.653, 9.094, 3.970, 10.653, 89.484, 0.988),
    _row("layer4.1.conv1", 7, 20.218, 19.903, 17.600, 7.304, 19.903, 89.129, 0.938),
    _row("layer4.1.conv2", 7, 7.834, 7.990, 7.479, 2.752, 7.834, 90.017, 0.972),
)
"""In the tables' order, which is that of the layers."""


def measure(checkpoint: Path) -> dict[str, LayerAudit]:
    """The layers of the tables that the checkpoint holds, by name, each at its own input size."""
    network = load(checkpoint)
    sizes = {row.layer: (row.n, row.n) for row in PAPER}
    layers = tuple(
        replace(layer, input_size=sizes[layer.name])
        for layer in network.layers
        if isinstance(layer, Layer) and layer.name in sizes
    )
    if not layers:
        raise SystemExit(f"{checkpoint}: no layer has one of the names {', '.join(sizes)}")
    result = audit_network(replace(network, layers=layers), Settings(exact=True, as_stride_1=True))
    return {layer.name: layer for layer in result.layers}


def table_6(measured: dict[str, LayerAudit]) -> Table:
    """The two bounds of Theorem 1."""
    table = _table("Table 6: sqrt(hw) |R| and sqrt(hw) |S|", "R paper", "R convsv", "S paper", "S convsv")
    for row, layer in _pairs(measured):
        parts = dict(_figure(layer, "bound").parts)
        _add(table, layer, row.r, parts["R"], row.s, parts["S"])
    return table


def table_7(measured: dict[str, LayerAudit]) -> Table:
    """Exact norm, heuristic, and the lesser of R and S, with seconds."""
    columns = [f"{name} {who}" for name in ("exact", "heuristic", "bound") for who in ("paper", "convsv")]
    seconds = [f"{name} s {who}" for name in ("exact", "bound") for who in ("paper", "convsv")]
    table = _table("Table 7: exact norm, heuristic and bound", *columns, *seconds)
    for row, layer in _pairs(measured):
        exact, heuristic, bound = (_figure(layer, name) for name in ("exact", "heuristic", "bound"))
        least = min(dict(bound.parts)[part] for part in ("R", "S"))
        pairs = ((row.exact, exact.value), (row.heuristic, heuristic.value), (row.bound, least))
        times = ((row.exact_seconds, exact.seconds), (row.bound_seconds, bound.seconds))
        _add(table, layer, *(figure for pair in (*pairs, *times) for figure in pair))
    return table


def _pairs(measured: dict[str, LayerAudit]) -> list[tuple[Row, LayerAudit]]:
    return [(row, measured[row.layer]) for row in PAPER if row.layer in measured]


def _figure(layer: LayerAudit, calculator: str) -> Measurement:
    measurement = layer.measurement(calculator)
    if measurement is None:
        raise SystemExit(f"{layer.name}: {layer.reason or f'no {calculator}'}")
    return measurement


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("layer")
    table.add_column("filter shape")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _add(table: Table, layer: LayerAudit, *figures: float) -> None:
    shape = "x".join(map(str, layer.kernel_shape))
    table.add_row(layer.name, shape, *(f"{figure:.3f}" for figure in figures))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="a ResNet-18 state dict with torchvision's names")
    measured = measure(parser.parse_args().checkpoint)
    console = Console(width=200)
    for table in (table_6(measured), table_7(measured)):
        console.print(table, "")
    console.print(f"{len(measured)} of the paper's {len(PAPER)} layers; strides ignored, circular padding.")


if __name__ == "__main__":
    main()
