"""Graphs that look like normalization, norms, Softmax or attention, and are something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from convsv_cli.report import BOUNDED
from tests.support.sensitivity import amplification, double_model, flat, jacobian
from tests.support.whole_bounds import bounded

CONSTANTS = {
    "axis": np.array([1]),
    "eps": np.array(1e-2),
    "one": np.ones((1, 1, 1)),
    "rows": np.arange(20.0).reshape(4, 5),
    "square": np.array([4, 4]),
    "half": np.array(0.5),
    "minus": np.array(-0.25),
    "yes": np.array(True),
}


@dataclass(frozen=True)
class Lookalike:
    """Nodes, each as operator, inputs, output and attributes, and the shapes of inputs."""

    nodes: Sequence[tuple[str, str, str, dict[str, object]]]
    inputs: dict[str, tuple[int, ...]]
    input_range: tuple[float, float] | None = None

    def built(self) -> list[NodeProto]:
        return [make_node(op, inputs.split(), [out], **more) for op, inputs, out, more in self.nodes]


def norm(of: str, out: str) -> list[tuple[str, str, str, dict[str, object]]]:
    """The root of the mean square along an axis."""
    return [
        ("Mul", f"{of} {of}", "squares", {}),
        ("ReduceMean", "squares axis", "mean_square", {}),
        ("Add", "mean_square eps", "shifted", {}),
        ("Sqrt", "shifted", out, {}),
    ]


WITHOUT = {"keepdims": 0}
CASES = {
    "a mean along rows is taken off columns": Lookalike(
        [
            ("ReduceMean", "x axis", "mean", WITHOUT),
            ("Expand", "mean square", "spread", {}),
            ("Sub", "x spread", "d", {}),
            *norm("d", "r"),
            ("Div", "d r", "y", {}),
        ],
        {"x": (4, 4)},
    ),
    "a variance by means without their axis": Lookalike(
        [
            ("ReduceMean", "x axis", "mean", WITHOUT),
            ("Sub", "x mean", "d", {}),
            ("Mul", "x x", "squares", {}),
            ("ReduceMean", "squares axis", "mean_square", WITHOUT),
            ("Mul", "mean mean", "square_mean", {}),
            ("Sub", "mean_square square_mean", "variance", {}),
            ("Unsqueeze", "variance axis", "kept", {}),
            ("Add", "kept eps", "shifted", {}),
            ("Sqrt", "shifted", "r", {}),
            ("Div", "d r", "y", {}),
        ],
        {"x": (4, 4)},
    ),
    "a Softmax less the largest entries of rows in columns": Lookalike(
        [
            ("ReduceMax", "x axis", "largest", WITHOUT),
            ("Sub", "x largest", "z", {}),
            ("Exp", "z", "e", {}),
            ("ReduceSum", "e axis", "s", {}),
            ("Div", "e s", "y", {}),
        ],
        {"x": (4, 4)},
    ),
    "a norm of what has another axis in front": Lookalike(
        [("Mul", "x one", "t", {}), *norm("t", "y")], {"x": (2, 7)}
    ),
    "a norm of copies": Lookalike(
        [("Add", "x rows", "t", {}), ("Sub", "t rows", "u", {}), *norm("u", "y")], {"x": (1, 5)}
    ),
    **{
        f"deviations by the mean of {factor} times as much": Lookalike(
            [
                ("Mul", f"x {factor}", "t", {}),
                ("ReduceMean", "t axis", "mean_of_t", {}),
                ("Div", f"mean_of_t {factor}", "mean", {}),
                ("Sub", "x mean", "d", {}),
                *norm("d", "r"),
                ("Div", "d r", "y", {}),
            ],
            {"x": (3, 4)},
        )
        for factor in ("half", "minus", "eps")
    },
    "a log-sum-exp of copies": Lookalike(
        [
            ("Add", "x rows", "t", {}),
            ("Sub", "t rows", "u", {}),
            ("Exp", "u", "e", {}),
            ("ReduceSum", "e axis", "s", {}),
            ("Log", "s", "y", {}),
        ],
        {"x": (1, 5)},
        (-1.0, 1.0),
    ),
}
"""Bounded or not, none is what it looks like."""


@pytest.mark.parametrize("name", CASES)
def test_bounds_hold(name: str) -> None:
    case = CASES[name]
    model = double_model(case.built(), case.inputs, CONSTANTS)
    bound = bounded(model, case.input_range)
    size = sum(int(np.prod(shape)) for shape in case.inputs.values())
    scales = (0.01, 0.1, 0.3) if case.input_range else (0.01, 0.1, 1.0, 10.0)
    seen = max(amplification(flat(model, case.inputs), size, scale=scale) for scale in scales)
    assert bound.status != BOUNDED or seen <= bound.lipschitz * (1 + 1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        [("Dropout", "x half yes", "d", {}), *norm("d", "r"), ("Div", "d r", "y", {})],
        [
            ("Transpose", "x", "t", {"perm": [1, 0]}),
            ("MatMul", "x t", "scores", {}),
            ("Cast", "scores", "whole", {"to": TensorProto.INT64}),
            ("Cast", "whole", "real", {"to": TensorProto.DOUBLE}),
            ("Softmax", "real", "p", {}),
            ("MatMul", "p x", "y", {}),
        ],
    ],
    ids=["Dropout", "Cast"],
)
def test_what_drops_or_rounds_in_between_has_no_bound(
    nodes: list[tuple[str, str, str, dict[str, object]]],
) -> None:
    case = Lookalike(nodes, {"x": (3, 4)})
    model = double_model(case.built(), case.inputs, CONSTANTS)
    assert bounded(model, (-2.0, 2.0)).status != BOUNDED


def test_queries_that_many_heads_share_count_for_each() -> None:
    heads, inputs = 16, {"q": (1, 1), "t": (1,)}
    weights = {
        "keys": np.tile([[1.0, -1.0]], (heads, 1, 1)),
        "values": np.tile([[1.0], [-1.0]], (heads, 1, 1)),
        "tiny": np.array(1e-9),
    }
    case = Lookalike(
        [
            ("Mul", "t tiny", "less", {}),
            ("Add", "keys less", "k", {}),
            ("Add", "values less", "v", {}),
            ("MatMul", "q k", "scores", {}),
            ("Softmax", "scores", "p", {}),
            ("MatMul", "p v", "y", {}),
        ],
        inputs,
    )
    model = double_model(case.built(), inputs, weights)
    seen = amplification(flat(model, inputs), 2, scale=0.01)
    assert seen <= bounded(model, (-1.0, 1.0)).lipschitz <= 4.001


@pytest.mark.parametrize("op", ["Softmax", "RMSNorm"])
def test_entries_that_are_normalized_alone_make_longer_vectors(op: str) -> None:
    normed = [("Softmax", "x", "u", {})] if op == "Softmax" else [*norm("x", "r"), ("Div", "x r", "u", {})]
    inputs = {"x": (6, 1), "w": (6,)}
    case = Lookalike([*normed, ("Reshape", "u long", "v", {}), ("MatMul", "w v", "y", {})], inputs)
    model = double_model(case.built(), inputs, {**CONSTANTS, "long": np.array([6])})
    at = np.concatenate([np.full(6, 2.9), np.zeros(6)])
    seen = np.linalg.norm(jacobian(flat(model, inputs), at), 2)
    assert 2 < seen <= bounded(model, (-3.0, 3.0)).lipschitz < np.inf
