"""A certification reads its model once, bounds its graph once, and measures the norms that it needs once."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from convsv_cli import audit
from convsv_cli.calculators import CALCULATORS
from convsv_cli.lipschitz import bound as bounds
from convsv_cli.lipschitz.dependencies import ending_at
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.lipschitz.norms import kernel_norm
from convsv_cli.loaders import load
from convsv_cli.loaders.onnx import reading
from convsv_cli.model.network import InputSize
from convsv_cli.report import BOUNDED, QUICK
from tests.support.onnx_models import graph_model, normal, rng
from tests.support.quickly import certify
from tests.support.random_graphs import random_graph
from tests.support.random_operators import TAME
from tests.support.sensitivity import norms_of_rows
from tests.support.whole_bounds import by_rules, ruled

QUICKLY = Effort(level=QUICK)
POSITIVE = np.abs(normal(4)) + 0.5
CONSTANTS = {
    "k": normal(4, 2, 3, 3),
    "w": normal(4, 3),
    "w2": normal(3, 3),
    "lost": normal(4, 7),
    "s": POSITIVE,
    "b": normal(4),
    "m": np.zeros(4, np.float32),
    "v": POSITIVE + 1,
}
BODY = [("Conv", "x k", "c"), ("Relu", "c", "r"), ("GlobalAveragePool", "r", "g"), ("Flatten", "g", "f")]
DEAD = [("MatMul", "f lost", "unused")]
HEADS = {
    "Gemm": [("Gemm", "f w", "y")],
    "MatMul and Add": [("MatMul", "f w", "z"), ("Add", "z w2row", "y")],
    "BatchNorm before the head": [("BatchNormalization", "f s b m v", "n"), ("Gemm", "n w", "y")],
    "two layers": [("Gemm", "f w", "h"), ("Gemm", "h w2", "y")],
    "two layers and an activation": [("Gemm", "f w", "h"), ("Tanh", "h", "t"), ("Gemm", "t w2", "y")],
}


def saved(folder: Path, nodes: list[tuple[str, str, str]], output: str = "y", size: str | int = 6) -> Path:
    made = [helper.make_node(op, ins.split(), outs.split(), name=outs) for op, ins, outs in nodes]
    weights = {**CONSTANTS, "w2row": CONSTANTS["w2"][0]}
    used = {name: weights[name] for _, ins, _ in nodes for name in ins.split() if name in weights}
    path = folder / f"{output}.onnx"
    onnx.save(graph_model(made, {"x": ("n", 2, size, size)}, used, outputs=(output,)), path)
    return path


def data(folder: Path, shape: tuple[int, ...] = (2, 6, 6)) -> Path:
    path = folder / "data.npz"
    np.savez(path, x=rng(1).standard_normal((5, *shape)).astype(np.float32), y=np.zeros(5, int))
    return path


def counted(monkeypatch: pytest.MonkeyPatch, home: object, name: str) -> Counter[str]:
    """How often a function has been called from now on."""
    calls: Counter[str] = Counter()
    honest = getattr(home, name)

    def call(*arguments: object, **options: object) -> object:
        calls[name] += 1
        return honest(*arguments, **options)

    monkeypatch.setattr(home, name, call)
    return calls


@pytest.mark.parametrize(("shape", "size"), [((2, 6, 6), "h"), ((6, 6, 2), "h"), ((2, 6, 6), 6)])
def test_a_model_is_read_once_also_where_its_size_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], size: str | int
) -> None:
    read = counted(monkeypatch, reading, "infer")
    found = certify(saved(tmp_path, [*BODY, *HEADS["Gemm"]], size=size), data(tmp_path, shape))
    assert read["infer"] == 1
    assert found.model.input_shape == (("x", (1, 2, 6, 6)),)
    assert found.bound.status == BOUNDED


@pytest.mark.parametrize(
    ("declared", "sample", "expected"),
    [
        ((1, 3, "h", "w"), (3, 5, 7), (1, 3, 5, 7)),
        ((1, 3, "h", "w"), (5, 7, 3), (1, 3, 5, 7)),
        ((1, "c", "h", "w"), (5, 7), (1, 1, 5, 7)),
        (("n", "?"), (4,), (1, 4)),
        ((1, 3, "h", "w"), (4, 4, 4), (1, 4, 4, 4)),
        (("n", 3, 8, 8), (9, 9, 9), None),
        ((), (4,), None),
    ],
)
def test_what_a_file_leaves_open_a_sample_says(
    declared: tuple, sample: tuple, expected: tuple | None
) -> None:
    asked = InputSize(sample=sample)
    found = asked.of_inputs([("x", declared)])
    assert found == InputSize(shapes=() if expected is None else (("x", expected),))
    assert asked.of_inputs([("x", declared), ("y", (1, "k"))]) == InputSize()


@pytest.mark.parametrize("name", HEADS)
def test_a_graph_is_composed_once_unless_its_head_is_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    merged = name in ("BatchNorm before the head", "two layers")
    path = saved(tmp_path, [*BODY, *HEADS[name]])
    folds = counted(monkeypatch, bounds, "folded")
    found = certify(path, data(tmp_path))
    assert folds["folded"] == 1 + merged
    features = load(path).graph.main.nodes[-1 - (name == "MatMul and Add")].inputs[0]
    nodes = [*BODY, *HEADS[name]]
    before = nodes[: next(i for i, (_, _, made) in enumerate(nodes) if made == features) + 1]
    alone = saved(tmp_path, before, features)
    constants, whole = dict(found.routes[0].constants), audit(path, network_effort="quick")
    assert list(constants) == ["lipschitz", "lipschitz_before_head"]
    assert constants["lipschitz"] == whole.bound.lipschitz
    expected = audit(alone, network_effort="quick").bound if merged else by_rules(alone)
    assert constants["lipschitz_before_head"] == pytest.approx(expected.lipschitz, rel=1e-3)
    assert replace(found.bound, seconds=0) == replace(whole.bound, seconds=0)


def test_only_norms_that_bounds_rest_on_are_measured_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No estimate, and nothing of a layer that the logits do not depend on."""
    runs: Counter[str] = Counter()

    def counting(name: str, calculate: Callable) -> Callable:
        def calculated(problem: object) -> object:
            runs[name] += 1
            return calculate(problem)

        return calculated

    each = tuple(replace(c, calculate=counting(c.method.name, c.calculate)) for c in CALCULATORS)
    monkeypatch.setattr(importlib.import_module("convsv_cli.auditing.plan"), "CALCULATORS", each)
    told: list[str] = []
    path = saved(tmp_path, [*BODY, *DEAD, *HEADS["BatchNorm before the head"]])
    assert len(load(path).layers) == 3
    found = certify(path, data(tmp_path), progress=lambda what, _share: told.append(what))
    assert found.bound.status == BOUNDED
    assert runs == {"certified": 2, "bound": 2}
    assert not [what for what in told if "lost" in what or "unused" in what]


@pytest.mark.parametrize("seed", range(12))
def test_a_bound_up_to_a_bottleneck_is_that_of_the_graph_that_ends_there(seed: int, tmp_path: Path) -> None:
    """To the last bit, in random graphs: what comes after it has no part in it."""
    onnx.save(random_graph(seed, TAME).model(), tmp_path / "net.onnx")
    network = load(tmp_path / "net.onnx")
    norms = norms_of_rows(network, partial(kernel_norm, tolerance=1e-2))
    composition = ruled(bounds.composition_of(network.graph, norms, effort=QUICKLY))
    ends = [segment.end for segment in composition.plain.segments if segment.end]
    for end in ends:
        found = composition.up_to(end)
        alone = ruled(bounds.composition_of(ending_at(network.graph, end), norms, effort=QUICKLY)).bound()
        assert found is None or found == alone.lipschitz
    assert composition.up_to("nothing") is None
    assert math.isfinite(composition.bound().lipschitz)
