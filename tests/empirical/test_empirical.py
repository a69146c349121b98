"""The estimate from below: near the truth where that is known, never above it, and clear about bad data."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from convsv_cli.empirical import lower_bound
from convsv_cli.empirical.function import Function
from convsv_cli.errors import UsageError
from tests.support.onnx_models import graph_model, saved

node = helper.make_node


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def linear(folder: Path, matrix: np.ndarray, batch: int | str = "n", bias: float = 0.0) -> Path:
    nodes = [node("Gemm", ["x", "w", "b"], ["y"])]
    weights = {"w": matrix, "b": np.full(matrix.shape[1], bias, np.float32)}
    return saved(graph_model(nodes, {"x": [batch, len(matrix)]}, weights), folder)


@pytest.mark.parametrize(("size", "batch"), [(5, "n"), (40, 1), (150, "n")])
def test_a_linear_network(tmp_path: Path, size: int, batch: int | str) -> None:
    matrix = normal(size, 12)
    true = np.linalg.norm(matrix.astype(np.float64), 2)
    found = lower_bound(linear(tmp_path, matrix, batch))
    assert 0.8 * true <= found.ratio <= true * (1 + 1e-4)
    assert found.pairs == 300
    assert found.directions > 24


def test_where_the_engine_is_missing_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="needs onnxruntime") as refused:
        Function.load(linear(tmp_path, normal(3, 3)), {})
    assert str(refused.value) == "running a model needs onnxruntime (pip install onnxruntime)"


def test_rounding_lifts_no_ratio(tmp_path: Path) -> None:
    """Values of a million, of which differences are hardly more than rounding."""
    matrix = normal(6, 6) * 1e-3
    true = np.linalg.norm(matrix.astype(np.float64), 2)
    assert lower_bound(linear(tmp_path, matrix, bias=1e4)).ratio <= true * (1 + 1e-4)
    assert lower_bound(linear(tmp_path, matrix, bias=1e6)).ratio <= true * (1 + 1e-4)


def test_values_in_half_precision(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["z"]), node("Cast", ["z"], ["y"], to=TensorProto.FLOAT16)]
    model = graph_model(nodes, {"x": [1, 8]}, {"w": normal(8, 8)})
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    true = np.linalg.norm(normal(8, 8).astype(np.float64), 2)
    assert 0.5 * true < lower_bound(saved(model, tmp_path)).ratio <= true * (1 + 1e-4)


def test_the_same_seed_gives_the_same_estimate(tmp_path: Path) -> None:
    model = linear(tmp_path, normal(150, 12))
    first, again, other = (lower_bound(model, seed=seed, steps=2).ratio for seed in (3, 3, 4))
    assert first == again != other


def test_the_sample_model(root: Path) -> None:
    shares = []
    found = lower_bound(
        root / "sample_models" / "resnet20.onnx", steps=4, progress=lambda _, share: shares.append(share)
    )
    assert 0 < found.ratio < 9.7e12
    assert found.seconds < 20
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_waves_find_the_frequency_of_a_convolution(tmp_path: Path) -> None:
    """A mean filter: its norm, 9, is nearly attained at constant images of one channel."""
    kernel = np.zeros((2, 2, 3, 3), np.float32)
    kernel[0, 1] = 1
    model = graph_model([node("Conv", ["x", "w"], ["y"])], {"x": ["n", 2, 40, 40]}, {"w": kernel})
    assert 8.5 < lower_bound(saved(model, tmp_path), steps=2).ratio <= 9 * (1 + 1e-4)


def test_inputs_and_outputs_count_together(tmp_path: Path) -> None:
    """|(a + b, a + b)| is up to twice |(a, b)|; the integer input is held at zero."""
    nodes = [
        node("Add", ["a", "b"], ["sum"]),
        node("Cast", ["k"], ["real"], to=TensorProto.FLOAT),
        node("Add", ["sum", "real"], ["y"]),
        node("Identity", ["sum"], ["z"]),
        node("ArgMax", ["sum"], ["index"]),
    ]
    model = graph_model(nodes, {"a": ["n", 4], "b": ["n", 4]}, {}, ["y", "z"])
    model.graph.input.append(helper.make_tensor_value_info("k", TensorProto.INT64, ["n", 4]))
    model.graph.output.append(helper.make_tensor_value_info("index", TensorProto.INT64, None))
    assert lower_bound(saved(model, tmp_path)).ratio == pytest.approx(2, rel=1e-3)


def test_a_network_that_mixes_its_batch_is_run_one_by_one(tmp_path: Path) -> None:
    nodes = [node("ReduceMean", ["x", "axes"], ["mean"]), node("Sub", ["x", "mean"], ["y"])]
    model = graph_model(nodes, {"x": ["n", 4]}, {"axes": np.array([0], np.int64)})
    path = saved(model, tmp_path)
    function = Function.load(path, {})
    function.try_batches(normal(2, 4).astype(np.float64))
    assert function.batch == 1
    assert lower_bound(path).ratio == 0
    separate = Function.load(linear(tmp_path, normal(4, 4)), {})
    separate.try_batches(normal(2, 4).astype(np.float64))
    assert separate.batch > 1


def square(folder: Path) -> Path:
    return saved(graph_model([node("Mul", ["x", "x"], ["y"])], {"x": ["n", 3]}, {}), folder)


def test_points_stay_in_the_range(tmp_path: Path) -> None:
    """x^2 on [-1, 2] has the slope 4 at most."""
    found = lower_bound(square(tmp_path), input_range=(-1.0, 2.0))
    assert 3.5 < found.ratio <= 4 * (1 + 1e-4)


def test_points_come_from_data(tmp_path: Path) -> None:
    """x^2 near 50 has the slope 100."""
    near = 50 + normal(30, 3)
    np.savez(tmp_path / "data.npz", near)
    assert 95 < lower_bound(square(tmp_path), data=tmp_path / "data.npz").ratio < 135
    np.savez(tmp_path / "named.npz", labels=np.arange(30), x=near)
    assert 95 < lower_bound(square(tmp_path), data=tmp_path / "named.npz").ratio < 135


def test_inputs_that_are_not_real_come_from_data(tmp_path: Path) -> None:
    """They are held at their first sample."""
    nodes = [node("Cast", ["k"], ["factor"], to=TensorProto.FLOAT), node("Mul", ["x", "factor"], ["y"])]
    model = graph_model(nodes, {"x": ["n", 3]}, {})
    model.graph.input.append(helper.make_tensor_value_info("k", TensorProto.INT32, ["n", 1]))
    path = saved(model, tmp_path)
    assert lower_bound(path).ratio == 0
    np.savez(tmp_path / "data.npz", x=normal(9, 3), k=7 * np.ones((9, 1), np.int64))
    assert lower_bound(path, data=tmp_path / "data.npz").ratio == pytest.approx(7, rel=1e-3)


def test_open_sizes(tmp_path: Path) -> None:
    """From the options, or from the data."""
    path = saved(graph_model([node("Neg", ["x"], ["y"])], {"x": ["n", 2, "h"]}, {}), tmp_path)
    with pytest.raises(UsageError, match=r"'x' has a dynamic size.*--input-shape x"):
        lower_bound(path)
    assert lower_bound(path, input_shapes={"x": (1, 2, 5)}).ratio == pytest.approx(1, rel=1e-3)
    np.savez(tmp_path / "data.npz", x=normal(4, 2, 7))
    assert lower_bound(path, data=tmp_path / "data.npz").ratio == pytest.approx(1, rel=1e-3)
    with pytest.raises(UsageError, match=r"'x' is \?x2x\?, not 1x3x5"):
        lower_bound(path, input_shapes={"x": (1, 3, 5)})
    with pytest.raises(UsageError, match="no input 'z'"):
        lower_bound(path, input_shapes={"z": (1,)})


def test_a_fixed_batch_takes_as_many_samples(tmp_path: Path) -> None:
    path = saved(graph_model([node("Neg", ["x"], ["y"])], {"x": [2, 3]}, {}), tmp_path)
    np.savez(tmp_path / "data.npz", x=normal(7, 3))
    found = lower_bound(path, data=tmp_path / "data.npz")
    assert (found.pairs, found.ratio) == (3, pytest.approx(1, rel=1e-3))


BAD = [
    ({"x": np.ones((4, 5))}, "'x' is .*x3, not 1x5"),
    ({"x": np.ones((4, 3), complex)}, "complex128, not samplesx3 numbers"),
    ({"x": np.full((4, 3), np.nan)}, "NaN"),
    ({"x": np.ones((0, 3))}, "0x3"),
    ({"x": np.float64(3)}, "'x' is"),
    ({"a": np.ones((4, 3)), "b": np.ones(4)}, "no array for the input 'x'"),
    ({"x": np.array([[{}]], object)}, "not a .npz file"),
    ({"x": 9 * np.ones((4, 3))}, "leave the range 0 to 1"),
]


@pytest.mark.parametrize(("arrays", "why"), BAD)
def test_data_that_do_not_fit(tmp_path: Path, arrays, why: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(UsageError, match=why) as caught:
        lower_bound(square(tmp_path), data=tmp_path / "data.npz", input_range=(0.0, 1.0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_data_that_are_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"not a \.npz file"):
        lower_bound(square(tmp_path), data=tmp_path / "data.npz")
    np.save(tmp_path / "data.npy", np.ones((2, 3)))
    with pytest.raises(UsageError, match=r"not a \.npz file"):
        lower_bound(square(tmp_path), data=tmp_path / "data.npy")
    with pytest.raises(UsageError, match=r"not a \.npz file"):
        lower_bound(square(tmp_path), data=tmp_path / "none.npz")


def test_models_that_do_not_run(tmp_path: Path) -> None:
    """One line each."""
    custom = saved(graph_model([node("Gate", ["x"], ["y"], domain="custom")], {"x": [1, 3]}, {}), tmp_path)
    reshape = [node("Reshape", ["x", "shape"], ["y"])]
    failing = saved(
        graph_model(reshape, {"x": ["n", 3]}, {"shape": np.array([7], np.int64)}), tmp_path, "failing.onnx"
    )
    discrete = saved(
        graph_model([node("ArgMax", ["x"], ["y"])], {"x": [1, 3]}, {}), tmp_path, "discrete.onnx"
    )
    for path, why in ((custom, "cannot read"), (failing, "cannot run"), (discrete, ".")):
        with pytest.raises(UsageError, match=why) as caught:
            lower_bound(path)
        assert "\n" not in str(caught.value)


def test_values_that_are_no_numbers_count_for_nothing(tmp_path: Path) -> None:
    path = saved(graph_model([node("Log", ["x"], ["y"])], {"x": ["n", 2]}, {}), tmp_path)
    assert np.isfinite(lower_bound(path).ratio)


def test_external_data_lie_beside_the_model(tmp_path: Path) -> None:
    import onnx

    model = graph_model([node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 4]}, {"w": normal(4, 4)})
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    true = np.linalg.norm(normal(4, 4).astype(np.float64), 2)
    assert lower_bound(tmp_path / "m.onnx").ratio == pytest.approx(true, rel=1e-3)


def test_not_above_the_bound_of_networks(tmp_path: Path) -> None:
    """Two layers and what lies between, against the product of norms."""
    for seed, activation in itertools.product(range(3), ("Relu", "Tanh")):
        first, second = normal(6, 9, seed=seed), normal(9, 4, seed=seed + 9)
        nodes = [
            node("MatMul", ["x", "v"], ["h"]),
            node(activation, ["h"], ["a"]),
            node("MatMul", ["a", "w"], ["y"]),
        ]
        model = graph_model(nodes, {"x": ["n", 6]}, {"v": first, "w": second})
        limit = np.linalg.norm(first, 2) * np.linalg.norm(second, 2)
        assert 0.2 * limit < lower_bound(saved(model, tmp_path)).ratio <= limit
