"""Constant expressions that make much of little: small graphs, and no time or memory for them."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from onnx import FunctionProto, helper
from onnx.reference import ReferenceEvaluator

from convsv_cli import load
from convsv_cli.loaders.onnx import evaluation
from convsv_cli.model.layer import UnsupportedLayer
from tests.support.onnx_models import graph_model, normal, saved

node = helper.make_node


def doubling(levels: int) -> list:
    names = ["w", *(f"c{i}" for i in range(levels))]
    pairs = itertools.pairwise(names)
    return [node("Concat", [a, a], [b], axis=0) for a, b in pairs] + [node("MatMul", ["x", names[-1]], ["y"])]


def outer() -> list:
    """2^14 times 2^14 elements from 2^14."""
    return [
        node("Transpose", ["w"], ["t"]),
        node("MatMul", ["w", "t"], ["b"]),
        node("MatMul", ["x", "b"], ["y"]),
    ]


def gathering() -> list:
    """2^13 rows, each of them again and again."""
    return [node("GatherND", ["w", "rows"], ["b"]), node("MatMul", ["x", "b"], ["y"])]


def scattering() -> list:
    """One row, written again and again, each time by one number."""
    return [node("ScatterND", ["w", "rows", "numbers"], ["b"]), node("MatMul", ["x", "b"], ["y"])]


BOMBS = {
    "doubling": (doubling(28), {"w": np.ones((1, 1), np.float32)}),
    "outer": (outer(), {"w": np.ones((2**14, 1), np.float32)}),
    "gathering": (
        gathering(),
        {"w": np.ones((1, 2**14), np.float32), "rows": np.zeros((2**13, 1), np.int64)},
    ),
    "scattering": (
        scattering(),
        {
            "w": np.ones((1, 2**14), np.float32),
            "rows": np.zeros((2**13, 1), np.int64),
            "numbers": np.ones((2**13, 1), np.float32),
        },
    ),
    "range": ([node("Range", ["w", "z", "s"], ["b"]), node("MatMul", ["x", "b"], ["y"])], {
        "w": np.float32(0), "z": np.float32(np.inf), "s": np.float32(1)}),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_results_stay_in_proportion_to_what_is_stored(bomb: str, tmp_path: Path) -> None:
    nodes, weights = BOMBS[bomb]
    path = saved(graph_model(nodes, {"x": ["n", "m"]}, weights), tmp_path)
    tracemalloc.start()
    try:
        (layer,) = load(path).layers
        assert tracemalloc.get_traced_memory()[1] < 400e6
    finally:
        tracemalloc.stop()
    assert isinstance(layer, UnsupportedLayer)
    assert "much larger than what is stored" in layer.reason


def test_many_large_expressions_take_no_long_time(tmp_path: Path) -> None:
    """A thousand masks of 8 million entries, from nothing."""
    shape = np.array([2**12, 2**11])
    nodes = []
    for i in range(1000):
        nodes += [node("Expand", ["w", "shape"], [f"e{i}"]), node("MatMul", ["x", f"e{i}"], [f"y{i}"])]
    weights = {"w": np.ones((1, 1), np.float32), "shape": shape}
    start = time.monotonic()
    network = load(saved(graph_model(nodes, {"x": ["n", 2**12]}, weights, outputs=["y1"]), tmp_path))
    assert time.monotonic() - start < 20
    assert len(network.layers) == 1000
    assert "more constants than convsv computes" in network.layers[-1].reason


def test_chains_take_time_in_proportion(tmp_path: Path) -> None:
    """Each of 900 weights is the one before and a step: the 400 thousand steps of all are not made."""
    nodes = []
    for i in range(900):
        nodes += [node("Neg", [f"w{i}"], [f"w{i + 1}"]), node("MatMul", ["x", f"w{i + 1}"], [f"y{i}"])]
    start = time.monotonic()
    network = load(saved(graph_model(nodes, {"x": ["n", 64]}, {"w0": normal(64, 64)}, ["y1"]), tmp_path))
    assert time.monotonic() - start < 30
    assert len(network.layers) == 900
    assert not isinstance(network.layers[100], UnsupportedLayer)
    assert "more constants than convsv computes" in network.layers[-1].reason


@pytest.mark.parametrize(("length", "least", "most"), [(0, 1, 5), (2000, 50, 500)], ids=["short", "long"])
def test_what_is_the_same_is_prepared_once(
    length: int, least: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for long nodes, of which many would fill the memory."""
    made = []

    def counting(function: FunctionProto) -> ReferenceEvaluator:
        made.append(function)
        return ReferenceEvaluator(function)

    monkeypatch.setattr(evaluation, "ReferenceEvaluator", counting)
    nodes = [node("Transpose", [f"w{i}"], [f"w{i + 1}"], perm=[1, 0]) for i in range(51)]
    for each in nodes:
        each.attribute[0].doc_string = "-" * length
    nodes.append(node("MatMul", ["x", "w51"], ["y"]))
    values = normal(4, 4)
    (layer,) = load(saved(graph_model(nodes, {"x": ["n", 4]}, {"w0": values}), tmp_path)).layers
    assert not isinstance(layer, UnsupportedLayer)
    np.testing.assert_array_equal(layer.read().numpy(), values)  # as layers have it, outputs first
    assert least <= len(made) <= most
