"""Norms of large matrices: the enclosures hold in every type and at every scale, also those by float32.

The reference is NumPy's singular values in float64 of the values as stored.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from convsv_cli import audit, spectral_norm
from convsv_cli.auditing.guarding import digest
from convsv_cli.auditing.measure import fault_of
from convsv_cli.model.layer import Geometry
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF_32, gamma_of_blocks
from convsv_cli.report import Interval
from convsv_cli.spectral import gram, matrix_norm, norms

TOLERANCE = 1e-4
SPECTRA: dict[str, Callable[[int], np.ndarray]] = {
    "rank one": lambda p: np.eye(1, p)[0],
    "flat": np.ones,
    "dense at its end": lambda p: np.linspace(1, 0, p),
    "one above a flat rest": lambda p: np.r_[2.0, np.ones(p - 1)],
    "decaying": lambda p: 0.8 ** np.arange(p),
}
SCALES = {torch.bfloat16: 1e30, torch.float16: 1e2, torch.float32: 1e30, torch.float64: 1e150}
SHAPES = [(60, 300), (200, 70), (90, 90), (1, 700)]


def planted(spectrum: str, shape: tuple[int, int], random: np.random.Generator) -> torch.Tensor:
    """A float64 matrix with about these singular values."""
    p, q = sorted(shape)
    left, _ = np.linalg.qr(random.standard_normal((p, p)))
    right, _ = np.linalg.qr(random.standard_normal((q, p)))
    matrix = left * SPECTRA[spectrum](p) @ right.T
    return torch.from_numpy(matrix if shape == (p, q) else matrix.T.copy())


def truth_of(matrix: torch.Tensor) -> float:
    """The largest singular value, by NumPy, of a matrix that may have any scale."""
    values = matrix.double().numpy()
    largest = abs(values).max()
    return float(np.linalg.svd(values / largest, compute_uv=False)[0] * largest)


def assert_encloses(found: Interval, truth: float, width: float) -> None:
    """To what LAPACK's own rounding leaves open."""
    assert found.lower * (1 - 1e-13) <= truth <= found.upper * (1 + 1e-13)
    assert found.upper <= found.lower * (1 + width)


@pytest.fixture
def float32_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of large matrices: float32 is tried, and cheap to try."""
    monkeypatch.setattr(gram, "WORTH", 0.0)


@pytest.mark.parametrize("dtype", SCALES, ids=str)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_thirty_layers_and_more(spectrum: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for shape, power in zip(SHAPES, (0, 1, -1, 1), strict=True):
        matrix = (planted(spectrum, shape, random) * SCALES[dtype] ** power).to(dtype)
        truth = truth_of(matrix)
        assert_encloses(matrix_norm.matrix_norm(matrix[None]), truth, 1e-7)
        with monkeypatch.context() as patch:
            patch.setattr(gram, "WORTH", 0.0)
            assert_encloses(matrix_norm.matrix_norm(matrix[None], TOLERANCE), truth, TOLERANCE)


@pytest.mark.usefixtures("float32_first")
def test_the_spectrum_decides_about_float32() -> None:
    random = np.random.default_rng(1)
    for spectrum, suits in {"rank one": True, "decaying": True, "flat": False}.items():
        wide = gram.Wide.of(planted(spectrum, (200, 600), random).bfloat16())
        assert (gram.coarse_gram(wide, TOLERANCE) is not None) == suits
    assert gram.coarse_gram(wide, 1.0) is not None
    assert gram.coarse_gram(gram.Wide.of(wide.stored.double()), 1.0) is None, "float32 does not hold it"
    for entry in (2.0**127, 2.0**-127):
        extreme = torch.full((4, 300), entry, dtype=torch.bfloat16)
        assert (gram.coarse_gram(gram.Wide.of(extreme), 1.0) is None) == (entry > 1)
        assert_encloses(matrix_norm.matrix_norm(extreme[None], 1.0), entry * math.sqrt(1200), 1e-5)


# --- attacks on the margin ------------------------------------------------------------------------


def absorbing(rows: int, blocks: int) -> torch.Tensor:
    """Equal rows of blocks with one 1, to which float32 adds all other products in vain: below 2^-24 each."""
    small = 2.0**-12 * (1 - 2.0**-8)
    block = torch.full((gram.LENGTH,), small)
    block[0] = 1.0
    return block.repeat(rows, blocks).bfloat16()


@pytest.mark.usefixtures("float32_first")
def test_sums_that_float32_absorbs_are_within_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """All roundings go one way: the error is a quarter of the margin or more, and a naive one is no bound."""
    matrix = absorbing(8, 40)
    truth = math.sqrt(8) * float(torch.linalg.vector_norm(matrix[0].double()))
    wide = gram.Wide.of(matrix)
    found = gram.coarse_gram(wide, TOLERANCE)
    assert found is not None
    exact = wide.stored.double() @ wide.stored.double().mT
    error = float(torch.linalg.matrix_norm(found.matrix - exact, 2))
    assert found.error / 5 < error <= found.error, "how many sums are kept at a time, is the library's affair"
    assert_encloses(matrix_norm.matrix_norm(matrix[None], TOLERANCE), truth, 2e-5)
    for naive in (4 * UNIT_ROUNDOFF_32, math.sqrt(gram.LENGTH) * UNIT_ROUNDOFF_32):
        with monkeypatch.context() as patch:
            patch.setattr(gram, "gamma_of_blocks", lambda *_, exact, naive=naive: naive)  # noqa: ARG005
            assert matrix_norm.matrix_norm(matrix[None], TOLERANCE).upper < truth


@pytest.mark.usefixtures("float32_first")
def test_products_that_float32_rounds_have_a_rounding_of_their_own() -> None:
    assert gamma_of_blocks(128, 128, exact=False) > gamma_of_blocks(128, 128, exact=True)
    entry = float(np.nextafter(np.float32(1), np.float32(2)))
    matrix = torch.full((3, 1000), entry, dtype=torch.float32)
    assert_encloses(matrix_norm.matrix_norm(matrix[None], TOLERANCE), entry * math.sqrt(3000), TOLERANCE)


@pytest.mark.usefixtures("float32_first")
@pytest.mark.parametrize("seed", range(3))
def test_errors_are_within_the_margin_whatever_cancels(seed: int) -> None:
    """Rows of one sign, rows orthogonal by cancellation, rows of different scales, and very long ones."""
    random = np.random.default_rng(seed)
    shared = np.exp(random.uniform(-8, 0, (1, 512)))
    signs = np.array([[(-1.0) ** (i & j).bit_count() for j in range(512)] for i in range(16)])
    scales = 2.0 ** -random.integers(0, 30, (16, 1))
    cases = [abs(random.standard_normal((16, 4000))), signs * shared, scales * signs * shared]
    if not seed:
        cases.append(abs(random.standard_normal((2, 2**17))))
    for values in cases:
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            matrix = torch.from_numpy(values).to(dtype)
            wide = gram.Wide.of(matrix)
            found = gram.coarse_gram(wide, 1.0)
            assert found is not None
            scaled = torch.ldexp(matrix.double(), torch.tensor(-wide.exponent))
            exact = scaled @ scaled.mT
            assert torch.linalg.matrix_norm(found.matrix - exact, 2) <= found.error
            assert found.frobenius >= torch.linalg.vector_norm(scaled) * (1 - 1e-14)
            assert_encloses(matrix_norm.matrix_norm(matrix[None], 1.0), truth_of(matrix), 1e-3)


@pytest.mark.usefixtures("float32_first")
def test_products_of_fewer_bits_are_not_used() -> None:
    """Settings of torch let it round factors to bfloat16 first, on some machines."""
    matrix = planted("rank one", (64, 600), np.random.default_rng(2)).float()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert_encloses(matrix_norm.matrix_norm(matrix[None], TOLERANCE), truth_of(matrix), TOLERANCE)
    finally:
        torch.set_float32_matmul_precision(before)


def test_all_figures_of_a_matrix_are_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each audited matrix is measured once, whatever is asked for."""
    save_file({"a.weight": torch.randn(30, 20), "b.weight": torch.randn(8, 9)}, tmp_path / "m.safetensors")
    calls = []
    honest = norms.matrix_norm
    monkeypatch.setattr(norms, "matrix_norm", lambda *of, **how: calls.append(1) or honest(*of, **how))
    for exact in (False, True):
        report = audit(tmp_path / "m.safetensors", exact=exact)
        assert len(calls) == len(report.layers) == 2
        assert all(len(row.measurements) == 3 + exact for row in report.layers)
        calls.clear()


# --- weights as they are stored -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_what_is_no_number_is_found_wherever_it_is(dtype: torch.dtype) -> None:
    for position in (0, 1, 37, 99):
        for value in (math.nan, math.inf, -math.inf):
            weight = torch.ones(4, 25, dtype=dtype)
            assert not fault_of(weight, Geometry())
            weight.view(-1)[position] = value
            assert fault_of(weight, Geometry()) == "the weight holds NaN or infinity"


def test_a_digest_is_of_the_values_whatever_their_type() -> None:
    weight = torch.randn(1100, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert digest(weight) == digest(weight.double()) == digest(weight.double().mT.contiguous().mT)


# --- how singular values spread -------------------------------------------------------------------


def test_the_spread_encloses_what_lapack_finds(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    matrices = {
        f"{index}-{power}": (planted(spectrum, shape, random) * 10.0**power).to(dtype)
        for index, (spectrum, shape, dtype) in enumerate(
            itertools.product(SPECTRA, [(30, 80), (70, 55)], [torch.bfloat16, torch.float32])
        )
        for power in (0, 30, -30)
    }
    matrices |= {"zero": torch.zeros(3, 4), "kernel": torch.randn(3, 2, 3, 3)}
    save_file({f"{name}.weight": matrix for name, matrix in matrices.items()}, tmp_path / "m.safetensors")
    report = audit(tmp_path / "m.safetensors", spread=True)
    for layer in report.layers:
        found, weight = layer.spread, matrices[layer.name].double().numpy()
        assert found is not None
        scale = abs(weight).max() or 1.0
        assert_encloses(found.frobenius, float(np.linalg.norm(weight / scale)) * scale, 1e-9)
        if layer.name == "kernel":
            assert (found.stable_rank, found.smallest) == (None, None)
            continue
        assert found.stable_rank is not None
        assert found.smallest is not None
        values = np.linalg.svd(weight, compute_uv=False)
        rank = float(((values / values[0]) ** 2).sum()) if weight.any() else 0.0
        assert found.stable_rank.lower <= rank * (1 + 1e-12)
        assert rank <= found.stable_rank.upper * (1 + 1e-12)
        assert found.smallest.lower <= values[-1] + 1e-14 * values[0]
        assert values[-1] <= found.smallest.upper + 1e-14 * values[0]
        assert found.smallest.upper - found.smallest.lower <= max(4e-5 * values[0], 1e-6 * values[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_several_matrices_of_few_digits_are_measured_in_float64(dtype: torch.dtype) -> None:
    """As the directions of a recurrent layer are: margins are about float64."""
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = spectral_norm(weight, groups=2)
    truth = max(np.linalg.norm(part, 2) for part in weight.double().numpy().reshape(2, 3, 5))
    assert found.lower <= truth * (1 + 1e-15)
    assert truth * (1 - 1e-15) <= found.upper <= truth * (1 + 1e-12)
    apart = weight.reshape(2, 3, 5)
    assert matrix_norm.matrix_norm(apart) == matrix_norm.matrix_norm(apart.double())
