"""Parameters and multiplications of layers, against what torch's own layers hold and put out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from convsv_cli.report import NOT_APPLICABLE, LayerAudit

CONVOLUTIONS = [
    nn.Conv2d(6, 8, 3, stride=2, padding=1),
    nn.Conv2d(6, 9, (1, 5), stride=(1, 3), padding=(0, 2), dilation=(1, 2), groups=3),
    nn.Conv1d(4, 2, 7, stride=4),
    nn.Conv3d(1, 2, 2, padding=1),
]
TRANSPOSED = [nn.ConvTranspose2d(6, 4, 3, groups=2), nn.ConvTranspose1d(3, 5, 4, stride=2)]


def row(layer: nn.Module, size: tuple[int, ...] | None, **changed: object) -> LayerAudit:
    """As an audit has it."""
    fields = {
        "stride": layer.stride,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "padding": layer.padding * 2,
        "transposed": layer.transposed,
    }
    shape = tuple(layer.weight.shape)
    known = {"name": "", "weight": "", "op": "", "dtype": "", "kernel_shape": shape, "input_size": size}
    return LayerAudit(**{**known, **fields, **changed})


@pytest.mark.parametrize("layer", CONVOLUTIONS)
def test_a_convolution_takes_what_each_of_its_outputs_does(layer: nn.Module) -> None:
    size = (11, 13, 5)[: layer.weight.dim() - 2]
    found = row(layer, size)
    outputs = layer(torch.zeros(1, layer.in_channels, *size)).numel()
    assert found.parameters == layer.weight.numel()
    assert found.macs == outputs * layer.in_channels // layer.groups * math.prod(layer.kernel_size)


@pytest.mark.parametrize("layer", TRANSPOSED)
def test_a_transposed_one_takes_what_adds_up_in_its_output(layer: nn.Module) -> None:
    size = (5, 7)[: layer.weight.dim() - 2]
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    assert row(layer, size).macs == layer(torch.ones(1, layer.in_channels, *size)).sum()


def test_a_matrix_takes_its_entries_and_the_rest_says_why_not() -> None:
    layer = CONVOLUTIONS[0]
    matrix = LayerAudit(name="", weight="", op="Gemm", dtype="", kernel_shape=(3, 5))
    assert (matrix.parameters, matrix.macs) == (15, 15)
    assert (row(layer, None).macs, row(layer, None).no_macs) == (None, "the size of its input is not known")
    assert row(layer, (8, 8), padding=()).no_macs == "its padding is not known"
    assert row(layer, (8, 8), status=NOT_APPLICABLE).no_macs == "it is no layer"
    assert row(layer, (1, 1), padding=(0,) * 4).macs == 0
    assert row(layer, (8, 8), kernel_shape=()).parameters is None
    assert row(layer, (8, 8), kernel_shape=(10**5000, 3, 3, 3)).parameters is None
    endless = row(layer, (10**5000, 8))
    assert (endless.macs, endless.no_macs) == (None, "it is beyond all bounds")
