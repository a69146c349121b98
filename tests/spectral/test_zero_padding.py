"""The layer as it is, zero padding and all: the operator, its adjoint, and both ends of its norm."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convsv_cli import load
from convsv_cli.model import kernel as kernels
from convsv_cli.model.layer import Geometry, Layer
from convsv_cli.spectral import banded, padded_convolution, padded_proofs
from convsv_cli.spectral.padded_convolution import PaddedConvolution
from convsv_cli.spectral.padded_directions import Directions, _symbols_by_axes
from convsv_cli.spectral.spectrum import half_grid
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


def plain(random: np.random.Generator) -> Case:
    """A layer of stride 1 with two to six input channels."""
    axes = int(random.integers(1, 4))
    most = (0, 20, 7, 4)[axes]
    taps, dilation, size = (tuple(map(int, random.integers(1, end, axes))) for end in (4, 3, most))
    reach = np.multiply(dilation, np.subtract(taps, 1))
    begin, end = (random.integers(0, reach + 1) for _ in range(2))
    end = np.maximum(end, reach + 1 - size - begin)
    weight = random.standard_normal((int(random.integers(1, 6)), int(random.integers(2, 7)), *taps))
    weight *= 10.0 ** random.uniform(-3, 0, (1, weight.shape[1], *[1] * axes)) / np.linalg.norm(weight)
    padding = tuple(map(int, (*begin, *end)))
    return Case(
        weight=weight,
        geometry=Geometry(stride=(1,) * axes, dilation=dilation, padding=padding),
        input_size=size,
    )


@pytest.mark.parametrize("seed", range(60))
def test_directions_prove_nothing_below_the_norm(seed: int) -> None:
    """Whichever they are; and something above, where the circular layer's norm is below the level."""
    random = np.random.default_rng(seed)
    case = plain(random)
    weight = torch.from_numpy(case.weight)
    layer = PaddedConvolution(weight=weight, geometry=case.geometry, size=case.input_size)
    truth, channels = oracles.spectral_norm(case.own_padding()), case.weight.shape[1]
    vectors = torch.from_numpy(random.standard_normal((3, channels, *case.input_size)))
    proof = Directions.of(layer, vectors, int(random.integers(1, channels)))
    for share in (0.1, 1e-4, 1e-8, 1e-12):
        assert proof.upper(truth * (1 - share)) >= truth * (1 - 1e-12)
    above = abs(case.weight).sum()
    assert truth <= proof.upper(above) <= above * (1 + 1e-9)


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


def drawn(random: np.random.Generator) -> Case:
    """Of up to 4,096 inputs, and 300 of these or of outputs; with channels of any scale."""
    while True:
        axes, groups = int(random.integers(1, 4)), int(random.choice([1, 1, 1, 2, 3]))
        most, longest = (0, 9, 5, 4)[axes], (0, 400, 20, 8)[axes]
        taps, size = (tuple(map(int, random.integers(1, end, axes))) for end in (most, longest))
        stride, dilation = (tuple(map(int, random.integers(1, 4, axes))) for _ in range(2))
        reach = [d * k for d, k in zip(dilation, taps, strict=True)]
        geometry = Geometry(
            stride=stride,
            dilation=dilation,
            groups=groups,
            transposed=bool(random.integers(2)),
            padding=tuple(int(random.integers(-2, room + 1)) for room in reach * 2),
        )
        channels = groups * int(random.integers(1, 9)), int(random.integers(1, 9))
        weight = random.standard_normal((*channels, *taps))
        if random.integers(2):
            scales = [10.0 ** random.uniform(-18, 18, n) for n in channels]
            weight *= np.multiply.outer(*scales).reshape(*channels, *[1] * axes)
        weight *= random.choice([1e-40, 1e-20, 1.0, 1.0, 1e37])
        case = Case(weight=weight, geometry=geometry, input_size=size)
        places = math.prod(s * n + room for s, n, room in zip(stride, size, reach, strict=True))
        if max(channels[0], channels[1] * groups) * places <= 4096:
            matrix = case.own_padding()
            if matrix.any() and min(matrix.shape) <= 300:
                return case


@pytest.mark.exhaustive
def test_intervals_are_narrow_whatever_the_geometry() -> None:
    random, widths = np.random.default_rng(7), []
    for _ in range(300):
        case = drawn(random)
        matrix = case.own_padding()
        kernel = kernels.reduce_kernel(torch.from_numpy(case.weight), case.geometry)
        interval = zero_padded_norm(kernel, case.input_size, tolerance=1e-4)
        scale = abs(matrix).max()
        wide = (matrix if len(matrix) <= matrix.shape[1] else matrix.T) / scale
        truth = scale * math.sqrt(np.linalg.eigvalsh(wide @ wide.T)[-1])
        contract.assert_enclosed(interval.lower, truth, interval.upper)
        widths.append(interval.upper / interval.lower - 1)
    assert np.median(widths) <= 1e-9
    assert max(widths) <= 1e-3


@pytest.mark.exhaustive
def test_layers_of_a_network_are_enclosed(root: Path) -> None:
    layers = load(root / "sample_models" / "resnet20.onnx").layers
    for layer in (each for each in layers if isinstance(each, Layer) and each.geometry.padding):
        kernel = kernels.reduce_kernel(layer.read(), layer.geometry)
        interval = zero_padded_norm(kernel, layer.input_size or (), tolerance=1e-4)
        assert interval.upper <= interval.lower * (1 + 1e-3), layer.name


@pytest.mark.parametrize("grid", [(1,), (2, 1), (7,), (6, 5), (3, 2, 4)], ids=str)
def test_symbols_by_axes_are_within_their_error_of_those_of_the_fft(grid: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(0).standard_normal((2, 3, *grid))
    found, error = _symbols_by_axes(torch.from_numpy(kernel))
    truth = np.fft.fftn(kernel, axes=tuple(range(2, kernel.ndim)))
    visited = tuple(slice(n) for n in half_grid(grid))
    half = np.moveaxis(truth, (0, 1), (-2, -1))[visited].reshape(-1, 2, 3)
    assert found.shape == half.shape
    assert np.linalg.norm(found.numpy() - half, axis=(1, 2)).max() <= error < 1e-11
