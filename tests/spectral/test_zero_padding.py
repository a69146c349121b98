"""The layer as it is, zero padding and all: the operator, its adjoint, and both ends of its norm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convsv_cli.model import kernel as kernels
from convsv_cli.spectral import banded, padded_convolution, padded_proofs
from convsv_cli.spectral.padded_convolution import PaddedConvolution
from convsv_cli.spectral.zero_padding import zero_padded_norm
from tests.support import contract, oracles
from tests.support.geometry import Case, cases


def operator(case: Case) -> tuple[PaddedConvolution, np.ndarray]:
    """The package's operator (the adjoint's, for a transposed layer), and the dense matrix."""
    g, axes = case.geometry, len(case.input_size)
    fine = oracles.padded_fine_size(
        case.weight.shape[2:],
        case.input_size,
        stride=g.stride,
        dilation=g.dilation,
        transposed=g.transposed,
        begin=g.padding[:axes],
        end=g.padding[axes:],
    )
    assume(axes and fine)
    layer = PaddedConvolution(weight=torch.from_numpy(case.weight), geometry=g, size=fine)
    return layer, case.own_padding()


@given(cases(divided=False))
@settings(max_examples=150)
def test_the_operator_and_its_adjoint_are_the_dense_matrix(case: Case) -> None:
    layer, matrix = operator(case)
    x = torch.ones((1, case.weight.shape[1] * case.geometry.groups, *layer.size), dtype=torch.float64)
    x = x * torch.linspace(-1, 2, x.numel(), dtype=torch.float64).view(x.shape)
    y = layer.apply(x)
    assert y.shape[2:] == layer.outputs
    slack = 1e-12 * abs(case.weight).sum() * x.numel()
    assert abs(y.flatten().numpy() - matrix @ x.flatten().numpy()).max() <= slack
    back = layer.adjoint(y)
    assert back.shape == x.shape
    there = matrix.T @ y.flatten().numpy()
    assert abs(back.flatten().numpy() - there).max() <= slack * max(1e-300, abs(case.weight).sum())


@given(st.one_of(cases(), cases(divided=False)))
@settings(max_examples=150)
def test_norms_of_small_layers_are_exact(case: Case) -> None:
    assume(case.input_size)
    kernel = kernels.reduce_kernel(torch.from_numpy(case.weight), case.geometry)
    interval = zero_padded_norm(kernel, case.input_size, tolerance=1e-4)
    contract.assert_enclosed(interval.lower, oracles.spectral_norm(case.own_padding()), interval.upper)
    assert interval.upper <= interval.lower * (1 + 1e-6)


@given(st.one_of(cases(), cases(divided=False)))
@settings(max_examples=100)
def test_a_large_layer_is_not_below_a_smaller_one(case: Case) -> None:
    """Beyond so many entries, the lower end is that of a submatrix."""
    assume(case.input_size)
    kernel = kernels.reduce_kernel(torch.from_numpy(case.weight), case.geometry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(padded_convolution, "MOST", 40)
        interval = zero_padded_norm(kernel, case.input_size, tolerance=1e-4)
    contract.assert_enclosed(interval.lower, oracles.spectral_norm(case.own_padding()), interval.upper)


@given(st.one_of(cases(), cases(divided=False)))
@settings(max_examples=60)
def test_factorizing_a_band_proves_the_same(case: Case) -> None:
    assume(case.input_size)
    kernel = kernels.reduce_kernel(torch.from_numpy(case.weight), case.geometry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(padded_proofs, "DENSE", 0)
        patch.setattr(banded, "COLUMNS", 4)
        patch.setattr(banded, "ROWS", 6)
        interval = zero_padded_norm(kernel, case.input_size, tolerance=1e-7)
    contract.assert_enclosed(interval.lower, oracles.spectral_norm(case.own_padding()), interval.upper)
    assert interval.upper <= interval.lower * (1 + 1e-3)
