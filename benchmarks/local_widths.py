"""What local certificates cost as networks grow: CPU seconds per sample at four widths.

    python benchmarks/local_widths.py [--samples N] [--svg FILE] [--json FILE]

The network of `local_plain.py` with 8 to 64 filters in its first convolution, trained for a few epochs. At
the smaller radius most samples are certified after few steps of the search; at the larger one there is
nothing to certify, so that each sample takes all steps of it. The bound of the network, which is found once
for all samples, is not counted.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import local_plain  # noqa: E402
from benchmarks.local_measuring import Row, finish, one_thread, show, timed  # noqa: E402

FILTERS, EPOCHS, RADII = (8, 16, 32, 64), 4, (0.3, 2.0)
WIDTH, HEIGHT, MARGIN = 480, 320, 56
COLOURS = ("#2a6fbb", "#c2571a")
SMALL = 1e-3


def neurons(filters: int) -> int:
    """Activations of the network of `local_plain.py`."""
    return filters * 14 * 14 + 2 * filters * 7 * 7 + 100


def measured(filters: int, folder: Path, shared: Path, count: int) -> Row:
    """Neurons, and of each radius the samples that are certified and the seconds per sample.

    Args:
        filters: of the first convolution.
        folder: where the network and the samples are written.
        shared: where MNIST is.
        count: of the samples.
    """
    import torch

    from benchmarks import local_crown
    from convsv_cli.local import NORMAL, margins

    local_plain.made(folder, shared, count, filters=filters, epochs=EPOCHS)
    problem = local_crown.problem_of(folder / local_plain.NETWORK, folder / local_plain.DIGITS, count)
    row: dict[str, float | int | str] = {"neurons": neurons(filters)}
    for radius in RADII:
        ball = torch.full((len(problem.x),), radius, dtype=torch.float64)
        found, seconds = timed(lambda ball=ball: margins(problem, ball, NORMAL))  # type: ignore[misc]
        row[f"certified at {radius:g}"] = int((found > 0).sum())
        row[f"s/sample at {radius:g}"] = seconds / len(problem.x)
    return row


def exponent(rows: Sequence[Row], column: str) -> float:
    """The slope of the line through the logarithms of seconds over those of neurons (least squares)."""
    xs, ys = ([math.log(row[name]) for row in rows] for name in ("neurons", column))
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def figure(rows: Sequence[Row]) -> str:
    """Seconds over neurons, both on logarithmic axes, as SVG: a line for each radius."""
    columns = [f"s/sample at {radius:g}" for radius in RADII]
    xs = [math.log(row["neurons"]) for row in rows]
    ys = {name: [math.log(max(row[name], SMALL)) for row in rows] for name in columns}
    low, high = min(map(min, ys.values())), max(map(max, ys.values()))
    base = HEIGHT - MARGIN

    def at(x: float, y: float) -> tuple[float, float]:
        across = (WIDTH - 2 * MARGIN) * (x - xs[0]) / (xs[-1] - xs[0])
        return MARGIN + across, base - (base - MARGIN) * (y - low) / (high - low)

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    parts.append(_line([(MARGIN, base + 12), (WIDTH - MARGIN, base + 12)], "#999"))
    parts += [_text(at(x, low)[0], base + 28, f"{row['neurons']:,}") for x, row in zip(xs, rows, strict=True)]
    parts.append(_text(WIDTH / 2, HEIGHT - 8, "neurons"))
    for number, (name, radius) in enumerate(zip(columns, RADII, strict=True)):
        dots, colour = [at(x, y) for x, y in zip(xs, ys[name], strict=True)], COLOURS[number]
        parts.append(_line(dots, colour))
        parts += [
            _text(x, y - 8, f"{row[name]:.2g} s", colour) for (x, y), row in zip(dots, rows, strict=True)
        ]
        title = f"radius {radius:g}: neurons to the power of {exponent(rows, name):.2f}"
        parts.append(_text(WIDTH / 2, 18 + 18 * number, title, colour))
    style = 'font-family="sans-serif" font-size="12" text-anchor="middle"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _line(dots: Sequence[tuple[float, float]], colour: str) -> str:
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    return f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{text}</text>'


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(os.environ.get("CONVSV_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder of the data")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--filters", help="of the first convolution, with commas between")
    parser.add_argument("--svg", type=Path, help="where the figure goes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    one_thread()
    filters = [int(each) for each in arguments.filters.split(",")] if arguments.filters else FILTERS
    rows: list[Row] = []
    for each in filters:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(each, Path(folder), arguments.shared, arguments.samples))
        show(rows[-1], head=len(rows) == 1)
    for radius in RADII:
        slope = exponent(rows, f"s/sample at {radius:g}")
        print(f"at {radius:g}: seconds grow as neurons to the power of {slope:.2f}")
    if arguments.svg:
        arguments.svg.write_text(figure(rows), encoding="utf-8")
    finish(rows, arguments.json)


if __name__ == "__main__":
    main()
