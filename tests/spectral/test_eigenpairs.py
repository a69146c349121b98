"""The largest eigenvalue by Lanczos steps, where vectors soon span an invariant space or have a pattern."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convsv_cli.model.layer import Geometry
from convsv_cli.spectral.eigenpairs import (
    eigh,
    largest_pair,
    largest_values,
    powered,
    promising,
    start_vector,
)
from convsv_cli.spectral.padded_convolution import PaddedConvolution


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("rest", [(), (0.9,), (0.99, 0.5, 0.1), (1 - 1e-6, 0.3)])
def test_equal_eigenvalues_are_found_to_all_digits(rest: tuple[float, ...], scale: float) -> None:
    random = np.random.default_rng(len(rest))
    basis, _ = np.linalg.qr(random.standard_normal((130, 130)))
    values = scale * random.choice([1.0, *rest], 130)
    matrix = torch.from_numpy((basis * values) @ basis.T)
    top, vector, missing = largest_pair((matrix + matrix.mT) / 2)
    assert top == pytest.approx(scale, rel=1e-12)
    assert missing <= 1e-12 * scale
    assert float(torch.linalg.vector_norm(vector)) == pytest.approx(1, rel=1e-9)
    assert float(vector @ matrix @ vector) == pytest.approx(scale, rel=1e-9)


def test_vectors_that_a_layer_amplifies_equally_are_orthonormal() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        left, right = (np.linalg.qr(random.standard_normal((16, 16)))[0] for _ in range(2))
        weight = torch.from_numpy(left * random.choice(random.random(3), 16) @ right)[..., None] / 16
        geometry = Geometry(stride=(1,), dilation=(1,), padding=(0, 0))
        layer = PaddedConvolution(weight=weight, geometry=geometry, size=(5,))
        found, _ = layer.steps(torch.from_numpy(random.random((1, 16, 5))), 1e-12)
        rows = found.flatten(1)
        assert torch.allclose(rows @ rows.mT, torch.eye(len(rows), dtype=rows.dtype), rtol=0, atol=1e-9)


def test_a_start_has_something_of_vectors_with_a_pattern() -> None:
    """To second differences anywhere, what is linear but for jumps would be orthogonal."""
    start = start_vector(4096, torch.device("cpu"))
    for order in range(5):
        assert float((start.diff(n=order).abs() < 1e-3).double().mean()) < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_entries_that_underflow_spoil_no_eigenvector(dtype: torch.dtype) -> None:
    """LAPACK raises an error on some such matrices, and gives vectors of NaN on others."""
    random = np.random.default_rng(0)
    for _ in range(60):  # of which several do
        rows = random.standard_normal((74, 80)) * 10.0 ** random.uniform(-34, 0, (74, 1))
        half = torch.from_numpy(rows / np.linalg.norm(rows)).to(dtype)
        values, vectors = eigh(half @ half.mH)
        torch.testing.assert_close(largest_values(half[None] @ half.mH), values[-1:], rtol=1e-4, atol=0.0)
        assert vectors.isfinite().all()
        assert float(values[-1]) == pytest.approx(np.linalg.norm(rows, 2) ** 2 / (rows**2).sum(), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("scale", [1e-24, 1.0, 1e15])
def test_the_largest_eigenvalue_is_where_it_is_looked_for(dtype: torch.dtype, scale: float) -> None:
    """Of few matrices among many; squares of tiny numbers are zero, so that nothing is left out then."""
    random = torch.Generator().manual_seed(0)
    for rank in (1, 3, 8):
        roots = torch.randn(60, 8, rank, dtype=dtype, generator=random)
        matrices = roots @ roots.mH * torch.linspace(0.1, 1.0, 60)[:, None, None] * scale
        found = promising(matrices)
        assert int(torch.linalg.eigvalsh(matrices.to(torch.complex128))[:, -1].argmax()) in found
        if rank == 1:  # whose norms are their eigenvalues
            assert (len(found) < 60) == (scale > 1e-20 or dtype == torch.complex128)


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
@pytest.mark.parametrize("p", [1, 5, 48])
def test_powers_lead_to_the_top_vector(p: int, scale: float) -> None:
    """Where it is well apart from the others, however flat these are."""
    basis = torch.linalg.qr(torch.randn(3, p, p, dtype=torch.complex64))[0]
    values = torch.ones(p).index_fill(0, torch.tensor([0]), 2.0)
    found, vectors = powered(scale * (basis * values) @ basis.mH)
    assert found.tolist() == pytest.approx([2 * scale] * 3, rel=1e-4)
    assert (basis[..., 0].conj() * vectors).sum(1).abs().tolist() == pytest.approx([1.0] * 3, rel=1e-4)


def test_of_nothing_there_is_no_top_vector() -> None:
    for nothing in (0.0, 1e-25, 1e-40):
        assert powered(torch.full((2, 3, 3), nothing, dtype=torch.complex64))[0].tolist() == [0.0, 0.0]
