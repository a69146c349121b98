"""ONNX files as they are found: sizes asked of them, data beside them, and damaged or hostile ones."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convsv_cli import audit, load
from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError, UsageError
from convsv_cli.loaders.onnx import protobuf
from convsv_cli.loaders.onnx.protobuf import HERE
from tests.support.onnx_models import graph_model, normal, saved

CONV = helper.make_node("Conv", ["x", "conv.weight"], ["y"], strides=[2, 2], pads=[1] * 4)
WEIGHTS = {"conv.weight": normal(4, 3, 3, 3)}


def two_layers() -> onnx.ModelProto:
    """A convolution, then a linear layer that fits only 8x8 images."""
    nodes = [
        CONV,
        helper.make_node("Flatten", ["y"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.weight"], ["z"], transB=1),
    ]
    weights = {**WEIGHTS, "fc.weight": normal(2, 64)}
    return graph_model(nodes, {"x": ["n", 3, "h", "w"]}, weights, outputs=["z"])


def test_input_sizes_of_layers_follow_the_input(tmp_path: Path) -> None:
    nodes = [CONV, helper.make_node("Conv", ["y", "b"], ["z"])]
    weights = {**WEIGHTS, "b": normal(4, 4, 1, 1)}
    path = saved(graph_model(nodes, {"x": ["n", 3, "h", "w"]}, weights, outputs=["z"]), tmp_path)
    for size, expected in ((64, [(64, 64), (32, 32)]), ((64, 30), [(64, 30), (32, 15)])):
        network = load(path, input_size=size)
        assert [layer.input_size for layer in network.layers] == expected
        assert dict(network.inputs)["x"][:2] == (1, 3)
    assert [layer.input_size for layer in load(path).layers] == [None, None]
    named = load(path, input_shapes={"x": (2, 3, 20, 16)})
    assert [layer.input_size for layer in named.layers] == [(20, 16), (10, 8)]


def test_sizes_survive_pads_that_are_an_expression(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Concat", ["pairs", "zeros"], ["all"], axis=0),
        helper.make_node("Reshape", ["all", "two"], ["matrix"]),
        helper.make_node("Slice", ["matrix", "last", "first", "zero", "back"], ["turned"]),
        helper.make_node("Transpose", ["turned"], ["t"], perm=[1, 0]),
        helper.make_node("Reshape", ["t", "flat"], ["pads"]),
        helper.make_node("Pad", ["x", "pads"], ["p"], mode="reflect"),
        helper.make_node("Conv", ["p", "w"], ["y"]),
    ]
    numbers = {"pairs": [1, 2, 3, 4], "zeros": [0] * 4, "two": [-1, 2], "flat": [-1]}
    numbers |= {"last": [-1], "first": [-10], "zero": [0], "back": [-1]}
    weights = {name: np.array(value) for name, value in numbers.items()} | {"w": normal(4, 3, 3, 3)}
    path = saved(graph_model(nodes, {"x": ["n", 3, "h", "w_"]}, weights), tmp_path)
    assert load(path, input_size=16).layers[0].input_size == (23, 19)


@pytest.mark.parametrize("any_size", [0, -1])
def test_sizes_below_one_are_open(any_size: int, tmp_path: Path) -> None:
    path = saved(graph_model([CONV], {"x": [any_size, 3, any_size, any_size]}, WEIGHTS), tmp_path)
    assert load(path).layers[0].input_size is None
    network = load(path, input_size=16)
    assert network.layers[0].input_size == (16, 16)
    assert network.inputs == (("x", (1, 3, 16, 16)),)


def test_a_layer_that_nothing_reaches_at_the_files_own_size_has_no_size(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["z"], kernel_shape=[7, 7]),
        helper.make_node("Conv", ["z", "conv.weight"], ["y"]),
    ]
    path = saved(graph_model(nodes, {"x": [1, 3, 4, 4]}, WEIGHTS), tmp_path)
    assert load(path).layers[0].input_size is None


def test_a_fixed_size_may_be_overridden(tmp_path: Path) -> None:
    path = saved(graph_model([CONV], {"x": [1, 3, 32, 32]}, WEIGHTS), tmp_path)
    assert load(path).layers[0].input_size == (32, 32)
    assert load(path, input_size=48).layers[0].input_size == (48, 48)


def test_sizes_survive_shape_arithmetic(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["head"]),
        helper.make_node("Concat", ["head", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"]),
    ]
    weights = {"zero": np.array([0]), "two": np.array([2]), "rest": np.array([-1]), "w": normal(4, 3, 5)}
    path = saved(graph_model(nodes, {"x": ["n", 3, "h", "w"]}, weights), tmp_path)
    assert load(path, input_size=8).layers[0].input_size == (64,)


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"input_size": 16}, "input size 16"),
        ({"input_size": (8, 8, 8)}, "spatial axes as the input size 8x8x8"),
        ({"input_shapes": {"z": (1, 3, 8, 8)}}, "no input 'z'"),
        ({"input_shapes": {"x": (1, 3, 8)}}, "4 dimensions, not 3"),
    ],
)
def test_impossible_sizes(options, fragment: str, tmp_path: Path) -> None:
    path = saved(two_layers(), tmp_path)
    assert [layer.input_size for layer in load(path, input_size=8).layers] == [(8, 8), ()]
    with pytest.raises(UsageError, match=fragment) as raised:
        load(path, **options)
    assert raised.value.where == str(path)


def test_outputs_may_be_sequences(tmp_path: Path) -> None:
    model = graph_model(
        [CONV, helper.make_node("SequenceConstruct", ["y"], ["s"])], {"x": [1, 3, 8, 8]}, WEIGHTS
    )
    model.graph.output.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None))
    assert load(saved(model, tmp_path), input_size=12).layers[0].input_size == (12, 12)


def with_a_state() -> onnx.ModelProto:
    nodes = [CONV, helper.make_node("Conv", ["state", "wave.weight"], ["z"])]
    weights = {**WEIGHTS, "wave.weight": normal(1, 1, 3)}
    inputs = {"x": ["n", 3, "h", "w"], "state": [2, 1, 64], "rate": []}
    return graph_model(nodes, inputs, weights, outputs=["y", "z"])


@pytest.mark.parametrize("size", [(32,), (32, 24)])
def test_the_input_size_is_for_the_inputs_of_open_size(size: tuple[int, ...], tmp_path: Path) -> None:
    image, state = load(saved(with_a_state(), tmp_path), input_size=size).layers
    assert (image.input_size, state.input_size) == ((32, size[-1]), (64,))


def test_an_input_size_for_a_network_without_spatial_inputs(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = saved(graph_model([node], {"x": ["n", 4]}, {"w": normal(4, 4)}), tmp_path)
    with pytest.raises(UsageError, match=r"no input has as many spatial axes .* x:nx4"):
        load(path, input_size=32)


def test_a_size_that_fits_one_branch_will_do(tmp_path: Path) -> None:
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branches = {}
    for key, length in (("then_branch", 8), ("else_branch", 9)):
        tensor = numpy_helper.from_array(normal(length, 2), f"{key}.weight")
        node = helper.make_node("MatMul", ["x", tensor.name], ["z"])
        branches[key] = helper.make_graph([node], key, [], [output], [tensor])
    nodes = [CONV, helper.make_node("If", ["flag"], ["z"], **branches)]
    model = graph_model(nodes, {"x": ["n", 3, "h", "w"]}, {**WEIGHTS, "flag": np.array(True)}, outputs=["z"])
    conv, _, _ = load(saved(model, tmp_path), input_size=8).layers
    assert conv.input_size == (8, 8)


def test_kernels_must_fit_their_input(tmp_path: Path) -> None:
    path = saved(
        graph_model(
            [helper.make_node("Conv", ["x", "w"], ["y"])], {"x": [1, 1, "h", "w"]}, {"w": normal(1, 1, 7, 7)}
        ),
        tmp_path,
    )
    assert load(path, input_size=7).layers[0].input_size == (7, 7)
    with pytest.raises(UsageError, match="does not fit its 6x6 input"):
        load(path, input_size=6)


def external(folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(two_layers(), path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return path


def test_external_data(tmp_path: Path) -> None:
    embedded = load(saved(two_layers(), tmp_path, "embedded.onnx"))
    network = load(external(tmp_path))
    assert network.files == ("model.onnx", "model.onnx.data")
    for a, b in zip(embedded.layers, network.layers, strict=True):
        np.testing.assert_array_equal(a.read().numpy(), b.read().numpy())


def test_external_data_of_a_body_are_among_the_files(tmp_path: Path) -> None:
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    conv = helper.make_node("Conv", ["x", "own"], ["z"])
    tensor = numpy_helper.from_array(normal(4, 3, 3, 3), "own")
    branches = [helper.make_graph([conv], name, [], [output], [tensor]) for name in ("a", "b")]
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])
    model = graph_model([node], {"x": [1, 3, 8, 8]}, {"flag": np.array(True)})
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="data", size_threshold=16)
    assert load(path).files == ("model.onnx", "data")


def test_external_data_in_a_cache_of_links(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir(), snapshot.mkdir()
    external(blobs)
    for name in ("model.onnx", "model.onnx.data"):
        (snapshot / name).symlink_to(blobs / name)
    assert load(snapshot / "model.onnx").layers[0].read().shape == (4, 3, 3, 3)


def test_external_data_that_are_missing_or_too_short(tmp_path: Path) -> None:
    path = external(tmp_path)
    data = tmp_path / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(UnreadableModelError, match="too short"):
        load(path)
    data.unlink()
    with pytest.raises(UnreadableModelError, match=r"'model.onnx.data' is missing"):
        load(path)


def test_external_data_of_four_bits(tmp_path: Path) -> None:
    stored = (np.arange(-4, 5).repeat(3).reshape(3, 3, 3, 1) % 8).astype(ml_dtypes.int4)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    weights = {"q": stored, "scale": np.array(0.5, np.float32)}
    model = graph_model(nodes, {"x": [1, 3, 8, 8]}, weights, opset=21)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="data", size_threshold=0)
    (layer,) = load(path).layers
    np.testing.assert_array_equal(layer.read().numpy(), stored.astype(np.float32) / 2)


def external_at(location: str, folder: Path) -> Path:
    model = graph_model([CONV], {"x": [1, 3, 8, 8]}, WEIGHTS)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return saved(model, folder)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", ""])
def test_external_data_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1000))
    folder = tmp_path / "model"
    (folder / "a").mkdir(parents=True)
    with pytest.raises(UnsafeModelError, match="outside the model's folder"):
        load(external_at(location, folder))


def test_external_data_behind_a_link_or_a_pipe_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(1000))
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    with pytest.raises(UnsafeModelError, match="outside"):
        load(external_at("link", folder))
    with pytest.raises(UnsafeModelError, match="not a regular file"):
        load(external_at("pipe", folder))


def test_functions_that_unfold_without_bounds_are_refused(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    functions = [
        helper.make_function("local", "f0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], imports)
    ]
    for i in range(1, 40):
        twice = [
            helper.make_node(f"f{i - 1}", ["a"], ["m"], domain="local"),
            helper.make_node(f"f{i - 1}", ["m"], ["b"], domain="local"),
        ]
        functions.append(helper.make_function("local", f"f{i}", ["a"], ["b"], twice, imports))
    node = helper.make_node("f39", ["x"], ["y"], domain="local")
    path = saved(graph_model([node], {"x": [1]}, {}, functions=functions), tmp_path)
    with pytest.raises(UnsafeModelError, match="unfold"):
        load(path)


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("f", ["x"], ["y"], domain="local")
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "f", ["x"], ["y"], [node], imports)
    path = saved(graph_model([node], {"x": [1]}, {}, functions=[function]), tmp_path)
    with pytest.raises(UnsafeModelError, match="calls itself"):
        load(path)


def without_data() -> onnx.ModelProto:
    model = graph_model([CONV], {"x": [1, 3, 8, 8]}, WEIGHTS)
    model.graph.initializer[0].ClearField("raw_data")
    return model


def defined_twice() -> onnx.ModelProto:
    model = graph_model([CONV], {"x": [1, 3, 8, 8]}, WEIGHTS)
    model.graph.initializer.append(numpy_helper.from_array(0 * WEIGHTS["conv.weight"], "conv.weight"))
    return model


def without_nodes() -> onnx.ModelProto:
    return graph_model([], {"x": [1]}, {})


def with_data_cut() -> onnx.ModelProto:
    model = graph_model([CONV], {"x": [1, 3, 8, 8]}, WEIGHTS)
    model.graph.initializer[0].raw_data = bytes(8)
    return model


def with_numbers_cut() -> onnx.ModelProto:
    model = graph_model([CONV], {"x": [1, 3, 8, 8]}, WEIGHTS)
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].float_data.extend([1.0, 2.0])
    return model


def with_a_negative_size() -> onnx.ModelProto:
    model = graph_model([CONV], {"x": [1, 3, 8, 8]}, WEIGHTS)
    model.graph.initializer[0].dims[0] = -4
    return model


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (without_data, "has no data"),
        (defined_twice, "defined twice"),
        (without_nodes, "no nodes"),
        (with_data_cut, "wrong length"),
        (with_numbers_cut, "do not fit"),
        (with_a_negative_size, "negative size"),
    ],
)
def test_damaged_models(make, fragment: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableModelError, match=fragment):
        audit(saved(make(), tmp_path))


def rebuilt(outline: bytes, whole: bytes) -> onnx.ModelProto:
    """An outline with what it says is in the file."""
    model = onnx.ModelProto.FromString(outline)
    for tensor in model.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries.get("location") == HERE:
            start, length = int(entries["offset"]), int(entries["length"])
            tensor.raw_data = whole[start : start + length]
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return model


def with_a_second_graph(whole: bytes) -> bytes:
    """Protobuf joins what a file says in several pieces of one message."""
    more = onnx.ModelProto()
    more.graph.initializer.append(numpy_helper.from_array(normal(5, 2), "more"))
    return whole + more.SerializeToString()


def with_data_said_twice(whole: bytes) -> bytes:
    """The last one counts."""
    tensor, more = numpy_helper.from_array(normal(4, 2), "more"), onnx.ModelProto()
    twice = tensor.SerializeToString() + TensorProto(raw_data=bytes(32)).SerializeToString()
    more.graph.initializer.add().MergeFromString(twice)
    assert not any(more.graph.initializer[0].raw_data)
    inner = b"\x2a" + bytes([len(twice)]) + twice
    return whole + b"\x3a" + bytes([len(inner)]) + inner


@pytest.mark.parametrize("change", [bytes, with_a_second_graph, with_data_said_twice])
def test_an_outline_has_all_but_the_values(change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "LARGE", 8)
    whole, path = change(two_layers().SerializeToString()), tmp_path / "model.onnx"
    path.write_bytes(whole)
    outline = protobuf.outlined(path)
    assert len(outline) < len(whole)
    assert rebuilt(outline, whole) == onnx.ModelProto.FromString(whole)
    stored = [numpy_helper.to_array(each) for each in two_layers().graph.initializer]
    for layer, expected in zip(load(path).layers, stored, strict=True):
        assert np.array_equal(layer.read(), expected)


def test_an_outline_refers_to_no_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "LARGE", 4)
    with pytest.raises(UnreadableModelError, match="wrong length for its shape"):
        audit(saved(with_data_cut(), tmp_path))
    path = saved(two_layers(), tmp_path)
    network = load(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnreadableModelError, match="changed while it was read"):
        network.layers[-1].read()


def test_every_truncation_is_an_error_or_a_whole_model(tmp_path: Path) -> None:
    whole = two_layers().SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in [*range(1, len(whole), 37)]:
        path.write_bytes(whole[:length])
        with contextlib.suppress(ConvsvError):
            assert len(audit(path).layers) == 2


def test_a_model_without_the_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    assert load(saved(two_layers(), tmp_path, "model.bytes")).format == "onnx"


def test_nodes_in_no_order_of_computation_are_refused(tmp_path: Path) -> None:
    """What is read before it is computed could pass for constant."""
    nodes = [
        helper.make_node("MatMul", ["late", "w"], ["y"]),
        helper.make_node("Relu", ["x"], ["late"]),
    ]
    path = saved(graph_model(nodes, {"x": [1, 4]}, {"w": normal(4, 4)}), tmp_path)
    with pytest.raises(UnreadableModelError, match="reads 'late' before that is computed"):
        load(path)


@pytest.mark.parametrize("name", ["x", "w", "z"])
def test_tensors_defined_twice_are_refused(name: str, tmp_path: Path) -> None:
    """By a node, and by an input, an initializer or another node."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Relu", ["x"], [name]),
        helper.make_node("MatMul", ["z", "w"], ["y"]),
    ]
    path = saved(graph_model(nodes, {"x": [1, 4]}, {"w": normal(4, 4)}), tmp_path)
    with pytest.raises(UnreadableModelError, match=f"the tensor '{name}' is defined twice"):
        load(path)
