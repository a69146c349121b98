"""Whole pickled modules: names and kernels of their state dict, and the geometry that is saved with them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm, weight_norm

from convsv_cli import audit, load
from convsv_cli.errors import UnreadableModelError
from convsv_cli.model.layer import Geometry, Layer, UnsupportedLayer
from tests.support.command_line import convsv

CONVOLUTIONS: dict[str, tuple[nn.Module, Geometry]] = {
    "plain": (nn.Conv2d(4, 6, 3), Geometry(stride=(1, 1), dilation=(1, 1), padding=(0,) * 4)),
    "strided": (
        nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2)),
        Geometry(stride=(2, 1), dilation=(1, 1), padding=(1, 2, 1, 2)),
    ),
    "depthwise": (
        nn.Conv2d(4, 4, 3, groups=4, padding="valid"),
        Geometry(stride=(1, 1), dilation=(1, 1), groups=4, padding=(0,) * 4),
    ),
    "same": (
        nn.Conv2d(4, 4, (4, 3), dilation=(1, 2), padding="same"),
        Geometry(stride=(1, 1), dilation=(1, 2), padding=(1, 2, 2, 2)),
    ),
    "reflect": (
        nn.Conv1d(4, 4, 3, padding=1, padding_mode="reflect"),
        Geometry(stride=(1,), dilation=(1,), padding=(1, 1), padding_mode="reflect"),
    ),
    "circular": (
        nn.Conv3d(2, 2, 3, padding=1, padding_mode="circular"),
        Geometry(stride=(1,) * 3, dilation=(1,) * 3, padding=(1,) * 6, padding_mode="circular"),
    ),
    "transposed": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        Geometry(
            stride=(2, 2), dilation=(1, 1), groups=2, transposed=True, padding=(1,) * 4, output_padding=(1, 1)
        ),
    ),
}


def saved(value: Any, folder: Path, *, zipped: bool = True) -> Path:
    path = folder / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def layer_of(value: Any, folder: Path, *, zipped: bool = True) -> Layer:
    (layer,) = load(saved(value, folder, zipped=zipped)).layers
    assert isinstance(layer, Layer)
    return layer


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_geometry(kind: str, zipped: bool, tmp_path: Path) -> None:
    module, geometry = CONVOLUTIONS[kind]
    layer = layer_of(nn.Sequential(module), tmp_path, zipped=zipped)
    assert layer.geometry == geometry
    assert layer.op == ("ConvTranspose" if geometry.transposed else "Conv")
    assert layer.assumed == ()
    assert torch.equal(layer.read(), module.weight)


class Block(nn.Module):
    """A module of the one who saved it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.again = self.conv
        self.bn = nn.BatchNorm2d(8)
        self.empty = None
        self.table = nn.Embedding(10, 8)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.table.weight
        self.rnn = nn.LSTM(8, 4)
        self.cell = nn.GRUCell(8, 4)
        self.attention = nn.MultiheadAttention(8, 2)
        self.product = nn.Bilinear(3, 4, 5)
        self.norm = nn.LayerNorm((3, 4))
        self.scale = nn.Parameter(torch.ones(3, 3))


OPS = {
    "conv.weight": "Conv", "head.weight": "Gemm", "rnn.weight_ih_l0": "LSTM", "rnn.weight_hh_l0": "LSTM",
    "cell.weight_ih": "GRU", "cell.weight_hh": "GRU", "attention.in_proj_weight": "Gemm",
    "attention.out_proj.weight": "Gemm",
}  # fmt: skip
REASONS = {"table.weight": "embedding", "product.weight": "bilinear", "scale": "not named as a weight"}
WRAPPINGS = {
    "bare": lambda module: module,
    "parallel": nn.DataParallel,
    "in a checkpoint": lambda module: {"epoch": 1, "model": module, "optimizer": {"state": {}}},
    "beside its average": lambda module: {"ema": module, "model": module, "updates": 3},
    "half": lambda module: module.half(),
    "in evaluation": lambda module: module.eval(),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_weight_is_a_row(wrapping: str, zipped: bool, tmp_path: Path) -> None:
    module = Block()
    network = load(saved(WRAPPINGS[wrapping](module), tmp_path, zipped=zipped))
    assert network.format == "pickled_module"
    rows = {row.weight: row for row in network.layers}
    assert {name: row.op for name, row in rows.items() if isinstance(row, Layer)} == OPS
    assert rows["conv.weight"].aliases == ("again.weight",)
    unsupported = {name: row.reason for name, row in rows.items() if isinstance(row, UnsupportedLayer)}
    assert unsupported.keys() == REASONS.keys()
    assert all(fragment in unsupported[name] for name, fragment in REASONS.items())
    state = module.state_dict()
    for name in OPS:
        row = rows[name]
        assert isinstance(row, Layer)
        assert row.assumed == ()
        assert torch.equal(row.read(), state[name])


class Standardised(nn.Conv2d):
    """A convolution of a class of its own."""


class Dense(nn.Linear):
    """A linear layer of a class of its own."""


class Mine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3))


@pytest.mark.parametrize(
    ("module", "stride", "fragment"),
    [
        (Standardised(2, 2, 3, stride=2), (2, 2), "Standardised was not looked into"),
        (Dense(2, 2), (), "Dense was not looked into"),
        (Mine(), (), "a linear layer, not an embedding"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_classes_that_are_not_torchs_are_assumed_to_do_as_they_look(
    module: nn.Module, stride: tuple[int, ...], fragment: str, tmp_path: Path
) -> None:
    layer = layer_of(module, tmp_path)
    assert layer.geometry.stride == stride
    (assumed,) = layer.assumed
    assert fragment in assumed


@pytest.mark.parametrize("normalise", [weight_norm, spectral_norm])
@pytest.mark.parametrize("kind", ["strided", "transposed"])
def test_reparametrised_weights_keep_their_geometry(normalise: Any, kind: str, tmp_path: Path) -> None:
    module = nn.ConvTranspose2d(4, 4, 3, stride=2) if kind == "transposed" else nn.Conv2d(4, 4, 3, stride=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normalise(module)
    module.eval()
    module(torch.rand(1, 4, 8, 8))
    layer = layer_of(nn.ModuleDict({"a": module}), tmp_path)
    assert layer.weight == "a.weight"
    assert (layer.geometry.stride, layer.geometry.transposed) == ((2, 2), kind == "transposed")
    assert layer.assumed == ()
    torch.testing.assert_close(layer.read(), module.weight.detach().double(), rtol=1e-6, atol=1e-7)


def broken(**changes: Any) -> nn.Module:
    module = nn.Conv2d(4, 4, 3)
    module.__dict__.update(changes)
    return module


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": (0, 1)}, {"stride": "2"}, {"stride": (10**9, 1)}, {"dilation": (1, -1)},
        {"groups": 3}, {"groups": 0}, {"groups": None}, {"padding": (-1, 0)}, {"padding": "some"},
        {"padding_mode": "\x1b"}, {"padding_mode": ["zeros"]}, {"stride": (True, True)},
    ],
    ids=str,
)  # fmt: skip
def test_a_geometry_that_cannot_be_is_a_row_with_the_reason(changes: dict[str, Any], tmp_path: Path) -> None:
    (row,) = load(saved(broken(**changes), tmp_path)).layers
    assert isinstance(row, UnsupportedLayer)
    assert row.reason == "its recorded geometry does not fit its weight"


def test_the_audit_knows_the_stride(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3))
    as_module, as_state = (
        audit(saved(value, tmp_path), exact=True, input_size=8) for value in (module, module.state_dict())
    )
    strided, assumed = (result.layers[0].measurement("exact").value for result in (as_module, as_state))
    assert strided < assumed
    assert as_module.layers[1].measurement("exact").value == as_state.layers[1].measurement("exact").value


def test_the_command_line_reports_the_format(tmp_path: Path) -> None:
    process = convsv("audit", saved(nn.Sequential(nn.Conv2d(2, 2, 3, stride=2)), tmp_path))
    assert process.returncode == 0
    assert "pickled_module" in process.stdout
    assert "assum" not in process.stdout


def test_a_module_without_weights(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModelError, match="no weights"):
        load(saved(nn.Sequential(nn.ReLU()), tmp_path))
