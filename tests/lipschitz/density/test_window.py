"""Where programs leave their tori."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from convsv_cli.lipschitz.density.route import Stretch
from convsv_cli.lipschitz.density.window import MOST_AXES, switches
from tests.support.propagated import proven, stretches


def padded(axes: int) -> ModelProto:
    """Zeros at the end of each axis of a window, between activations."""
    pads = np.array([0] * (4 + axes) + [1] * axes)
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Pad", ["r", "pads"], ["p"]),
        helper.make_node("Relu", ["p"], ["s"]),
        helper.make_node("Flatten", ["s"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, *(2,) * axes)),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2 * 3**axes)),
    ]
    graph = helper.make_graph(nodes, "padded", ends[:1], ends[1:], [numpy_helper.from_array(pads, "pads")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("axes", range(1, MOST_AXES + 2))
def test_windows_of_any_number_of_axes_have_a_bound(axes: int) -> None:
    (stretch,) = stretches(padded(axes))
    assert isinstance(stretch, Stretch)
    assert any(switch.first == 0 for switch in switches(stretch.run.program)) == (axes <= MOST_AXES)
    assert proven(stretch.run.program, stretch.run.plan).bound >= 1
