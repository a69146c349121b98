"""The weights of a checkpoint in the graph of an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

from convsv_cli import limit_norm
from convsv_cli.errors import UsageError
from convsv_cli.loaders import load, load_with_graph
from tests.support.command_line import convsv
from tests.support.onnx_models import graph_model, normal, saved

SAMPLES = Path(__file__).parents[2] / "sample_models"
NODES = [
    helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("Conv", ["b", "last.weight"], ["y"], strides=[2, 2]),
]
STORED = {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,), "last.weight": (4, 8, 1, 1)}


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    weights = {name: normal(*shape) for name, shape in STORED.items()}
    return saved(graph_model(NODES, {"x": [1, 3, 8, 8]}, weights), tmp_path)


def checkpoint(folder: Path, **changes: torch.Tensor) -> Path:
    generator = torch.Generator().manual_seed(1)
    state = {name: torch.randn(shape, generator=generator) for name, shape in STORED.items()}
    torch.save({"state_dict": state | changes}, folder / "weights.pt")
    return folder / "weights.pt"


def test_the_geometry_is_the_graphs_and_the_values_are_the_checkpoints(graph: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    network = load_with_graph(path, graph)
    state = torch.load(path, weights_only=True)["state_dict"]
    assert network.path == str(path)
    assert network.files == ("weights.pt", "model.onnx")
    assert [layer.geometry.stride for layer in network.layers] == [(1, 1), (2, 2)]
    for layer in network.layers:
        assert torch.equal(layer.read(), state[layer.weight])
    assert network.graph is not None
    bias = network.graph.constants["conv.bias"]().read()
    assert np.array_equal(bias, state["conv.bias"].numpy())


@pytest.mark.parametrize(
    "parametrise", [limit_norm, parametrizations.weight_norm, parametrizations.spectral_norm]
)
def test_a_graph_takes_what_parametrisations_make_of_weights(
    parametrise: Callable[[nn.Module], nn.Module], graph: Path, tmp_path: Path
) -> None:
    conv = parametrise(nn.Conv2d(3, 8, 3, padding=1)).eval()
    last = nn.Conv2d(8, 4, 1, stride=2, bias=False)
    model = nn.ModuleDict({"conv": conv, "last": last})
    torch.save(model.state_dict(), tmp_path / "limited.pt")
    network = load_with_graph(tmp_path / "limited.pt", graph)
    for layer, module in zip(network.layers, model.values(), strict=True):
        torch.testing.assert_close(layer.read(), module.weight.detach(), rtol=1e-6, atol=1e-7)


def test_a_graph_that_computes_a_weight_takes_the_parts(tmp_path: Path) -> None:
    parts = {"fc.weight_g": normal(4, 1), "fc.weight_v": normal(4, 4)}
    nodes = [
        helper.make_node("ReduceL2", ["fc.weight_v", "axes"], ["n"]),
        helper.make_node("Div", ["fc.weight_g", "n"], ["q"]),
        helper.make_node("Mul", ["fc.weight_v", "q"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    graph = saved(graph_model(nodes, {"x": [1, 4]}, parts | {"axes": np.array([1])}), tmp_path)
    state = {name: torch.from_numpy(normal(*part.shape)) + 1 for name, part in parts.items()}
    torch.save(state, tmp_path / "normed.pt")
    network = load_with_graph(tmp_path / "normed.pt", graph)
    assert network.graph is not None
    for name, tensor in state.items():
        assert np.array_equal(network.graph.constants[name]().read(), tensor.numpy())


def test_half_precision_and_safetensors_and_prefixes(graph: Path, tmp_path: Path) -> None:
    state = {name: torch.ones(shape, dtype=torch.float16) for name, shape in STORED.items()}
    save_file(state, tmp_path / "weights.safetensors")
    network = load_with_graph(tmp_path / "weights.safetensors", graph)
    assert network.layers[0].read().unique().tolist() == [1.0]
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "parallel.pt")
    assert load_with_graph(tmp_path / "parallel.pt", graph).layers[0].read().unique().tolist() == [1.0]


@pytest.mark.parametrize(
    "change",
    [
        {"bn.running_var": torch.ones(8)},
        {"conv.weight": torch.ones(8, 3, 5, 5)},
    ],
    ids=["a BatchNorm that the graph has folded in", "another shape"],
)
def test_a_weight_without_a_place_is_an_error(change: dict, graph: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"of {next(iter(change))}"):
        load_with_graph(checkpoint(tmp_path, **change), graph)


def test_how_many_have_no_place_is_said(graph: Path, tmp_path: Path) -> None:
    """Of many only the first, and never as if these were all."""
    change = {f"other{number}.weight": torch.ones(2, 2) for number in range(5)}
    with pytest.raises(UsageError, match=r"of other0.weight, other1.weight, other2.weight and 2 more \("):
        load_with_graph(checkpoint(tmp_path, **change), graph)


def test_counters_need_no_place(graph: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, **{"bn.num_batches_tracked": torch.tensor(7)})
    assert len(load_with_graph(path, graph).layers) == 2


def test_files_of_the_wrong_kind(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a graph of its own"):
        load_with_graph(graph, graph)
    with pytest.raises(UsageError, match="not a graph"):
        load_with_graph(checkpoint(tmp_path), tmp_path / "weights.pt")


def test_the_same_network_either_way() -> None:
    """The sample checkpoint in the sample graph."""
    network = load_with_graph(SAMPLES / "resnet20.pt", SAMPLES / "resnet20.onnx")
    for ours, exported in zip(network.layers, load(SAMPLES / "resnet20.onnx").layers, strict=True):
        assert torch.equal(ours.read(), exported.read())


def test_the_command_line(graph: Path, tmp_path: Path) -> None:
    result = convsv("audit", checkpoint(tmp_path), "--graph", graph)
    assert result.returncode == 0
    assert "from model.onnx, with 3 tensors from the checkpoint and 0 of its own" in result.stdout
    assert "network: certified Lipschitz bound" in result.stdout
    alone = convsv("audit", checkpoint(tmp_path))
    assert "no graph to bound (--graph MODEL.onnx supplies the graph)" in alone.stdout
