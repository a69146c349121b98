r"""Tables 1, 6 and 7 of Singla & Feizi (arXiv 1911.10258) for a ResNet-18.

    python benchmarks/paper_tables.py resnet18-f37072fd.pth
    python benchmarks/paper_tables.py ../shared/models/resnet18-imagenet-bn-folded \
        --alone --page docs/paper.md

The checkpoint has torchvision's names (`layer1.0.conv1.weight` ...), or is a folder of such arrays (.npy);
layers that it lacks are left out. As in the paper, strides are ignored and padding is circular, at the size
of each layer's input for 224x224 images. The paper's columns stand beside those of its own network only: the
figures of any other are printed with `--alone`. The paper's times are its authors', on their machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from convsv_cli.api import load
from convsv_cli.auditing import audit_network
from convsv_cli.errors import ConvsvError
from convsv_cli.model.layer import Layer
from convsv_cli.report import LayerAudit, Measurement, Settings

CLOSE = 0.01
"""Of a figure: the paper's come from single precision, and those of another network are further off."""
FIRST = 6
"""Layers in Table 1."""
HEURISTIC_SECONDS = (0.003, 0.004, 0.003, 0.004, 0.004, 0.007)
"""Of Table 1, which says nothing of the others."""


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


@dataclass(frozen=True, kw_only=True)
class Found:
    """What convsv says of a layer; figures that the paper has, too, have the same names in `Row`."""

    layer: str
    shape: str
    r: float
    s: float
    exact: float
    heuristic: float
    bound: float
    exact_seconds: float
    heuristic_seconds: float
    bound_seconds: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the paper, or a part of one that fits 80 columns: a heading and an attribute per column."""

    title: str
    columns: tuple[tuple[str, str], ...]
    first: int = len(PAPER)


NORMS = (("exact", "exact"), ("heuristic", "heuristic"), ("bound", "bound"))
SECONDS = (("exact", "exact_seconds"), ("bound", "bound_seconds"))
TABLES = (
    Table(title="Table 1: spectral norms of the first layers", columns=NORMS, first=FIRST),
    Table(
        title="Table 1: seconds",
        columns=(SECONDS[0], ("heuristic", "heuristic_seconds"), SECONDS[1]),
        first=FIRST,
    ),
    Table(title="Table 6: sqrt(hw) |R| and sqrt(hw) |S|", columns=(("R", "r"), ("S", "s"))),
    Table(title="Table 7: spectral norms", columns=NORMS),
    Table(title="Table 7: seconds", columns=SECONDS),
)


def measure(source: Path) -> list[Found]:
    """The layers of the tables that the checkpoint or folder holds, each at its own input size.

    Raises:
        ConvsvError: it cannot be read, or holds none of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        network = load(_gathered(source, Path(folder)) if source.is_dir() else source)
        sizes = {row.layer: (row.n, row.n) for row in PAPER}
        layers = tuple(
            replace(layer, input_size=sizes[layer.name])
            for layer in network.layers
            if isinstance(layer, Layer) and layer.name in sizes
        )
        if not layers:
            raise ConvsvError(f"no layer has a name of the paper's network, such as {PAPER[1].layer}")
        audit = audit_network(replace(network, layers=layers), Settings(exact=True, as_stride_1=True))
    by_name = {layer.name: layer for layer in audit.layers}
    return [_found(by_name[row.layer]) for row in PAPER if row.layer in by_name]


def _gathered(source: Path, folder: Path) -> Path:
    """The arrays of a folder as one checkpoint."""
    import numpy as np
    import torch

    paths = {row.layer: source / f"{row.layer}.weight.npy" for row in PAPER}
    arrays = {
        f"{layer}.weight": torch.from_numpy(np.load(path, allow_pickle=False))
        for layer, path in paths.items()
        if path.is_file()
    }
    torch.save(arrays, folder / "gathered.pth")
    return folder / "gathered.pth"


def _found(layer: LayerAudit) -> Found:
    exact, heuristic, bound = (_measured(layer, name) for name in ("exact", "heuristic", "bound"))
    r, s = (dict(bound.parts)[part] for part in ("R", "S"))
    return Found(
        layer=layer.name,
        shape="x".join(map(str, layer.kernel_shape)),
        r=r,
        s=s,
        exact=exact.value,
        heuristic=heuristic.value,
        bound=min(r, s),
        exact_seconds=exact.seconds,
        heuristic_seconds=heuristic.seconds,
        bound_seconds=bound.seconds,
    )


def _measured(layer: LayerAudit, calculator: str) -> Measurement:
    measurement = layer.measurement(calculator)
    if measurement is None:
        raise ConvsvError(f"{layer.name}: {layer.reason or f'no {calculator}'}")
    return measurement


def stranger(found: Sequence[Found]) -> str:
    """Where the network differs from the paper's, in words; empty for the paper's own.

    R, S and the heuristic are exact functions of the kernel: where all agree for all layers, it is the same.
    """
    paper = {row.layer: row for row in PAPER}
    for layer in found:
        for name in ("r", "s", "heuristic"):
            here, there = getattr(layer, name), getattr(paper[layer.layer], name)
            if abs(here - there) > CLOSE * there:
                return f"{name} of {layer.layer} is {here:.3f}, in the paper {there:.3f}"
    return ""


def cells(table: Table, found: Sequence[Found], *, alone: bool) -> Iterator[list[str]]:
    """The heading and the rows; with the paper's column before each of convsv's unless it is `alone`."""
    names = [name if alone else f"{name} {who}" for name, _ in table.columns for who in ("paper", "convsv")]
    yield ["layer", "filter", *(names[::2] if alone else names)]
    paper = {row.layer: row for row in PAPER[: table.first]}
    heuristic = dict(zip(paper, HEURISTIC_SECONDS, strict=False))
    for layer in found:
        if layer.layer not in paper:
            continue
        figures = []
        for _, field in table.columns:
            theirs = getattr(paper[layer.layer], field, heuristic.get(layer.layer))
            figures += [getattr(layer, field)] if alone else [theirs, getattr(layer, field)]
        yield [layer.layer, layer.shape, *(f"{figure:.3f}" for figure in figures)]


def text(table: Table, found: Sequence[Found], *, alone: bool) -> str:
    """For a terminal of 80 columns: two lines of headings, where there are the paper's."""
    heading, *rows = cells(table, found, alone=alone)
    tops = [name.split(" ") for name in heading]
    lines = [[top[0] for top in tops], *([[top[-1] if len(top) > 1 else "" for top in tops]] * (not alone))]
    widths = [max(map(len, column)) for column in zip(*lines, *rows, strict=True)]
    return "\n".join(
        [table.title, *(" ".join(_aligned(line, widths)).rstrip() for line in [*lines, *rows]), ""]
    )


def _aligned(line: list[str], widths: list[int]) -> Iterator[str]:
    for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield cell.ljust(width) if i < 2 else cell.rjust(width)


def markdown(table: Table, found: Sequence[Found], *, alone: bool) -> str:
    """For a page."""
    heading, *rows = cells(table, found, alone=alone)
    marks = ["---", "---", *["---:"] * (len(heading) - 2)]
    return "\n".join(
        [f"## {table.title}", "", *(f"| {' | '.join(line)} |" for line in [heading, marks, *rows]), ""]
    )


def page(found: Sequence[Found], *, alone: bool) -> str:
    """The page of the documentation."""
    which = STRANGER if alone else "They stand beside the paper's own."
    tables = [markdown(table, found, alone=alone) for table in TABLES]
    return (
        "\n".join([PAGE.format(which=which, count=len(found), all=len(PAPER)), *tables]).rstrip("\n") + "\n"
    )


PAGE = """\
# Figures of the paper

`python benchmarks/paper_tables.py resnet18-f37072fd.pth` prints Tables 1, 6 and 7 of Singla & Feizi
([arXiv 1911.10258](https://arxiv.org/abs/1911.10258)) for a checkpoint of torchvision's ResNet-18, with the
paper's figures beside convsv's. As in the paper, strides are ignored and padding is circular, at the size of
each layer's input for images of 224×224; `bound` is the lesser of `R` and `S`. convsv encloses every exact
norm to about ten digits, and its seconds include that proof.

The figures on this page are those of {count} of the {all} layers. {which}
"""
STRANGER = """\
They are not of the paper's network, but of
one whose BatchNorm is folded into its kernels, of which the four largest are missing. So the paper's figures
have no place beside them: the script refuses that. The page was written by
`python benchmarks/paper_tables.py ../shared/models/resnet18-imagenet-bn-folded --alone --page docs/paper.md`.
Seconds are of one thread of a shared AMD EPYC."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="a ResNet-18 with torchvision's names")
    parser.add_argument("--alone", action="store_true", help="convsv's figures only, of any network")
    parser.add_argument("--page", type=Path, help="write them to this page instead")
    given = parser.parse_args(arguments)
    try:
        found = measure(given.checkpoint)
        different = "" if given.alone else stranger(found)
    except (ConvsvError, OSError, ValueError) as error:
        raise SystemExit(f"error: {given.checkpoint}: {error}") from error
    if different:
        raise SystemExit(f"error: {given.checkpoint}: not the paper's network: {different}; see --alone")
    if given.page:
        given.page.write_text(page(found, alone=given.alone), encoding="utf-8")
        return
    sys.stdout.write("\n".join(text(table, found, alone=given.alone) for table in TABLES))
    sys.stdout.write(
        f"\n{len(found)} of the paper's {len(PAPER)} layers; strides ignored, circular padding.\n"
    )


if __name__ == "__main__":
    main()
