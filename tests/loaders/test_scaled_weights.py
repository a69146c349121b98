"""Weights of few bits with a scale beside them: it is applied where it is certain, else the row says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file
from torch import nn

from convsv_cli import audit, load
from convsv_cli.errors import UsageError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from tests.support.command_line import convsv
from tests.support.onnx_models import graph_model

Q = torch.randn(6, 4, generator=torch.Generator().manual_seed(3)).to(torch.float8_e4m3fn)
HALF = torch.tensor(0.5)
ROWS = torch.arange(1.0, 7.0)
Save = Callable[[dict[str, torch.Tensor], Path], Path]


def pickled(state: dict[str, Any], folder: Path) -> Path:
    torch.save(state, folder / "model.pt")
    return folder / "model.pt"


def safetensors(state: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "model.safetensors")
    return folder / "model.safetensors"


FORMS = {"pt": pickled, "safetensors": safetensors}
forms = pytest.mark.parametrize("save", FORMS.values(), ids=FORMS)


def rows(path: Path) -> dict[str, Layer | UnsupportedLayer]:
    return {row.weight: row for row in load(path).layers}


def sigma(matrix: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix.double(), 2))


CERTAIN = (
    "scale_weight",
    "weight_scale",
    "weight_scale_inv",
    "weights_scaling_factor",
    "weight.scale_weight",
)
SPREAD: dict[str, tuple[torch.Tensor, torch.Tensor]] = {
    "scalar": (HALF, Q.double() / 2),
    "one": (HALF.reshape(1), Q.double() / 2),
    "one by one": (HALF.reshape(1, 1), Q.double() / 2),
    "rows": (ROWS, Q.double() * ROWS[:, None]),
    "a column": (ROWS[:, None], Q.double() * ROWS[:, None]),
    "bfloat16": (ROWS.bfloat16(), Q.double() * ROWS[:, None]),
}


@forms
@pytest.mark.parametrize("ending", CERTAIN)
@pytest.mark.parametrize("spread", SPREAD)
def test_a_scale_that_is_certain_is_applied(ending: str, spread: str, save: Save, tmp_path: Path) -> None:
    scale, expected = SPREAD[spread]
    path = save({"a.weight": Q, f"a.{ending}": scale, "a.input_scale": HALF * 9, "a.bias": ROWS}, tmp_path)
    (row,) = load(path).layers
    assert isinstance(row, Layer)
    assert torch.equal(row.read(), expected)
    assert any(f"times their scale a.{ending}" in line for line in row.assumed)
    enclosure = audit(path).layers[0].measurement("certified").enclosure
    assert enclosure.lower <= sigma(expected) * (1 + 1e-12)
    assert enclosure.upper >= sigma(expected) * (1 - 1e-12)


@forms
@pytest.mark.parametrize("ending", ["weight_scale_inv", "weight_scale"])
def test_scales_of_blocks(ending: str, save: Save, tmp_path: Path) -> None:
    values = torch.randn(256, 384, generator=torch.Generator().manual_seed(1)).to(torch.float8_e4m3fn)
    grid = torch.rand(2, 3) + 0.5
    expected = values.double() * torch.kron(grid.double(), torch.ones(128, 128, dtype=torch.float64))
    (row,) = load(save({"a.weight": values, f"a.{ending}": grid}, tmp_path)).layers
    assert isinstance(row, Layer)
    assert torch.equal(row.read(), expected)


def test_blocks_at_the_edge_are_smaller(tmp_path: Path) -> None:
    values = torch.ones(200, 130).to(torch.float8_e4m3fn)
    grid = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    (row,) = load(pickled({"a.weight": values, "a.weight_scale_inv": grid}, tmp_path)).layers
    assert isinstance(row, Layer)
    found = row.read()
    assert [float(found[i, j]) for i, j in ((127, 127), (127, 128), (128, 127), (199, 129))] == [1, 2, 3, 4]
    (row,) = load(pickled({"a.weight": values, "a.weight_scale": grid}, tmp_path)).layers
    assert isinstance(row, UnsupportedLayer)


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.float8_e4m3fnuz, torch.int8])
def test_other_types_of_values(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.tensor([[1.0, -2.0], [4.0, 8.0], [1.0, 1.0]]).to(dtype)
    (row,) = load(pickled({"a.weight": values, "a.weight_scale": HALF}, tmp_path)).layers
    assert isinstance(row, Layer)
    assert torch.equal(row.read(), values.double() / 2)


def test_kernels_have_scales_too(tmp_path: Path) -> None:
    kernel = torch.randn(6, 4, 3, 3).to(torch.float8_e4m3fn)
    for scale in (ROWS, ROWS[:, None, None, None]):
        (row,) = load(pickled({"a.weight": kernel, "a.weight_scale": scale}, tmp_path)).layers
        assert isinstance(row, Layer)
        assert torch.equal(row.read(), kernel.double() * ROWS[:, None, None, None])


DOUBTFUL = (
    "a.scale", "a.weight.scale", "a.weight_scale_2", "a.scales", "a._scale", "a.weight._scale", "a.s",
    "a.weight.__scale", "a.wscale", "a.weightScale", "a_scale", "scales.a", "scales.a.weight", "scale",
    "a.alpha", "a.amax", "a.qparams", "a.weight_amax", "a.weight_quantizer._scale", "a.SCB",
    "a.weight_quantizer._amax",
    "a.weight.absmax", "a.weight_scale.value", "model.a.weight_scale", "fp8_scales.a", "a.pre_quant_scale",
    "a.multiplier", "a.weight_inv_scale", "a.dequant_scale", "a.weight_zero_point", "a.comfy_quant",
    "a.weight_meta.scale", "a.weight_s", "a.weight_mult", "a.weight_max", "a.weight_observer.max_val",
    "a.input_quantizer._pre_quant_scale", "a.weight_fake_quant.scale", "scales.0", "b.weight_scale",
)  # fmt: skip


@forms
@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_scale_that_is_not_certain_is_named(name: str, save: Save, tmp_path: Path) -> None:
    row = rows(save({"a.weight": Q, name: HALF}, tmp_path))["a.weight"]
    assert isinstance(row, UnsupportedLayer)
    assert row.reason == f"quantised: what its values stand for depends on {name}"


@pytest.mark.parametrize("shape", [(4,), (1, 4), (2, 2), (3,), (6, 1, 1), (0,), (6, 2)], ids=str)
def test_a_scale_that_does_not_fit(shape: tuple[int, ...], tmp_path: Path) -> None:
    row = rows(pickled({"a.weight": Q, "a.weight_scale": torch.ones(shape)}, tmp_path))["a.weight"]
    assert isinstance(row, UnsupportedLayer)


def test_a_vector_beside_a_square_weight_may_be_of_rows_or_columns(tmp_path: Path) -> None:
    square = torch.ones(4, 4).to(torch.float8_e4m3fn)
    for scale, known in ((torch.ones(4), False), (torch.ones(4, 1), True), (torch.ones(1, 4), False)):
        (row,) = load(pickled({"a.weight": square, "a.weight_scale": scale}, tmp_path)).layers
        assert isinstance(row, Layer) == known


@forms
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none(value: float, save: Save, tmp_path: Path) -> None:
    path = save({"a.weight": Q, "a.weight_scale": torch.tensor(value), "b.weight": torch.eye(2)}, tmp_path)
    row = rows(path)["a.weight"]
    assert isinstance(row, UnsupportedLayer)
    assert "not positive and finite" in row.reason
    assert convsv("audit", path).returncode == 3


def test_values_without_any_scale_stand_for_themselves_and_say_so(tmp_path: Path) -> None:
    state = {
        "a.weight": Q,
        "a.bias": ROWS,
        "a.input_scale": HALF,
        "a.scale_input": HALF,
        "b.norm.scale": ROWS,
    }
    row = rows(pickled(state, tmp_path))["a.weight"]
    assert isinstance(row, Layer)
    assert torch.equal(row.read().double(), Q.double())
    assert "its float8_e4m3fn values are taken as they are: the file has no scale for them" in row.assumed
    row = rows(pickled(state | {"scaled_fp8": torch.empty(2)}, tmp_path))["a.weight"]
    assert isinstance(row, UnsupportedLayer)
    marked = {"m.a.weight": Q, "m.a.scale_weight": HALF, "m.scaled_fp8": torch.empty(0)}
    assert all(isinstance(row, Layer) for row in load(pickled(marked, tmp_path)).layers)


def test_no_scale_goes_to_another_layer(tmp_path: Path) -> None:
    state = {
        "a.weight": Q,
        "a.weight_scale": HALF,
        "b.a.weight": Q,
        "b.a.weight_scale": HALF * 4,
        "c.weight": Q,
    }
    found = rows(pickled(state, tmp_path))
    factors = {name: row.read().double()[0, 0] / Q.double()[0, 0] for name, row in found.items()}  # type: ignore[union-attr]
    assert factors == {"a.weight": 0.5, "b.a.weight": 2, "c.weight": 1}


PACKED: dict[str, dict[str, torch.Tensor]] = {
    "torchao": {
        "weight": torch.ones(8, 8, dtype=torch.int8), "scale": torch.ones(8), "zero_point": torch.zeros(8),
    },
    "HQQ": {"W_q": torch.ones(8, 8, dtype=torch.uint8), "scale": torch.ones(8, 1), "zero": torch.ones(8, 1)},
    "EXL2": {"q_weight": torch.ones(2, 8, dtype=torch.int32), "q_scale": torch.ones(4, 1, dtype=torch.int32)},
    "quanto": {"weight._data": torch.ones(8, 8, dtype=torch.int8), "weight._scale": torch.ones(8, 1)},
}  # fmt: skip


@forms
@pytest.mark.parametrize("kind", PACKED)
def test_packed_weights_are_one_row_that_names_what_they_hang_on(
    kind: str, save: Save, tmp_path: Path
) -> None:
    first, *others = PACKED[kind]
    (row,) = load(save({f"a.{part}": tensor for part, tensor in PACKED[kind].items()}, tmp_path)).layers
    assert isinstance(row, UnsupportedLayer)
    assert row.weight == f"a.{first}"
    assert row.reason.startswith("quantised: what its values stand for depends on a.")
    assert any(other in row.reason for other in others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_ordinary_floats(dtype: torch.dtype, tmp_path: Path) -> None:
    """A parameter called "scale" may do anything, a "weight_scale" scales the weight."""
    weight = Q.to(dtype)
    for name in ("a.scale", "a.gamma", "scale", "a.norm.scale", "logit_scale", "a.weight_g_scale_net.weight"):
        row = rows(pickled({"a.weight": weight, name: ROWS}, tmp_path))["a.weight"]
        assert isinstance(row, Layer)
        assert any("a.scale is assumed not to scale" in line for line in row.assumed) == (name == "a.scale")
    for name in ("a.weight_scale", "a.scale_weight", "a.weight.scale", "a.weight_scale_inv"):
        row = rows(pickled({"a.weight": weight, name: HALF}, tmp_path))["a.weight"]
        assert isinstance(row, UnsupportedLayer)
    vae = {"conv.weight": weight, "quant_conv.weight": weight, "post_quant_conv.weight": weight}
    assert all(isinstance(row, Layer) for row in rows(pickled(vae, tmp_path)).values())


@pytest.mark.parametrize("scale", [0.5, np.float32(0.5), 2])
def test_scales_that_are_numbers(scale: Any, tmp_path: Path) -> None:
    for value in (
        {"a.weight": Q, "a.weight_scale": scale},
        {"model": {"a.weight": Q}, "scales": {"a": scale}},
        {"model": {"a.weight": Q}, "scales": {"a.weight": HALF}, "lr": 0.1},
    ):
        (row,) = load(pickled(value, tmp_path)).layers
        assert isinstance(row, UnsupportedLayer)


def test_scales_that_are_attributes(tmp_path: Path) -> None:
    parameter = nn.Parameter(Q.clone(), requires_grad=False)
    parameter.scale = HALF
    (row,) = load(pickled({"a.weight": parameter}, tmp_path)).layers
    assert isinstance(row, UnsupportedLayer)
    assert "its attribute 'scale'" in row.reason


def test_exponents_and_pairs_are_no_weights(tmp_path: Path) -> None:
    exponents = torch.ones(4, 4).to(torch.float8_e8m0fnu)
    for save in FORMS.values():
        (row,) = load(save({"a.weight": exponents}, tmp_path)).layers
        assert isinstance(row, UnsupportedLayer)


def test_scales_in_the_graph_of_another_file(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "a.weight"], ["y"], transB=1)
    onnx.save(graph_model([node], {"x": [1, 4]}, {"a.weight": torch.ones(6, 4).numpy()}), tmp_path / "g.onnx")
    path = pickled({"a.weight": Q, "a.weight_scale": ROWS}, tmp_path)
    result = audit(path, graph=tmp_path / "g.onnx")
    assert result.bound.lipschitz == pytest.approx(sigma(Q.double() * ROWS[:, None]), rel=1e-2)
    for beside in ({"a.scale": HALF}, {"scaled_fp8": HALF}):
        with pytest.raises(UsageError, match="quantised"):
            audit(pickled({"a.weight": Q} | beside, tmp_path), graph=tmp_path / "g.onnx")
    with pytest.raises(UsageError):
        audit(pickled({"a.weight": Q.to(torch.int8)}, tmp_path), graph=tmp_path / "g.onnx")
