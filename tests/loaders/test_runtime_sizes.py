"""Sizes of pooled images as runtimes have them, which onnx's inference does not always find."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import convsv_cli
from tests.support import runtime
from tests.support.onnx_models import graph_model, saved

OPS = {"MaxPool": (11, 12, 22), "AveragePool": (11, 19, 22), "LpPool": (18, 22)}


@pytest.mark.parametrize("padding", ["pads", "SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("op", "opset"), [(op, opset) for op, opsets in OPS.items() for opset in opsets])
def test_sizes_that_are_rounded_up(op: str, opset: int, padding: str, tmp_path: Path) -> None:
    """Each is that of onnxruntime, or unknown where runtimes differ."""
    random, nodes = np.random.default_rng(opset), []
    for i in range(12):
        kernel, strides = (random.integers(1, 5, 2) for _ in range(2))
        attributes = {"kernel_shape": kernel, "strides": strides, "ceil_mode": 1}
        if op != "AveragePool" or opset > 18:
            attributes["dilations"] = random.integers(1, 3, 2)
        if padding == "pads":
            attributes["pads"] = random.integers(0, [*kernel, *kernel])
        else:
            attributes["auto_pad"] = padding
            attributes["strides"] = np.minimum(strides, kernel)  # else onnxruntime wants to crop
        nodes.append(helper.make_node(op, ["x"], [f"y{i}"], **attributes))
    model = graph_model(nodes, {"x": [1, 1, 9, 10]}, {}, [f"y{i}" for i in range(12)], opset=opset)
    results = runtime.session(model).run(None, {"x": np.zeros((1, 1, 9, 10), np.float32)})
    graph = convsv_cli.load(saved(model, tmp_path)).graph
    for i, result in enumerate(results):
        found = graph.shapes.get(f"y{i}")
        assert found == result.shape or (found is None and padding != "pads")


@pytest.mark.parametrize("op", OPS)
def test_a_mean_over_windows_that_runtimes_leave_out(op: str, tmp_path: Path) -> None:
    """Two of five entries are left; a third window would begin in the padding."""
    pool = helper.make_node(op, ["x"], ["h"], kernel_shape=[1], strides=[3], ceil_mode=1)
    nodes = [pool, helper.make_node("GlobalAveragePool", ["h"], ["y"])]
    model = graph_model(nodes, {"x": [1, 1, 5]}, {}, opset=18)
    points = np.array([[[[1, 1, 1, 1, 1]]], [[[2, 1, 1, 2, 1]]]], np.float32)
    values = [runtime.session(model).run(None, {"x": point})[0].item() for point in points]
    seen = (values[1] - values[0]) / math.sqrt(2)
    assert seen == pytest.approx(math.sqrt(0.5))
    assert seen <= convsv_cli.audit(saved(model, tmp_path)).bound.lipschitz * (1 + 1e-6)


CASES = {
    "one side of a signal": ("STFT", ["x", "step", "", "length"], {}, [1, 8, 1]),
    "parts without an axis": ("SplitToSequence", ["x", "each"], {"axis": 1, "keepdims": 0}, [4, 3]),
    "a ratio that is kept": (
        "Resize",
        ["x", "", "", "sizes"],
        {"axes": [-1], "keep_aspect_ratio_policy": "not_larger"},
        [1, 1, 6],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_sizes_that_inference_has_otherwise(case: str, tmp_path: Path) -> None:
    op, inputs, attributes, shape = CASES[case]
    nodes = [helper.make_node(op, inputs, ["h" if op == "SplitToSequence" else "y"], **attributes)]
    if op == "SplitToSequence":
        nodes.append(helper.make_node("SequenceAt", ["h", "first"], ["y"]))
    weights = {
        "step": np.array(2),
        "length": np.array(4),
        "first": np.array(0),
        "each": np.array(1),
        "sizes": np.array([3]),
    }
    model = graph_model(nodes, {"x": shape}, weights, opset=18)
    (result,) = runtime.session(model).run(None, {"x": np.zeros(shape, np.float32)})
    assert convsv_cli.load(saved(model, tmp_path)).graph.shapes.get("y") in (None, result.shape)
