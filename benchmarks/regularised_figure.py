"""Figure 2 of the paper as an SVG: sums of bounds and of exact norms over beta."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.regularised_points import Point

WIDTH, HEIGHT, MARGIN = 560, 300, 48
COLOURS = {"bounds": "#2a6fbb", "exact norms": "#c2571a"}

BESIDE = {"bounds": -7, "exact norms": 16}
"""Where values are written: above the upper line, below the lower one."""


def figure(points: Sequence[Point]) -> str:
    """Two lines over betas that stand at equal distances, each point with its value."""
    sums = {
        "bounds": [sum(point.bounds) for point in points],
        "exact norms": [sum(point.exacts) for point in points],
    }
    top = max(map(max, sums.values()))
    xs = [MARGIN + (WIDTH - 2 * MARGIN) * i / max(1, len(points) - 1) for i in range(len(points))]
    base = HEIGHT - MARGIN
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _line([(xs[0], base), (xs[-1], base)], "#999"),
    ]
    parts += [_text(x, base + 18, f"{point.beta:g}") for x, point in zip(xs, points, strict=True)]
    parts.append(_text(WIDTH / 2, HEIGHT - 8, "beta"))
    for number, (name, values) in enumerate(sums.items()):
        dots = [(x, base - (base - MARGIN) * value / top) for x, value in zip(xs, values, strict=True)]
        parts.append(_line(dots, COLOURS[name]))
        parts += [
            _text(x, y + BESIDE[name], f"{value:.1f}", COLOURS[name])
            for (x, y), value in zip(dots, values, strict=True)
        ]
        parts.append(_text(WIDTH * (number + 1) / 3, 18, f"sum of {name}", COLOURS[name]))
    style = 'font-family="sans-serif" font-size="12" text-anchor="middle"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _line(dots: Sequence[tuple[float, float]], colour: str) -> str:
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    return f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{text}</text>'
