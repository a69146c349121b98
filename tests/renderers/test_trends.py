"""Charts over steps: where figures are drawn, in which order, and what is said of limits."""

from __future__ import annotations

import io
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from lxml import etree
from PIL import Image

from convsv_cli.comparison import in_order, side_by_side, trend
from convsv_cli.errors import UsageError
from convsv_cli.renderers import pixels
from convsv_cli.renderers.html.course import courses_of, headline_of_trend, laid_out, steps_of
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.renderers.trends import TRENDS
from convsv_cli.report import IGNORED, Report, Trend, Verdict
from tests.support.documents import AUDIT, GATES, JUDGED
from tests.support.html_reports import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"


def of(figures, limits=None, names=None):
    """A trend of one layer and no network."""
    none = (None,) * len(figures)
    names = names or tuple(f"e{step}.json" for step in range(1, len(figures) + 1))
    return Trend(
        names=names,
        layers=(("a", figures),),
        network=none,
        limits=(limits or none,),
        network_limits=none,
    )


def course(found):
    return courses_of(found, steps_of(found.names))[1][0]


def test_numbers_in_names_are_numbers():
    names = ["run10/e1", "run2/e10", "run2/e9", "best", "run2/e9b"]
    ordered = [name for name, _ in in_order([(name, None) for name in names])]
    assert ordered == ["best", "run2/e9", "run2/e9b", "run2/e10", "run10/e1"]
    report = Report(command="audit", audits=(AUDIT,))
    _, epochs = side_by_side([("e10.json", report), ("e2.json", report), ("e1.json", report)])
    assert epochs.names == ("e1.json", "e2.json", "e10.json")
    _, others = side_by_side([("new.json", report), ("main.json", report)])
    assert others.names == ("new.json", "main.json"), "which is as they were given"


def test_steps_are_as_far_apart_as_their_numbers():
    steps = steps_of(["run1/epoch1.pt", "run1/epoch3.pt", "run1/epoch11.pt"])
    assert steps.labels == ("1", "3", "11")
    first, second, last = steps.places
    assert (second - first) / (last - first) == pytest.approx(2 / 10, abs=1e-3)
    words = steps_of(["main.json", "fix.json", "a-name-that-is-long.json"])
    assert words.labels == ("main", "fix", "3")
    assert words.places[1] == pytest.approx(50)
    assert steps_of(["only.json"]).places == (50.0,)
    assert [tick.label for tick in steps_of([f"e{i}" for i in range(100)]).ticks] == [
        str(i) for i in range(0, 100, 13)
    ]


def test_a_figure_is_where_the_logarithm_says():
    drawn = course(of((1.0, 10.0, None, 100.0)))
    numbers = [tuple(map(float, pair)) for pair in re.findall(r"[ML]([0-9.]+) ([0-9.]+)", drawn.line)]
    assert [command for command in drawn.line if command in "ML"] == ["M", "L", "M"], "a gap stays one"
    (_, one), (_, ten), (_, hundred) = numbers
    assert one - ten == pytest.approx(ten - hundred, abs=0.02)
    assert (drawn.first, drawn.last, drawn.largest, drawn.grown) == (1.0, 100.0, 100.0, 100.0)
    assert [stop.words for stop in drawn.stops][1] == "e2.json: certified ≤ 10.0"
    wide, narrow = courses_of(
        Trend(
            names=("a", "b"),
            layers=(("wide", (1.0, 1000.0)), ("narrow", (2.0, 4.0))),
            network=(None, None),
        ),
        steps_of(["a", "b"]),
    )[1]
    assert wide.scale.high - wide.scale.low == pytest.approx(narrow.scale.high - narrow.scale.low)


def test_where_a_limit_is_crossed_is_said():
    drawn = course(of((3.0, 4.0, 4.5, 4.2), (4.0, 4.0, 4.0, None)))
    assert (drawn.crossed, drawn.above) == ("3", False)
    assert [stop.exceeds for stop in drawn.stops] == [False, False, True, False]
    assert drawn.stops[2].words.endswith("certified ≤ 4.5, above its limit of 4")
    late = of((3.0, 5.0), (4.0, 4.0))
    assert "above its limit at the last step: a" in headline_of_trend(late, [course(late)]).text


def test_limits_and_routes_are_those_of_the_audits():
    """Of two gates of a layer the smaller one; none where it is ignored, or about something else."""
    network, conv1, embed = GATES
    gates = (
        network,
        replace(network, limit=2.0, start="a", end="b"),
        replace(conv1, limit=9.0),
        conv1,
        replace(embed, outcome=IGNORED),
    )
    judged = replace(JUDGED, verdict=Verdict(budget="convsv.toml", gates=gates))
    found = trend([("before", AUDIT), ("after", judged)])
    assert dict(zip((name for name, _ in found.layers), found.limits, strict=True)) == {
        "conv1": (None, 4.0),
        "embed": (None, None),
    }
    assert found.network_limits == (None, 10.0)
    assert found.routes == ("rules (1 block), covariance (1 block)",) * 2
    network, _ = courses_of(found, steps_of(found.names))
    assert network is not None
    assert network.stops[-1].words.endswith("by rules (1 block), covariance (1 block), above its limit of 10")


@pytest.mark.parametrize(
    "figures", [(), (None,), (0.0, 0.0), (0.0, 5e-324, 1e308), (1.0,), (None, 2.0), (1.0,) * 300]
)
def test_any_figures_are_drawn_within_the_chart(figures):
    found = of(figures) if figures else of((None,))
    drawn = course(found)
    for stop in drawn.stops:
        assert 0 <= stop.top <= 100
        assert 0 <= stop.left <= stop.at <= stop.left + stop.width + 0.01 <= 100.02
    for renderer in TRENDS:
        assert renderer.render(found, Terminal()).endswith("\n")
    assert not math.isnan(drawn.scale.low)


def test_a_picture_has_a_chart_for_each_layer_and_the_network():
    figures = (1.0, 2.0, 3.0)
    found = Trend(
        names=("1", "2", "3"),
        layers=tuple((f"stage{i}.a-layer-whose-name-is-quite-long.conv{i}", figures) for i in range(7)),
        network=figures,
    )
    (svg,) = (each for each in TRENDS if each.name == "svg")
    root = etree.fromstring(svg.render(found, Terminal()).encode())
    charts = root.findall(f"{SVG}svg")
    assert len(charts) == 1 + len(found.layers)
    width, height = (float(each) for each in root.attrib["viewBox"].split()[2:])
    for chart in charts:
        x, y, w, h = (float(chart.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height
        assert len(chart.findall(f"{SVG}g")) == len(found.names)
    text = svg.render(of((1.0,) * len(HOSTILE), names=HOSTILE), Terminal())
    etree.fromstring(text.encode())
    assert "<script" not in text
    assert "\x1b" not in text


def test_pixels_are_where_the_figures_are(monkeypatch):
    """In colours of their own: the line, its marks, and the mark above a limit."""
    names = ("e1", "e2", "$e^3$ \x1b 層")
    found = Trend(
        names=names,
        layers=(("$a_b$ \x1b 層", (1.0, 5.0, 2.0)), ("b", (None, 0.0, 5e-324))),
        network=(3.0, None, 1e300),
        limits=((None, 4.0, 4.0), (None,) * 3),
    )
    picture = Image.open(io.BytesIO(pixels.PICTURE.draw(found)))
    steps = steps_of(names)
    network, layers = courses_of(found, steps)
    panels, height = laid_out((network, *layers))
    assert picture.size == (1920, 2 * height)
    assert "above its limit" in courses_of(found, steps)[1][0].stops[1].words
    image = np.asarray(picture.convert("RGB")).astype(int)
    for panel in panels:
        for stop in panel.course.stops:
            x = 2 * (panel.x + panel.width * stop.at / 100)
            y = 2 * (panel.y + panel.height * stop.top / 100)
            assert (
                np.abs(image[round(y), round(x)] - ((179, 32, 27) if stop.exceeds else (11, 87, 164))).max()
                < 9
            )
    with pytest.raises(UsageError, match="1,000 layers are too many"):
        pixels.PICTURE.draw(replace(found, layers=found.layers[:1] * 1000, limits=()))
    with pytest.raises(UsageError, match="is for files"):
        pixels.PICTURE.render(found, Terminal())
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"matplotlib is not installed .*pip install"):
        pixels.PICTURE.draw(found)
