"""Nearest resizing by whole factors, as a step of covariance propagation, against the network's Jacobians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convsv_cli.lipschitz.density.route import Stretch
from tests.support.dense_lmi import Dense
from tests.support.propagated import proofs, stretches

SIZE = 4
PLAIN = [
    {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"},
    {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"},
    {"coordinate_transformation_mode": "half_pixel_symmetric"},
]
"""Ways to repeat each entry as often as any other."""
UNEVEN = [
    ({"coordinate_transformation_mode": "half_pixel", "nearest_mode": "ceil"}, 2.0),
    ({"coordinate_transformation_mode": "align_corners"}, 3.0),
    ({"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 0.25),
    ({"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 1.5),
    ({"coordinate_transformation_mode": "half_pixel", "mode": "linear"}, 2.0),
]
"""What differs from one position to another."""


def between(attributes: dict[str, str], scale: tuple[float, ...], *, op: str = "Resize") -> ModelProto:
    """Conv, Relu, Resize, Conv."""
    rng, rank = np.random.default_rng(0), len(scale)
    after = [math.floor(s * SIZE) for s in scale]
    values = {
        "first": rng.standard_normal((3, 2, *(3,) * rank)).astype("float32"),
        "second": rng.standard_normal((2, 3, *(3,) * rank)).astype("float32"),
        "scales": np.array([1, 1, *scale], "float32"),
    }
    inputs = ["r", "", "scales"] if op == "Resize" else ["r", "scales"]
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["c"], pads=[1] * 2 * rank),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node(op, inputs, ["u"], **{"mode": "nearest", **attributes}),
        helper.make_node("Conv", ["u", "second"], ["y"], pads=[1] * 2 * rank),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, *(SIZE,) * rank)),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2, *after)),
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "resized", ends[:1], ends[1:], constants)
    opset = 19 if op == "Resize" else 9
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def jacobian(model: ModelProto) -> np.ndarray:
    """Where no entry of the activation is negative, by differences of the runs without it."""
    del model.graph.node[1]
    model.graph.node[1].input[0] = "c"
    run = ReferenceEvaluator(model).run
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    unit = np.eye(math.prod(shape), dtype=np.float32)
    return np.array([run(None, {"x": each.reshape(shape)})[0].ravel() for each in unit]).T


@pytest.mark.parametrize("scale", [(2.0,), (3.0,), (2.0, 3.0), (1.0, 2.0)])
@pytest.mark.parametrize("attributes", PLAIN)
def test_it_is_a_step_whose_bound_is_above_the_jacobian(
    attributes: dict[str, str], scale: tuple[float, ...]
) -> None:
    model = between(attributes, scale)
    (part,) = stretches(model)
    assert isinstance(part, Stretch)
    norm = np.linalg.norm(jacobian(model), 2)
    for proof in proofs(part.run.program, part.run.plan):
        dense = Dense(proof.program, proof.multipliers).bound()
        assert norm * (1 - 1e-6) <= dense <= proof.bound * (1 + 1e-9)
        assert proof.bound <= 3 * dense


def test_upsample_is_the_same() -> None:
    (part,) = stretches(between({}, (2.0, 2.0), op="Upsample"))
    (other,) = stretches(between(PLAIN[0], (2.0, 2.0)))
    assert isinstance(part, Stretch)
    assert isinstance(other, Stretch)
    bounds = [next(proofs(each.run.program, each.run.plan)).bound for each in (part, other)]
    assert bounds[0] == bounds[1]


def test_what_is_not_resized_is_the_same_field() -> None:
    (part,) = stretches(between(PLAIN[0], (1.0, 1.0)))
    assert isinstance(part, Stretch)
    assert len(part.run.program.steps) == 3


@pytest.mark.parametrize(("attributes", "scale"), UNEVEN)
def test_what_has_no_symbol_ends_a_stretch(attributes: dict[str, str], scale: float) -> None:
    parts = list(stretches(between(attributes, (scale,))))
    assert len(parts) > 1
    assert sum(not isinstance(part, Stretch) for part in parts) == 1


def test_the_step_is_the_map() -> None:
    """Without rounding, on the torus: repeated entries of the window."""
    (part,) = stretches(between(PLAIN[0], (2.0, 3.0)))
    assert isinstance(part, Stretch)
    (step,) = (step for step in part.run.program.steps if getattr(step, "upward", False))
    ((_, convolution),) = next(iter(step.outputs.values()))
    x = torch.randn(1, 3, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = convolution.kernel.flatten(0, 1)
    found = torch.nn.functional.conv_transpose2d(x, kernel, stride=convolution.stride, groups=3)
    assert torch.equal(found, x.repeat_interleave(2, 2).repeat_interleave(3, 3))
