"""Small models for `convsv check`, and the command in this process, which is quicker than another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convsv_cli import cli
from tests.support.onnx_models import graph_model, saved


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """What `convsv` with these arguments exits with."""
    monkeypatch.setattr("sys.argv", ["convsv", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    code = exit_.value.code or 0  # None is 0, too
    assert isinstance(code, int)
    return code


def scaled(folder: Path, *factors: float, name: str = "model.onnx", gate: bool = False) -> Path:
    """Matrices of those norms, one after the other, called fc0, fc1 ...; then a product of two, if asked."""
    weights = {f"fc{i}.weight": np.eye(4, dtype="float32") * f for i, f in enumerate(factors)}
    nodes = [
        helper.make_node("MatMul", [f"x{i}", f"fc{i}.weight"], [f"x{i + 1}"], name=f"fc{i}")
        for i in range(len(factors))
    ]
    last = f"x{len(factors)}"
    nodes.append(helper.make_node("Mul" if gate else "Relu", [last] * (2 if gate else 1), ["y"], name="gate"))
    return saved(graph_model(nodes, {"x0": [1, 4]}, weights), folder, name)


def in_doubles(folder: Path, *matrices: np.ndarray, name: str = "model.onnx") -> Path:
    """Those matrices, one after the other, called fc0, fc1 ..., in double precision."""
    weights = {f"fc{i}.weight": matrix.astype(np.float64) for i, matrix in enumerate(matrices)}
    nodes = [
        helper.make_node("MatMul", [f"x{i}", f"fc{i}.weight"], [f"x{i + 1}"], name=f"fc{i}")
        for i in range(len(matrices))
    ]
    nodes.append(helper.make_node("Relu", [f"x{len(matrices)}"], ["y"], name="relu"))
    model = graph_model(nodes, {"x0": [1, 4]}, weights)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return saved(model, folder, name)


def of_unknown_operator(folder: Path) -> Path:
    """A matrix in an operator that nobody knows, which is a layer without figures, before one of norm 2."""
    weights = {"odd.weight": np.eye(4, dtype="float32"), "fc0.weight": np.eye(4, dtype="float32") * 2}
    nodes = [
        helper.make_node("Odd", ["x", "odd.weight"], ["h"], name="odd", domain="nobody"),
        helper.make_node("MatMul", ["h", "fc0.weight"], ["y"], name="fc0"),
    ]
    model = graph_model(nodes, {"x": [1, 4]}, weights)
    model.opset_import.append(helper.make_opsetid("nobody", 1))
    return saved(model, folder, "odd.onnx")


def convolution(folder: Path, seed: int = 0, name: str = "conv.onnx", size: int | str = 8) -> Path:
    """One 3x3 convolution of 6 channels, called conv: the norm of such has no closed form.

    At an open size, the network's bound is that norm; covariance propagation proves a smaller one of others.
    """
    weight = np.random.default_rng(seed).standard_normal((6, 6, 3, 3)).astype("float32")
    node = helper.make_node("Conv", ["x", "conv.weight"], ["y"], name="conv", pads=[1, 1, 1, 1])
    return saved(graph_model([node], {"x": [1, 6, size, size]}, {"conv.weight": weight}), folder, name)


def unsupported(folder: Path) -> Path:
    """A layer `odd`, which convsv does not know, before a matrix of norm 2."""
    weight = np.eye(4, dtype="float32")
    nodes = [
        helper.make_node("Mystery", ["x", "odd.weight"], ["e"], name="odd", domain="some.where"),
        helper.make_node("MatMul", ["e", "fc.weight"], ["y"], name="fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "odd.weight"), numpy_helper.from_array(2 * weight, "fc.weight")],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("some.where", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return saved(model, folder, "unsupported.onnx")


def look_up(folder: Path) -> Path:
    """A table look-up, which is no layer, before a matrix of norm 2."""
    table = np.ones((5, 4), dtype="float32")
    nodes = [
        helper.make_node("Gather", ["embed.weight", "i"], ["e"], name="embed"),
        helper.make_node("MatMul", ["e", "fc.weight"], ["y"], name="fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("i", TensorProto.INT64, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(table, "embed.weight"),
            numpy_helper.from_array(np.eye(4, dtype="float32") * 2, "fc.weight"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return saved(model, folder, "look_up.onnx")


def outside(folder: Path) -> Path:
    """A graph whose weights are to be read from outside its folder, which is refused."""
    path = convsv_external(folder)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    onnx.save(model, path)
    return path


def convsv_external(folder: Path) -> Path:
    """A convolution with its weights in a file beside it."""
    model = onnx.load(convolution(folder, name="inner.onnx"))
    path = folder / "outside.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    return path
