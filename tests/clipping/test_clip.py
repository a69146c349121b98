"""`convsv clip`: what is written keeps its limits, and is otherwise what it was."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from onnx import helper, numpy_helper
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import convsv_cli
from convsv_cli import audit
from convsv_cli.cli import cli
from convsv_cli.cli.clip import RENDERERS
from convsv_cli.clipping.search import kept_share
from convsv_cli.empirical.function import session_of
from convsv_cli.errors import UsageError
from tests.support.json_schemas import SCHEMAS
from tests.support.onnx_models import graph_model, normal, rng, saved, small_network
from tests.support.outline import Outline
from tests.support.quantised_layouts import gptq

LIMIT = 1.5
NORM = ("weight", "bias", "running_mean", "running_var")


def clip(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["clip", *map(str, arguments), "--quiet"], standalone_mode=False)


def clipped(model: Path, *arguments: object, limit: float = LIMIT) -> Path:
    """The model with its layers under the limit, as an audit finds it."""
    output = model.with_name(f"out{model.suffix}")
    result = clip(model, "--max-layer", limit, "-o", output, *arguments)
    assert result.exception is None, result.exception
    assert result.return_value == 0, result.output
    rows = audit(output, network_effort="quick").layers
    norms = {row.name: row.measurement("certified").enclosure.upper for row in rows if row.measurements}
    assert norms
    assert max(norms.values()) <= limit
    return output


def initializers(path: Path) -> dict[str, np.ndarray]:
    model = onnx.load(path)
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def mixed(folder: Path, dtype: str = "float32") -> Path:
    """Groups, strides, dilation, a transposed convolution, products from both sides, and an LSTM."""
    ones = {name: normal(*shape, dtype=dtype) for name, shape in {
        "grouped": (4, 2, 3, 3), "spread": (4, 4, 2, 2), "up": (4, 3, 3, 3), "fc": (5, 6), "left": (7, 5),
        "w": (1, 12, 6), "r": (1, 12, 3),
    }.items()}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "grouped"], ["a"], group=2, strides=[2, 2]),
        helper.make_node("Conv", ["a", "spread"], ["b"], dilations=[2, 1]),
        helper.make_node("ConvTranspose", ["b", "up"], ["c"], strides=[2, 1]),
        helper.make_node("Gemm", ["v", "fc"], ["d"], transB=1, alpha=0.5),
        helper.make_node("MatMul", ["left", "d5"], ["e"]),
        helper.make_node("LSTM", ["s", "w", "r"], ["f"], hidden_size=3),
    ]
    inputs = {"x": (1, 4, 12, 12), "v": (1, 6), "d5": (5, 2), "s": (4, 1, 6)}
    return saved(graph_model(nodes, inputs, ones, outputs=("c", "d", "e", "f")), folder)


def test_a_graph_of_all_kinds(tmp_path):
    model = mixed(tmp_path)
    output = clipped(model)
    old, new = onnx.load(model), onnx.load(output)
    for before, after in zip(old.graph.initializer, new.graph.initializer, strict=True):
        assert (before.name, before.data_type, before.dims) == (after.name, after.data_type, after.dims)
        after.CopyFrom(before)
    assert new.SerializeToString() == old.SerializeToString()  # all else is as it was
    random = rng(0)
    feeds = {
        each.name: random.standard_normal([d.dim_value for d in each.type.tensor_type.shape.dim])
        for each in old.graph.input
    }
    session_of(output).run(None, {name: value.astype("float32") for name, value in feeds.items()})


def test_values_of_a_graph_in_other_forms(tmp_path):
    """Typed fields of 16 bits, and data in a file, of which the copy has its own."""
    half = normal(4, 3, 3, 3, dtype="float16")
    node = helper.make_node("Conv", ["x", "typed"], ["y"])
    model = graph_model([node], {"x": (1, 3, 8, 8)}, {"typed": half})
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    bits = half.view("uint16").flatten().astype("int32").tolist()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.int32_data.extend(bits)
    weight = initializers(clipped(saved(model, tmp_path)))["typed"]
    assert weight.dtype == np.float16
    assert not np.array_equal(weight, half)
    (outer := tmp_path / "outer").mkdir()
    path = outer / "model.onnx"
    node = helper.make_node("Conv", ["x", "grouped"], ["y"], group=2)
    model = graph_model([node], {"x": (1, 4, 8, 8)}, {"grouped": normal(4, 2, 3, 3)})
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    content = (outer / "weights.bin").read_bytes()
    output = clipped(path)
    assert (outer / "weights.bin").read_bytes() == content
    assert {each.name for each in outer.iterdir()} == {
        "model.onnx",
        "weights.bin",
        "out.onnx",
        "out.onnx.data",
    }
    assert not np.array_equal(initializers(output)["grouped"], initializers(path)["grouped"])
    (outer / "weights.bin").rename(outer / "other.onnx.data")
    for each in (found := onnx.load(path, load_external_data=False)).graph.initializer:
        for entry in each.external_data:
            entry.value = "other.onnx.data" if entry.key == "location" else entry.value
    onnx.save(found, path)
    kept = (outer / "other.onnx.data").read_bytes()
    result = clip(path, "--max-layer", "1", "-o", outer / "other.onnx", "--force")
    assert "would replace an input" in str(result.exception)
    assert (outer / "other.onnx.data").read_bytes() == kept


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_keeps_all_else(tmp_path, legacy):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(6, 4), nn.Linear(4, 2))
    tied = model[1].weight
    state = {
        "model": {**model.state_dict(), "alias.weight": tied.data},
        "epoch": 3,
        "optimizer": {"m": torch.ones(5)},
    }
    state["model"]["0.weight"] = (
        state["model"]["0.weight"].to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    )
    path = tmp_path / "model.pt"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    output = clipped(path, limit=0.4)
    assert legacy or zipfile.ZipFile(output).testzip() is None  # checksums are those of what is there
    after = torch.load(output, weights_only=True)
    assert (after["epoch"], after["optimizer"]["m"].tolist()) == (3, [1.0] * 5)
    assert after["model"]["0.weight"].dtype == torch.bfloat16
    assert torch.equal(after["model"]["alias.weight"], after["model"]["1.weight"])
    assert torch.equal(after["model"]["0.bias"], state["model"]["0.bias"])
    assert not torch.equal(after["model"]["1.weight"], state["model"]["1.weight"])


def test_safetensors_and_weights_in_parts(tmp_path):
    generator = torch.Generator().manual_seed(1)
    parts = {
        "original0": torch.full((4, 1, 1, 1), 3.0),
        "original1": torch.randn(4, 3, 3, 3, generator=generator),
    }
    tensors = {f"conv.parametrizations.weight.{name}": each for name, each in parts.items()}
    tensors["half.weight"] = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)).half()
    tensors["eighth.weight"] = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).to(
        torch.float8_e4m3fn
    )
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt", "note": "kept"})
    output = clipped(path)
    with safe_open(output, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "note": "kept"}
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    g, v = (found[name].double() for name in list(tensors)[:2])
    weight = g * v / torch.linalg.vector_norm(v, dim=(1, 2, 3), keepdim=True)
    assert audit(output).layers[0].kernel_shape == weight.shape
    assert torch.linalg.matrix_norm(weight.sum((2, 3)), 2) <= LIMIT  # at frequency zero


def test_what_cannot_be_stored_is_said(tmp_path):
    tensors = {
        "scaled.weight": torch.ones(4, 4).to(torch.float8_e4m3fn),
        "scaled.weight_scale": torch.ones(1),
    }
    save_file({**tensors, "fc.weight": 3 * torch.eye(4)}, tmp_path / "m.safetensors")
    output = tmp_path / "out.safetensors"
    result = clip(tmp_path / "m.safetensors", "--max-layer", 2, "-o", output, "--format", "json")
    layers = {layer["name"]: layer for layer in json.loads(result.output)["layers"]}
    assert result.return_value == 1
    assert "clip the model before it is quantised" in layers["scaled"]["reason"]
    assert (layers["scaled"]["kept"], layers["fc"]["kept"]) == (False, True)


def test_what_is_said_beside_a_quantised_model_counts_for_its_copy(tmp_path):
    """Without it the copy could not be read; it is no part of what is written."""
    layout, output = gptq(4), tmp_path / "out" / "m.safetensors"
    output.parent.mkdir()
    save_file({**layout.named, "fc.weight": 3 * torch.eye(4)}, tmp_path / "m.safetensors")
    (tmp_path / "quantize_config.json").write_text(json.dumps(layout.config))
    result = clip(tmp_path / "m.safetensors", "--max-layer", 0.1, "-o", output, "--format", "json")
    layers = {layer["name"]: layer for layer in json.loads(result.output)["layers"]}
    assert result.return_value == 1
    assert layers["a"]["reason"].startswith("its values are stored as GPTQ int4: clip the model before")
    assert (layers["a"]["before"] == layers["a"]["after"], layers["fc"]["kept"]) == (True, True)
    assert [file.name for file in output.parent.iterdir()] == [output.name]


def test_the_documents(tmp_path):
    model = small_network(tmp_path)
    target = tmp_path / "out.onnx"
    result = clip(
        model,
        "--max-layer",
        1,
        "--layers",
        "conv",
        "--method",
        "scale",
        "-o",
        target,
        "--report",
        tmp_path / "r.csv",
        "--report",
        tmp_path / "r.json",
        "--report",
        tmp_path / "r.txt",
        "--report",
        tmp_path / "r.html",
    )
    assert (result.return_value, result.output) == (0, "")
    document = json.loads((tmp_path / "r.json").read_text())
    Draft202012Validator(SCHEMAS["clip-1.schema.json"]()).validate(document)
    (layer,) = document["layers"]
    assert (layer["name"], layer["method"], layer["kept"]) == ("conv", "scale", True)
    assert layer["after"]["upper"] <= 1 < layer["before"]["lower"]
    assert layer["change"] == pytest.approx(1 - 1 / layer["before"]["upper"], rel=1e-3)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert [row["kind"] for row in rows] == ["layer", "network"]
    assert float(rows[0]["after_upper"]) == layer["after"]["upper"]
    text = (tmp_path / "r.txt").read_text()
    assert "limits (1 for each layer): kept" in text
    assert {each.name for each in RENDERERS} == {"table", "json", "csv", "html"}
    page = "\n".join(Outline((tmp_path / "r.html").read_text()).texts)
    assert all(said in page for said in ("Limits kept", "1 for each layer", "conv", "Network: "))
    again = tmp_path / "again.onnx"
    (folder := tmp_path / "folder").mkdir()
    found = convsv_cli.clip(
        model.rename(folder / "m.onnx") and folder, again, max_layer=1, layers=["conv"], method="scale"
    )
    assert again.read_bytes() == target.read_bytes()
    assert found.kept
    assert [(each.row.name, each.change) for each in found.layers] == [("conv", layer["change"])]
    with pytest.raises(UsageError, match="the method must be one of clip, scale, not 'cut'"):
        convsv_cli.clip(model, again, max_layer=1, method="cut")


def test_a_limit_of_the_network_with_the_weights_of_a_checkpoint(tmp_path):
    graph = small_network(tmp_path)
    state = {name: torch.from_numpy(value.copy()) for name, value in initializers(graph).items()}
    torch.save(state, tmp_path / "weights.pt")
    limit = audit(graph, network_effort="quick").bound.lipschitz / 3
    output = tmp_path / "out.pt"
    asked = ("--network-effort", "quick", "--max-lipschitz", limit, "-o", output)
    assert clip(tmp_path / "weights.pt", "--graph", graph, *asked).return_value == 0
    found = audit(output, graph=graph, network_effort="quick").bound.lipschitz
    assert 0.7 * limit <= found <= limit


def test_shares_of_a_power_are_found_in_few_steps():
    calls: list[float] = []

    def bound(share: float) -> float:
        calls.append(share)
        return 1e6 * share**7 + 20

    share = kept_share(100.0, 1e6, bound, layers=20)
    assert share == calls[-1]
    assert 95 <= bound(share) <= 100
    assert len(calls) < 9
    assert kept_share(10.0, 1e6, bound, layers=20) is None  # out of reach


def test_statistics_of_batchnorm_are_those_of_one_batch(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    x = torch.rand(40, 2, 8, 8)
    path = tmp_path / "model.onnx"
    nodes = [
        helper.make_node("Conv", ["x", "0.weight", "0.bias"], ["a"]),
        helper.make_node("BatchNormalization", ["a", *(f"1.{name}" for name in NORM)], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "3.weight", "3.bias"], ["d"], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["d", *(f"4.{name}" for name in NORM)], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "6.weight", "6.bias"], ["y"], transB=1),
    ]
    weights = {n: v.numpy() for n, v in module.eval().state_dict().items() if v.is_floating_point()}
    saved(graph_model(nodes, {"x": (1, 2, 8, 8)}, weights), tmp_path)
    y = module(x).argmax(1)
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    output = clipped(
        path,
        "--data",
        tmp_path / "data.npz",
        "--batchnorm",
        tmp_path / "data.npz",
        "--network-effort",
        "quick",
        limit=0.9,
    )
    found = {name: torch.from_numpy(value.copy()) for name, value in initializers(output).items()}
    module.load_state_dict(found, strict=False)
    for norm in (module[1], module[4]):
        norm.momentum = None
        norm.reset_running_stats()
    module.train()(x)
    for name in ("1.running_mean", "1.running_var", "4.running_mean", "4.running_var"):
        assert torch.allclose(found[name], module.state_dict()[name], rtol=2e-3, atol=1e-5)
    theirs = session_of(output).run(None, {"x": x[:1].numpy()})[0]
    module.load_state_dict(found, strict=False)
    assert np.allclose(module.eval()(x[:1]).detach().numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.onnx"], "no limit"),
        (["--max-layer", "-1", "-o", "out.onnx"], "must be a positive number"),
        (["--max-layer", "1", "-o", "model.onnx"], "would replace an input"),
        (["--max-layer", "1", "-o", "data.npz", "--force", "--data", "data.npz"], "would replace an input"),
        (["--max-layer", "1", "-o", "there.onnx"], "already exists"),
        (["--max-layer", "1", "-o", "out.pt"], "not as .pt"),
        (["--max-layer", "1", "--batchnorm", "data.npz", "-o", "out.onnx"], "no BatchNorm"),
    ],
)
def test_mistakes_cost_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    small_network(Path())
    Path("there.onnx").write_bytes(b"mine")
    np.savez("data.npz", x=np.zeros((2, 1, 8, 8), "float32"), y=np.zeros(2, int))
    result = clip("model.onnx", *arguments)
    assert message in str(result.exception)
    assert sorted(each.name for each in Path().iterdir()) == ["data.npz", "model.onnx", "there.onnx"]
    assert Path("there.onnx").read_bytes() == b"mine"
