"""Graphs that onnxruntime saved after it optimised them: the rows and the bound of the graph before."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx.helper import make_node as node
from torch import nn

from convsv_cli.loaders import load
from convsv_cli.model.layer import Layer
from convsv_cli.report import BOUNDED
from tests.support import exported_nets
from tests.support.onnx_models import graph_model, normal, saved
from tests.support.whole_bounds import bounded, by_rules

LEVELS = ("ENABLE_BASIC", "ENABLE_EXTENDED")
SAMPLES = [Path("sample_models", f"{name}.onnx") for name in ("cifar10_cnn", "mnist_curvature", "resnet20")]
RANGE = (-2.0, 2.0)


def optimised(path: Path, level: str) -> Path:
    """The file that onnxruntime saves at a level of optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.optimized_model_filepath = str(path.with_name(f"{level}.onnx"))
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Path(options.optimized_model_filepath)


def rows(path: Path) -> list[float]:
    """Frobenius norms of the weights of all rows, in order of size."""
    layers = [layer for layer in load(path).layers if isinstance(layer, Layer)]
    assert len(layers) == len(load(path).layers)
    return sorted(float(layer.read().double().norm()) for layer in layers)


def check(original: Path, other: Path, known: tuple[float, float] | None = None) -> None:
    np.testing.assert_allclose(rows(other), rows(original), rtol=1e-6)
    first, second = bounded(original, known), bounded(other, known)
    assert first.status == second.status == BOUNDED, second.obstacles
    assert second.lipschitz == pytest.approx(first.lipschitz, rel=1e-6)


def strangers(path: Path) -> set[str]:
    """Operators of onnxruntime's own that a file has."""
    return {each.op_type for each in onnx.load(path).graph.node if each.domain}


def exported(name: str, folder: Path) -> Path:
    net, shape = exported_nets.network(name)
    return exported_nets.export(net, shape, folder / "net.onnx", dynamo=False, opset_version=17)


def _convolutions(folder: Path) -> Path:
    nodes = [
        node("Conv", ["x", "a.weight", "a.bias"], ["1"], pads=[1] * 4),
        node("LeakyRelu", ["1"], ["2"], alpha=0.1),
        node("Conv", ["2", "b.weight"], ["3"], pads=[1] * 4),
        node("Add", ["3", "2"], ["4"]),
        node("Relu", ["4"], ["5"]),
        node("Flatten", ["5"], ["6"]),
        node("Gemm", ["6", "c.weight", "c.bias"], ["7"], transB=1),
        node("Tanh", ["7"], ["y"]),
    ]
    weights = {"a.weight": normal(4, 3, 3, 3), "b.weight": normal(4, 4, 3, 3) / 9, "c.weight": normal(5, 144)}
    biases = {"a.bias": normal(4), "c.bias": normal(5)}
    return saved(graph_model(nodes, {"x": (1, 3, 6, 6)}, weights | biases), folder)


def test_convolutions_with_sums_and_activations(tmp_path: Path) -> None:
    original = _convolutions(tmp_path)
    fused = optimised(original, "ENABLE_EXTENDED")
    assert strangers(fused) == {"FusedConv", "FusedGemm"}
    check(original, fused)
    assert [row.name for row in load(fused).layers] == [row.name for row in load(original).layers]


@pytest.mark.exhaustive
def test_a_layer_of_a_transformer(tmp_path: Path) -> None:
    attention = exported_nets.Residual(exported_nets.Attention(8), after=nn.LayerNorm(8))
    perceptron = exported_nets.Residual(nn.Sequential(*exported_nets.perceptron(8)), after=nn.LayerNorm(8))
    net = nn.Sequential(nn.LayerNorm(8), attention, perceptron).eval()
    original = exported_nets.export(net, (1, 5, 8), tmp_path / "net.onnx", dynamo=False, opset_version=17)
    fused = optimised(original, "ENABLE_EXTENDED")
    assert {"SkipLayerNormalization", "Gelu", "FusedMatMul"} <= strangers(fused)
    np.testing.assert_allclose(rows(fused), rows(original), rtol=1e-6)
    first, second = by_rules(original, RANGE), by_rules(fused, RANGE)
    assert first.status == BOUNDED
    assert second.lipschitz == pytest.approx(first.lipschitz, rel=1e-6)


def test_products_and_sums_that_became_one_keep_the_name_of_their_module(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "onnx::MatMul_1"], ["1"], "/encoder/fc/MatMul"),
        node("Add", ["1", "b"], ["y"], "/encoder/fc/Add"),
    ]
    weights = {"onnx::MatMul_1": normal(6, 5), "b": normal(5)}
    original = saved(graph_model(nodes, {"x": (3, 6)}, weights), tmp_path)
    fused = optimised(original, "ENABLE_BASIC")
    assert [each.op_type for each in onnx.load(fused).graph.node] == ["Gemm"]
    assert (
        [row.name for row in load(fused).layers]
        == ["encoder.fc"]
        == [row.name for row in load(original).layers]
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_models(path: Path, tmp_path: Path) -> None:
    """BatchNormalization is folded into convolutions where a level does that: other rows, the same bound."""
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    fused = optimised(copy, "ENABLE_EXTENDED")
    if any(each.op_type == "BatchNormalization" for each in onnx.load(path).graph.node):
        assert bounded(fused).lipschitz == pytest.approx(bounded(path).lipschitz, rel=1e-6)
    else:
        check(path, fused)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "level"), list(zip(exported_nets.NETS, itertools.cycle(LEVELS))))
def test_exported_networks(name: str, level: str, tmp_path: Path) -> None:
    original = exported(name, tmp_path)
    fused = optimised(original, level)
    first, second = by_rules(original, RANGE), by_rules(fused, RANGE)
    assert second.lipschitz == pytest.approx(first.lipschitz, rel=1e-6)
    assert len(rows(fused)) == len(rows(original))


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["bert", "vit", "gpt2"])
def test_transformers_that_its_scripts_fused(kind: str, tmp_path: Path) -> None:
    from onnxruntime.transformers import optimizer

    logging.getLogger("onnxruntime.transformers").setLevel(logging.ERROR)
    original = exported("transformer", tmp_path)
    model = optimizer.optimize_model(str(original), kind, num_heads=2, hidden_size=8, opt_level=0)
    model.save_model_to_file(str(tmp_path / "fused.onnx"))
    assert strangers(tmp_path / "fused.onnx")
    check(original, tmp_path / "fused.onnx", RANGE)


def test_half_precision_has_constants_of_its_own() -> None:
    """Constants that are added are of the model's type: else types contradict, and shapes are unknown."""
    weight = normal(6, 5).astype(np.float16)
    fused = node("FusedMatMul", ["x", "w"], ["a"], domain="com.microsoft", alpha=0.5)
    model = graph_model(
        [fused, node("QuickGelu", ["a"], ["y"], domain="com.microsoft")], {"x": (3, 6)}, {"w": weight}
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    norm = 0.5 * np.linalg.norm(weight.astype(np.float64), 2)
    assert 1.0998 * norm == pytest.approx(bounded(model).lipschitz, rel=1e-3)
