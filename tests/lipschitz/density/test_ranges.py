"""Ranges per channel, against onnxruntime; and what bounds over a box gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper

from convsv_cli.lipschitz.bound import network_bound
from convsv_cli.lipschitz.density.ranges import Ranges, ranges_of
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.lipschitz.norms import kernel_norm
from convsv_cli.numerics.intervals import Intervals
from convsv_cli.report import COVARIANCE, QUICK, NetworkBound
from tests.support import runtime
from tests.support.onnx_models import graph_model, normal
from tests.support.random_graphs import Builder, random_graph
from tests.support.random_operators import TAME, WILD
from tests.support.sampling import one_in
from tests.support.sensitivity import network, norms_of_rows

node = helper.make_node
GRAPHS, SAMPLE = range(4000, 4120), 4
"""The default run has every fourth of them."""
Box = Mapping[str, tuple[np.ndarray, np.ndarray]]
Weights = Mapping[str, np.ndarray]


def found(model: ModelProto, box: Box) -> Ranges:
    """By the rules of channels alone."""
    graph = network(model).graph
    assert graph is not None
    return ranges_of(graph, {name: Intervals(*ends) for name, ends in box.items()}, {})


def exposed(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """With those as outputs that nodes of the file give; a loader has some of its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inner = {name for each in model.graph.node for name in each.output}
    inner -= {value.name for value in model.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name in inner)
    return copy


def excess(model: ModelProto, box: Box, ranges: Ranges, draws: int = 12) -> tuple[float, list[str]]:
    """How far values leave their intervals, relative to the largest value; and the tensors compared."""
    session = runtime.session(exposed(model, list(ranges)), rewritten=False)
    names = [value.name for value in session.get_outputs()]
    kinds = {value.name: value for value in session.get_inputs()}
    generator, worst, compared = np.random.default_rng(0), -np.inf, set()
    for draw in range(draws):
        feeds = {}
        for name, (lower, upper) in box.items():
            share = generator.uniform(size=kinds[name].shape)
            at = lower + (upper - lower) * (share if draw % 3 else share > 0.5)
            feeds[name] = np.asarray(at, np.float64 if "double" in kinds[name].type else np.float32)
        for name, value in zip(names, session.run(None, feeds), strict=True):
            if name not in ranges or np.asarray(value).dtype.kind != "f":
                continue
            interval, seen = ranges[name], np.asarray(value, np.float64)
            assert interval.lower.ndim == seen.ndim
            beyond = np.maximum(interval.lower - seen, seen - interval.upper).max()
            worst = max(worst, float(beyond) / (1 + float(np.abs(seen).max())))
            compared.add(name)
    return worst, sorted(compared)


def box_of(inputs: Mapping[str, Sequence[int]], seed: int) -> Box:
    """An interval for each channel, or for each entry."""
    generator, found = np.random.default_rng(seed), {}
    for name, shape in inputs.items():
        sizes = tuple(shape) if seed % 2 else (1, *shape[1:2], *(1,) * (len(shape) - 2))
        middle, radius = generator.normal(size=sizes), generator.uniform(0, 0.5, size=sizes)
        found[name] = middle - radius, middle + radius
    return found


def shrunk(ranges: Ranges, share: float) -> Ranges:
    """Intervals too small by a share of their width."""
    return {
        name: Intervals(x.lower + share / 2 * (x.upper - x.lower), x.upper - share / 2 * (x.upper - x.lower))
        for name, x in ranges.items()
    }


def random_case(seed: int) -> Builder:
    return random_graph(seed, (*TAME, *WILD) if seed % 5 == 0 else TAME)


@pytest.mark.parametrize("seed", one_in(SAMPLE, GRAPHS))
def test_values_of_random_graphs_stay_in_their_intervals(seed: int) -> None:
    graph = random_case(seed)
    model, box = graph.model(), box_of(graph.inputs, seed)
    ranges = found(model, box)
    worst, compared = excess(model, box, ranges)
    assert len(compared) > 0 or ranges.keys() == box.keys()
    assert worst <= (1e-9 if graph.double else 3e-4)


@pytest.mark.parametrize("seed", one_in(SAMPLE, GRAPHS))
def test_values_of_single_nodes_stay_in_their_intervals(seed: int) -> None:
    graph = random_case(seed)
    for model in graph.nodes_alone():
        box = box_of({value.name: graph.shapes[value.name] for value in model.graph.input}, seed)
        worst, _ = excess(model, box, found(model, box), draws=4)
        assert worst <= (1e-9 if graph.double else 3e-4), model.graph.node[0]


def convolution(**attributes: object) -> tuple[list[NodeProto], Weights]:
    """One that mixes the channels of groups, with a bias."""
    generator = np.random.default_rng(3)
    groups = attributes.get("group", 1)
    assert isinstance(groups, int)
    weights = {
        "w": generator.standard_normal((4, 4 // groups, 3, 3)).astype(np.float32),
        "b": generator.standard_normal(4).astype(np.float32),
    }
    return [node("Conv", ["x", "w", "b"], ["y"], **attributes)], weights


def corners(model: ModelProto, box: Box, weights: Weights, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and largest values at the first position, at the corners of the box that reach them."""
    session, (lower, upper) = runtime.session(model), box["x"]
    ends = []
    for sign in (-1, 1):
        reached = []
        for channel in range(4):
            kernel = weights["w"][channel]
            first = channel // (4 // groups) * (4 // groups)
            x = np.broadcast_to(lower, (1, 4, 5, 5)).copy()
            high = np.broadcast_to(upper, (1, 4, 5, 5))
            part = x[0, first : first + 4 // groups, :3, :3]
            part[:] = np.where(sign * kernel > 0, high[0, first : first + 4 // groups, :3, :3], part)
            reached.append(session.run(None, {"x": x.astype(np.float32)})[0][0, channel, 0, 0])
        ends.append(np.array(reached))
    return ends[0], ends[1]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_intervals_of_a_convolution_are_reached_and_smaller_ones_left(groups: int) -> None:
    """Planted: intervals that are too small by 1 %."""
    nodes, weights = convolution(group=groups)
    model, box = graph_model(nodes, {"x": (1, 4, 5, 5)}, weights), box_of({"x": (1, 4, 5, 5)}, 0)
    interval = found(model, box)["y"]
    least, largest = corners(model, box, weights, groups)
    assert interval.lower.ravel() == pytest.approx(least, rel=1e-5, abs=1e-5)
    assert interval.upper.ravel() == pytest.approx(largest, rel=1e-5, abs=1e-5)
    small = shrunk({"y": interval}, 0.01)["y"]
    assert (largest > small.upper.ravel()).all()
    assert (least < small.lower.ravel()).all()


def test_padding_is_in_the_intervals() -> None:
    """Planted: positions at the border left out."""
    nodes, weights = convolution(pads=(1, 1, 1, 1))
    model = graph_model(nodes, {"x": (1, 4, 5, 5)}, weights)
    far = {"x": (np.full((1, 4, 1, 1), 10.0), np.full((1, 4, 1, 1), 10.5))}
    inside = found(graph_model(convolution()[0], {"x": (1, 4, 5, 5)}, weights), far)
    assert excess(model, far, found(model, far))[0] <= 1e-6
    assert excess(model, far, inside)[0] > 0.1


@pytest.mark.parametrize("shape", [(1, 6), (1, 5, 6)])
def test_a_planted_error_of_a_hundredth_is_caught_behind_a_matrix(shape: tuple[int, ...]) -> None:
    weight = np.eye(6, 3, dtype=np.float32)
    model = graph_model([node("MatMul", ["x", "w"], ["y"])], {"x": shape}, {"w": weight})
    box = box_of({"x": shape}, 1)
    ranges = found(model, box)
    assert excess(model, box, ranges)[0] <= 1e-6
    assert excess(model, box, shrunk(ranges, 0.01))[0] > 1e-6


def bounded(model: ModelProto, input_range: tuple[float, float] | None = None) -> NetworkBound:
    """Of the network, without a search."""
    read = network(model)
    assert read.graph is not None
    norms = norms_of_rows(read, partial(kernel_norm, tolerance=1e-3))
    return network_bound(read.graph, norms, input_range, Effort(level=QUICK))


def chain(biases: Sequence[np.ndarray], op: str = "Relu") -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """Dense layers of 6 inputs, 8 and 8 neurons, and 3 outputs; their biases are before the activations."""
    generator = np.random.default_rng(7)
    sizes, nodes, weights, name = (6, 8, 8, 3), [], {}, "x"
    for i in range(3):
        weights[f"w{i}"] = generator.standard_normal((sizes[i], sizes[i + 1])).astype(np.float32)
        weights[f"b{i}"] = (biases[i] if i < 2 else np.zeros(3)).astype(np.float32)
        nodes.append(node("Gemm", [name, f"w{i}", f"b{i}"], [f"z{i}" if i < 2 else "y"]))
        if i < 2:
            nodes.append(node(op, [f"z{i}"], [f"a{i}"]))
        name = f"a{i}"
    return nodes, weights


def dense(biases: Sequence[np.ndarray], op: str = "Relu") -> ModelProto:
    nodes, weights = chain(biases, op)
    return graph_model(nodes, {"x": (1, 6)}, weights)


def test_a_network_that_is_always_on_is_linear() -> None:
    model = dense([np.full(8, 100.0), np.full(8, 5000.0)])
    _, weights = chain([np.zeros(8)] * 2)
    product = (weights["w0"] @ weights["w1"] @ weights["w2"]).astype(np.float64)
    norm = float(np.linalg.norm(weights["w0"].astype(np.float64) @ weights["w1"] @ weights["w2"], 2))
    assert product.shape == (6, 3)
    over = bounded(model, (-1.0, 1.0))
    assert norm <= over.lipschitz * (1 + 1e-12)
    assert over.lipschitz == pytest.approx(norm, rel=1e-6)
    assert bounded(model).lipschitz > 1.2 * norm


def test_channels_that_are_always_off_are_as_if_they_were_not_there() -> None:
    off = np.where(np.arange(8) < 3, -1000.0, 0.1)
    nodes, weights = chain([off, off])
    pruned = dict(weights)
    for i in range(2):
        pruned[f"w{i}"], pruned[f"b{i}"] = pruned[f"w{i}"][:, 3:], pruned[f"b{i}"][3:]
        pruned[f"w{i + 1}"] = pruned[f"w{i + 1}"][3:]
    box = (-1.0, 1.0)
    whole, small = (bounded(graph_model(nodes, {"x": (1, 6)}, each), box) for each in (weights, pruned))
    assert whole.lipschitz == pytest.approx(small.lipschitz, rel=1e-6)
    assert whole.lipschitz < 0.9 * bounded(graph_model(nodes, {"x": (1, 6)}, weights)).lipschitz


def test_a_network_that_is_always_off_is_constant() -> None:
    model = dense([np.full(8, -100.0), np.zeros(8)])
    assert bounded(model, (-1.0, 1.0)).lipschitz <= 1e-100


def steepest(model: ModelProto, shape: Sequence[int], box: tuple[float, float]) -> float:
    """The largest ratio of pairs in a box, near and far."""
    session, generator = runtime.session(model), np.random.default_rng(5)
    ratios = []
    for draw in range(200):
        x, y = (generator.uniform(*box, size=shape) for _ in range(2))
        y = np.clip(x + 0.02 * (y - x), *box) if draw % 2 else y
        ends = [session.run(None, {"x": each.astype(np.float32)})[0].astype(np.float64) for each in (x, y)]
        gap = (x.astype(np.float32).astype(np.float64) - y.astype(np.float32)).ravel()
        ratios.append(float(np.linalg.norm((ends[0] - ends[1]).ravel()) / np.linalg.norm(gap)))
    return max(ratios)


def residual(seed: int, op: str) -> ModelProto:
    """Convolutions with zero padding, a skip, pooling and a head; a third of the channels is on or off."""
    generator = np.random.default_rng(seed)

    def kernel(*shape: int) -> np.ndarray:
        return (generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    weights = {
        "w0": kernel(6, 2, 3, 3),
        "b0": np.array([9, -9, 0, 0.2, -0.2, 0], np.float32),
        "w1": kernel(6, 6, 3, 3),
        "b1": np.array([0, 0, 30, -30, 0.1, 0], np.float32),
        "w2": kernel(3, 6),
        "c": np.zeros(3, np.float32),
    }
    nodes = [
        node("Conv", ["x", "w0", "b0"], ["z0"], pads=(1, 1, 1, 1)),
        node(op, ["z0"], ["a0"]),
        node("Conv", ["a0", "w1", "b1"], ["z1"], pads=(1, 1, 1, 1)),
        node("Add", ["z1", "a0"], ["s"]),
        node(op, ["s"], ["a1"]),
        node("AveragePool", ["a1"], ["p"], kernel_shape=(2, 2), strides=(2, 2)),
        node("GlobalAveragePool", ["p"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w2", "c"], ["y"], transB=1),
    ]
    return graph_model(nodes, {"x": (1, 2, 6, 6)}, weights)


@pytest.mark.parametrize(("op", "shift"), [("Sigmoid", 600.0), ("Tanh", 300.0), ("Elu", -600.0)])
def test_slopes_next_to_nothing_are_bounded_like_none(op: str, shift: float) -> None:
    """Some channels are saturated: their slopes are 1e-250, whose squares no float holds."""
    biases = [np.where(np.arange(8) < 3, shift, 0.1), np.zeros(8)]
    over, everywhere = bounded(dense(biases, op), (-1.0, 1.0)), bounded(dense(biases, op))
    assert {block.route for block in (*over.blocks, *everywhere.blocks)} == {COVARIANCE}
    assert steepest(dense(biases, op), (1, 6), (-1.0, 1.0)) <= over.lipschitz * (1 + 1e-4)
    assert over.lipschitz < 0.95 * everywhere.lipschitz


@pytest.mark.parametrize("off", [True, False])
def test_a_branch_that_does_not_vary_is_as_if_it_were_not_there(off: bool) -> None:
    """A whole layer is off, or a whole kernel is 0: no field of the branch has any variance."""
    weights = {"w": normal(3, 2, 3, 3), "b": np.full(3, -1e3, np.float32), "v": normal(2, 3, 3, 3)}
    padding = {"pads": (1, 1, 1, 1)}
    weights |= {"w0": weights["w"] if off else 0 * weights["w"]}
    branch = [
        node("Conv", ["x", "w0", "b"] if off else ["x", "w0"], ["z"], **padding),
        node("LeakyRelu", ["z"], ["a"], alpha=0.0),
        node("Conv", ["a", "v"], ["c"], **padding),
        node("Relu", ["c"], ["d"]),
        node("Add", ["x", "d"], ["s"]),
    ]
    end = [
        node("Conv", ["s", "w"], ["t"], **padding),
        node("Relu", ["t"], ["u"]),
        node("Conv", ["u", "v"], ["y"], **padding),
    ]
    inputs, box = {"x": (1, 2, 5, 5)}, (-1.0, 1.0) if off else None
    whole = bounded(graph_model(branch + end, inputs, weights), box)
    alone = bounded(graph_model([node("Identity", ["x"], ["s"]), *end], inputs, weights), box)
    assert {block.route for block in whole.blocks} == {COVARIANCE}
    assert whole.lipschitz == pytest.approx(alone.lipschitz, rel=1e-6)


@pytest.mark.parametrize("op", ["Relu", "LeakyRelu", "Sigmoid", "Gelu", "HardSwish", "Tanh", "Elu"])
@pytest.mark.parametrize("seed", range(2))
def test_bounds_over_a_box_lie_between_what_is_seen_there_and_bounds_of_all_inputs(
    seed: int, op: str
) -> None:
    model = residual(seed, op)
    everywhere = bounded(model).lipschitz
    wide, narrow = (bounded(model, box) for box in ((-1.0, 1.0), (0.4, 0.6)))
    assert COVARIANCE in {block.route for block in wide.blocks}
    assert steepest(model, (1, 2, 6, 6), (-1.0, 1.0)) <= wide.lipschitz * (1 + 1e-4)
    assert steepest(model, (1, 2, 6, 6), (0.4, 0.6)) <= narrow.lipschitz * (1 + 1e-4)
    assert narrow.lipschitz <= wide.lipschitz * (1 + 1e-3)
    assert wide.lipschitz <= everywhere * (1 + 1e-3)
    assert narrow.lipschitz < 0.97 * everywhere


def test_what_is_known_in_the_middle_counts_without_a_range_of_the_inputs() -> None:
    """Softmax has no row, but gives numbers from 0 to 1: the layer behind it is always on."""
    generator = np.random.default_rng(2)
    weights = {
        "w0": generator.standard_normal((6, 6)).astype(np.float32),
        "b0": np.full(6, 50, np.float32),
        "w1": generator.standard_normal((6, 4)).astype(np.float32),
        "b1": np.zeros(4, np.float32),
    }
    nodes = [
        node("Softmax", ["x"], ["s"]),
        node("Gemm", ["s", "w0", "b0"], ["z"]),
        node("Relu", ["z"], ["a"]),
        node("Gemm", ["a", "w1", "b1"], ["y"]),
    ]
    norm = float(np.linalg.norm(weights["w0"].astype(np.float64) @ weights["w1"], 2))
    assert bounded(graph_model(nodes, {"x": (1, 6)}, weights)).lipschitz == pytest.approx(norm / 2, rel=1e-6)
