"""Maps, their adjoints and their other weights are those of dense matrices."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from convsv_cli.local.maps import Convolution, Map, Product, Scaling, Selection
from convsv_cli.model.layer import Geometry


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def convolution(
    stride: int = 1, dilation: int = 1, padding: tuple[int, ...] = (0,) * 4, groups: int = 1
) -> Map:
    geometry = Geometry(stride=(stride,) * 2, dilation=(dilation,) * 2, padding=padding, groups=groups)
    weight = normal(4, 2 // groups, 3, 2)
    x = functional.pad(torch.zeros(1, 2, 7, 6), [padding[1], padding[3], padding[0], padding[2]])
    given = functional.conv2d(x, weight.float(), None, stride, 0, dilation, groups).shape
    return Convolution(taken=(1, 2, 7, 6), given=tuple(given), roundings=12, weight=weight, geometry=geometry)


def transposed(padding: tuple[int, ...], further: tuple[int, ...] = ()) -> Map:
    geometry = Geometry(
        stride=(2, 2), dilation=(1, 1), padding=padding, transposed=True, output_padding=further
    )
    more = further or (0, 0)
    size = [(n - 1) * 2 + k + m for n, k, m in zip((3, 4), (3, 2), more, strict=True)]
    size = [n - a - b for n, a, b in zip(size, padding[:2], padding[2:], strict=True)]
    return Convolution(
        taken=(1, 2, 3, 4), given=(1, 3, *size), roundings=12, weight=normal(2, 3, 3, 2), geometry=geometry
    )


MAPS: dict[str, Callable[[], Map]] = {
    "plain": convolution,
    "strided": lambda: convolution(stride=2, padding=(1, 1, 1, 1)),
    "uneven": lambda: convolution(stride=3, padding=(0, 1, 2, 0)),
    "dilated": lambda: convolution(dilation=2, padding=(2, 1, 2, 1)),
    "grouped": lambda: convolution(groups=2),
    "transposed": lambda: transposed((0, 0, 0, 0)),
    "cropped": lambda: transposed((1, 0, 1, 1)),
    "further": lambda: transposed((1, 0, 1, 0), (1, 1)),
    "scaling": lambda: Scaling(taken=(1, 3, 2), given=(1, 3, 2), roundings=1, weight=normal(3, 1)),
    "right": lambda: Product(taken=(1, 2, 3), given=(1, 2, 4), roundings=4, weight=normal(3, 4), left=False),
    "left": lambda: Product(taken=(1, 3, 2), given=(1, 4, 2), roundings=4, weight=normal(4, 3), left=True),
    "same": lambda: selection((1, 6), (2, 3), torch.arange(6)[None]),
    "permuted": lambda: selection((1, 4), (4,), torch.tensor([[2, 0, 3, 1]])),
    "padded": lambda: selection((1, 3), (5,), torch.tensor([[-1, 0, 1, 2, -1]])),
    "sums": lambda: selection((1, 4), (3,), torch.tensor([[0, 1, 2], [1, 2, 3]])),
    "repeated": lambda: selection((1, 2), (4,), torch.tensor([[0, 1, 0, 1]])),
}


def selection(taken: tuple[int, ...], given: tuple[int, ...], index: Tensor) -> Map:
    return Selection(taken=taken, given=given, roundings=0, index=index)


def dense(map_: Map) -> Tensor:
    """[entries of the result, entries of the argument]."""
    count = math.prod(map_.taken)
    units = torch.eye(count, dtype=torch.float64).reshape(count, *map_.taken)
    return map_.forward(units).flatten(1).T


@pytest.mark.parametrize("name", MAPS)
def test_adjoint_is_the_transpose(name: str) -> None:
    map_ = MAPS[name]()
    count = math.prod(map_.given)
    units = torch.eye(count, dtype=torch.float64).reshape(count, *map_.given)
    assert map_.forward(torch.zeros(2, *map_.taken, dtype=torch.float64)).shape == (2, *map_.given)
    assert torch.equal(map_.adjoint(units).flatten(1), dense(map_))


@pytest.mark.parametrize("name", MAPS)
def test_other_weights_are_those_of_the_matrix(name: str) -> None:
    map_ = MAPS[name]()
    assert torch.allclose(dense(map_.absolute), dense(map_).abs(), rtol=1e-14)
    assert torch.allclose(dense(map_.squared), dense(map_).square(), rtol=1e-14)
    assert torch.equal(dense(map_.support), (dense(map_) != 0).double())


def test_convolutions_are_torchs_own() -> None:
    map_, x = MAPS["strided"](), normal(3, 1, 2, 7, 6)
    assert isinstance(map_, Convolution)
    assert torch.allclose(map_.forward(x)[:, 0], functional.conv2d(x[:, 0], map_.weight, stride=2, padding=1))
