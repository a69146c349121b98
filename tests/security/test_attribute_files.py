"""Tensors in nodes' attributes whose values lie in other files: read beside the model, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper

from convsv_cli import audit, load
from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.model.layer import UnsupportedLayer
from tests.support import runtime
from tests.support.onnx_models import graph_model, saved

OPSET = helper.make_opsetid("", 20)
PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"])


def elsewhere(location: str, *dims: int, dtype: int = TensorProto.FLOAT) -> TensorProto:
    tensor = TensorProto(name="v", data_type=dtype, dims=dims, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def filled(location: str, shape: str = "s", name: str = "w") -> NodeProto:
    return helper.make_node("ConstantOfShape", [shape], [name], value=elsewhere(location, 1))


def model(*nodes: NodeProto, functions: tuple = ()) -> ModelProto:
    weights = {"s": np.array([4, 4]), "flag": np.array(True)}
    return graph_model(nodes, {"x": [1, 4]}, weights, functions=functions)


def in_another_node(location: str) -> ModelProto:
    return model(filled(location, name="half"), helper.make_node("Add", ["half", "half"], ["w"]), PRODUCT)


def in_a_function(location: str) -> ModelProto:
    body = [filled(location, "fs", "fw"), helper.make_node("MatMul", ["fx", "fw"], ["fy"])]
    function = helper.make_function("local", "F", ["fx", "fs"], ["fy"], body, [OPSET])
    return model(helper.make_node("F", ["x", "s"], ["y"], domain="local"), functions=(function,))


def of_a_function(location: str) -> ModelProto:
    fill = helper.make_node("ConstantOfShape", ["fs"], ["fw"])
    fill.attribute.add(name="value", type=AttributeProto.TENSOR, ref_attr_name="v")
    body = [fill, helper.make_node("MatMul", ["fx", "fw"], ["fy"])]
    function = helper.make_function("local", "F", ["fx", "fs"], ["fy"], body, [OPSET], attributes=["v"])
    call = helper.make_node("F", ["x", "s"], ["y"], domain="local", v=elsewhere(location, 1))
    return model(call, functions=(function,))


def in_a_branch(location: str) -> ModelProto:
    output = [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)]
    body = [filled(location, name="bw"), helper.make_node("MatMul", ["x", "bw"], ["b"])]
    then, other = (helper.make_graph(body, name, [], output) for name in ("then", "other"))
    return model(helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other))


FORMS = {
    "a node": lambda location: model(filled(location), PRODUCT),
    "another node": in_another_node,
    "a function": in_a_function,
    "a call": of_a_function,
    "a branch": in_a_branch,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model's; a file of the same name is in the current one, and a secret beside both."""
    inside, current = tmp_path / "model", tmp_path / "current"
    for each, name, value in ((inside, "data", 3), (current, "data", 5), (current, "only", 7)):
        each.mkdir(exist_ok=True)
        (each / name).write_bytes(np.float32(value).tobytes())
    (tmp_path / "secret").write_bytes(np.float32(11).tobytes())
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "device").symlink_to("/dev/zero")
    os.mkfifo(inside / "pipe")
    monkeypatch.chdir(current)
    return inside


@pytest.mark.parametrize("form", FORMS)
def test_it_is_read_beside_the_model(form: str, folder: Path) -> None:
    path = saved(FORMS[form]("data"), folder)
    session = runtime.session(path)
    matrix = np.concatenate([session.run(None, {"x": row[None]})[0] for row in np.eye(4, dtype=np.float32)])
    truth = float(np.linalg.norm(matrix, 2))
    assert truth == pytest.approx(24 if form == "another node" else 12)
    found = audit(path)
    assert truth <= found.bound.lipschitz <= truth * (1 + 1e-6)
    assert found.model.files == ("model.onnx", "data")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("location", ["../secret", "link", "device", "pipe", "/etc/passwd"])
def test_it_is_read_nowhere_else(form: str, location: str, folder: Path) -> None:
    with pytest.raises(UnsafeModelError, match=r"outside the model's folder|not a regular file"):
        audit(saved(FORMS[form](location), folder))


@pytest.mark.parametrize("form", FORMS)
def test_the_current_folder_does_not_matter(form: str, folder: Path) -> None:
    with pytest.raises(UnreadableModelError, match="the data file 'only' is missing"):
        audit(saved(FORMS[form]("only"), folder))


def sparse(location: str) -> AttributeProto:
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    attribute = AttributeProto(name="more", type=AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.CopyFrom(
        SparseTensorProto(values=elsewhere(location, 1), indices=indices, dims=[1])
    )
    return attribute


def test_attributes_that_mean_nothing_are_not_read_elsewhere_either(folder: Path) -> None:
    for attribute in (helper.make_attribute("more", elsewhere("../secret", 1)), sparse("../secret")):
        cast = helper.make_node("Cast", ["s"], ["w"], to=TensorProto.FLOAT)
        cast.attribute.append(attribute)
        with pytest.raises(UnsafeModelError, match="outside the model's folder"):
            audit(saved(model(cast, PRODUCT), folder))


def test_more_than_a_number_is_no_value_to_fill_with(folder: Path) -> None:
    """However long the file is: nothing of it is read."""
    with (folder / "long").open("wb") as file:
        file.truncate(4 << 32)
    node = helper.make_node("ConstantOfShape", ["s"], ["w"], value=elsewhere("long", 1 << 32))
    (layer,) = load(saved(model(node, PRODUCT), folder)).layers
    assert isinstance(layer, UnsupportedLayer)
    assert "more than one number in another file" in layer.reason
