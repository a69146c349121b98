"""Scales that do not lie beside their weight: unlisted in an index of shards, in a script, on the input."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convsv_cli import audit, load
from convsv_cli.model.layer import Layer, UnsupportedLayer

Q = torch.randn(6, 4, generator=torch.Generator().manual_seed(3)).to(torch.float8_e4m3fn)
TWICE = Q.double() * 2


def sharded(folder: Path, shards: dict[str, dict[str, torch.Tensor]], listed: tuple[str, ...]) -> Path:
    for name, tensors in shards.items():
        save_file(tensors, folder / name)
    homes = {tensor: name for name, tensors in shards.items() for tensor in tensors if tensor in listed}
    (folder / "m.index.json").write_text(json.dumps({"weight_map": homes}))
    return folder / "m.index.json"


@pytest.mark.parametrize("home", ["1.safetensors", "2.safetensors"])
def test_a_scale_counts_where_the_index_does_not_list_it(home: str, tmp_path: Path) -> None:
    shards = {"1.safetensors": {"a.weight": Q.clone()}, "2.safetensors": {"b.weight": torch.eye(2)}}
    shards[home]["a.weight_scale"] = torch.tensor(2.0)
    path = sharded(tmp_path, shards, ("a.weight", "b.weight"))
    row = next(row for row in load(path).layers if row.weight == "a.weight")
    assert isinstance(row, Layer)
    assert torch.equal(row.read(), TWICE)


class Scaled(nn.Module):
    """A linear layer of few bits."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(Q.to(dtype), requires_grad=False)
        self.register_buffer("weight_scale", torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.weight.float() * self.weight_scale).t()


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e5m2fnuz])
def test_scripts_with_eight_bits(dtype: torch.dtype, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Scaled(dtype)), tmp_path / "model.pt")
    (row,) = load(tmp_path / "model.pt").layers
    assert isinstance(row, Layer)
    assert torch.equal(row.read(), Q.to(dtype).double() * 2)


@pytest.mark.parametrize(
    "name", ["pre_quant_scale", "input_quantizer._pre_quant_scale", "input_smooth_scale"]
)
def test_what_scales_the_input_for_the_weights_sake(name: str, tmp_path: Path) -> None:
    """The weight was divided by it: its norm alone is not what the layer amplifies."""
    state = {"a.weight": Q, "a.weight_scale": torch.tensor(2.0), f"a.{name}": torch.ones(4)}
    torch.save(state, tmp_path / "model.pt")
    (row,) = load(tmp_path / "model.pt").layers
    assert isinstance(row, UnsupportedLayer)
    assert f"a.{name}" in row.reason


def test_scales_of_the_input_change_no_weight(tmp_path: Path) -> None:
    state = {"a.weight": Q, "a.weight_scale": torch.tensor(2.0), "a.input_scale": torch.ones(1)}
    torch.save(state, tmp_path / "model.pt")
    enclosure = audit(tmp_path / "model.pt").layers[0].measurement("certified").enclosure
    sigma = float(torch.linalg.matrix_norm(TWICE, 2))
    assert enclosure.lower <= sigma * (1 + 1e-12)
    assert enclosure.upper >= sigma * (1 - 1e-12)


def test_unscaled_files_with_scales_of_other_things_stay_audited(tmp_path: Path) -> None:
    """As Flux in 8 bits: its norms are called "scale"."""
    block = "double_blocks.0.img_attn"
    state = {
        f"{block}.qkv.weight": Q,
        f"{block}.norm.query_norm.scale": torch.ones(2),
        "img_in.weight": Q.clone(),
    }
    torch.save(state, tmp_path / "model.pt")
    assert all(isinstance(row, Layer) for row in load(tmp_path / "model.pt").layers)
