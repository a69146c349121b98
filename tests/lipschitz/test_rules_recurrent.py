"""Rules of RNN, GRU and LSTM against Jacobians measured in onnxruntime, and where they are sharp."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import helper

from convsv_cli.lipschitz.rules.recurrent import Recurrence
from convsv_cli.numerics.intervals import Range
from tests.support.onnx_models import graph_model
from tests.support.sensitivity import bound, composed, flat, jacobian, network, norms_of_rows

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
X = {"x": [5, 1, 3]}
OUTPUTS = {"RNN": ["y", "h"], "GRU": ["y", "h"], "LSTM": ["y", "h", "c"]}


def cell(op, seed=0, *, hidden=2, scale=1.0, inputs=X, outputs=("y",), names=(), extra=None, **attributes):
    """A model of one node with random weights; `names` are its inputs from the fifth on."""
    generator = np.random.default_rng(seed)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows, features = GATES[op] * hidden, inputs["x"][2]
    shapes = {
        "w": (directions, rows, features),
        "r": (directions, rows, hidden),
        "b": (directions, 2 * rows),
    }
    weights = {n: (scale * generator.standard_normal(s)).astype(np.float32) for n, s in shapes.items()}
    weights |= extra or {}
    node = helper.make_node(op, ["x", *shapes, *names], list(OUTPUTS[op]), hidden_size=hidden, **attributes)
    return graph_model([node], inputs, weights, outputs)


def amplification(model, inputs=X, seed=0, points=3, scale=1.0, step=4e-3) -> float:
    """In single precision: wide steps, whose error is of second order."""
    run = flat(model, inputs)
    size = sum(math.prod(shape) for shape in inputs.values())
    generator = np.random.default_rng(seed)

    def function(x: np.ndarray) -> np.ndarray:
        return run(x.astype(np.float32)).astype(np.float64)

    found = [jacobian(function, scale * generator.standard_normal(size), step) for _ in range(points)]
    return max(float(np.linalg.norm(each, 2)) for each in found)


def assert_bounded(model, inputs=X, **options) -> tuple[float, float]:
    seen, limit = amplification(model, inputs, **options), bound(model)
    assert seen <= limit * (1 + 1e-3)
    assert math.isfinite(limit)
    return seen, limit


def reason(model) -> str:
    (offence,) = composed(model).offences
    return offence.reason


DIRECTIONS = ["forward", "reverse", "bidirectional"]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("asked", ["all", "last"])
def test_jacobians_are_not_larger(op, direction, scale, asked) -> None:
    """For the whole sequence, and for the last states alone; with gates open, closed and between."""
    for seed in range(2):
        reset = {"linear_before_reset": seed % 2} if op == "GRU" else {}
        outputs = ["y"] if asked == "all" else ["h"]
        model = cell(op, seed, scale=scale, direction=direction, outputs=outputs, **reset)
        if asked == "last":
            model.graph.node[0].output[0] = ""
        assert_bounded(model, seed=seed, scale=(0.3, 2.0)[seed])


@pytest.mark.parametrize("seed", range(4))
def test_the_cell_state_is_bounded_too(seed: int) -> None:
    model = cell("LSTM", seed, scale=(0.5, 1.0, 2.0, 4.0)[seed], outputs=["c"])
    assert_bounded(model, seed=seed)


def linear(rate: float, steps: int | str):
    """h' = rate h + x, where the bias keeps everything positive."""
    weights = {
        "w": np.ones((1, 1, 1), np.float32),
        "r": np.full((1, 1, 1), rate, np.float32),
        "b": np.full((1, 2), 50, np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),  # the first axis is the batch
        helper.make_node("RNN", ["steps", *weights], ["y", "h"], hidden_size=1, activations=["Relu"]),
    ]
    return graph_model(nodes, {"x": [1, steps, 1]}, weights)


@pytest.mark.parametrize(("rate", "steps"), [(0.5, 6), (0.0, 4), (1.0, 5), (1.25, 7)])
def test_a_linear_cell_is_bounded_by_its_gain_matrix(rate: float, steps: int) -> None:
    """Sharp: the gain matrix is the Jacobian."""
    model = linear(rate, steps)
    gains = np.tril(np.float64(rate) ** np.abs(np.subtract.outer(np.arange(steps), np.arange(steps))))
    assert bound(model) == pytest.approx(np.linalg.norm(gains, 2), rel=1e-3)
    assert bound(model) >= np.linalg.norm(gains, 2)
    assert amplification(model, {"x": [1, steps, 1]}, step=0.25) == pytest.approx(bound(model), rel=1e-3)


def gated(op: str, steps: int, bias: list[float], enter: list[float], back: list[float]):
    """One unit whose gates are held open or closed by their biases."""
    weights = {
        "w": np.reshape(np.float32(enter), (1, -1, 1)),
        "r": np.reshape(np.float32(back), (1, -1, 1)),
        "b": np.float32([[*bias, *np.zeros(len(bias))]]),
    }
    reset = {"linear_before_reset": 1} if op == "GRU" else {}
    node = helper.make_node(op, ["x", *weights], list(OUTPUTS[op]), hidden_size=1, **reset)
    return graph_model([node], {"x": [steps, 1, 1]}, weights)


def test_a_cell_that_remembers_all() -> None:
    """LSTM, gates i, o, f open: sums up, and only what its forget gate might do is lost."""
    model = gated("LSTM", 4, [20, 20, 20, 0], [0, 0, 0, 1], [0, 0, 0, 0])
    seen = amplification(model, {"x": [4, 1, 1]}, scale=0.0)
    assert seen == pytest.approx(np.linalg.norm(np.tril(np.ones((4, 4))), 2), rel=1e-3)
    assert seen <= bound(model) < 1.3 * seen


def test_a_gated_cell_that_repeats() -> None:
    """GRU, gate z closed, r open: h' = tanh(x + 2 h), growing twofold; the bound says the root of 1 + 2^2."""
    model = gated("GRU", 4, [-20, 20, 0], [0, 0, 1], [0, 0, 2])
    seen = amplification(model, {"x": [4, 1, 1]}, scale=0.0)
    gains = np.tril(2.0 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4))))
    assert seen == pytest.approx(np.linalg.norm(gains, 2), rel=1e-2)
    assert seen <= bound(model) < 1.6 * seen


def test_a_contracting_cell_has_a_bound_at_every_length() -> None:
    """1/(1 - 1/2), which long sequences approach."""
    unknown = bound(linear(0.5, "n"))
    assert unknown == pytest.approx(2, rel=1e-3)
    assert bound(linear(0.5, 2000)) == pytest.approx(2, rel=1e-3)
    assert bound(linear(0.5, 200)) <= unknown


def test_sequences_without_a_bound() -> None:
    assert "length" in reason(linear(1.0, "n"))
    assert "2000 steps" in reason(linear(1.0, 2000))
    assert "exceeds every number" in reason(cell("LSTM", scale=9.0, inputs={"x": [1000, 1, 3]}))


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_initial_states_that_vary(op: str) -> None:
    """They add their part; cells with gates need to know how large they are."""
    states = {"h0": [1, 1, 2], **({"c0": [1, 1, 2]} if op == "LSTM" else {})}
    inputs = {**X, **states}
    for seed in range(4):
        reset = {"linear_before_reset": seed % 2} if op == "GRU" else {}
        model = cell(op, seed, inputs=inputs, outputs=["y", "h"], names=["", *states], **reset)
        box = Range(lower=-9.0, upper=9.0)
        limit = math.prod(segment.factor for segment in composed(model, box).segments)
        seen = amplification(model, inputs, seed=seed, scale=1.5)
        assert seen <= limit * (1 + 1e-3)
        if op != "RNN":
            assert "may be arbitrarily large" in reason(model)


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
def test_initial_states_that_are_constant(op: str) -> None:
    """Larger ones let gates matter more."""
    names = ["", "h0", *(["c0"] if op == "LSTM" else [])]
    limits = []
    for level in (0.0, 20.0):
        states = {name: np.full((1, 1, 2), level, np.float32) for name in names[1:]}
        model = cell(op, 1, names=names, extra=states)
        _, limit = assert_bounded(model)
        limits.append(limit)
    assert limits[0] < limits[1]
    assert limits[0] == pytest.approx(bound(cell(op, 1)))


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("length", [0, 2, 5])
def test_shorter_sequences(op: str, length: int) -> None:
    lengths = {"lens": np.array([length], np.int32)}
    assert_bounded(cell(op, 2, names=["lens"], extra=lengths, direction="bidirectional"))


def test_a_clip_changes_no_bound() -> None:
    for op in GATES:
        model = cell(op, 3, clip=0.5, scale=2.0)
        assert_bounded(model)
        assert bound(model) == bound(cell(op, 3, scale=2.0))
    assert "negative" in reason(cell("GRU", clip=-1.0))


def test_batches_and_layout() -> None:
    """All entries of a batch have the bound of one."""
    single = bound(cell("GRU", 4))
    inputs = {"x": [5, 3, 3]}
    assert bound(cell("GRU", 4, inputs=inputs)) == pytest.approx(single)
    assert_bounded(cell("GRU", 4, inputs=inputs), inputs)
    swapped = cell("GRU", 4, inputs={"x": [3, 5, 3]}, layout=1)
    assert bound(swapped) == pytest.approx(single)
    assert "layout" in reason(cell("GRU", 4, layout=2))


@pytest.mark.parametrize(
    ("op", "names", "attributes", "why"),
    [
        ("LSTM", ["", "", "", "p"], {}, "peepholes"),
        ("LSTM", [], {"input_forget": 1}, "input_forget"),
        ("LSTM", [], {"activations": ["HardSigmoid", "Tanh", "Relu"]}, "hardsigmoid, tanh, relu"),
        ("LSTM", [], {"activations": ["Tanh", "Tanh", "Tanh"]}, "tanh, tanh, tanh"),
        ("LSTM", [], {"activations": ["HardSigmoid", "Tanh"]}, "hardsigmoid, tanh"),
        ("GRU", [], {"activations": ["Sigmoid", "Relu"]}, "relu"),
        ("RNN", [], {"activations": ["Affine"], "activation_alpha": [3.0]}, "affine"),
        ("RNN", [], {"direction": "backward"}, "direction"),
    ],
)
def test_cells_that_convsv_does_not_know(op, names, attributes, why) -> None:
    extra = {"p": np.ones((1, 6), np.float32)} if "p" in names else {}
    assert why in reason(cell(op, names=names, extra=extra, **attributes))


@pytest.mark.parametrize("name", ["w", "r", "b"])
def test_weights_that_vary(name: str) -> None:
    model = cell("LSTM")
    varying = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    model.graph.initializer.remove(varying)
    model.graph.input.append(helper.make_tensor_value_info(name, 1, list(varying.dims)))
    assert f"{name!r} varies" in reason(model)


OTHERS = {
    "LSTM": [
        ["HardSigmoid", "Tanh", "Tanh"],
        ["Sigmoid", "Softsign", "Tanh"],
        ["HardSigmoid", "Sigmoid", "HardSigmoid"],
    ],
    "GRU": [["HardSigmoid", "Tanh"], ["Sigmoid", "Softsign"], ["HardSigmoid", "HardSigmoid"]],
}


@pytest.mark.parametrize("scale", [0.3, 1.5])
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("op", OTHERS)
def test_cells_with_other_activations(op: str, number: int, scale: float) -> None:
    """For the sequence, the last states and the cell state; both ways, with two activations of each."""
    names = OTHERS[op][number]
    for seed in range(3):
        more = {"direction": "bidirectional", "activations": names + OTHERS[op][0]} if seed else {}
        reset = {"linear_before_reset": seed % 2} if op == "GRU" else {}
        outputs = [OUTPUTS[op][seed % len(OUTPUTS[op])]]
        options = {"activations": names, **more, **reset}
        model = cell(op, seed, scale=scale, outputs=outputs, **options)
        assert_bounded(model, seed=seed, scale=(0.3, 2.0, 0.5)[seed])


def test_activations_of_an_rnn() -> None:
    """Both directions count by the steeper one; names may be in any case."""
    for names in (["Relu"], ["Sigmoid"], ["tanh"]):
        assert_bounded(cell("RNN", 5, activations=names))
    mixed = {"direction": "bidirectional", "activations": ["Sigmoid", "Tanh"]}
    assert_bounded(cell("RNN", 5, **mixed))
    sigmoid = {"direction": "bidirectional", "activations": ["Sigmoid", "Sigmoid"]}
    assert bound(cell("RNN", 5, **sigmoid)) < bound(cell("RNN", 5, **mixed))


def test_cells_that_share_a_weight() -> None:
    """Rows come in the order of a node's inputs, W before R, also where R was a row of an earlier node."""
    generator = np.random.default_rng(6)
    shapes = {"w": (1, 2, 2), "v": (1, 2, 2), "r": (1, 2, 2)}
    weights = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("RNN", ["x", "w", "r"], ["", "h"], hidden_size=2),
        helper.make_node("RNN", ["x", "v", "r"], ["", "y"], hidden_size=2),
    ]
    found = network(graph_model(nodes, {"x": [3, 1, 2]}, weights, ["h", "y"]))
    assert found.graph is not None
    read = {layer.name: layer.read().numpy() for layer in found.layers}
    norms = norms_of_rows(found)
    first, second = (norms.names(node, found.graph) for node in found.graph.main.nodes)
    assert [np.array_equal(read[row], weights[name][0]) for row, name in zip(first, "wr", strict=True)] == [
        True
    ] * 2
    assert [np.array_equal(read[row], weights[name][0]) for row, name in zip(second, "vr", strict=True)] == [
        True
    ] * 2


def test_gains_of_a_recurrence() -> None:
    """By explicit recursion of every unit vector."""
    generator = np.random.default_rng(7)
    inputs, growth = generator.uniform(0, 2, (2, 9))
    steps = np.zeros((10, 10))  # row t: the state by x_1 ... x_9, and by the initial state
    steps[0, 9] = 1
    for t in range(9):
        steps[t + 1] = growth[t] * steps[t]
        steps[t + 1, t] += inputs[t]
    recurrence = Recurrence(inputs=inputs, growth=growth, start=(growth[0],))
    whole, last = recurrence.gains(whole=True), recurrence.gains(whole=False)
    assert whole[0] == pytest.approx(np.linalg.norm(steps[1:, :9], 2))
    assert whole[1] == pytest.approx(max(1, np.linalg.norm(steps[1:, 9])))
    assert last[0] == pytest.approx(np.linalg.norm(steps[:, :9], axis=1).max())
    assert last[1] == pytest.approx(steps[:, 9].max())


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_ranges_hold_all_entries(op: str) -> None:
    """A product with the state is bounded by what the state may be."""
    model = cell(op, 8, scale=2.0)
    model.graph.node.append(helper.make_node("Mul", ["y", "y"], ["square"]))
    model.graph.output[0].name = "square"
    seen, limit = amplification(model, scale=2.0), bound(model)
    reach = 5 if op == "LSTM" else 1  # its cell has the same range as its state
    assert seen <= limit <= 2 * reach * bound(cell(op, 8, scale=2.0)) * (1 + 1e-6)
