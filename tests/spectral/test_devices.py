"""No tensor leaves the device of the kernel: on the meta device, or fake tensors on cuda; no GPU is needed.

Builds of torch for CPUs cannot index fake tensors on cuda, so that only whole convolutions are tested there.
Operations refuse to mix meta tensors with others, as they do with tensors on cuda.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from convsv_cli.model import kernel as kernels
from convsv_cli.model.layer import Geometry
from convsv_cli.spectral import (
    ascent,
    compression,
    definition,
    eigenpairs,
    grid_maximum,
    matrix_norm,
    spectrum,
    tiles,
    whole_grid,
)
from convsv_cli.spectral.gram_symbol import GramSymbol
from convsv_cli.spectral.matrix_norm import Scale
from convsv_cli.spectral.padded_convolution import PaddedConvolution

DEVICE = torch.device("meta")


def tensor(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=DEVICE)


def gram(axes: int = 2, blocks: int = 2, rows: int = 9) -> GramSymbol:
    """As `gram_symbol` makes it, but for the errors, which are numbers."""
    return GramSymbol(
        taps=tensor(blocks, *(3,) * axes, 3, 3),
        single=tensor(blocks, rows, 3, 3, dtype=torch.float32),
        lags=tensor((rows - 1) // 2, axes),
        row_norms=tensor(blocks, rows),
        error=1e-14,
        error_single=1e-6,
    )


def block() -> torch.Tensor:
    return tensor(5, dtype=torch.int64)


def assert_there(*tensors: torch.Tensor) -> None:
    for one in tensors:
        assert one.device == DEVICE


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_gram_symbols(blocks: int, dtype: torch.dtype) -> None:
    symbols = gram(blocks=blocks)
    turns = tensor(5, 2)
    assert symbols.device == DEVICE
    found = symbols.at(block(), turns, dtype)
    assert found.dtype == dtype
    vectors = tensor(5, 3, dtype=torch.complex64)
    assert_there(found, symbols.phases(turns), symbols.forms(block(), vectors))


def test_the_ascent() -> None:
    grid = (8, 9)
    symbols, index = gram(), tensor(5, 2, dtype=torch.int64)
    peaks = ascent.measured(symbols, block(), index, grid)
    assert_there(peaks.block, peaks.index, peaks.value, peaks.vector, peaks.best(2).value)
    assert_there(ascent.turns_of(index, grid), ascent.nearest(tensor(5, 2), grid))
    assert_there(ascent.summits(symbols, peaks, index, grid))


def test_definitions_and_whole_grids() -> None:
    turns, taps = tensor(5, 2), tensor(2, 3, 3, 4, 6)
    assert_there(definition.half_lags((3, 3), turns), definition.phases(tensor(4, 2), turns))
    assert_there(definition.gram_by_definition(taps, block(), turns))
    assert_there(whole_grid._lags(taps.flatten(1, 2), [3, 3]), whole_grid._phases(8, 5, 3, DEVICE))
    assert_there(whole_grid._peaks(tensor(3, 3, dtype=torch.complex128), 1.0, 7, 2, (8, 9)).index)


def test_compressions() -> None:
    turns, k, p = tensor(7, 2), 8, 64
    few = compression.Compression(
        taps=tensor(2, 2, p, p), lags=tensor(4, 2), basis=tensor(p, p), majorant=tensor(p), skew=1e-6
    )
    level = compression.Level(
        head=tensor(9, k * k, dtype=torch.float32),
        tail=tensor(9, (p - k) * k, dtype=torch.float32),
        bound=1.0,
        error=1e-4,
        size=k,
    )
    assert_there(few._below(level, turns), few.vectors(tensor(7, k, dtype=torch.complex64)))


def test_eigenvectors() -> None:
    matrices = tensor(4, 60, 60, dtype=torch.complex64)
    assert_there(eigenpairs.start_vector(5, DEVICE))
    assert_there(*eigenpairs.lanczos(matrices, tensor(4, 60, dtype=torch.complex64), 6))


@pytest.mark.parametrize("k", [(3,), (3, 4), (1, 3), (2, 2, 2)], ids=str)
def test_tiles(k: tuple[int, ...]) -> None:
    tiling = tiles.tiling(k)
    roots = tiles.root_tiles(tiling, 2, DEVICE)
    halves = roots.split(tiling)
    assert_there(roots.block, roots.centre, halves.block, halves.centre, halves[:2].estimate)
    assert_there(tiling.contains(halves.centre, 0.5), tiling.children(roots.centre, 1.0))


def test_grid_points() -> None:
    assert_there(grid_maximum.canonical(tensor(5, 2, dtype=torch.int64), (8, 9)))


@pytest.mark.parametrize("p", [1, 3])
def test_certificates_that_need_no_look_at_the_data(p: int) -> None:
    """One by one comparisons, and factorizations; which matrices need one is a look at the data."""
    assert_there(
        matrix_norm.proven_below(tensor(4, p, p), -1.0), matrix_norm.proven_below(tensor(4, p, p), math.inf)
    )
    assert_there(matrix_norm.proven_below(tensor(4, 1, 1), 2.0))
    for count, side in ((2, p), (5, 64), (5, 200)):
        assert_there(matrix_norm._positive_definite(tensor(count, side, side, dtype=torch.complex64)))


@pytest.mark.parametrize("grid", [(1, 1), (8, 9)], ids=str)
def test_symbols(grid: tuple[int, int]) -> None:
    weight = tensor(2, 3, 4, 3, 3)
    for part in spectrum.symbols(weight, grid):
        assert_there(part)
    assert_there(spectrum.symbol_at(weight[0], (0, 0), grid))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_reductions_and_unfoldings(axes: int, transposed: bool) -> None:
    geometry = Geometry(stride=(2,) * axes, dilation=(3,) * axes, groups=2, transposed=transposed)
    kernel = kernels.reduce_kernel(tensor(4, 2, *(3,) * axes, dtype=torch.float16), geometry)
    assert_there(kernel.weight, kernel.original, kernels.unfolded(kernel.weight, (0,)))
    assert_there(Scale(exponent=3).apply(kernel.weight))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_padded_convolutions(axes: int) -> None:
    cuda = torch.device("cuda", 0)
    with FakeTensorMode():
        layer = PaddedConvolution(
            weight=torch.empty((4, 2, *(3,) * axes), dtype=torch.float64, device=cuda),
            geometry=Geometry(
                stride=(2,) * axes, dilation=(1,) * axes, groups=2, padding=(1,) * axes + (2,) * axes
            ),
            size=(9,) * axes,
        )
        y = layer.apply(torch.empty((1, 4, *layer.size), dtype=torch.float64, device=cuda))
        x = layer.adjoint(y)
    assert x.device == y.device == cuda
    assert y.shape[2:] == layer.outputs
    assert x.shape[2:] == layer.size
