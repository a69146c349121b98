"""The largest eigenvalue by Lanczos steps, where vectors soon span an invariant space or have a pattern."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convsv_cli.spectral.eigenpairs import largest_pair, start_vector


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


def test_a_start_has_something_of_vectors_with_a_pattern() -> None:
    """To second differences anywhere, what is linear but for jumps would be orthogonal."""
    start = start_vector(4096, torch.device("cpu"))
    for order in range(5):
        assert float((start.diff(n=order).abs() < 1e-3).double().mean()) < 0.01
