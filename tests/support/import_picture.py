"""Which part of the package imports which, as a picture: `python -m tests.support.import_picture --write`.

A row for each folder and module right below the package, in the order of the layers of pyproject.toml; a cell
says how many modules of the row import from the column. As imports lead downwards, all of them are right of
the diagonal.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "imports.svg"
CELL, LEFT, TOP = 26, 150, 110
PAPER, INK, LINE, SHADE = "#ffffff", "#1f2328", "#d8dee4", "#0b57a4"

Counts = dict[tuple[str, str], int]


def parts() -> list[str]:
    """Below the package, from the top layer down, as import-linter has them, which leaves out none."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [f"convsv_cli.{name.strip()}" for layer in layers for name in layer.split("|")]


def imports(graph: grimp.ImportGraph, names: list[str]) -> Counts:
    """How many modules of the first part import something of the second."""
    homes = {module: name for name in names for module in {name} | graph.find_descendants(name)}
    pairs = {
        (module, homes[imported])
        for module, home in homes.items()
        for imported in graph.find_modules_directly_imported_by(module)
        if imported in homes and homes[imported] != home
    }
    counts: Counts = {}
    for module, imported in sorted(pairs):
        pair = (homes[module], imported)
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def drawn(names: list[str], counts: Counts) -> str:
    """The picture, an SVG."""
    width, height = LEFT + CELL * len(names) + 64, TOP + CELL * len(names) + 16
    labels = [name.removeprefix("convsv_cli.") for name in names]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
        '<g font-family="system-ui, sans-serif" font-size="12">',
        "<title>How many modules of each row import from each column</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>',
    ]
    for i, label in enumerate(labels):
        x, y = LEFT + CELL * i, TOP + CELL * i
        lines += [
            f'<path d="M{LEFT} {y}h{CELL * len(names)}M{x} {TOP}v{CELL * len(names)}" stroke="{LINE}"/>',
            f'<text x="{LEFT - 8}" y="{y + 17}" text-anchor="end" fill="{INK}">{escape(label)}</text>',
            f'<text transform="translate({x + 17} {TOP - 8})rotate(-55)" fill="{INK}">{escape(label)}</text>',
            f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="{LINE}"/>',
        ]
    for (importer, imported), count in counts.items():
        x, y = LEFT + CELL * names.index(imported), TOP + CELL * names.index(importer)
        shade, ink = min(0.15 + count / 15, 1.0), PAPER if count > 5 else INK
        lines += [
            f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="{SHADE}" opacity="{shade:.2f}"/>',
            f'<text x="{x + CELL // 2}" y="{y + 17}" text-anchor="middle" fill="{ink}">{count}</text>',
        ]
    return "\n".join([*lines, "</g></svg>", ""])


def picture() -> str:
    """Of the package as it is."""
    graph = grimp.build_graph("convsv_cli", cache_dir=None)
    names = parts()
    return drawn(names, imports(graph, names))


if __name__ == "__main__":
    if "--write" in sys.argv:
        PICTURE.write_text(picture(), encoding="utf-8")
    else:
        sys.stdout.write(picture())
