"""What is called proven is true: held against 50-digit arithmetic, without any tolerance of our own."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from itertools import product

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli.report import Interval
from convsv_cli.spectral import symbol as symbol_module
from convsv_cli.spectral.certify import gram, proven_below, proven_upper, rayleigh_lower
from convsv_cli.spectral.norms import grid_norm, matrix_norm
from convsv_cli.spectral.running import RunningNorm
from convsv_cli.spectral.symbol import half_grid_size, symbol_error, symbols
from tests import oracles
from tests.geometry import Case, cases

WIDTH = 1e-9  # relative, of what is called a narrow enclosure


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


def true_norm(matrix: np.ndarray) -> mpmath.mpf:
    """The largest singular value of a float64 or complex128 matrix, to 50 digits."""
    entries = [[mpmath.mpmathify(x) for x in row] for row in matrix.tolist()]
    return mpmath.svd_c(mpmath.matrix(entries), compute_uv=False)[0]


def true_symbol(kernel: np.ndarray, j: tuple[int, ...], grid: tuple[int, ...]) -> mpmath.matrix:
    """The symbol at frequency 2 pi j / grid, to 50 digits; kernel [c_out, c_in, *k]."""
    total = mpmath.zeros(*kernel.shape[:2])
    for t in product(*map(range, kernel.shape[2:])):
        turns = sum(mpmath.mpf(a * b) / n for a, b, n in zip(j, t, grid, strict=True))
        phase = mpmath.expjpi(-2 * turns)
        for c, d in product(*map(range, kernel.shape[:2])):
            total[c, d] += mpmath.mpf(float(kernel[(c, d, *t)])) * phase
    return total


def true_grid_norm(weight: np.ndarray, grid: tuple[int, ...]) -> mpmath.mpf:
    """The largest singular value of all symbols of all blocks, to 50 digits."""
    return max(
        mpmath.svd_c(true_symbol(block, j, grid), compute_uv=False)[0]
        for block in weight
        for j in product(*map(range, grid))
    )


def assert_narrow(interval: Interval, truth: mpmath.mpf) -> None:
    assert interval.lower <= truth <= interval.upper
    assert interval.upper - interval.lower <= WIDTH * truth


# --- strategies -----------------------------------------------------------------------------------


@st.composite
def matrices(draw: st.DrawFn, most: int = 5) -> np.ndarray:
    """Real and complex matrices: random, clustered, deficient, graded over 16 decades, a single row."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    p, q = (draw(st.integers(1, most)) for _ in range(2))
    matrix = generator.standard_normal((p, q))
    if draw(st.booleans()):
        matrix = matrix + 1j * generator.standard_normal((p, q))
    kind = draw(st.sampled_from(("normal", "clustered", "orthogonal", "rank one", "graded")))
    if kind == "rank one":
        return matrix[:, :1] * matrix[:1]
    if kind == "graded":
        return matrix * 10.0 ** generator.uniform(-16, 0, (p, 1))
    if kind in ("clustered", "orthogonal"):
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        close = 1 - 1e-9 * np.arange(len(values)) if kind == "clustered" else np.ones(len(values))
        return left * close @ right
    return matrix


# --- one matrix -----------------------------------------------------------------------------------


def below(matrix: np.ndarray, mu_squared: float) -> bool:
    grams = gram(torch.from_numpy(matrix)[None])
    return bool(proven_below(grams, max(matrix.shape), mu_squared)[0])


@given(matrices())
@settings(max_examples=150, deadline=None)
def test_only_true_statements_are_proven_and_nearly_all_of_those(matrix: np.ndarray) -> None:
    sigma = true_norm(matrix)
    for relative in (
        mpmath.mpf(0),
        mpmath.mpf("1e-15"),
        mpmath.mpf("1e-9"),
        mpmath.mpf("0.5"),
        mpmath.mpf(1),
    ):
        level = float((sigma * (1 - relative)) ** 2)
        level = level if level <= sigma**2 else math.nextafter(level, 0)
        assert not below(matrix, level)
    assert below(matrix, float((sigma * mpmath.mpf("1.000001")) ** 2))


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (1, 5000), (5000, 1), (256, 256)])
@pytest.mark.parametrize("dtype", [float, complex])
def test_it_is_so_for_large_matrices_too(shape: tuple[int, int], dtype: type) -> None:
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal(shape).astype(dtype)
    if dtype is complex:
        matrix += 1j * generator.standard_normal(shape)
    sigma = oracles.spectral_norm(matrix)
    assert not below(matrix, (sigma * (1 - 1e-9)) ** 2)
    assert below(matrix, (sigma * (1 + 1e-6)) ** 2)


def test_each_matrix_of_a_batch_is_judged_by_itself() -> None:
    scales = torch.tensor([1.0, 3.0, 2.0, 0.0])
    batch = scales[:, None, None] * torch.eye(3, dtype=torch.float64)
    assert proven_below(gram(batch), 3, 2.5**2).tolist() == [True, False, True, True]


@given(matrices(), st.sampled_from((0.0, 0.25, 0.999, 1.0)))
@settings(max_examples=100, deadline=None)
def test_a_proven_upper_end_is_one_even_where_the_estimate_was_poor(matrix: np.ndarray, share: float) -> None:
    sigma = true_norm(matrix)
    grams = gram(torch.from_numpy(matrix)[None])
    level = proven_upper(grams, max(matrix.shape), share * float(sigma**2))
    assert sigma**2 < level < math.inf
    if share == 1.0:
        assert level <= sigma**2 * (1 + mpmath.mpf(WIDTH))


@given(matrices(), st.sampled_from((0.0, 0.5, 1.0, 1.5, 1e6, math.inf)))
@settings(max_examples=100, deadline=None)
def test_a_rayleigh_quotient_is_never_above_whatever_level_it_is_told(
    matrix: np.ndarray, level: float
) -> None:
    sigma = true_norm(matrix)
    mu_squared = level * float(sigma**2)
    assert 0 <= rayleigh_lower(torch.from_numpy(matrix), mu_squared) <= sigma


@given(matrices())
@settings(max_examples=100, deadline=None)
def test_a_rayleigh_quotient_is_sharp_just_below_a_proven_level(matrix: np.ndarray) -> None:
    sigma = true_norm(matrix)
    tensor = torch.from_numpy(matrix)
    level = proven_upper(gram(tensor[None]), max(matrix.shape), float(sigma**2))
    assert rayleigh_lower(tensor, level) >= sigma * (1 - mpmath.mpf(WIDTH))


# --- streams of matrices --------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_norm_of_a_stream_does_not_depend_on_its_order_or_batches(data: st.DataObject) -> None:
    first = data.draw(matrices(most=4))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count = data.draw(st.integers(1, 60))
    copies = [first * generator.choice([0.0, 0.5, 1 - 1e-12, 1.0, -1.0]) for _ in range(count)]
    others = [first[:, ::-1] * generator.uniform(0, 2) for _ in range(count)]
    stream = np.stack([*copies, *others])[generator.permutation(2 * count)]
    cuts = sorted(data.draw(st.lists(st.integers(1, 2 * count), max_size=4)))
    running = RunningNorm()
    for batch in np.split(stream, cuts):
        if len(batch):
            running.include(torch.from_numpy(batch.copy()))
    # Columns in another order and factors of a float's precision: the norm of the largest, up to rounding
    # of the factor, is that of the first.
    truth = max(true_norm(m) for m in {m.tobytes(): m for m in _largest(stream)}.values())
    assert_narrow(running.enclosure(), truth)


def _largest(stream: np.ndarray) -> list[np.ndarray]:
    """Those that could have the largest norm, judged by LAPACK with room to spare."""
    norms = np.array([oracles.spectral_norm(matrix) for matrix in stream])
    return [m for m, norm in zip(stream, norms, strict=True) if norm >= norms.max() * (1 - 1e-9)]


def test_of_nothing_nothing_is_known() -> None:
    assert RunningNorm().enclosure() == Interval(lower=0.0, upper=math.inf)


def test_zero_matrices_have_a_norm_of_almost_zero() -> None:
    running = RunningNorm()
    running.include(torch.zeros(3, 2, 2, dtype=torch.float64))
    assert running.enclosure().lower == 0.0
    assert running.enclosure().upper < 1e-15


@given(
    st.lists(matrices(most=4), min_size=1, max_size=4), st.sampled_from((-1070, -1000, -500, 0, 500, 1000))
)
@settings(max_examples=60, deadline=None)
def test_matrix_norms_are_enclosed_at_every_scale(blocks: list[np.ndarray], exponent: int) -> None:
    """Powers of two scale exactly, down to where entries become subnormal and lose digits of their own."""
    side = max(max(block.shape) for block in blocks)
    stack = np.stack([np.pad(b.real, [(0, side - n) for n in b.shape]) for b in blocks])
    stack = np.ldexp(stack, exponent)
    largest = math.frexp(abs(stack).max())[1]
    unscaled = np.ldexp(stack, -largest)
    truth = max(map(true_norm, unscaled)) * mpmath.ldexp(1, largest)
    interval = matrix_norm(torch.from_numpy(stack))
    assert interval.lower <= truth <= interval.upper
    if truth > sys.float_info.min:
        assert_narrow(interval, truth)


def test_matrix_norms_at_the_ends_of_float64() -> None:
    for entry in (sys.float_info.max, sys.float_info.min, 5e-324):
        matrix = torch.full((1, 3, 2), entry, dtype=torch.float64)
        interval = matrix_norm(matrix)
        assert interval.lower <= mpmath.mpf(entry) * mpmath.sqrt(6) <= interval.upper
    assert matrix_norm(torch.zeros(1, 2, 2, dtype=torch.float64)) == Interval(lower=0.0, upper=0.0)


# --- symbols --------------------------------------------------------------------------------------

GRIDS = [
    *[(n,) for n in (1, 2, 3, 4, 5, 8)],
    *[(4, 4), (1, 4), (4, 1), (2, 2), (1, 2), (5, 2), (3, 4), (6, 5), (1, 1)],
    *[(2, 3, 4), (2, 1, 2), (4, 2, 1), (3, 3, 3)],
]


def kernel_for(grid: tuple[int, ...], blocks: int = 2) -> np.ndarray:
    shape = (blocks, 2, 3, *(4, 3, 2)[: len(grid)])
    return np.random.default_rng(len(grid)).standard_normal(shape)


def computed(weight: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """What `symbols` yields, [frequencies, blocks, c_out, c_in]."""
    stacked = torch.cat(list(symbols(torch.from_numpy(weight), grid))).numpy()
    return stacked.reshape(-1, *weight.shape[:3])


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_every_frequency_or_its_opposite_is_visited_and_its_symbol_is_the_plain_sum(
    grid: tuple[int, ...],
) -> None:
    weight = kernel_for(grid)
    found = computed(weight, grid)
    assert len(found) == half_grid_size(grid)
    frequencies = product(*([2 * math.pi * i / n for i in range(n)] for n in grid))
    plain = np.array([[oracles.symbol(block, theta) for block in weight] for theta in frequencies])
    apart = np.minimum(*(abs(found[:, None] - each).max((2, 3, 4)) for each in (plain, plain.conj())))
    assert apart.min(0).max() < 1e-12, "a frequency was not visited, nor was its opposite"
    assert apart.min(1).max() < 1e-12, "what was found is no symbol"


@pytest.mark.parametrize("n", [4, 6, 8])
def test_the_nyquist_frequency_is_visited(n: int) -> None:
    """[1, -1] is largest there, 2, and vanishes at frequency zero."""
    weight = torch.tensor([[[[1.0, -1.0]]]], dtype=torch.float64)
    assert_narrow(grid_norm(weight, (n,)), mpmath.mpf(2))


@pytest.mark.parametrize("grid", [*GRIDS, (1000,), (97, 89)], ids=str)
def test_the_error_of_a_symbol_is_within_its_bound(grid: tuple[int, ...]) -> None:
    """Of each pair of opposite frequencies, `symbols` takes -theta: the signs below are its own choice."""
    weight = kernel_for(grid)
    bound = symbol_error(torch.from_numpy(weight))
    found = computed(weight, grid)
    half = symbol_module._half(grid)
    generator = np.random.default_rng(0)
    for flat in generator.choice(len(found), min(len(found), 12), replace=False):
        j = tuple(-int(i) for i in np.unravel_index(flat, half))
        for block, symbol in zip(weight, found[flat], strict=True):
            error = mpmath.matrix(symbol.tolist()) - true_symbol(block, j, grid)
            assert mpmath.norm(error, 2) <= bound
    assert bound < 1e-12 * abs(weight).sum()


def test_the_error_is_within_its_bound_at_a_million_frequencies() -> None:
    """A prime size, so that no product of index and tap is a round number of turns."""
    grid = (10**6 + 3,)
    weight = np.random.default_rng(0).standard_normal((1, 1, 1, 9))
    found = computed(weight, grid)
    assert len(found) == half_grid_size(grid) == grid[0] // 2 + 1
    bound = symbol_error(torch.from_numpy(weight))
    for j in (0, 1, 2, 333_334, 499_999, 500_000, 500_001):
        assert abs(mpmath.mpmathify(found[j].item()) - true_symbol(weight[0], (-j,), grid)[0, 0]) <= bound


@pytest.mark.parametrize(("n", "k"), [(10**6 + 3, 2), (2**20, 3), (10**6 + 3, 5)])
def test_norms_at_huge_sizes(n: int, k: int) -> None:
    """Alternating signs are largest at the frequency nearest to Nyquist's."""
    weight = (-1.0) ** np.arange(k).reshape(1, 1, 1, k)
    truth = max(abs(true_symbol(weight[0], (j,), (n,))[0, 0]) for j in (n // 2 - 1, n // 2, n // 2 + 1))
    assert_narrow(grid_norm(torch.from_numpy(weight), (n,)), truth)


# --- norms on a grid ------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_grid_norms_are_enclosed(grid: tuple[int, ...]) -> None:
    weight = kernel_for(grid)
    assert_narrow(grid_norm(torch.from_numpy(weight), grid), true_grid_norm(weight, grid))


@pytest.mark.parametrize("exponent", [-1000, -500, -100, 100, 500, 1000])
def test_grid_norms_scale_with_the_kernel(exponent: int) -> None:
    weight = kernel_for((3, 4))
    truth = true_grid_norm(weight, (3, 4)) * mpmath.ldexp(1, exponent)
    assert_narrow(grid_norm(torch.from_numpy(np.ldexp(weight, exponent)), (3, 4)), truth)


@pytest.mark.parametrize("frequencies", [1, 2, 3, 7])
@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_the_size_of_blocks_does_not_matter(frequencies: int, case: Case) -> None:
    weight = torch.from_numpy(case.weight)[None]
    grid = case.input_size
    whole = grid_norm(weight, grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symbol_module, "BLOCK_BYTES", frequencies * 16 * math.prod(case.weight.shape[:2]))
        lengths = [len(block) for block in symbols(weight, grid)]
        blocked = grid_norm(weight, grid)
    assert sum(lengths) == half_grid_size(grid)
    assert max(lengths) <= frequencies
    assert abs(whole.lower - blocked.lower) <= WIDTH * whole.upper
    assert abs(whole.upper - blocked.upper) <= WIDTH * whole.upper


def test_progress_counts_every_symbol() -> None:
    done: list[int] = []
    weight = torch.from_numpy(kernel_for((6, 5), blocks=2))
    grid_norm(weight, (6, 5), done.append)
    assert sum(done) == 2 * half_grid_size((6, 5))
