"""What has too many frequencies, channels or axes is left to the rules, at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import ModelProto, helper

from convsv_cli import audit
from convsv_cli.lipschitz.density.lowering import lowered
from convsv_cli.lipschitz.density.plan import MOST_FREQUENCIES, Plan, planned
from convsv_cli.lipschitz.dependencies import real_outputs, sources
from convsv_cli.loaders import load
from tests.support.onnx_models import graph_model, normal, saved

node = helper.make_node


def wide_padding() -> ModelProto:
    """8,000 x 8,000 positions, of which every 2,000th counts."""
    nodes = [
        node("Conv", ["x", "k"], ["a"], pads=[4000] * 4),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "k"], ["y"], strides=[2000, 2000]),
    ]
    return graph_model(nodes, {"x": [1, 1, 8, 8]}, {"k": normal(1, 1, 3, 3)})


def many_channels() -> ModelProto:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("MatMul", ["b", "v"], ["y"]),
    ]
    return graph_model(nodes, {"x": [1, 4]}, {"w": normal(4, 40_000), "v": normal(40_000, 4)})


def many_axes() -> ModelProto:
    nodes = [node("Relu", ["x"], ["a"]), node("Mul", ["a", "s"], ["y"])]
    return graph_model(nodes, {"x": [1] * 40 + [4]}, {"s": normal(4)})


def many_copies() -> ModelProto:
    """1e9 entries in a file of a few kilobytes."""
    nodes = [node("Concat", [name] * 1000, [to], axis=0) for name, to in ("xa", "ab", "by")]
    return graph_model(nodes, {"x": [1, 1]}, {})


@pytest.mark.parametrize("make", [wide_padding, many_channels, many_axes, many_copies])
def test_it_is_bounded_by_the_rules(make, tmp_path: Path) -> None:
    bound = audit(saved(make(), tmp_path), network_effort="quick").bound
    assert bound.status == "bounded"
    assert {block.route for block in bound.blocks} == {"rules"}


def test_a_plan_with_too_many_frequencies_does_not_fit() -> None:
    assert Plan(frequencies=MOST_FREQUENCIES).fits(1.0)
    assert not Plan(frequencies=MOST_FREQUENCIES + 1).fits(1.0)


def test_plans_need_no_values_of_kernels(tmp_path: Path) -> None:
    """A stretch may turn out too large: then its weights, gigabytes perhaps, were not read for it."""
    graph = load(saved(many_channels(), tmp_path)).graph
    pieces = [(graph.main.nodes[:1], ["a"]), (graph.main.nodes[1:], real_outputs(graph))]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("convsv_cli.lipschitz.density.lowering.context.MOST_CHANNELS", 10**6)
        known, shapes = (lowered(graph, sources(graph), pieces, {}, reading=read) for read in (True, False))
    kernels = [terms[0][1].kernel for terms in shapes[-1].steps[0].outputs.values()]
    assert [kernel.device.type for kernel in kernels] == ["meta"]
    assert list(map(planned, known)) == list(map(planned, shapes))
