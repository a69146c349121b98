"""`--from` and `--to`: which tensors may be chosen, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from convsv_cli import audit
from convsv_cli.errors import UsageError
from tests.support.command_line import convsv
from tests.support.onnx_models import graph_model, saved

node = helper.make_node


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Embeddings of integers, their logits and the class."""
    weights = {"table": np.eye(5, 3, dtype="f"), "w": 2 * np.eye(3, dtype="f")}
    nodes = [
        node("Gather", ["table", "ids"], ["embeddings"], name="look_up"),
        node("MatMul", ["embeddings", "w"], ["logits"], name="head"),
        node("ArgMax", ["logits"], ["label"], name="argmax", axis=1),
    ]
    model = graph_model(nodes, {"ids": [4]}, weights, ["logits", "label"])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    return saved(model, tmp_path)


def test_a_network_of_integers_is_bounded_from_its_embeddings_on(words: Path) -> None:
    blind = convsv("audit", words)
    assert "--from 'embeddings'" in blind.stdout
    for format_name in ("table", "markdown", "json", "html"):
        page = convsv("audit", words, "--from", "embeddings", "--format", format_name).stdout
        page = page.replace("&#39;", "'")
        assert "left out: the output 'label', which is of int64" in page.replace("Left", "left")
    bound = audit(words, sources=["embeddings"], targets=["logits"]).bound
    assert bound.lipschitz == pytest.approx(2, rel=1e-3)
    (line,) = bound.left_out
    assert line.startswith("only 'embeddings' is perturbed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": ["embedings"]}, "did you mean 'embeddings'?"),
        ({"sources": ["zzz"]}, "its inputs and outputs are ids, logits, label"),
        ({"sources": ["ids"]}, "it is of int64"),
        ({"sources": ["w"]}, "'w' is constant"),
        ({"sources": ["embeddings"], "targets": ["label"]}, "it is of int64"),
        ({"sources": ["embeddings"], "empirical": "random"}, "leave out --from and --to"),
    ],
)
def test_what_cannot_be_chosen_is_told_in_a_line(words: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError) as wrong:
        audit(words, **options)
    assert message in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_differences_are_between_the_same_tensors(words: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    convsv("audit", words, "--from", "embeddings", "-o", report)
    assert "between other tensors" not in convsv("diff", report, words).stdout
    other = tmp_path / "other.json"
    convsv("audit", words, "--from", "embeddings", "--to", "embeddings", "-o", other)
    assert "between other tensors" in convsv("diff", report, other).stdout


def test_a_tensor_inside_a_branch_cannot_be_chosen(tmp_path: Path) -> None:
    bodies = {}
    for name, op, inner in (("then_branch", "Relu", "p"), ("else_branch", "Neg", "q")):
        output = helper.make_tensor_value_info(inner, TensorProto.FLOAT, None)
        bodies[name] = helper.make_graph([node(op, ["x"], [inner])], name, [], [output])
    nodes = [node("If", ["c"], ["y"], name="choice", **bodies)]
    path = saved(graph_model(nodes, {"x": [1, 2]}, {"c": np.array([True])}), tmp_path)
    result = convsv("audit", path, "--to", "p")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
