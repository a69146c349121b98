"""`certify`: networks and files that a reviewer found it to be wrong about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from convsv_cli import certify
from tests import onnx_models

pytestmark = pytest.mark.usefixtures("one_core")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(folder: Path, nodes: list, shape: tuple, **weights: np.ndarray) -> Path:
    """Of nodes (operator, inputs, outputs, attributes), from "x" to "y"."""
    made = [helper.make_node(op, ins.split(), outs.split(), **more) for op, ins, outs, more in nodes]
    path = folder / "net.onnx"
    onnx.save(onnx_models.graph_model(made, {"x": shape}, weights), path)
    return path


def data(folder: Path, x: np.ndarray, y: np.ndarray | None = None) -> Path:
    path = folder / "data.npz"
    np.savez(path, x=x, y=np.zeros(len(x), int) if y is None else y)
    return path


def test_a_gemm_that_adds_what_varies_is_no_head(tmp_path: Path) -> None:
    nodes = [("Relu", "x", "h", {}), ("MatMul", "x v", "c", {}), ("Gemm", "h w c", "y", {})]
    path = model(tmp_path, nodes, (1, 4), w=normal(4, 3), v=50 * normal(4, 3, seed=1))
    found = certify(path, data(tmp_path, normal(8, 4, seed=2)))
    assert [name for name, _ in found.routes[0].constants] == ["lipschitz"]


LEFT = [("MatMul", "w x", "h", {}), ("Sigmoid", "h", "s", {})]
RIGHT = [("MatMul", "x w", "h", {}), ("Sigmoid", "h", "s", {})]
NO_CHAINS = {
    "a matrix from the left": (LEFT, (1, 65, 65), {"w": normal(65, 65)}, "from the left"),
    "a matrix from the left, of another size": (LEFT, (1, 8), {"w": normal(1, 1)}, "from the left"),
    "a matrix for each row": (RIGHT, (1, 5, 5), {"w": normal(5, 5)}, "more than one vector"),
    "two of them": (
        [*RIGHT[:1], ("Sigmoid", "h", "t", {}), ("MatMul", "t w", "u", {}), ("Sigmoid", "u", "s", {})],
        (1, 5, 5),
        {"w": normal(5, 5)},
        "more than one vector",
    ),
    "a bias for each row": (
        [("MatMul", "x w", "m", {}), ("Add", "m b", "h", {}), ("Sigmoid", "h", "s", {})],
        (1, 9, 500),
        {"w": normal(500, 9), "b": normal(9, 1)},
        "more than one vector",
    ),
    "a bias that is spread": (
        [("MatMul", "x w", "m", {}), ("Add", "m b", "h", {}), ("Sigmoid", "h", "s", {})],
        (1, 6),
        {"w": normal(6, 6), "b": normal(6, 1)},
        "no chain",
    ),
    "a transposed input": (
        [("Gemm", "x w", "h", {"transA": 1}), ("Sigmoid", "h", "s", {})],
        (1, 4),
        {"w": normal(1, 2)},
        "do not fit",
    ),
    "a threshold that is no number": (
        [
            ("Gemm", "x w", "h", {}),
            ("Softplus", "h", "p", {}),
            ("Greater", "h t", "g", {}),
            ("Where", "g h p", "s", {}),
        ],
        (1, 4),
        {"w": normal(4, 4), "t": np.float32([np.nan, 0, 0, 0])},
        "cut off",
    ),
}


@pytest.mark.parametrize("name", NO_CHAINS)
def test_what_looks_like_a_chain_of_layers_is_none(tmp_path: Path, name: str) -> None:
    nodes, shape, weights, reason = NO_CHAINS[name]
    features = {"a bias that is spread": 36, "a bias for each row": 81, "a transposed input": 8}
    size = features.get(name, int(np.prod(shape)))
    nodes = [*nodes, ("Reshape", "s flat", "f", {}), ("Gemm", "f head", "y", {})]
    path = model(tmp_path, nodes, shape, **weights, flat=np.array([1, size]), head=normal(size, 3, seed=3))
    found = certify(path, data(tmp_path, normal(4, *shape[1:], seed=2)))
    assert reason in found.routes[1].reason
