"""The norm of a layer with its own padding, against the matrix of the node as onnxruntime runs it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from convsv_cli import audit, load
from convsv_cli.lipschitz.fold import folded
from tests.support import oracles, runtime
from tests.support.graph_files import run
from tests.support.onnx_models import graph_model, normal, rng, saved

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
    session = runtime.session(model)
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


CHAINS = {
    "BatchNorm after": ["up", "norm"],
    "BatchNorm before": ["norm", "up"],
    "1x1 after": ["up", "point"],
    "1x1 before": ["point", "up"],
    "everything": ["norm", "point", "up", "norm", "point"],
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 3], "pads": [1, 0, 1, 2], "output_padding": [1, 2]},
        {"strides": [2, 3], "pads": [1, 0, 1, 2], "output_padding": [1, 0], "group": 2},
        {"strides": [3, 3], "auto_pad": "SAME_UPPER", "output_padding": [2, 1]},
        {"strides": [2, 2], "output_shape": [2, 5], "output_padding": [1, 0]},
    ],
    ids=["pads", "groups", "SAME_UPPER", "output_shape"],
)
def test_folding_keeps_it(chain: str, bias: bool, attributes: dict[str, Any], tmp_path: Path) -> None:
    random = rng(len(chain))
    weights: dict[str, np.ndarray] = {}

    def constant(*shape: int, low: float = -1.0) -> str:
        weights[name := f"c{len(weights)}"] = random.uniform(low, 1, shape).astype(np.float32)
        return name

    nodes, top = [], "x"
    for index, kind in enumerate(CHAINS[chain]):
        vector = [constant(2)] if bias else []
        per_group = 2 // attributes.get("group", 1)
        inputs = {
            "up": lambda: [constant(2, per_group, 2, 3), *vector],  # noqa: B023
            "point": lambda: [constant(2, 2, 1, 1), *vector],  # noqa: B023
            "norm": lambda: [constant(2), constant(2), constant(2), constant(2, low=0.5)],
        }[kind]()
        op = {"up": "ConvTranspose", "point": "Conv", "norm": "BatchNormalization"}[kind]
        nodes.append(
            helper.make_node(op, [top, *inputs], [f"t{index}"], **(attributes if kind == "up" else {}))
        )
        top = f"t{index}"
    model = graph_model(nodes, {"x": [1, 2, 1, 2]}, weights, [top])
    graph = load(saved(model, tmp_path)).graph
    zero, *units = [np.zeros((1, 2, 1, 2), np.float32), *np.eye(4, dtype=np.float32).reshape(4, 1, 2, 1, 2)]
    outputs = [run(graph, {"x": x})[0].astype(float) for x in (zero, *units)]
    again = [run(folded(graph).graph, {"x": x})[0] for x in (zero, *units)]
    np.testing.assert_allclose(again, outputs, rtol=0, atol=1e-5)
    truth = oracles.spectral_norm(np.stack([(y - outputs[0]).ravel() for y in outputs[1:]], 1))
    for exact in (False, True):
        assert audit(tmp_path / "model.onnx", exact=exact).bound.lipschitz >= truth * (1 - 1e-6)


@pytest.mark.parametrize("named", [True, False], ids=["kernel_shape", "by the weight"])
@pytest.mark.parametrize(
    ("mode", "strides", "kernel", "further"),
    [("SAME_UPPER", 2, 3, 1), ("SAME_LOWER", 4, 3, 3), ("SAME_UPPER", 4, 2, 1), ("SAME_LOWER", 3, 3, 2)],
)
def test_what_follows_sees_the_sizes_of_runtimes(
    mode: str, strides: int, kernel: int, further: int, named: bool, tmp_path: Path
) -> None:
    """Shape inference of ONNX adds an output padding to the output that SAME_UPPER and SAME_LOWER say."""
    attributes = {"auto_pad": mode, "strides": [strides], "output_padding": [further]}
    if named:
        attributes["kernel_shape"] = [kernel]
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["a"], **attributes),
        helper.make_node("Conv", ["a", "v"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["y"]),
    ]
    weights = {"w": np.ones((1, 1, kernel), np.float32), "v": np.ones((1, 1, 1), np.float32)}
    path = saved(graph_model(nodes, {"x": [2, 1, 1]}, weights, ["b", "y"]), tmp_path)
    image, _ = runtime.session(path).run(None, {"x": np.ones((2, 1, 1), np.float32)})
    assert load(path).layers[1].input_size == image.shape[2:]
    model = graph_model(nodes, {"x": [1, 1, 1]}, weights)
    truth = oracles.spectral_norm(matrix(graph_model(nodes, {"x": ["n", 1, 1]}, weights), (1, 1)))
    assert audit(saved(model, tmp_path), exact=True).bound.lipschitz >= truth * (1 - 1e-6)


@pytest.mark.parametrize("body", [False, True], ids=["whole", "a branch"])
@pytest.mark.parametrize(
    ("kernel", "further"), [("held", 1), ("large", 1), ("computed", 0)], ids=["held", "large", "computed"]
)
def test_kernels_that_are_no_initializers(kernel: str, further: int, body: bool, tmp_path: Path) -> None:
    """What follows needs the size of the output, which depends on the kernel's where there is padding."""
    channels = 64 if kernel == "large" else 1
    values = np.ones((1, channels, 2), np.float32)
    values[0, 0] = [3, 4]
    nodes = [helper.make_node("Constant", [], ["held"], value=numpy_helper.from_array(values))]
    if kernel == "large":  # so that it is not among what inference is given
        nodes[0].attribute[0].t.doc_string = " " * 2**14
    if kernel == "computed":
        nodes.append(helper.make_node("Neg", ["held"], ["computed"]))
    attributes = {"auto_pad": "SAME_UPPER", "strides": [4], "output_padding": [further]}
    name = "computed" if kernel == "computed" else "held"
    up = helper.make_node("ConvTranspose", ["x", name], ["a"], **attributes)
    nodes += [up, helper.make_node("ReduceSum", ["a"], ["y"])]
    if body:
        output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        branches = [helper.make_graph(nodes, part, [], output) for part in ("then", "other")]
        nodes = [helper.make_node("If", ["flag"], ["z"], then_branch=branches[0], else_branch=branches[1])]
    model = graph_model(nodes, {"x": [1, 1, 3]}, {"flag": np.array(True)}, ["z" if body else "y"])
    truth = (7 + channels * 2 - 2) * math.sqrt(3)
    session = runtime.session(model)
    (total,) = session.run(None, {"x": np.ones((1, 1, 3), np.float32)})
    assert abs(total.item()) == pytest.approx(truth * math.sqrt(3))
    bound = audit(saved(model, tmp_path)).bound.lipschitz
    assert truth * (1 - 1e-6) <= bound < math.inf
