"""Radii in the maximum norm: of linear networks as they are, and of others never larger than attacks say."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from convsv_cli import certify
from convsv_cli.errors import UsageError
from convsv_cli.renderers.certification import RENDERERS
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import LOCAL, MARGIN, Certification
from tests.support.onnx_models import graph_model, normal

node = helper.make_node
ENTRIES, HIDDEN, CLASSES, COUNT = 4, 12, 3, 3


def saved(folder: Path, nodes: list[onnx.NodeProto], **weights: np.ndarray) -> tuple[Path, Path]:
    """A network, and samples with the classes that it says."""
    path, data = folder / "net.onnx", folder / "data.npz"
    single = {name: weight.astype(np.float32) for name, weight in weights.items()}
    onnx.save(graph_model(nodes, {"x": [1, ENTRIES]}, single), path)
    x = normal(COUNT, ENTRIES)
    np.savez(data, x=x, y=classes(path, x))
    return path, data


def classes(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = [session.run(None, {"x": row[None].astype(np.float32)})[0][0] for row in x]
    return np.argmax(rows, 1)


def linear(folder: Path) -> tuple[Path, Path, np.ndarray]:
    w = normal(ENTRIES, CLASSES)
    return *saved(folder, [node("Gemm", ["x", "w"], ["y"])], w=w), w.astype(np.float64)


def curved(folder: Path, activation: str = "Relu") -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    shapes = {"w": (ENTRIES, HIDDEN), "v": (HIDDEN, HIDDEN), "u": (HIDDEN, CLASSES)}
    nodes = [
        node("Gemm", ["x", "w"], ["a"]),
        node(activation, ["a"], ["b"]),
        node("Gemm", ["b", "v"], ["c"]),
        node(activation, ["c"], ["d"]),
        node("Gemm", ["d", "u"], ["y"]),
    ]
    return saved(folder, nodes, **{name: rng.standard_normal(shape) for name, shape in shapes.items()})


def radii(found: Certification) -> np.ndarray:
    return np.array([sample.radius for sample in found.samples])


def distances(w: np.ndarray, x: np.ndarray, order: float) -> np.ndarray:
    """To the nearest hyperplane between the class of each sample and another; norms are dual to `order`."""
    logits = x.astype(np.float64) @ w
    found = []
    for row in logits:
        top = int(row.argmax())
        others = [j for j in range(w.shape[1]) if j != top]
        found += [min((row[top] - row[j]) / np.linalg.norm(w[:, top] - w[:, j], order) for j in others)]
    return np.array(found)


def test_a_linear_network_is_certified_up_to_its_planes(tmp_path: Path) -> None:
    path, data, w = linear(tmp_path)
    found = radii(certify(path, data, norm="inf", arithmetic="real"))
    exact = distances(w, np.load(data)["x"], 1)
    assert (found <= exact).all()
    assert (found >= 0.97 * exact).all()


@pytest.mark.parametrize("activation", ["Relu", "Tanh"])
def test_no_corner_of_a_certified_cube_has_another_class(activation: str, tmp_path: Path) -> None:
    path, data = curved(tmp_path, activation)
    found = certify(path, data, norm="inf", effort="quick", network_effort="quick")
    signs = np.array([*itertools.product((-1.0, 1.0), repeat=ENTRIES)])
    points = np.concatenate([signs, np.random.default_rng(1).uniform(-1, 1, (100, ENTRIES))])
    for x, sample in zip(np.load(data)["x"], found.samples, strict=True):
        assert sample.radius > 0
        assert (classes(path, x + sample.radius * points) == sample.predicted).all()


def test_local_bounds_prove_more_than_balls_that_hold_cubes(tmp_path: Path) -> None:
    path, data = curved(tmp_path)
    plain = certify(path, data, norm="inf", effort="none")
    euclidean = certify(path, data, effort="none")
    local = certify(path, data, norm="inf", effort="quick")
    np.testing.assert_allclose(radii(plain), radii(euclidean) / ENTRIES**0.5, rtol=1e-9)
    assert (radii(plain) <= radii(euclidean) / ENTRIES**0.5).all()
    assert (radii(local) >= radii(plain)).all()
    assert {sample.route for sample in plain.samples} == {MARGIN}
    assert {sample.route for sample in local.samples} == {LOCAL}


def test_an_attack_goes_into_corners(tmp_path: Path) -> None:
    """Between the two distances to the nearest plane, there is another class in the cube, not in the ball."""
    path, data, w = linear(tmp_path)
    x = np.load(data)["x"][:1]
    cube, ball = distances(w, x, 1)[0], distances(w, x, 2)[0]
    eps = float((cube * ball) ** 0.5)
    broken = {
        norm: certify(path, data, limit=1, norm=norm, eps=eps, attack=True).samples[0].broken
        for norm in ("2", "inf")
    }
    assert broken == {"2": np.inf, "inf": eps}


def test_samples_that_stay_in_a_range_are_safe_further(tmp_path: Path) -> None:
    path, data = curved(tmp_path)
    low, high = float(np.load(data)["x"].min()), float(np.load(data)["x"].max())
    free = radii(certify(path, data, norm="inf", effort="quick"))
    kept = radii(certify(path, data, norm="inf", effort="quick", pixel_range=(low, high)))
    assert (kept >= 0.99 * free).all()
    assert (kept > 1.01 * free).any()


def test_reports_say_which_norm(tmp_path: Path) -> None:
    path, data, _ = linear(tmp_path)
    found = certify(path, data, norm="inf", effort="none")
    said = {each.name: each.render(found, Terminal()) for each in RENDERERS}
    assert "up to the radius (L∞)" in said["table"]
    assert json.loads(said["json"])["settings"]["norm"] == "inf"
    assert "in the maximum norm" in said["html"]
    assert "--norm=inf" in said["html"]


def test_other_norms_are_errors(tmp_path: Path) -> None:
    path, data, _ = linear(tmp_path)
    with pytest.raises(UsageError, match="the norm must be one of 2, inf, not '1'"):
        certify(path, data, norm="1")
