"""The trained ResNet-20 of the shared folder: bounds of its graph, as measured in METHODS.md, section 5."""

from __future__ import annotations

import math
from collections import Counter
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.onnx import TrainingMode

from convsv_cli.lipschitz.composition import compose
from convsv_cli.lipschitz.fold import folded
from convsv_cli.lipschitz.norms import Norms, kernel_norm
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.loaders import load
from convsv_cli.model.graph import Graph
from convsv_cli.model.network import Network
from tests.support.exported_nets import export, jacobian_norm
from tests.support.sensitivity import norms_of_rows

TOLERANCE = 1e-3
"""Relative width of the norms of folded kernels, as of those of rows."""


class Block(nn.Module):
    """The skip drops every other pixel and pads channels with zeros (He et al. 2016, option A)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.added = (c_out - c_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.added:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))
        return functional.relu(y + x)


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer3(self.layer2(self.layer1(functional.relu(self.bn1(self.conv1(x))))))
        return self.linear(y.mean((2, 3)))


@pytest.fixture(scope="module")
def trained(shared: Path) -> ResNet20:
    (path,) = (shared / "models/cifar10-resnet").glob("resnet20-*.th")
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    net = ResNet20()
    net.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    return net.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cifar")


@pytest.fixture(scope="module", params=[True, False])
def kept(request: pytest.FixtureRequest, trained: ResNet20, folder: Path) -> Network:
    """With BatchNorm kept, from each of torch's exporters."""
    options = {"optimize": False} if request.param else {"training": TrainingMode.PRESERVE}
    path = folder / f"kept-{request.param}.onnx"
    return load(export(trained, (1, 3, 32, 32), path, dynamo=request.param, **options))


@pytest.fixture(scope="module", params=[True, False])
def merged(request: pytest.FixtureRequest, trained: ResNet20, folder: Path) -> Network:
    """With BatchNorm folded by the exporter."""
    path = folder / f"merged-{request.param}.onnx"
    return load(export(trained, (1, 3, 32, 32), path, dynamo=request.param))


@pytest.fixture(scope="module")
def of_merged(merged: Network) -> Norms:
    return norms_of_rows(merged)


@pytest.fixture(scope="module")
def seen(trained: ResNet20) -> float:
    """The norm of a Jacobian, at noise."""
    torch.manual_seed(0)
    return jacobian_norm(deepcopy(trained), torch.randn(1, 3, 32, 32))


def log10(graph: Graph, norms: Norms) -> float:
    """Of the bound by the sum rule."""
    composed = compose(graph, RULES, norms)
    assert not composed.offences
    return math.fsum(math.log10(segment.factor) for segment in composed.segments)


def batch_norms(graph: Graph) -> int:
    return Counter(node.op for node in graph.main.nodes)["BatchNormalization"]


def test_the_sum_rule_gives_what_was_measured_before(kept: Network) -> None:
    """And with BatchNorm apart from its convolution no less."""
    assert kept.graph is not None
    graph = folded(kept.graph).graph
    assert (batch_norms(kept.graph), batch_norms(graph)) == (19, 0)
    norms = norms_of_rows(kept, partial(kernel_norm, tolerance=TOLERANCE))
    bound = log10(graph, norms)
    assert bound == pytest.approx(10.4, abs=0.1)
    assert bound <= log10(kept.graph, norms)


def test_a_product_over_layers_is_no_bound(merged: Network, of_merged: Norms) -> None:
    """It ignores the skips: all layers and the pool over 8 x 8 pixels give less than the sum rule."""
    assert merged.graph is not None
    plain = math.fsum(math.log10(of_merged.of_row(layer.name)) for layer in merged.layers) - math.log10(8)
    assert len(merged.layers) == 20
    assert plain < log10(merged.graph, of_merged) == pytest.approx(10.4, abs=0.1)


def test_the_bound_is_no_smaller_than_jacobians(merged: Network, of_merged: Norms, seen: float) -> None:
    assert merged.graph is not None
    assert 0 < math.log10(seen) < log10(merged.graph, of_merged)
