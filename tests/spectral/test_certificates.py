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
from convsv_cli.spectral import spectrum
from convsv_cli.spectral.gram_symbol import gram_symbol
from convsv_cli.spectral.matrix_norm import (
    cholesky_margin,
    matrix_norm,
    proven_below,
    proven_level,
    rayleigh_lower,
)
from convsv_cli.spectral.norms import Norms
from convsv_cli.spectral.spectrum import half_grid_size, symbol_at, symbol_error, symbols
from convsv_cli.spectral.supremum import Spectrum
from tests.support import oracles
from tests.support.proofs import (
    assert_lemma,
    assert_only_truth_is_proven,
    hermitian,
    lapack_top,
    near_singular,
    to_mpmath,
    true_grid_norm,
    true_norm,
    true_symbol,
    true_symbol_at,
    true_top,
)

WIDTH = 1e-9  # relative, of what is called a narrow enclosure


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


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

TYPES = (torch.complex128, torch.complex64, torch.float64, torch.float32)
every_type = pytest.mark.parametrize("dtype", TYPES, ids=str)


def rounded_down(value: mpmath.mpf) -> float:
    """The largest float that is not above."""
    nearest = float(value)
    return nearest if nearest <= value else math.nextafter(nearest, -math.inf)


@every_type
@given(matrix=matrices(most=6))
@settings(max_examples=60)
def test_only_true_statements_are_proven_and_nearly_all_of_those(
    matrix: np.ndarray, dtype: torch.dtype
) -> None:
    """The truth is the eigenvalue of the very matrix that is factorized, to 50 digits.

    It is scaled to a norm of 1, as everywhere in the package.
    """
    gram = hermitian(matrix / np.linalg.norm(matrix), dtype)
    assert_only_truth_is_proven(gram, rounded_down(true_top(gram.numpy())))


@given(matrices(most=6))
@settings(max_examples=80)
def test_double_precision_tells_norms_apart_that_differ_by_1e_7(matrix: np.ndarray) -> None:
    """At sigma (1 - 1e-7) no proof, at sigma (1 + 1e-7) one: of the matrix whose Gram matrix is rounded."""
    sigma = true_norm(matrix)
    gram = hermitian(matrix, torch.complex128)[None]
    error = rounding_of_the_gram_matrix(matrix, gram[0])
    below, above = ((sigma * (1 + mpmath.mpf(step))) ** 2 for step in ("-1e-7", "1e-7"))
    assert not proven_below(gram.clone(), rounded_down(below), error)[0]
    assert proven_below(gram.clone(), float(above), error)[0]


@given(matrices(most=6))
@settings(max_examples=80)
def test_single_precision_proves_nothing_within_its_stated_margins(matrix: np.ndarray) -> None:
    """H is rounded to complex64, by at most `error`; what is proven is true of H itself."""
    matrix = matrix / np.linalg.norm(matrix)
    sigma = true_norm(matrix)
    gram = hermitian(matrix, torch.complex64)[None]
    error = rounding_of_the_gram_matrix(matrix, gram[0])
    margin = cholesky_margin(gram.shape[-1], torch.complex64)
    for relative in (mpmath.mpf(0), mpmath.mpf("1e-7"), mpmath.mpf(margin) / 2):
        assert not proven_below(gram.clone(), rounded_down(sigma**2 * (1 - relative)), error)[0]
    above = float(sigma**2 * (1 + 3 * mpmath.mpf(margin)) + 3 * mpmath.mpf(error))
    assert proven_below(gram.clone(), above, error)[0]


def rounding_of_the_gram_matrix(matrix: np.ndarray, gram: torch.Tensor) -> float:
    """A bound of the norm of `gram` minus A A*, the latter to 50 digits."""
    exact = to_mpmath(matrix) * to_mpmath(matrix).H
    return float(mpmath.mnorm(to_mpmath(gram.numpy()) - exact, "f")) * (1 + 1e-10)


@given(matrix=matrices(most=4), seed=st.integers(0, 2**32 - 1), share=st.sampled_from((1e-6, 1e-3, 0.5)))
@settings(max_examples=100)
def test_the_error_of_the_matrix_is_taken_off(matrix: np.ndarray, seed: int, share: float) -> None:
    """What is proven holds for every matrix within `error`, also for the worst, along the top vector."""
    gram = hermitian(matrix, torch.complex128)
    top = true_top(gram.numpy())
    error = share * float(top)
    for level in (top + error * mpmath.mpf("0.999"), top + error, top + error / 2):
        assert not proven_below(gram[None].clone(), rounded_down(level), error)[0]
    vector = np.random.default_rng(seed).standard_normal(len(gram)) + 0j
    vector /= np.linalg.norm(vector)
    moved = gram + error * (1 - 1e-12) * torch.from_numpy(np.outer(vector, vector.conj()))
    assert not proven_below(gram[None].clone(), rounded_down(true_top(hermitian_part(moved))), error)[0]


def hermitian_part(matrix: torch.Tensor) -> np.ndarray:
    return ((matrix + matrix.mH) / 2).numpy()


@pytest.mark.parametrize("spectrum", ["one top", "equal", "close", "rank one"])
@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize("p", [33, 64, 200])
@every_type
def test_it_is_so_for_large_matrices_too(p: int, copies: int, spectrum: str, dtype: torch.dtype) -> None:
    """One by one, and in batches that are factorized by blocks."""
    gram = near_singular(p, dtype, 0, spectrum)
    assert_only_truth_is_proven(gram, lapack_top(gram), copies=copies)


@every_type
def test_each_matrix_of_a_batch_is_judged_by_itself(dtype: torch.dtype) -> None:
    scales = torch.tensor([1.0, 9.0, 4.0, 0.0, 9.0])
    for p in (1, 3, 64, 200):
        batch = scales[:, None, None].to(dtype) * torch.eye(p, dtype=dtype)
        assert proven_below(batch, 6.25).tolist() == [True, False, True, True, False]


def test_a_single_wrong_block_of_a_large_matrix_is_found() -> None:
    """The largest eigenvalue sits in any one of the blocks that a batch is factorized by."""
    for place in range(0, 190, 9):
        batch = torch.eye(190, dtype=torch.complex128).repeat(4, 1, 1)
        batch[2, place, place] = 2.0
        assert proven_below(batch, 1.5).tolist() == [True, True, False, True]


@pytest.mark.parametrize("level", [-1.0, 0.0, math.nan])
def test_nothing_is_below_a_level_that_is_not_positive(level: float) -> None:
    assert not proven_below(torch.zeros(2, 3, 3, dtype=torch.float64), level).any()


def test_everything_is_below_infinity_and_nothing_is_known_with_an_infinite_error() -> None:
    grams = torch.eye(3, dtype=torch.float64)[None]
    assert proven_below(grams.clone(), math.inf).all()
    assert not proven_below(grams.clone(), 2.0, math.inf).any()


@given(matrices(), st.sampled_from((0.0, 0.25, 0.999, 1.0)))
@settings(max_examples=100)
def test_a_proven_level_is_above_even_where_the_estimate_was_poor(matrix: np.ndarray, share: float) -> None:
    gram = hermitian(matrix, torch.complex128)
    top = true_top(gram.numpy())
    level = proven_level(gram[None], share * float(top))
    assert top < level
    if share:
        assert level < math.inf
    if share == 1.0:
        assert level <= top * (1 + mpmath.mpf(WIDTH)) + mpmath.mpf(2) ** -199


@given(matrices(), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_a_rayleigh_quotient_is_never_above_whatever_the_vector(matrix: np.ndarray, seed: int) -> None:
    generator = np.random.default_rng(seed)
    _, _, right = np.linalg.svd(matrix)
    for vector in (right[0].conj(), right[-1].conj(), generator.standard_normal(matrix.shape[1])):
        quotient = rayleigh_lower(torch.from_numpy(matrix), torch.from_numpy(vector.astype(matrix.dtype)))
        assert 0 <= quotient <= true_norm(matrix)


@given(matrices())
@settings(max_examples=100)
def test_a_rayleigh_quotient_of_the_top_vector_is_sharp(matrix: np.ndarray) -> None:
    _, _, right = np.linalg.svd(matrix)
    quotient = rayleigh_lower(torch.from_numpy(matrix), torch.from_numpy(right[0].conj()))
    assert quotient >= true_norm(matrix) * (1 - mpmath.mpf(WIDTH))


# --- many matrices --------------------------------------------------------------------------------


@given(st.lists(matrices(most=4), min_size=1, max_size=5))
@settings(max_examples=60)
def test_the_norm_of_many_is_that_of_the_largest_wherever_it_stands(blocks: list[np.ndarray]) -> None:
    side = max(max(block.shape) for block in blocks)
    stack = np.stack([np.pad(b.real, [(0, side - n) for n in b.shape]) for b in blocks])
    truth = max(map(true_norm, stack))
    for turn in range(len(stack)):
        assert_narrow(matrix_norm(torch.from_numpy(np.roll(stack, turn, 0).copy())), truth)


@given(
    st.lists(matrices(most=4), min_size=1, max_size=4), st.sampled_from((-1070, -1000, -500, 0, 500, 1000))
)
@settings(max_examples=60)
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


def grid_norm(weight: torch.Tensor, grid: tuple[int, ...]) -> Interval:
    """The norm over a grid of frequencies."""
    return Norms(weight).on_grid(grid)


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
    weight = kernel_for(grid)
    bound = symbol_error(torch.from_numpy(weight))
    found = computed(weight, grid)
    half = spectrum.half_grid(grid)
    generator = np.random.default_rng(0)
    for flat in generator.choice(len(found), min(len(found), 12), replace=False):
        j = tuple(int(i) for i in np.unravel_index(flat, half))
        for block, symbol in zip(weight, found[flat], strict=True):
            error = mpmath.matrix(symbol.tolist()) - true_symbol(block, j, grid)
            assert mpmath.norm(error, 2) <= bound
            again = symbol_at(torch.from_numpy(block), j, grid).numpy()
            assert mpmath.norm(to_mpmath(again) - true_symbol(block, j, grid), 2) <= bound
    assert bound < 1e-12 * abs(weight).sum()


def test_the_error_is_within_its_bound_at_a_million_frequencies() -> None:
    """A prime size, so that no product of index and tap is a round number of turns."""
    grid = (10**6 + 3,)
    weight = np.random.default_rng(0).standard_normal((1, 1, 1, 9))
    found = computed(weight, grid)
    assert len(found) == half_grid_size(grid) == grid[0] // 2 + 1
    bound = symbol_error(torch.from_numpy(weight))
    for j in (0, 1, 2, 333_334, 499_999, 500_000, 500_001):
        assert abs(mpmath.mpmathify(found[j].item()) - true_symbol(weight[0], (j,), grid)[0, 0]) <= bound


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


# --- Gram symbols ---------------------------------------------------------------------------------


@st.composite
def kernels(draw: st.DrawFn) -> np.ndarray:
    """[blocks, c_out, c_in, *k] of a norm of about 1, as the search is given it."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    axes = draw(st.integers(1, 3))
    k = tuple(draw(st.integers(1, (7, 4, 3)[axes - 1])) for _ in range(axes))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3)), *k)
    weight = generator.standard_normal(shape) * 10.0 ** -generator.uniform(0, draw(st.integers(0, 8)), shape)
    return weight / np.linalg.norm(weight)


@given(weight=kernels(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=120)
def test_the_error_of_a_gram_symbol_is_within_its_bound(weight: np.ndarray, seed: int) -> None:
    """At any frequency, also outside [0, 1), where the centres of tiles may be."""
    gram = gram_symbol(torch.from_numpy(weight))
    oriented = weight if weight.shape[1] <= weight.shape[2] else weight.swapaxes(1, 2)
    generator = np.random.default_rng(seed)
    turns = generator.uniform(-0.5, 1.5, (2, weight.ndim - 3))
    block = generator.integers(len(weight), size=2)
    for dtype, bound in ((torch.complex128, gram.error), (torch.complex64, gram.error_single)):
        found = gram.at(torch.from_numpy(block), torch.from_numpy(turns), dtype)
        assert found.dtype == dtype
        assert bound == gram.error_of(dtype)
        for b, x, matrix in zip(block, turns, found.numpy(), strict=True):
            symbol = true_symbol_at(oriented[b], tuple(x))
            assert mpmath.mnorm(to_mpmath(matrix) - symbol * symbol.H, "f") <= bound
    assert gram.error < 1e-11
    assert gram.error_single < 1e-2


@given(weight=kernels(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_forms_are_quadratic_forms_of_the_gram_symbol(weight: np.ndarray, seed: int) -> None:
    gram = gram_symbol(torch.from_numpy(weight))
    generator = torch.Generator().manual_seed(seed)
    block = torch.randint(len(weight), (5,), generator=generator)
    turns = torch.rand((5, weight.ndim - 3), generator=generator, dtype=torch.float64)
    vectors = torch.randn((5, gram.side), generator=generator, dtype=torch.complex64)
    forms = (gram.phases(turns) * gram.forms(block, vectors)).sum(1)
    matrices, doubled = gram.at(block, turns, torch.complex128), vectors.to(torch.complex128)
    direct = torch.einsum("np,npq,nq->n", doubled.conj(), matrices, doubled).real
    single = 64 * 2.0**-24 * float(gram.row_norms.sum(1).max())  # forms are estimates, in single precision
    assert (forms - direct).abs().max() <= single * float(doubled.abs().square().sum())


@given(weight=kernels(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_gram_symbols_at_opposite_frequencies_are_conjugate(weight: np.ndarray, seed: int) -> None:
    """Why half of the torus is enough."""
    gram = gram_symbol(torch.from_numpy(weight))
    turns = torch.rand((4, weight.ndim - 3), generator=torch.Generator().manual_seed(seed)).double()
    block = torch.zeros(4, dtype=torch.int64)
    here, there = (gram.at(block, x, torch.complex128) for x in (turns, -turns))
    assert (here - there.conj()).abs().max() <= 2 * gram.error


@given(weight=kernels(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=120)
def test_moments_bound_the_largest_eigenvalue(weight: np.ndarray, seed: int) -> None:
    gram = gram_symbol(torch.from_numpy(weight[:1]))
    oriented = weight[0] if weight.shape[1] <= weight.shape[2] else weight[0].swapaxes(0, 1)
    turns = np.random.default_rng(seed).uniform(-0.5, 1.5, (2, weight.ndim - 3))
    assert gram.has_moments == (gram.rows <= gram.side**2)
    for x, upper in zip(turns, gram.moment_bound(torch.from_numpy(turns)).tolist(), strict=True):
        symbol = true_symbol_at(oriented, tuple(x))
        assert true_top(symbol * symbol.H) <= upper


def test_moments_are_sharp_where_one_or_all_eigenvalues_count() -> None:
    """A kernel of rank one; an orthogonal one."""
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(8, 1, generator=generator), torch.randn(1, 8, generator=generator)
    for matrix in (left @ right / (left.norm() * right.norm()), torch.eye(8)):
        gram = gram_symbol(matrix.double()[None, :, :, None] * torch.tensor([0.0, 1.0, 0.0]))
        assert gram.has_moments
        upper = float(gram.moment_bound(torch.tensor([[0.3]], dtype=torch.float64)))
        assert 1 <= upper < 1.01


# --- the lemma ------------------------------------------------------------------------------------


@given(weight=kernels(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_no_tile_is_cleared_that_holds_something_higher(weight: np.ndarray, seed: int) -> None:
    if any(k > 1 for k in weight.shape[3:]):
        assert_lemma(weight[0], seed)


@pytest.mark.parametrize("k", [2, 3, 4, 7, 9])
@pytest.mark.parametrize("sign", [1, -1])
def test_nor_where_the_lemma_is_sharp(k: int, sign: int) -> None:
    """Two taps, as far apart as the kernel is long: |G|^2 = 4 cos^2 or 4 sin^2."""
    for axes in (1, 2):
        kernel = np.zeros((1, 1, *(k,) * axes))
        kernel[(0, 0, *(0,) * axes)] = 1
        kernel[(0, 0, *(-1,) * axes)] = sign
        assert_lemma(kernel, seed=k, points=1000)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_thresholds_are_those_of_the_lemma(share: float) -> None:
    """With everything in [ell, M]: at the top ell + (M - ell) cos^2 a, below it alpha is added to a."""
    spectrum = Spectrum(lower=share * 2.0, upper=2.0)
    amplitude = 2.0 - spectrum.lower
    for reach in (0.0, 0.1, 0.7, 1.5):
        for alpha in (0.0, 0.2, 0.6):
            level = spectrum.lower + amplitude * math.cos(alpha) ** 2
            threshold = spectrum.threshold(level, reach)
            expected = spectrum.lower + amplitude * math.cos(alpha + reach) ** 2
            if alpha + reach > math.pi / 2:
                assert threshold == -math.inf
            else:
                assert expected - 1e-6 <= threshold <= expected
