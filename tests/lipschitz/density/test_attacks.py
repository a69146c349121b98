"""Graphs that nearly are what the rows of covariance propagation describe."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from convsv_cli.lipschitz.bound import network_bound
from convsv_cli.lipschitz.density.route import Stretch
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.report import BOUNDED, QUICK, UNBOUNDED, NetworkBound
from tests.support import runtime
from tests.support.onnx_models import graph_model
from tests.support.propagated import proofs, stretches
from tests.support.sampling import one_in
from tests.support.sensitivity import network, norms_of_rows
from tests.support.whole_bounds import bounded

N = helper.make_node
IMAGE = (1, 2, 5, 4)


def w(seed: int, *shape: int, scale: float = 0.4) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def quick(model: ModelProto) -> NetworkBound:
    """As the command line bounds it, without a search."""
    read = network(model)
    assert read.graph is not None
    return network_bound(read.graph, norms_of_rows(read), effort=Effort(level=QUICK))


def by_covariances(model: ModelProto) -> float:
    """Wherever there is a program, even where the rules give less."""
    bound = 1.0
    for part in stretches(model):
        if isinstance(part, Stretch):
            bound *= min(proof.bound for proof in proofs(part.run.program, part.run.plan))
        else:
            bound *= part.factor
    return bound


def amplification(model: ModelProto, step: float = 0.05) -> float:
    """The largest along the steepest directions at some points, in single precision."""
    session, random = runtime.session(model, rewritten=False), np.random.default_rng(0)
    names = [value.name for value in session.get_inputs()]
    shapes = [tuple(value.shape) for value in session.get_inputs()]
    ends, size = np.cumsum([math.prod(shape) for shape in shapes])[:-1], sum(map(math.prod, shapes))

    def function(x: np.ndarray) -> np.ndarray:
        parts = np.split(x.astype(np.float32), ends)
        feeds = {n: p.reshape(shape) for n, p, shape in zip(names, parts, shapes, strict=True)}
        return np.concatenate([y.ravel() for y in session.run(None, feeds)]).astype(np.float64)

    best = 0.0
    for _ in range(4):
        x = random.standard_normal(size)
        columns = [(function(x + d) - function(x - d)) / (2 * step) for d in step * np.eye(size)]
        direction = np.linalg.svd(np.stack(columns, 1))[2][0]
        change = function(x + step * direction) - function(x - step * direction)
        best = max(best, float(np.linalg.norm(change)) / (2 * step))
    return best * (1 - 1e-4)


BODY = [N("Conv", ["x", "w"], ["h"], pads=[1] * 4), N("Relu", ["h"], ["r"])]
WEIGHTS = {"w": w(0, 3, 2, 3, 3), "v": w(1, 2, 3, 2, 2), "u": w(2, 3, 3, 1, 1)}
END = N("Conv", ["q", "v"], ["y"], pads=[1] * 4)
NORM = {"g": np.array([1, 100], np.float32), "b": np.zeros(2, np.float32), "m": np.zeros(2, np.float32)}


def image(*nodes: NodeProto, outputs: tuple[str, ...] = ("y",), **constants: np.ndarray) -> ModelProto:
    """A convolution and a Relu, r, and what is made of them."""
    nodes = (*BODY, *nodes)
    used = {name for node in nodes for name in node.input}
    kept = {name: values for name, values in WEIGHTS.items() if name in used}
    return graph_model(list(nodes), {"x": IMAGE}, kept | constants, outputs)


def rows(*nodes: NodeProto, shape: tuple[int, ...] = (1, 3), outputs=("y",), **constants) -> ModelProto:
    return graph_model(list(nodes), {"x": shape}, constants, outputs)


def same(mode: str, k: int, s: int, op: str = "Conv") -> ModelProto:
    weight = w(3, *((3, 2) if op == "Conv" else (2, 3)), k, k)
    nodes = [N(op, ["x", "a"], ["h"], auto_pad=mode, strides=[s, s]), N("Relu", ["h"], ["q"]), END]
    return graph_model(nodes, {"x": IMAGE}, {"a": weight, "v": WEIGHTS["v"]})


def pool(op: str, k: int, s: int, **attributes: object) -> ModelProto:
    return image(N(op, ["r"], ["q"], kernel_shape=[k, k], strides=[s, s], **attributes), END)


def moved(op: str, *parameters: np.ndarray, **attributes: object) -> ModelProto:
    names = [f"p{i}" for i in range(len(parameters))]
    node = N(op, ["r", *names], ["c"], **attributes)
    ends = [N("Relu", ["c"], ["d"]), N("ReduceSum", ["d", "last"], ["y"])]
    return image(node, *ends, last=ints(-1), **dict(zip(names, parameters, strict=True)))


def shifted(op: str, axis: int) -> ModelProto:
    """A tensor, and itself an entry further."""
    first, second = N("Slice", ["r", "a", "b", "e"], ["p"]), N("Slice", ["r", "c", "d", "e"], ["o"])
    bounds = {"a": ints(0), "b": ints(-1), "c": ints(1), "d": ints(9), "e": ints(axis)}
    return image(first, second, N(op, ["p", "o"], ["k"]), N("Relu", ["k"], ["y"]), **bounds)


def branched() -> ModelProto:
    """An If whose branches take the input from outside."""
    ends = [
        helper.make_graph(
            [N("Mul", ["x", "ten"], [name])], name, [], [helper.make_tensor_value_info(name, 1, (1, 3))]
        )
        for name in ("t", "e")
    ]
    node = N("If", ["c"], ["z"], then_branch=ends[0], else_branch=ends[1])
    return rows(node, N("Add", ["x", "z"], ["y"]), ten=np.float32([10]), c=np.array(True))


SAME = [
    ("SAME_UPPER", 2, 1),
    ("SAME_UPPER", 4, 3),
    ("SAME_LOWER", 3, 2),
    ("SAME_LOWER", 2, 2),
    ("VALID", 2, 1),
]
TURNED = [("SAME_UPPER", 3, 1), ("SAME_LOWER", 2, 2), ("VALID", 3, 2), ("VALID", 1, 2), ("NOTSET", 3, 1)]
AVERAGES: list[tuple[int, int, dict[str, object]]] = [
    (2, 2, {"ceil_mode": 1}),
    (3, 2, {"pads": [1] * 4, "count_include_pad": 1}),
    (3, 2, {"pads": [1] * 4}),
    (3, 3, {"ceil_mode": 1, "count_include_pad": 1}),
    (2, 1, {}),
    (2, 3, {}),
]
CASES: dict[str, Callable[[], ModelProto]] = {
    "one coarse position": lambda: graph_model(
        [N("Conv", ["x", "a"], ["h"], strides=[2]), N("Relu", ["h"], ["y"])],
        {"x": (1, 1, 2)},
        {"a": np.float32([[[1, -1]]])},
    ),
    "a bias from the input": lambda: rows(
        N("Relu", ["x"], ["r"]), N("Gemm", ["r", "a", "r"], ["y"]), a=w(0, 3, 3, scale=1e-3)
    ),
    "channels in the middle": lambda: rows(
        N("BatchNormalization", ["x", "g", "b", "m", "o"], ["n"]),
        N("Relu", ["n"], ["r"]),
        N("MatMul", ["r", "a"], ["y"]),
        shape=(1, 2, 2),
        a=np.float32([[1, 0], [0, 0.01]]),
        o=np.ones(2, np.float32),
        **NORM,
    ),
    "an output twice": lambda: rows(
        N("MatMul", ["x", "a"], ["h"]),
        N("Relu", ["h"], ["y"]),
        N("Identity", ["y"], ["z"]),
        outputs=("y", "z"),
        a=w(0, 3, 3),
    ),
    "an output in two shapes": lambda: rows(
        N("MatMul", ["x", "a"], ["h"]),
        N("Relu", ["h"], ["y"]),
        N("Unsqueeze", ["y", "k"], ["z"]),
        outputs=("y", "z"),
        a=w(0, 3, 3),
        k=ints(0),
    ),
    "a sum over everything": lambda: image(
        N("Flatten", ["r"], ["f"]), N("ReduceSum", ["f"], ["s"]), N("Relu", ["s"], ["y"])
    ),
    "a branch with the input": branched,
    "a name that is taken": lambda: image(
        N("LeakyRelu", ["h"], ["h.cropped"], alpha=0.5),
        N("Conv", ["h", "u"], ["k"]),
        N("Conv", ["h", "o"], ["l"], pads=[1] * 4),
        N("Add", ["k", "l"], ["a"]),
        N("Sub", ["a", "h.cropped"], ["y"]),
        o=w(8, 3, 3, 3, 3),
    ),
    **{f"{mode} {k} {s}": partial(same, mode, k, s) for mode, k, s in SAME},
    **{f"transposed {mode} {k} {s}": partial(same, mode, k, s, "ConvTranspose") for mode, k, s in TURNED},
    **{f"average {k} {s} {more}": partial(pool, "AveragePool", k, s, **more) for k, s, more in AVERAGES},
    **{
        f"largest {k} {s}": lambda k=k, s=s: pool("MaxPool", k, s, ceil_mode=1)
        for k, s in ((3, 2), (2, 3), (3, 1))
    },
    **{
        f"slice along {axis}": lambda a=axis: moved("Slice", ints(-3), ints(9), ints(a), ints(2))
        for axis in (1, -1, 2, -3)
    },
    **{
        f"backwards along {axis}": lambda a=axis: moved("Slice", ints(-1), ints(-9), ints(a), ints(-1))
        for axis in (1, 3)
    },
    **{
        f"{op} of neighbours along {axis}": lambda o=op, a=axis: shifted(o, a)
        for op in ("Add", "Sub")
        for axis in (1, 2, -1)
    },
    "pads that cut": lambda: moved("Pad", ints(0, 0, -1, 2, 0, 0, -1, -1)),
    "pads along some axes": lambda: image(
        N("Pad", ["r", "p", "", "e"], ["q"]), END, p=ints(2, 1, 0, 3), e=ints(-1, -2)
    ),
    **{
        f"pads that {m}": lambda m=m: moved("Pad", ints(0, 0, 2, 1, 0, 0, 1, 2), mode=m)
        for m in ("reflect", "edge")
    },
    "other axes of a reshape": lambda: moved("Reshape", ints(1, 3, 4, 5)),
    "channels that become positions": lambda: moved("Reshape", ints(1, 1, 12, 5)),
    "channels that become a batch": lambda: moved("Reshape", ints(3, 1, 5, 4)),
    "a product per position": lambda: image(N("Mul", ["h", "k"], ["q"]), END, k=w(5, 3, 5, 4, scale=2)),
    "a product per row": lambda: image(N("Mul", ["h", "k"], ["q"]), END, k=w(5, 5, 1, scale=2)),
    "a quotient per channel": lambda: image(N("Div", ["r", "k"], ["q"]), END, k=w(6, 3, 1, 1, scale=1)),
    "slopes per entry of what is flat": lambda: image(
        N("Flatten", ["h"], ["f"]),
        N("PRelu", ["f", "k"], ["a"]),
        N("Gemm", ["a", "o"], ["y"]),
        k=w(5, 60, scale=1),
        o=w(6, 60, 3),
    ),
    "a sum that repeats channels": lambda: image(
        N("Conv", ["x", "o"], ["k"]), N("Add", ["r", "k"], ["q"]), END, o=w(5, 1, 2, 1, 1)
    ),
    "a sum that repeats positions": lambda: image(
        N("GlobalAveragePool", ["r"], ["k"]), N("Add", ["r", "k"], ["q"]), END
    ),
    "a sum that repeats rows": lambda: rows(
        N("Relu", ["x"], ["r"]), N("Add", ["r", "k"], ["q"]), N("Relu", ["q"], ["y"]), k=w(5, 4, 3)
    ),
    "a tensor and itself": lambda: image(N("Add", ["r", "r"], ["q"]), END),
    "a tensor less itself": lambda: image(
        N("Sub", ["r", "r"], ["k"]), N("Conv", ["k", "u"], ["l"]), N("Add", ["l", "h"], ["q"]), END
    ),
    "a sum of three": lambda: image(N("Sum", ["r", "r", "h"], ["q"]), END),
    "a mean of three": lambda: image(N("Mean", ["r", "r", "h"], ["q"]), END),
    "a tensor beside itself": lambda: image(
        N("Concat", ["r", "r"], ["k"], axis=-3), N("Conv", ["k", "o"], ["y"]), o=w(5, 2, 6, 2, 2)
    ),
    "constants beside a tensor": lambda: image(
        N("Concat", ["k", "r"], ["c"], axis=1),
        N("Conv", ["c", "o"], ["y"]),
        o=w(5, 2, 4, 2, 2),
        k=w(6, 1, 1, 5, 4),
    ),
    "one below the other": lambda: image(N("Concat", ["r", "h"], ["q"], axis=2), END),
    "outputs that are used inside": lambda: image(N("Identity", ["r"], ["q"]), END, outputs=("y", "r", "h")),
    "a kernel of many layers": lambda: image(
        N("Conv", ["r", "u"], ["k"]), N("Relu", ["k"], ["l"]), N("Conv", ["l", "u"], ["q"]), END
    ),
    "a product with a gate": lambda: image(N("Sigmoid", ["h"], ["k"]), N("Mul", ["h", "k"], ["q"]), END),
    "one position with padding": lambda: image(N("GlobalAveragePool", ["r"], ["q"]), END),
    "a batch": lambda: graph_model(
        [*BODY, N("Identity", ["r"], ["q"]), END], {"x": (3, 2, 4, 3)}, WEIGHTS | {}
    ),
    "two inputs": lambda: graph_model(
        [N("Conv", ["z", "u"], ["k"]), *BODY, N("Add", ["k", "h"], ["a"]), N("Relu", ["a"], ["q"]), END],
        {"x": IMAGE, "z": (1, 3, 5, 4)},
        WEIGHTS,
    ),
    "rows beside a product": lambda: rows(
        N("Relu", ["x"], ["r"]),
        N("Mul", ["r", "k"], ["q"]),
        N("MatMul", ["q", "o"], ["y"]),
        shape=(2, 3, 3),
        k=w(5, 3, 1, scale=2),
        o=w(6, 3, 2),
    ),
    "rows below rows": lambda: rows(
        N("Relu", ["x"], ["r"]),
        N("Concat", ["r", "x"], ["q"], axis=1),
        N("MatMul", ["q", "o"], ["y"]),
        shape=(2, 3, 3),
        o=w(6, 3, 2),
    ),
    "a product from the left": lambda: rows(
        N("Relu", ["x"], ["r"]), N("MatMul", ["o", "r"], ["y"]), shape=(3, 3), o=w(6, 2, 3)
    ),
    "a matrix per row": lambda: rows(
        N("Relu", ["x"], ["r"]), N("MatMul", ["r", "o"], ["y"]), shape=(2, 3, 3), o=w(6, 2, 3, 2)
    ),
    "a turned product": lambda: rows(
        N("Relu", ["x"], ["r"]), N("Gemm", ["r", "o"], ["y"], transA=1, alpha=2.0), shape=(3, 4), o=w(6, 3, 2)
    ),
    "a dead branch": lambda: image(
        N("Conv", ["r", "o"], ["k"]),
        N("Relu", ["k"], ["l"]),
        N("Add", ["l", "r"], ["q"]),
        END,
        o=np.zeros((3, 3, 1, 1), np.float32),
    ),
    "a dead channel": lambda: image(
        N("Mul", ["h", "k"], ["l"]), N("Relu", ["l"], ["q"]), END, k=np.float32([0, 1, 2]).reshape(3, 1, 1)
    ),
    "nothing but zeros": lambda: image(
        N("Mul", ["h", "k"], ["l"]), N("Relu", ["l"], ["q"]), END, k=np.zeros(1, np.float32)
    ),
}
BROKEN = 8
"""So many cases, the first, once had a bound that was too small."""


@pytest.mark.parametrize("name", [*list(CASES)[:BROKEN], *one_in(4, list(CASES)[BROKEN:])])
def test_bounds_hold(name: str) -> None:
    model = CASES[name]()
    shown = amplification(model)
    assert shown <= by_covariances(model)
    printed = quick(model)
    assert printed.status == UNBOUNDED or shown <= printed.lipschitz


def test_chance_has_no_bound() -> None:
    model = rows(
        N("RandomNormal", [], ["z"], shape=[1, 3]), N("Add", ["x", "z"], ["h"]), N("Relu", ["h"], ["y"])
    )
    assert quick(model).status == UNBOUNDED


@pytest.mark.parametrize("size", [1e-200, 1e-170, 1e-140, 1e-30, 1e25, 1e150, 1e200, 1e300])
@pytest.mark.parametrize("op", ["Relu", "Identity"])
def test_sizes_far_from_one(size: float, op: str) -> None:
    """A factor of any size, and one that makes up for it: nothing over- or underflows."""
    a, b = w(0, 3, 2, 3).astype(np.float64), w(1, 2, 3, 3).astype(np.float64)
    nodes = [
        N("Conv", ["x", "a"], ["h"], pads=[1, 1]),
        N(op, ["h"], ["r"]),
        N("Conv", ["r", "b"], ["y"], pads=[1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, (1, 2, 4))],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)],
        [
            helper.make_tensor(name, TensorProto.DOUBLE, values.shape, values.ravel())
            for name, values in {"a": a * size, "b": b / size}.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    for tensor, values in zip(plain.graph.initializer, (a, b), strict=True):
        tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.DOUBLE, values.shape, values.ravel()))
    bound, same_bound = quick(model), quick(plain)
    assert bound.status == BOUNDED
    assert same_bound.lipschitz * (1 - 1e-6) <= bound.lipschitz


@pytest.mark.parametrize("scale", [1e-7, 1e-25])
def test_small_numbers_end_no_search(scale: float) -> None:
    """Single precision may find nothing feasible on the way; then what was found before counts."""
    model = image(N("Conv", ["r", "o"], ["k"]), N("Tanh", ["k"], ["q"]), END, o=w(5, 3, 3, 1, 1) * scale)
    assert amplification(model) * (1 - 1e-3) <= bounded(model).lipschitz


@pytest.mark.parametrize(("size", "layers"), [(1e-15, 12), (1e15, 12), (1e15, 6), (1e-15, 25)])
@pytest.mark.parametrize("back", [True, False])
def test_scales_that_add_up(size: float, layers: int, back: bool) -> None:
    """Each layer is harmless; all together leave the range of floats, and maybe come back."""
    sizes = [size] * layers + [1 / size] * layers * back
    weights = [np.abs(w(i, 2, 2, 1, scale=1).astype(np.float64)) for i in range(len(sizes))]
    nodes = []
    for i in range(len(sizes)):
        before = f"r{i - 1}" if i else "x"
        nodes += [N("Conv", [before, f"w{i}"], [f"h{i}"]), N("Relu", [f"h{i}"], [f"r{i}"])]
    nodes += [N("GlobalAveragePool", [f"r{len(sizes) - 1}"], ["g"]), N("Flatten", ["g"], ["y"])]
    constants = [
        helper.make_tensor(f"w{i}", TensorProto.DOUBLE, weight.shape, (weight * factor).ravel())
        for i, (weight, factor) in enumerate(zip(weights, sizes, strict=True))
    ]
    infos = [helper.make_tensor_value_info("x", TensorProto.DOUBLE, (1, 2, 3))]
    outputs = [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)]
    graph = helper.make_graph(nodes, "g", infos, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    product = np.eye(2)
    for weight in weights:  # what is positive passes each Relu
        product = weight[:, :, 0] @ product
    log = math.log10(np.linalg.norm(product, 2) / math.sqrt(3)) + math.log10(size) * layers * (not back)
    printed = quick(model)
    assert printed.status == UNBOUNDED or log <= printed.log10 + 1e-9
    assert math.log10(max(by_covariances(model), 1e-308)) >= min(log, 308) - 1e-9 or log < -308
