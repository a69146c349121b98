"""The trained ResNet-20 of the shared folder: bounds of its graph, which METHODS.md, section 5, has measured."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsv_cli.lipschitz.composition import compose
from convsv_cli.lipschitz.fold import folded
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.lipschitz.weights import kernel_norm
from convsv_cli.loaders import load
from convsv_cli.network import Network
from tests.exported_nets import jacobian_norm
from tests.sensitivity import layer_norms
from tests.whole_bounds import product


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


@pytest.fixture(scope="module", params=["new", "legacy"])
def network(request: pytest.FixtureRequest, trained: ResNet20, tmp_path_factory) -> Network:
    """With BatchNorm kept, from each of torch's exporters."""
    path = tmp_path_factory.mktemp("cifar") / "resnet20.onnx"
    export(trained, path, dynamo=request.param == "new")
    return load(path)
