"""Every geometry reduces to plain kernels with the same singular values."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from convsv_cli.model.kernel import Kernel, reduce_kernel, unfolded
from convsv_cli.model.layer import Geometry
from tests.support import oracles
from tests.support.geometry import Case, cases

DENSE_ROUNDING = 1e-12  # relative, beside the largest


def reduced(case: Case) -> Kernel:
    return reduce_kernel(torch.from_numpy(case.weight), case.geometry)


def symbol_values(case: Case) -> np.ndarray:
    """All singular values of the symbols of all blocks at all frequencies of the grid, ascending.

    A grid that dilation or a single tap has made coarser stands for the whole lattice, each of its
    frequencies for equally many.
    """
    kernel = reduced(case)
    grid = kernel.grid(case.input_size)
    strides = case.geometry.stride
    lattice = math.prod(n // s for n, s in zip(case.fine_size, strides, strict=True))
    values = [
        oracles.singular_values(
            oracles.symbol(block, tuple(2 * math.pi * j / n for j, n in zip(at, grid, strict=True)))
        )
        for block in kernel.weight.numpy()
        for at in product(*map(range, grid))
    ]
    assert lattice % math.prod(grid) == 0
    return np.sort(np.repeat(np.concatenate(values), lattice // math.prod(grid)))


@given(cases())
@settings(max_examples=150)
def test_symbols_have_all_singular_values_of_the_dense_layer(case: Case) -> None:
    dense = np.sort(oracles.singular_values(case.circular()))
    values = symbol_values(case)
    # A residue without taps is an input that the layer ignores, and blocks that are not square leave
    # a kernel as well: the two lists may differ by zeros.
    length = max(len(dense), len(values))
    dense, values = (np.pad(v, (length - len(v), 0)) for v in (dense, values))
    assert np.abs(dense - values).max() <= DENSE_ROUNDING * abs(case.weight).sum()


@given(cases())
@settings(max_examples=100)
def test_unfoldings_are_those_of_the_definition(case: Case) -> None:
    kernel, axes = reduced(case), len(case.input_size)
    for rows, norm in case.unfoldings().items():
        blocks = unfolded(kernel.weight, tuple(sorted(rows))).numpy()
        height = kernel.weight.shape[1] * math.prod(kernel.spatial[axis] for axis in rows)
        assert blocks.shape[1] == height, f"rows of {sorted(rows)} of {axes} axes"
        largest = max(map(oracles.spectral_norm, blocks))
        assert abs(largest - norm) <= DENSE_ROUNDING * norm


@given(cases(divided=False))
@settings(max_examples=100)
def test_the_circular_size_is_the_next_multiple_of_the_stride(case: Case) -> None:
    size = reduced(case).circular_size(case.input_size)
    for n, s, moved in zip(case.input_size, case.geometry.stride, size, strict=True):
        assert moved % s == 0
        assert n <= moved < n + s


@given(cases())
@settings(max_examples=50)
def test_the_circular_size_is_the_input_size_where_that_has_a_symbol(case: Case) -> None:
    assert reduced(case).circular_size(case.input_size) == case.input_size


def test_at_a_size_that_the_stride_does_not_divide_no_symbol_bounds_the_layer() -> None:
    """Why `circular_size` is not the input size: windows that the polyphase kernel keeps apart overlap there.

    Stride 2 at n = 3 has the rows [1, 1, 0] and [1, 0, 1], which share an input; the coarse kernel [1, 1] at
    one tap says that no two windows do.
    """
    case = Case(weight=np.ones((1, 1, 2)), geometry=Geometry(stride=(2,), dilation=(1,)), input_size=(3,))
    symbol = oracles.symbol(reduced(case).weight.numpy()[0], (0.0,))
    assert oracles.spectral_norm(symbol) < oracles.spectral_norm(case.circular())


def test_weights_of_lower_precision_are_converted_exactly() -> None:
    weight = torch.tensor([[[0.1, -3.0]]], dtype=torch.float16)
    kernel = reduce_kernel(weight, Geometry(stride=(1,), dilation=(1,)))
    assert kernel.weight.dtype == torch.float64
    assert torch.equal(kernel.weight[0].to(torch.float16), weight)


@pytest.mark.parametrize(
    ("shape", "geometry"),
    [
        ((3, 1, 2), Geometry(stride=(1,), dilation=(1,), groups=2)),
        ((3, 1, 2), Geometry(stride=(1,), dilation=(1,), groups=0)),
        ((3, 1, 2), Geometry(stride=(1,), dilation=(1,), groups=-1)),
        ((3, 1, 2), Geometry()),
        ((3, 1, 2, 2), Geometry(stride=(1,), dilation=(1, 1))),
        ((3, 1, 2, 2), Geometry(stride=(1, 1), dilation=(1,))),
        ((3, 1), Geometry(stride=(1,), dilation=(1,))),
    ],
)
def test_geometries_that_do_not_fit_the_weight_are_refused(shape, geometry: Geometry) -> None:
    with pytest.raises(ValueError, match=r"channels do not split|spatial axes"):
        reduce_kernel(torch.ones(shape), geometry)
