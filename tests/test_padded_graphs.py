"""The norm of a layer with its own padding, against the matrix of the node as onnxruntime runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, helper

from convsv_cli import audit
from tests import oracles
from tests.onnx_models import graph_model, normal, saved

CONV = ("Conv", (4, 2, 3, 2))
UP = ("ConvTranspose", (4, 2, 3, 2))
NODES = [
    (*CONV, {"pads": [1, 0, 2, 1]}),
    (*CONV, {"pads": [1, 1, 1, 1], "strides": [2, 3], "group": 2}),
    (*CONV, {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    (*CONV, {"auto_pad": "SAME_LOWER", "strides": [1, 3]}),
    (*CONV, {"auto_pad": "VALID"}),
    (*CONV, {"pads": [4, 0, 0, 5], "dilations": [2, 3], "strides": [2, 2]}),
    (*UP, {"pads": [1, 0, 0, 1], "strides": [2, 1], "group": 2}),
    (*UP, {"strides": [2, 2], "output_padding": [1, 1], "pads": [1, 1, 1, 1]}),
    (*UP, {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    (*UP, {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    (*UP, {"output_shape": [8, 7], "strides": [2, 2]}),
    ("Conv", (3, 2, 4), {"pads": [2, 1], "strides": [3], "dilations": [2]}),
    ("ConvTranspose", (2, 3, 4), {"pads": [2, 1], "strides": [2]}),
    ("Conv", (2, 2, 2, 3, 2), {"pads": [0, 1, 1, 1, 1, 0], "strides": [1, 2, 1]}),
]


def matrix(model: ModelProto, shape: tuple[int, ...]) -> np.ndarray:
    """The node as a matrix, [outputs, inputs]: what onnxruntime makes of each unit input."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    units = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    return session.run(None, {"x": units})[0].reshape(len(units), -1).T.astype(np.float64)


@pytest.mark.parametrize(("op", "kernel", "attributes"), NODES)
def test_the_true_norm_lies_in_the_interval(
    op: str, kernel: tuple[int, ...], attributes: dict, tmp_path: Path
) -> None:
    axes = len(kernel) - 2
    channels = kernel[0] if op == "ConvTranspose" else kernel[1] * attributes.get("group", 1)
    shape = (channels, *(5, 4, 3)[:axes])
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    model = graph_model([node], {"x": ["n", *shape]}, {"w": normal(*kernel)})
    (layer,) = audit(saved(model, tmp_path), exact=True).layers
    measured = layer.measurement("zero_padded")
    truth = oracles.spectral_norm(matrix(model, shape))
    assert measured.enclosure.lower <= truth * (1 + 1e-6), "onnxruntime computes in single precision"
    assert measured.enclosure.upper >= truth * (1 - 1e-6)
    assert measured.enclosure.lower >= 0.9 * truth, "so loose a lower end is a mistake in the geometry"
    assert layer.measurement("certified").enclosure.upper >= truth * (1 - 1e-6)
