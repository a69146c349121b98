"""Classifiers that have other outputs than their logits, and other inputs than their samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from convsv_cli import audit, certify
from convsv_cli.errors import UsageError
from tests.support.onnx_models import graph_model, normal, saved

node = helper.make_node
WEIGHTS = {"v": normal(4, 5), "w": normal(5, 3), "u": normal(2, 5)}


def classifier(folder: Path, *outputs: str, context: bool = False) -> Path:
    """Of a sample x, with a second input where asked for: logits, their largest, the class, other logits."""
    made = {
        "logits": node("MatMul", ["h", "w"], ["logits"], name="head"),
        "other": node("MatMul", ["h", "w"], ["other"], name="other_head"),
        "score": node("ReduceMax", ["logits"], ["score"], name="score", keepdims=0),
        "label": node("ArgMax", ["logits"], ["label"], name="label", axis=1),
    }
    nodes = [
        node("MatMul", ["x", "v"], ["s"], name="first"),
        *([node("MatMul", ["c", "u"], ["d"]), node("Add", ["s", "d"], ["t"])] if context else []),
        node("Relu", ["t" if context else "s"], ["h"], name="relu"),
        *(made[name] for name in outputs),
    ]
    inputs = {"x": [1, 4], **({"c": [1, 2]} if context else {})}
    model = graph_model(nodes, inputs, WEIGHTS, outputs)
    for output in model.graph.output:
        if output.name == "label":
            output.type.tensor_type.elem_type = TensorProto.INT64
    return saved(model, folder)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x = normal(8, 4)
    path = tmp_path / "data.npz"
    np.savez(path, x=x, y=(np.maximum(x @ WEIGHTS["v"], 0) @ WEIGHTS["w"]).argmax(1))
    return path


def test_the_only_output_that_can_be_logits_is_taken(tmp_path: Path, data: Path) -> None:
    found = certify(
        classifier(tmp_path, "logits", "score", "label"), data, effort="none", network_effort="quick"
    )
    alone = certify(classifier(tmp_path, "logits"), data, effort="none", network_effort="quick")
    assert found.correct == 8
    assert [sample.radius for sample in found.samples] == [sample.radius for sample in alone.samples]
    assert any("'logits'" in note and "score, label" in note for note in found.notes)
    assert not any("'logits'" in note for note in alone.notes)


def test_where_several_can_be_the_user_says_which(tmp_path: Path, data: Path) -> None:
    path = classifier(tmp_path, "logits", "other", "label")
    with pytest.raises(UsageError, match=r"--to says which one holds the logits: logits, other"):
        certify(path, data)
    with pytest.raises(UsageError, match="did you mean 'logits'"):
        certify(path, data, target="logit")
    assert certify(path, data, target="other", effort="none").correct == 8


def test_other_inputs_are_held_at_zero_and_said(tmp_path: Path, data: Path) -> None:
    path = classifier(tmp_path, "logits", context=True)
    with pytest.raises(UsageError, match=r"--from says which one takes the sample: x, c"):
        certify(path, data)
    found = certify(path, data, source="x", effort="none", network_effort="quick")
    assert found.correct == 8
    assert any("(c) are held at 0" in note for note in found.notes)
    known = audit(path, sources=["x"], network_effort="quick").bound
    assert found.bound.lipschitz == pytest.approx(known.lipschitz, rel=1e-2)
