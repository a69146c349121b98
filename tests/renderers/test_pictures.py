"""Pictures of singular values, read back from their lines; and how large counts are said."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli.renderers.html.axis import Scale, scale_of
from convsv_cli.renderers.html.layers import short
from convsv_cli.renderers.html.pictures import Picture, density_of, few, ranks_of, stable_ranks_of
from convsv_cli.report import Distribution
from tests.support import html_reports as samples

PLACE = 2e-2
"""Percent: places in a chart are rounded to less."""


def distribution(values: np.ndarray, bins: int = 40) -> Distribution:
    edge = float(values.max())
    counts, _ = np.histogram(values, bins, (0.0, edge))
    return Distribution(
        count=len(values), largest=edge, smallest=float(values.min()), edge=edge, vanishing=0,
        frobenius=float(np.linalg.norm(values)), nuclear=float(values.sum()),
        histogram=tuple(int(count) for count in counts),
    )  # fmt: skip


def runs(picture: Picture) -> list[np.ndarray]:
    """The lines, in the figures of their axes."""
    found = []
    for run in picture.path.split("M")[1:]:
        x, y = np.array([point.split() for point in run.split("L")], float).T
        found.append(np.stack([value(picture.across, x), value(picture.upward, 100 - y)], 1))
    return found


def value(scale: Scale, percent: np.ndarray) -> np.ndarray:
    return 10 ** (scale.low + percent / 100 * (scale.high - scale.low))


def test_the_area_under_a_density_is_the_share_of_what_is_drawn() -> None:
    values = np.random.default_rng(0).rayleigh(size=5000)
    found = distribution(values)
    picture = density_of(found)
    assert picture is not None
    steps = [step for run in runs(picture) for step in run.reshape(-1, 2, 2)]
    area = sum((high - low) * density for (low, density), (high, _) in steps)
    assert area == pytest.approx(1 - found.histogram[0] / found.count, rel=1e-2)
    assert f"{found.histogram[0]:,} below" in picture.words
    assert (picture.right, picture.up) == ("square of a singular value", "share per unit")


def test_a_rank_is_how_many_values_are_not_smaller() -> None:
    values = np.sort(np.random.default_rng(1).rayleigh(size=3000))[::-1]
    picture = ranks_of(distribution(values))
    assert picture is not None
    (line,) = runs(picture)
    assert picture.across.low == 0
    assert line[0] == pytest.approx((1, values[0]), rel=1e-2)
    assert line[-1] == pytest.approx((3000, values[-1]), rel=2e-2)
    for rank, height in line[1:-1]:
        most, least = ((values >= height * off).sum() for off in (0.997, 1.003))  # places are rounded
        assert 0.99 * least <= rank <= 1.01 * most


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0]])
def test_what_has_no_shape_has_no_density(values: list[float]) -> None:
    found = distribution(np.array(values), 4)
    assert density_of(found) is None
    assert (ranks_of(found) is None) == (len(values) == 1)


def test_stable_ranks_are_where_their_layers_are() -> None:
    sample = samples.resnet()
    assert stable_ranks_of(sample) is None, "two layers have no depth"
    deep = samples.measured(sample)
    found = stable_ranks_of(deep)
    assert found is not None
    assert len(found.dots) == len(deep.layers)
    for i, (dot, spectrum) in enumerate(zip(found.dots, deep.spectra, strict=True)):
        rank = spectrum.distribution.stable_rank
        assert dot.words == f"{deep.layers[i].name}: stable rank {rank!r}"
        assert 100 - dot.top == pytest.approx(found.scale.at(math.log10(rank)), abs=PLACE)
        assert dot.left < dot.at < dot.left + dot.width


@given(st.lists(st.floats(min_value=-400, max_value=400), min_size=1))
def test_no_figure_is_beyond_the_last_tick(logs: list[float]) -> None:
    scale = scale_of(logs)
    at = [tick.at for tick in scale.ticks]
    assert (at[0], at[-1]) == (0, 100)
    assert at == sorted(set(at))
    assert 1 <= len(list(few(scale.ticks))) <= 5


def test_a_page_has_the_pictures_that_were_asked_for() -> None:
    page = samples.render(samples.measured(samples.resnet()))
    assert page.count('class="picture"') == 2 * len(samples.resnet().layers)
    assert "Stable rank of each layer" in page
    for word in ("norm, logarithmic", "layer, in the order of the file", "share per unit", ">rank<"):
        assert word in page
    assert not re.findall(r"(?:nan|inf)%", page)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"), (99_999, "99,999"), (100_000, "100 k"), (999_999, "999 k"), (1_239_999, "1.23 M"),
        (45_699_999_999, "45.6 G"), (10**18, "1.00 E"), (3 * 10**21, "3.00e+21"), (10**400, "∞"),
    ],
)  # fmt: skip
def test_counts_are_short_and_never_rounded_up(count: int, said: str) -> None:
    assert short(count) == said
