"""Where a network asks for NaN or infinities, these must be what a mask alone has made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import NodeProto, helper

from convsv_cli import audit
from convsv_cli.report import BOUNDED
from tests.support.onnx_models import graph_model, saved

make = helper.make_node
FIVE, ZERO = np.array(5.0, np.float32), np.array(0.0, np.float32)
BEFORE: dict[str, list[NodeProto]] = {
    "root": [make("Sqrt", ["x"], ["l"])],
    "logarithm": [make("Relu", ["x"], ["r"]), make("Log", ["r"], ["l"])],
    "reciprocal": [make("Relu", ["x"], ["r"]), make("Reciprocal", ["r"], ["l"])],
    "clipped": [make("Log", ["x"], ["r"]), make("Clip", ["r", "zero", "five"], ["l"])],
    "chosen": [make("Greater", ["x", "zero"], ["r"]), make("Where", ["r", "inf", "zero"], ["l"])],
}

JUMPING = {
    ("root", "IsNaN"), ("logarithm", "IsInf"), ("reciprocal", "IsInf"),
    ("clipped", "IsNaN"), ("chosen", "IsInf"),
}  # fmt: skip
"""By what onnxruntime does, at zero."""


@pytest.mark.parametrize("op", ["IsInf", "IsNaN"])
@pytest.mark.parametrize("name", BEFORE)
def test_what_is_no_number_by_its_input_varies(name: str, op: str, tmp_path: Path) -> None:
    nodes = [*BEFORE[name], make(op, ["l"], ["c"]), make("Where", ["c", "five", "zero"], ["y"])]
    constants = {"five": FIVE, "zero": ZERO, "inf": np.array(np.inf, np.float32)}
    path = saved(graph_model(nodes, {"x": (1, 2)}, constants, opset=20), tmp_path)
    assert audit(path, network_effort="quick").bound.status != BOUNDED
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    below, above = (session.run(None, {"x": np.full((1, 2), x, np.float32)})[0] for x in (-1e-3, 1e-3))
    assert (below != above).any() == ((name, op) in JUMPING)


def test_guards_of_attention_ask_for_its_own_scores(tmp_path: Path) -> None:
    """A root of an entry is no number for half of all inputs, where the results are zeros."""
    nodes = [
        make("Transpose", ["x"], ["t"], perm=[1, 0]),
        make("MatMul", ["x", "t"], ["s"]),
        make("Softmax", ["s"], ["p"], axis=-1),
        make("Gather", ["x", "first"], ["one"], axis=1),
        make("Sqrt", ["one"], ["root"]),
        make("IsNaN", ["root"], ["c"]),
        make("Where", ["c", "zero", "p"], ["g"]),
        make("MatMul", ["g", "x"], ["y"]),
    ]
    constants = {"zero": ZERO, "first": np.array([0])}
    path = saved(graph_model(nodes, {"x": (3, 2)}, constants, opset=20), tmp_path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = np.array([[1e-4, 0.9], [0.5, 0.9], [0.5, 0.9]], np.float32)
    moved = x.copy()
    moved[0, 0] = -1e-4
    apart = np.linalg.norm(np.subtract(*(session.run(None, {"x": each})[0] for each in (x, moved))))
    assert apart > 0.5
    bound = audit(path, network_effort="quick", input_range=(-1.0, 1.0)).bound
    assert bound.status != BOUNDED or bound.lipschitz * 2e-4 >= apart
