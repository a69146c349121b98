"""Shapes that follow from values which follow from shapes, block after block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper

from convsv_cli import audit, load
from convsv_cli.report import BOUNDED
from tests.support import runtime
from tests.support.onnx_models import graph_model, normal, saved

WEIGHTS = {
    "one": np.array(1),
    "four": np.array(4),
    "first": np.array([0]),
    "four_": np.array([4]),
    "batch": np.array([1]),
    "channels": np.array([3]),
    "w": normal(3, 3),
}
SHAPE = {"x": [1, 8, 8, 3]}


def windows(start: str, name: str) -> list[NodeProto]:
    """As Swin has it: x [1, h, w, 3] by windows of 4 x 4, multiplied, put back, and its mean added.

    Where a size is unknown, so are the copies that the mean is broadcast to.
    """
    steps = [
        ("Shape", [start], "shape", {}),
        ("Gather", ["shape", "one"], "h", {}),
        ("Div", ["h", "four"], "windows", {}),
        ("Unsqueeze", ["windows", "first"], "windows_", {}),
        ("Concat", ["batch", "windows_", "four_", "windows_", "four_", "channels"], "target", {"axis": 0}),
        ("Reshape", [start, "target"], "split", {}),
        ("MatMul", ["split", "w"], "product", {}),
        ("Mul", ["windows_", "four_"], "h_", {}),
        ("Concat", ["batch", "h_", "h_", "channels"], "back", {"axis": 0}),
        ("Reshape", ["product", "back"], "whole", {}),
        ("ReduceMean", ["whole"], "mean", {}),
        ("Add", ["whole", "mean"], "sum", {}),
    ]
    own = {output for _, _, output, _ in steps}
    return [
        helper.make_node(op, [f"{name}{i}" if i in own else i for i in inputs], [f"{name}{out}"], **more)
        for op, inputs, out, more in steps
    ]


def deep(blocks: int, folder: Path, *further: NodeProto) -> Path:
    starts = ["x", *(f"{i}sum" for i in range(blocks))]
    nodes = [node for i, start in enumerate(starts[:-1]) for node in windows(start, str(i))]
    model = graph_model([*nodes, *further], {"x": ["n", "h", "w", 3]}, WEIGHTS, [starts[-1]], opset=17)
    return saved(model, folder)


def test_sixty_blocks_have_all_their_shapes(tmp_path: Path) -> None:
    path = deep(60, tmp_path)
    graph = load(path, input_shapes=SHAPE).graph
    assert graph is not None
    output = runtime.session(path).run(None, {"x": np.zeros((1, 8, 8, 3), np.float32)})[0]
    assert graph.shapes["59sum"] == output.shape
    assert all(None not in graph.shapes[f"{i}split"] for i in range(60))


def test_a_foreign_operator_beside_them_takes_no_bound(tmp_path: Path) -> None:
    strange = helper.make_node("Strange", ["x"], ["s"], domain="custom")
    alone, beside = (audit(deep(5, tmp_path, *more), input_shapes=SHAPE) for more in ((), (strange,)))
    assert alone.bound.lipschitz == beside.bound.lipschitz < np.inf


def test_a_result_without_any_shape_stops_no_inference(tmp_path: Path) -> None:
    """The axis follows from a quotient of sizes; all shapes of the graph but that of `thin` are known."""
    steps = [
        ("Shape", ["x"], "shape", {}),
        ("Gather", ["shape", "one"], "h", {}),
        ("Div", ["h", "four"], "two", {}),
        ("Unsqueeze", ["two", "first"], "two_", {}),
        ("Unsqueeze", ["x", "two_"], "thin", {}),
        ("ReduceMean", ["thin"], "mean", {}),
        ("Add", ["thin", "mean"], "y", {}),
    ]
    nodes = [helper.make_node(op, inputs, [output], **more) for op, inputs, output, more in steps]
    for given, asked in ((["n", "h", "w", 3], SHAPE), (SHAPE["x"], SHAPE), (SHAPE["x"], None)):
        path = saved(graph_model(nodes, {"x": given}, WEIGHTS, opset=17), tmp_path)
        assert load(path, input_shapes=asked).graph.shapes["y"] == (1, 8, 1, 8, 3)
        assert audit(path, input_shapes=asked).bound.status == BOUNDED


def test_what_a_branch_takes_from_outside_is_settled(tmp_path: Path) -> None:
    result = helper.make_tensor_value_info("isum", TensorProto.FLOAT, None)
    inner = helper.make_graph(windows("x", "i"), "body", [], [result])
    nodes = [
        helper.make_node("If", ["which"], ["chosen"], then_branch=inner, else_branch=inner),
        *windows("chosen", "o"),
    ]
    model = graph_model(nodes, {"x": SHAPE["x"]}, WEIGHTS, ["osum"], opset=17)
    model.graph.input.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))
    assert load(saved(model, tmp_path)).graph.shapes["osum"] == (1, 8, 8, 3)


def test_rounds_that_would_take_too_long_are_left_out(tmp_path: Path) -> None:
    network = load(deep(2, tmp_path), input_shapes=SHAPE, step_limit=1e5)
    assert "shape inference was stopped" in network.notes[0]
    assert None in network.graph.shapes["0split"]


def test_a_group_norm_of_any_version_keeps_the_shape(tmp_path: Path) -> None:
    for opset, count in ((18, 2), (20, 2), (21, 4)):
        node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2)
        nodes = [node, helper.make_node("Relu", ["y"], ["z"])]
        values = {"s": np.ones(count, np.float32), "b": np.zeros(count, np.float32)}
        model = graph_model(nodes, {"x": [1, 4, 3, 3]}, values, ["z"], opset=opset)
        graph = load(saved(model, tmp_path)).graph
        assert graph is not None
        assert graph.shapes["y"] == graph.shapes["z"] == (1, 4, 3, 3)


def _chosen(then: list[NodeProto], other: list[NodeProto], *before: NodeProto) -> list[NodeProto]:
    """Nodes of the graph, among them an If on c whose branches end with y."""
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    branches = {
        name: helper.make_graph(body, name, [], [value])
        for name, body in (("then_branch", then), ("else_branch", other))
    }
    chosen = helper.make_node("If", ["c"], ["r"], **branches)
    return [*before, chosen, helper.make_node("Relu", ["r"], ["o"])]


def test_bodies_see_the_constants_around_them(tmp_path: Path) -> None:
    pads = {"pads": np.array([0, 1, 0, 2]), "yes": np.array(True)}
    padded = [helper.make_node("Pad", ["x", "pads"], ["p"]), helper.make_node("Neg", ["p"], ["y"])]
    model = graph_model(
        _chosen(padded, [helper.make_node("Pad", ["x", "pads"], ["y"])]),
        {"x": [1, 8]},
        pads,
        ["o"],
        opset=18,
    )
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    graph = load(saved(model, tmp_path)).graph
    assert graph is not None
    assert {shape for name, shape in graph.shapes.items() if name.endswith(("p", "y", "r", "o"))} == {(1, 11)}


def test_the_shape_of_an_if_is_that_of_the_branch_that_is_taken(tmp_path: Path) -> None:
    """As a squeeze of torch's exporter is: only where the size is 1."""
    before = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["size"]),
        helper.make_node("Equal", ["size", "one"], ["c"]),
    ]
    for size, shape in ((1, (2,)), (3, (2, 3))):
        squeezed = helper.make_node("Squeeze", ["x", "axis"], ["y"])
        same = helper.make_node("Identity", ["x"], ["y"])
        model = graph_model(
            _chosen([squeezed], [same], *before),
            {"x": [2, size]},
            {"one": np.array(1), "axis": np.array([1])},
            ["o"],
            opset=18,
        )
        graph = load(saved(model, tmp_path)).graph
        assert graph is not None
        assert graph.shapes["o"] == shape
