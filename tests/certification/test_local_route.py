"""Local bounds as a way to a radius: of ordinary networks, in the arithmetic that they run in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, helper

from convsv_cli import certify
from convsv_cli.errors import UsageError
from convsv_cli.report import FLOAT32, LOCAL, Certification
from tests.support.onnx_models import graph_model, normal

node = helper.make_node
SHAPE = (2, 5, 5)


def network(seed: int = 0, activation: str = "Relu") -> ModelProto:
    """Two convolutions and two matrices, with a skip and a pool, as nobody has trained them."""
    nodes = [
        node("Conv", ["x", "k"], ["a"], pads=[1] * 4),
        node(activation, ["a"], ["b"]),
        node("Conv", ["b", "l"], ["c"], pads=[1] * 4),
        node("Add", ["c", "b"], ["d"]),
        node(activation, ["d"], ["e"]),
        node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["f"], ["g"]),
        node("Gemm", ["g", "w"], ["h"]),
        node(activation, ["h"], ["i"]),
        node("Gemm", ["i", "v"], ["y"]),
    ]
    rng = np.random.default_rng(seed)
    shapes = {"k": (4, 2, 3, 3), "l": (4, 4, 3, 3), "w": (16, 8), "v": (8, 3)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return graph_model(nodes, {"x": [1, *SHAPE]}, weights)


def files(folder: Path, model: ModelProto, x: np.ndarray) -> tuple[Path, Path]:
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "data.npz", x=x, y=np.zeros(len(x), int))
    return folder / "net.onnx", folder / "data.npz"


def right(folder: Path, model: ModelProto, count: int = 12) -> tuple[Path, Path]:
    """Samples whose classes are those that the network predicts."""
    x = normal(count, *SHAPE)
    path, data = files(folder, model, x)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = np.concatenate([session.run(None, {"x": row[None].astype(np.float32)})[0] for row in x])
    np.savez(data, x=x, y=logits.argmax(1))
    return path, data


def radii(found: Certification) -> np.ndarray:
    return np.array([sample.radius for sample in found.samples])


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Tanh"])
def test_it_proves_more_than_margins_and_no_more_than_holds(tmp_path: Path, activation: str) -> None:
    path, data = right(tmp_path, network(activation=activation))
    found = certify(path, data, network_effort="quick", effort="quick")
    local = [sample for sample in found.samples if sample.route == LOCAL]
    assert len(local) > len(found.samples) / 2
    middle = float(np.median(radii(found)))
    attacked = certify(
        path, data, eps=[middle, 4 * middle], attack=True, network_effort="quick", effort="none"
    )
    for sample, own in zip(attacked.samples, found.samples, strict=True):
        assert sample.broken is not None
        assert sample.broken > own.radius, "no attack succeeds within a radius"
    assert any(np.isfinite(sample.broken or np.inf) for sample in attacked.samples), "some do beyond"


def test_what_is_decided_agrees_with_radii(tmp_path: Path) -> None:
    path, data = right(tmp_path, network())
    searched = radii(certify(path, data, network_effort="quick", effort="quick"))
    eps = [float(np.quantile(searched, share)) * 0.8 for share in (0.3, 0.7)]
    decided = certify(path, data, eps=eps, network_effort="quick", effort="quick")
    for each in eps:
        assert decided.certified(each) >= int((searched > each * 1.1).sum())


def test_a_longer_search_proves_no_less(tmp_path: Path) -> None:
    path, data = right(tmp_path, network(1), 6)
    eps = float(np.median(radii(certify(path, data, network_effort="quick", effort="quick"))))
    counts = [
        certify(path, data, eps=1.05 * eps, effort=effort, network_effort="quick").certified(1.05 * eps)
        for effort in ("quick", "normal", "thorough")
    ]
    assert counts == sorted(counts)


def cancelling(size: float) -> ModelProto:
    """Logits that are the small difference of large numbers."""
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v"], ["y"]),
    ]
    w = np.array([[1.0, 1.0]], np.float32)
    b = np.array([size, size], np.float32)
    v = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    v[0, 0] += 1e-3
    return graph_model(nodes, {"x": [1, 1]}, {"w": w, "b": b, "v": v})


def test_what_only_real_arithmetic_proves_is_not_claimed_of_float32(tmp_path: Path) -> None:
    """z_0 = 1.001 (s + x) - (s + x) = (s + x) / 1000, with s + x rounded to multiples of 1 / 16 or so."""
    path, data = files(tmp_path, cancelling(1e6), np.full((1, 1), 0.5, np.float32))
    found = {
        arithmetic: certify(path, data, eps=0.1, arithmetic=arithmetic).certified(0.1)
        for arithmetic in ("real", "float32", "bfloat16")
    }
    assert found == {"real": 1, "float32": 1, "bfloat16": 0}


def test_the_arithmetic_is_that_of_the_network_by_default(tmp_path: Path) -> None:
    path, data = right(tmp_path, network(), 2)
    found = certify(path, data, eps=0.01, network_effort="quick")
    assert found.settings.arithmetic == FLOAT32
    assert {route.arithmetic for route in found.routes if not route.reason} == {FLOAT32}
    assert any("float32, in any order of summation" in note for note in found.notes)


@pytest.mark.parametrize("computed", [False, True])
def test_constants_that_another_order_would_change_are_named(computed: bool, tmp_path: Path) -> None:
    """1 + 1e8 - 1e8 is 0 in float32, and 1 if the last two meet first."""
    made = [node("ReduceSum", ["terms", "axis"], ["b"])] if computed else []
    nodes = [*made, node("Gemm", ["x", "w", "b"], ["y"])]
    terms = np.array([[1.0, 0.0], [1e8, 0.0], [-1e8, 0.0]], np.float32)
    weights = {"w": np.array([[1.0, 0.0]], np.float32), "terms": terms, "axis": np.array([0])}
    weights |= {} if computed else {"b": np.zeros((1, 2), np.float32)}
    path, data = files(tmp_path, graph_model(nodes, {"x": [1, 1]}, weights), np.full((1, 1), 0.5, np.float32))
    found = certify(path, data, eps=0.1, network_effort="quick")
    assert found.certified(0.1) == 1
    assert any("constants that it computes" in note for note in found.notes) == computed


def test_the_normalization_is_a_part_of_the_network(tmp_path: Path) -> None:
    """Channels of other scales: more is proven than by the largest scale."""
    mean, std = (0.1, 0.2), (0.5, 4.0)
    model = network(2)
    x = normal(8, *SHAPE)
    before = x * np.array(std, np.float32).reshape(2, 1, 1) + np.array(mean, np.float32).reshape(2, 1, 1)
    path, data = files(tmp_path, model, x)
    plain = radii(certify(path, data, network_effort="quick", effort="quick"))
    np.savez(data, x=before, y=np.zeros(8, int))
    found = radii(certify(path, data, input_mean=mean, input_std=std, network_effort="quick", effort="quick"))
    assert (found >= 0.5 * plain * 0.9).all()
    assert (found > 0.5 * plain * 1.02).any()


def test_inputs_that_stay_in_a_range_are_safe_further(tmp_path: Path) -> None:
    model, rng = network(3), np.random.default_rng(0)
    path, data = files(tmp_path, model, rng.integers(0, 2, (6, *SHAPE)).astype(np.float32))
    free, held = (
        radii(certify(path, data, network_effort="quick", effort="quick", pixel_range=each))
        for each in (None, (0.0, 1.0))
    )
    assert (held >= 0.98 * free).all()
    assert held.sum() > 1.01 * free.sum()


def test_what_has_no_bounds_is_named(tmp_path: Path) -> None:
    nodes = [
        node("LpPool", ["x"], ["p"], kernel_shape=[2, 2], name="pool"),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w"], ["y"]),
    ]
    model = graph_model(nodes, {"x": [1, *SHAPE]}, {"w": normal(32, 3)})
    path, data = files(tmp_path, model, normal(3, *SHAPE))
    local = certify(path, data, eps=0.1, network_effort="quick").routes[-1]
    assert local.name == LOCAL
    assert "LpPool 'pool' is in the way" in local.reason


def test_a_linear_network_is_certified_exactly(tmp_path: Path) -> None:
    """Its radius is the distance to the nearest hyperplane."""
    w, x = normal(4, 3).astype(np.float64), normal(5, 4)
    model = graph_model([node("Gemm", ["x", "w"], ["y"])], {"x": [1, 4]}, {"w": w.astype(np.float32)})
    path, data = files(tmp_path, model, x)
    found = radii(certify(path, data, arithmetic="real"))
    logits = torch.from_numpy(x.astype(np.float64) @ w)
    top = logits.argmax(1)
    for i in range(5):
        others = [j for j in range(3) if j != int(top[i])]
        exact = min(
            float(logits[i, top[i]] - logits[i, j]) / np.linalg.norm(w[:, int(top[i])] - w[:, j])
            for j in others
        )
        assert 0.97 * exact <= found[i] <= exact


def test_unknown_words_are_errors(tmp_path: Path) -> None:
    path, data = right(tmp_path, network(), 2)
    with pytest.raises(UsageError, match="one of real, float32, float16, bfloat16"):
        certify(path, data, arithmetic="float8")
    with pytest.raises(UsageError, match="none, quick, normal, thorough"):
        certify(path, data, effort="much")
