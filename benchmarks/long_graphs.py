"""Graphs of up to a thousand nodes, and what the rules cost on them beside the norms."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from onnx import NodeProto, helper

from benchmarks import architectures
from benchmarks.graph_builder import save
from benchmarks.measuring import Row, progress
from benchmarks.one_bound import EARLY
from benchmarks.sum_rule import sum_rule

Chain = tuple[list[NodeProto], dict[str, np.ndarray], str]


def resnets() -> list[tuple[str, Callable[[Path], object]]]:
    """Names, and what writes each to a path: a ResNet-50, and one with BatchNorms in its graph."""
    return [
        ("ResNet-50", architectures.resnet50),
        ("ResNet-50 with BatchNorms", partial(architectures.resnet50, normalised=True)),
    ]


def graphs(depths: Sequence[int]) -> list[tuple[str, Callable[[Path], object]]]:
    """Names, and what writes each to a path: skips in a row, and activations in a row.

    Args:
        depths: numbers of nodes.
    """
    hard = min(30, depths[-1] // 4)
    return [
        *((f"{depth // 3} skips in a row", partial(_saved, skips(depth))) for depth in depths),
        (f"{depths[-1]} Tanh in a row", partial(_saved, tanhs(depths[-1]))),
        (f"{hard} HardSwish in parts", partial(_saved, hard_swishes(hard))),
    ]


def measured(name: str, write: Callable[[Path], object]) -> Row:
    """The sum rule's figures of one graph.

    Args:
        name: of it.
        write: writes it to a path.
    """
    progress(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        write(path)
        found = sum_rule(path, work_limit=EARLY)
    return {
        "graph": name,
        "nodes": found.nodes,
        "layers": found.layers,
        "log10": round(found.bound, 3),
        "norms_s": found.norms_s,
        "composition_s": found.composition_s,
    }


def skips(depth: int) -> Chain:
    """Matrices with skips over skips: `depth` nodes, and as many paths as 2^(depth / 3)."""
    nodes, x = [], "image"
    for i in range(depth // 3):
        nodes += [
            helper.make_node("MatMul", [x, "w"], [f"m{i}"]),
            helper.make_node("Relu", [f"m{i}"], [f"r{i}"]),
            helper.make_node("Add", [x, f"r{i}"], [f"a{i}"]),
        ]
        x = f"a{i}"
    return nodes, {"w": np.eye(8, dtype=np.float32) / 8}, x


def tanhs(depth: int) -> Chain:
    """`depth` Tanh in a row."""
    names = ["image", *(f"t{i}" for i in range(depth))]
    nodes = [helper.make_node("Tanh", [names[i]], [names[i + 1]]) for i in range(depth)]
    return nodes, {}, names[-1]


def hard_swishes(depth: int) -> Chain:
    """`depth` HardSwish in a row, each taken apart into four nodes."""
    nodes, x = [], "image"
    for i in range(depth):
        nodes += [
            helper.make_node("Add", [x, "three"], [f"a{i}"]),
            helper.make_node("Clip", [f"a{i}", "zero", "six"], [f"c{i}"]),
            helper.make_node("Mul", [x, f"c{i}"], [f"m{i}"]),
            helper.make_node("Div", [f"m{i}", "six"], [f"d{i}"]),
        ]
        x = f"d{i}"
    numbers = {"zero": 0, "three": 3, "six": 6}
    return nodes, {name: np.array(value, np.float32) for name, value in numbers.items()}, x


def _saved(chain: Chain, path: Path) -> None:
    nodes, weights, output = chain
    save(path, nodes, weights, [1, 8], output)
