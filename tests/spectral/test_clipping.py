"""Kernels brought under a limit, held against dense matrices of the layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from convsv_cli.model.layer import Geometry
from convsv_cli.report import CLIP, CLIP_METHODS, SCALE
from convsv_cli.spectral import clipping
from convsv_cli.spectral.clipping import brought_under
from tests.support import oracles
from tests.support.geometry import Case, cases


def stored_as(dtype: torch.dtype):
    return lambda weight: weight.to(dtype).double()


def with_weight(case: Case, weight: torch.Tensor) -> Case:
    return Case(weight=weight.numpy(), geometry=case.geometry, input_size=case.input_size)


@settings(max_examples=4)
@given(case=cases())
def test_every_geometry_keeps_its_limit_as_it_is_stored(case: Case) -> None:
    check_kept(case)


@pytest.mark.exhaustive
@settings(max_examples=20)
@given(case=cases())
def test_more_of_them_do(case: Case) -> None:
    check_kept(case)


def check_kept(case: Case) -> None:
    norm = case.supremum()
    if not norm:
        return
    weight = torch.from_numpy(case.weight / norm)  # in the range of 16 bits
    limit = 0.6
    for method, dtype in ((CLIP, torch.bfloat16), (CLIP, torch.float32), (SCALE, torch.float16)):
        found = brought_under(weight, case.geometry, limit, method=method, rounded=stored_as(dtype))
        after = with_weight(case, stored_as(dtype)(found.weight))
        assert found.norm.upper <= limit
        assert after.supremum() <= limit * (1 + 1e-12)
        assert oracles.spectral_norm(after.circular()) <= limit * (1 + 1e-12)
        assert after.supremum() >= 0.85 * limit  # and is no smaller than need be


def test_a_matrix_is_clipped_exactly() -> None:
    matrix = np.random.default_rng(0).standard_normal((7, 4))
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    found = brought_under(torch.from_numpy(matrix), Geometry(), 1.5)
    assert np.allclose(found.weight, u * np.minimum(s, 1.5) @ v, rtol=1e-9, atol=1e-9)


def test_what_is_below_stays_as_it_is() -> None:
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    geometry = Geometry(stride=(1, 1), dilation=(1, 1))
    for method in CLIP_METHODS:
        assert torch.equal(brought_under(weight, geometry, 100.0, method=method).weight, weight)


def test_one_projection_is_that_of_the_dense_matrix() -> None:
    """Of a kernel that fills its torus, the singular values of the circular matrix are clipped."""
    weight = np.random.default_rng(1).standard_normal((3, 2, 4, 5))
    ones = (1, 1)
    dense = oracles.circular_matrix(weight, (4, 5), stride=ones, dilation=ones, groups=1)
    u, s, v = np.linalg.svd(dense, full_matrices=False)
    level = float(np.median(s))
    symbol = clipping._symbol(torch.from_numpy(weight)[None], (4, 5))
    above = clipping.excess(symbol, torch.full(symbol.shape[:2], level, dtype=torch.float64))
    assert above is not None
    clipped = weight - clipping._kernel(above, (4, 5))[0].numpy()
    again = oracles.circular_matrix(clipped, (4, 5), stride=ones, dilation=ones, groups=1)
    assert np.allclose(again, u * np.minimum(s, level) @ v, rtol=1e-9, atol=1e-9)


def test_clipping_moves_a_kernel_less_than_scaling() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 4, 3, 3, dtype=torch.float64, generator=generator)
    geometry = Geometry(stride=(1, 1), dilation=(1, 1))
    norm = brought_under(weight, geometry, 1e9).norm.upper
    moved = {m: brought_under(weight, geometry, 0.8 * norm, method=m).weight - weight for m in CLIP_METHODS}
    distances = {method: float(torch.linalg.vector_norm(each)) for method, each in moved.items()}
    assert distances[CLIP] < 0.75 * distances[SCALE]


def test_it_is_the_last_factor_that_makes_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rounding adds is more than nothing for some of these, and less than the factor takes off."""
    fitted, exceeding = clipping._fitted, []

    def noticing(weight: torch.Tensor, limit: float, proof: clipping._Proof) -> clipping.Brought:
        exceeding.append(proof(weight).upper > limit)
        return fitted(weight, limit, proof)

    monkeypatch.setattr(clipping, "_fitted", noticing)
    for seed in range(3):
        weight = torch.randn(4, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        geometry = Geometry(stride=(1,), dilation=(1,))
        found = brought_under(weight, geometry, 1.0, rounded=stored_as(torch.bfloat16))
        assert 0.98 < found.norm.lower <= found.norm.upper <= 1.0
    assert any(exceeding)
