"""Pickled `nn.Sequential`s are chains: their bounds are those of their ONNX export; others say why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from convsv_cli import audit, load
from convsv_cli.report import BOUNDED
from tests.support import runtime
from tests.support.exported_programs import as_onnx

IMAGE = (1, 3, 16, 16)


def flattened(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


CHAINS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "nested": (
        lambda: flattened(
            nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout()),
            nn.Conv2d(8, 8, 3, padding="same", groups=2, dilation=2),
        ),
        IMAGE,
    ),
    "pools": (
        lambda: flattened(
            nn.Conv2d(3, 8, 3), nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(3, 2, 1), nn.Hardtanh(-2, 0.5)
        ),
        IMAGE,
    ),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), nn.Softplus()), IMAGE),
    "activations": (
        lambda: nn.Sequential(
            nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8), nn.SiLU(), nn.LeakyReLU(0.3), nn.ELU(0.7),
            nn.CELU(1.3), nn.PReLU(), nn.ReLU6(), nn.Mish(), nn.Hardswish(), nn.LayerNorm(8),
            nn.Linear(8, 4), nn.Softmax(-1),
        ),
        (1, 6),
    ),
    "one axis": (lambda: nn.Sequential(nn.Conv1d(3, 8, 5), nn.Tanh(), nn.Conv1d(8, 4, 3)), (1, 3, 16)),
}  # fmt: skip


def chain(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    make, shape = CHAINS[name]
    module = make()
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.running_var, 0.5, 2.0)
    return module.eval(), torch.randn(shape)


@pytest.mark.parametrize("name", CHAINS)
def test_bounds_and_values_are_those_of_the_onnx_export(name: str, tmp_path: Path) -> None:
    module, x = chain(name)
    torch.save(module, tmp_path / "m.pt")
    size = {"input_size": x.shape[2:]} if x.ndim > 2 else {}
    own = audit(tmp_path / "m.pt", network_effort="quick", **size).bound
    other = audit(as_onnx(module, [x], tmp_path / "m.onnx"), network_effort="quick").bound
    assert own.status == other.status == BOUNDED
    assert own.lipschitz == pytest.approx(other.lipschitz, rel=1e-6)
    network = load(tmp_path / "m.pt", **size)
    assert network.executable is not None
    found = runtime.session(onnx.load_model_from_string(network.executable()), rewritten=False).run(
        None, {"input": x.numpy()}
    )[0]
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


class Own(nn.Sequential):
    """With code of its own, which a pickle does not hold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def look(*_: object) -> None:
    """A hook."""


def hooked_as_a_whole() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 3))
    module.register_forward_pre_hook(look)
    return module


def replaced() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 3))
    module[0].forward = look
    return module


def shadowed() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 3))
    vars(module[0])["weight"] = torch.ones(3, 4)
    return module


def hooked() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    module[1].register_forward_hook(look)
    return module


def changed(**settings: object) -> nn.Module:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    vars(module[0]).update(settings)
    return module


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a class of its own": (lambda: Own(nn.Linear(3, 3)), "only an nn.Sequential needs none"),
    "a part with code": (
        lambda: nn.Sequential(Own(nn.Linear(3, 3))),
        "'0' is a tests.loaders.test_chains.Own",
    ),
    "a hook": (hooked, "'1' has hooks"),
    "a hook of all": (hooked_as_a_whole, "the module has hooks"),
    "another forward": (replaced, "'0' has 'forward' in place of"),
    "another weight": (shadowed, "'0' has 'weight' in place of"),
    "circular": (lambda: changed(padding_mode="circular"), "pads in another way"),
    "settings that are none": (
        lambda: changed(stride=("a", "b")),
        "the settings of '0' are none of its class",
    ),
    "a huge stride": (lambda: changed(stride=(2**70, 1)), "the settings of '0' are none of its class"),
    "batch statistics": (
        lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)),
        "'1' normalizes by the batch",
    ),
    "another module": (
        lambda: nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 3)),
        "'1' is a torch.nn.modules.rnn",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_chain_says_why(name: str, tmp_path: Path) -> None:
    make, reason = REFUSED[name]
    torch.save(make(), tmp_path / "m.pt")
    network = load(tmp_path / "m.pt")
    assert network.graph is None
    assert network.graph_missing.startswith("a pickled module holds its layers, but not the code")
    assert reason in network.graph_missing
