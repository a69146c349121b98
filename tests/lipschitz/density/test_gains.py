"""Maps that are known by their gain only: what overlapping windows of MaxPool lead to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from convsv_cli.lipschitz.density.route import Stretch
from tests.support.propagated import Proof, proven, stretches

POOL = helper.make_node("MaxPool", ["x"], ["m"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
GAIN = 3.0
"""The root of the number of windows that an entry is in."""


def model(*nodes: object) -> ModelProto:
    shape = (1, 2, 6, 6)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "pooled", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def proof_of(*nodes: object) -> Proof:
    (stretch,) = stretches(model(*nodes))
    assert isinstance(stretch, Stretch)
    return proven(stretch.run.program, stretch.run.plan)


def test_overlapping_windows_cost_their_gain_and_no_more() -> None:
    bound = proof_of(POOL, helper.make_node("Relu", ["m"], ["y"])).bound
    assert GAIN <= bound == pytest.approx(GAIN, rel=1e-3)


def test_what_is_kept_beside_overlapping_windows_has_a_bound() -> None:
    proof = proof_of(POOL, helper.make_node("Add", ["x", "m"], ["y"]))
    (multiplier,) = proof.multipliers.values()
    assert math.isfinite(proof.bound)
    assert proof.bound >= GAIN + 1
    assert np.all(multiplier > GAIN**2)
