"""Attention by distances (Kim, Papamakarios & Mnih 2021): what is known for it, and its bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import cycle

import numpy as np
import pytest
from onnx import ModelProto, NodeProto
from onnx.helper import make_node

from convsv_cli.lipschitz.operation import Operation, Tensor, UnboundedError
from convsv_cli.lipschitz.rules.distances import attended, most_apart
from convsv_cli.lipschitz.written_out import read_back
from convsv_cli.lipschitz.written_out.heads import ATTENTION, DISTANCES
from convsv_cli.model.graph import Node
from convsv_cli.numerics.intervals import ANYTHING, Range
from tests.support.sensitivity import double_model, flat, jacobian, network
from tests.support.whole_bounds import bounded

N, D, WIDTH, HEADS = 5, 3, 4, 2
SHAPE = {"x": (N, WIDTH)}
Written = list[tuple[str, str, str, dict[str, object]]]
RANDOM = np.random.default_rng(0)
MASK = np.triu(np.full((N, N), -np.inf), 1)
CONSTANTS = {
    "wq": RANDOM.standard_normal((WIDTH, D)),
    "other": RANDOM.standard_normal((WIDTH, D)),
    "bias": RANDOM.standard_normal(D),
    "wv": RANDOM.standard_normal((D, WIDTH)),
    "wh": RANDOM.standard_normal((HEADS, WIDTH // HEADS, D)),
    "scale": np.array(math.sqrt(D)),
    "scales": np.array([[1.0, 2.0, 1.0, 1.0, 1.0]]),
    "minus": np.array(-1.0 / math.sqrt(D)),
    "two": np.array(2.0),
    "three": np.array(3.0),
    "last": np.array([-1]),
    "rows": np.array([-2]),
    "zero": np.array([0]),
    "one": np.array([1]),
    "mask": MASK,
    "late": MASK.T[:, ::-1].copy(),
    "shift": RANDOM.standard_normal(D),
    "split": np.array([N, HEADS, WIDTH // HEADS]),
}


def step(op: str, inputs: str, out: str, **attributes: object) -> tuple[str, str, str, dict[str, object]]:
    return op, inputs, out, attributes


QUERIES: Written = [step("MatMul", "x wq", "q0"), step("Add", "q0 bias", "q")]
KEYS: Written = [step("MatMul", "x wq", "k0"), step("Add", "k0 bias", "k")]
END: Written = [step("Softmax", "s", "p", axis=-1), step("MatMul", "q wv", "v"), step("MatMul", "p v", "y")]
ONE: Written = [*QUERIES, step("Identity", "q", "k")]
BROADCAST: Written = [
    step("Unsqueeze", "q one", "qi"),
    step("Unsqueeze", "k zero", "kj"),
    step("Sub", "qi kj", "d"),
]
PRODUCT: Written = [step("Transpose", "k", "kt", perm=[1, 0]), step("MatMul", "q kt", "qk")]
DOUBLE: Written = [*PRODUCT, step("Mul", "qk two", "qk2")]
LENGTHS: Written = [
    step("Mul", "q q", "qq"), step("ReduceSum", "qq last", "q2", keepdims=1),
    step("Pow", "k two", "kk"), step("ReduceSum", "kk last", "k2", keepdims=1),
    step("Transpose", "k2", "k2t", perm=[1, 0]),
]  # fmt: skip
OVER: Written = [step("Neg", "d2", "n2"), step("Div", "n2 scale", "s")]
SUM: Written = [step("Add", "q2 k2t", "a2"), step("Sub", "a2 qk2", "d2")]
SPELLINGS: dict[str, Written] = {
    "squares of lengths": [*ONE, *DOUBLE, *LENGTHS, *SUM, *OVER],
    "keys computed again": [*QUERIES, *KEYS, *DOUBLE, *LENGTHS, *SUM, *OVER],
    "without those of queries": [
        *ONE, *DOUBLE, *LENGTHS[2:], step("Sub", "qk2 k2t", "d2"), step("Div", "d2 scale", "s"),
    ],
    "lengths without their axis": [
        *ONE, *DOUBLE, step("ReduceSumSquare", "k last", "k2", keepdims=0),
        step("Unsqueeze", "k2 zero", "k2t"), step("Sub", "qk2 k2t", "d2"), step("Div", "d2 scale", "s"),
    ],
    "lengths of columns": [
        *ONE, *DOUBLE, step("Mul", "kt kt", "kk"), step("ReduceSum", "kk rows", "k2t", keepdims=1),
        step("Sub", "qk2 k2t", "d2"), step("Div", "d2 scale", "s"),
    ],
    "scaled first": [
        *ONE, *PRODUCT, *LENGTHS[2:], step("Div", "k2t two", "half"), step("Sub", "qk half", "d2"),
        step("Mul", "d2 two", "t"), step("Div", "t scale", "s"),
    ],
    "broadcast": [
        *ONE, *BROADCAST, step("Pow", "d two", "dd"), step("ReduceSum", "dd last", "d2", keepdims=0), *OVER,
    ],
    "norms": [
        *ONE, *BROADCAST, step("ReduceL2", "d last", "l", keepdims=0), step("Mul", "l l", "d2"),
        step("Mul", "d2 minus", "s"),
    ],
    "masked": [
        *ONE, *BROADCAST, step("Mul", "d d", "dd"), step("ReduceSum", "dd last", "d2", keepdims=0),
        step("Mul", "d2 minus", "t"), step("Add", "t mask", "s"),
    ],
}  # fmt: skip
OTHERS: dict[str, Written] = {
    "keys of their own": [
        *QUERIES, step("MatMul", "x other", "k"), *DOUBLE, *LENGTHS, *SUM, *OVER,
    ],
    "keys that are moved": [*QUERIES, step("Add", "q shift", "k"), *DOUBLE, *LENGTHS, *SUM, *OVER],
    "three times the product": [
        *ONE, *PRODUCT, step("Mul", "qk three", "qk2"), *LENGTHS, *SUM, *OVER,
    ],
    "the other sign": [*ONE, *DOUBLE, *LENGTHS, *SUM, step("Div", "d2 scale", "s")],
    "sums of distances": [
        *ONE, *BROADCAST, step("Abs", "d", "dd"), step("ReduceSum", "dd last", "d2", keepdims=0), *OVER,
    ],
    "of sums": [
        *ONE, *BROADCAST[:2], step("Add", "qi kj", "d"), step("Mul", "d d", "dd"),
        step("ReduceSum", "dd last", "d2", keepdims=0), *OVER,
    ],
    "masked where a token is itself": [
        *ONE, *BROADCAST, step("Mul", "d d", "dd"), step("ReduceSum", "dd last", "d2", keepdims=0),
        step("Mul", "d2 minus", "t"), step("Add", "t late", "s"),
    ],
    "a scale for each key": [
        *ONE, *BROADCAST, step("Mul", "d d", "dd"), step("ReduceSum", "dd last", "d2", keepdims=0),
        step("Mul", "d2 minus", "t"), step("Mul", "t scales", "s"),
    ],
    "squares of one row": [
        *ONE, *DOUBLE, step("Mul", "k k", "kk"), step("ReduceSum", "kk zero", "k0t", keepdims=1),
        step("ReduceSum", "k0t last", "k2t", keepdims=1), step("Sub", "qk2 k2t", "d2"),
        step("Div", "d2 scale", "s"),
    ],
}  # fmt: skip


def model_of(written: Sequence[tuple[str, str, str, dict[str, object]]], opset: int = 20) -> ModelProto:
    nodes: list[NodeProto] = []
    for op, inputs, out, attributes in written:
        names = inputs.split()
        moved = dict(attributes)
        if op in ("ReduceSumSquare", "ReduceL2") and opset < 18:
            moved["axes"] = CONSTANTS[names.pop()].tolist()
        nodes.append(make_node(op, names, [out], **moved))
    used = {name: CONSTANTS[name] for node in nodes for name in node.input if name in CONSTANTS}
    return double_model(nodes, SHAPE, used, opset=opset)


def ops(model: ModelProto) -> set[str]:
    graph = network(model).graph
    assert graph is not None
    return {node.op for node in read_back(graph).main.nodes}


def steepest(model: ModelProto, sizes: Sequence[float] = (1e-3, 0.1, 0.5, 1.0, 3.0, 30.0)) -> float:
    """At random tokens near and far, all alike, two groups, and one apart."""
    function, random, found = flat(model, SHAPE), np.random.default_rng(1), 0.0
    for size in sizes:
        one, other = random.standard_normal((2, WIDTH))
        places = [
            random.standard_normal((N, WIDTH)),
            np.tile(one, (N, 1)),
            np.stack([one, other, one, other, one]),
            np.stack([one, one, one, one, other]),
        ]
        found = max(found, *(np.linalg.norm(jacobian(function, size * x.ravel()), 2) for x in places))
    return found


@cache
def expected() -> float:
    """Of all spellings, up to rounding: by the theorem of the docstring, from Q on."""
    of_queries = np.linalg.norm(CONSTANTS["wq"], 2) * np.linalg.norm(CONSTANTS["wv"], 2)
    return float(rule((N, D)) * of_queries)


def check_known(spelling: str, opset: int) -> ModelProto:
    model = model_of([*SPELLINGS[spelling], *END], opset)
    assert DISTANCES in ops(model)
    assert bounded(model).lipschitz == pytest.approx(expected(), rel=1e-2)
    return model


@pytest.mark.parametrize(("spelling", "opset"), list(zip(SPELLINGS, cycle((13, 17, 20)))))
def test_spellings_are_known(spelling: str, opset: int) -> None:
    check_known(spelling, opset)


@pytest.mark.exhaustive
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_are_known_at_all_opsets_and_their_bound_holds(spelling: str) -> None:
    for opset in (13, 17, 20):
        model = check_known(spelling, opset)
    assert steepest(model) <= expected() * (1 + 1e-2)


@pytest.mark.parametrize("spelling", ["squares of lengths", "masked"])
def test_their_bound_holds_near_and_far(spelling: str) -> None:
    assert steepest(model_of([*SPELLINGS[spelling], *END])) <= expected()


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_not_taken_for_it(name: str) -> None:
    model = model_of([*OTHERS[name], *END])
    assert DISTANCES not in ops(model)
    assert bounded(model).lipschitz == math.inf


def test_other_values_count_with_their_lengths() -> None:
    values = [step("MatMul", "x other", "v"), step("MatMul", "p v", "y")]
    model = model_of([*SPELLINGS["broadcast"], END[0], *values])
    assert DISTANCES in ops(model)
    assert bounded(model).lipschitz == math.inf
    found = bounded(model, (-0.5, 0.5)).lipschitz
    assert steepest(model, (1e-3, 0.1, 0.2)) <= found < math.inf


def test_heads_are_bounded_one_by_one() -> None:
    heads: Written = [
        step("Reshape", "x split", "x1"),
        step("Transpose", "x1", "q", perm=[1, 0, 2]),
        step("Transpose", "x1", "kt", perm=[1, 2, 0]),
        step("MatMul", "q kt", "qk"),
        step("Mul", "qk two", "qk2"),
        step("Mul", "q q", "qq"),
        step("ReduceSum", "qq last", "k2", keepdims=1),
        step("Transpose", "k2", "k2t", perm=[0, 2, 1]),
        step("Sub", "qk2 k2t", "d2"),
        step("Div", "d2 scale", "s"),
        step("Softmax", "s", "p", axis=-1),
        step("MatMul", "q wh", "v"),
        step("MatMul", "p v", "y"),
    ]
    model = model_of(heads)
    assert DISTANCES in ops(model)
    assert ATTENTION not in ops(model)
    own = rule((N, 2))
    largest = max(np.linalg.norm(each, 2) for each in CONSTANTS["wh"])
    assert steepest(model) <= bounded(model).lipschitz == pytest.approx(own * largest)


def rule(*shapes: tuple[int, int], known: Range = ANYTHING) -> float:
    """Of Q, and perhaps V, which move by as much."""
    inputs = [Tensor(name=f"x{i}", bound=1.0, shape=shape, known=known) for i, shape in enumerate(shapes)]
    names = tuple(each.name for each in inputs)
    node = Node(op=DISTANCES, name="a", inputs=names, outputs=("y",), attributes={"factor": 2.0})
    return attended(
        Operation(node=node, inputs=tuple(inputs), outputs=(("y", (shapes[0][0], shapes[-1][1])),))
    )


def means(q: np.ndarray) -> np.ndarray:
    """Of tokens, by their distances."""
    a = np.square(q[:, None] - q).sum(-1)
    weights = np.exp(-a)
    return weights / weights.sum(1, keepdims=True) @ q


@pytest.mark.parametrize("n", [1, 2, 3, 8, 30])
def test_the_constant_holds_and_is_less_than_that_of_the_paper(n: int) -> None:
    found, kappa, random = rule((n, 2)), most_apart(n), np.random.default_rng(n)
    assert kappa * math.exp(kappa + 1) >= n - 1
    assert found <= math.sqrt(n) * (4 * kappa + 1) * (1 + 1e-9)
    seen = 0.0
    for size in (1e-2, 0.3, 0.6, 1.0, 1.5, 3.0, 20.0):
        for points in (random.standard_normal((n, 2)), np.tile([[1.0, 0.0]], (n, 1)), apart(n)):
            function = lambda x: means(x.reshape(n, 2)).ravel()  # noqa: E731
            seen = max(seen, np.linalg.norm(jacobian(function, size * points.ravel()), 2))
    assert seen * (1 - 1e-8) <= found <= 12 * seen


def apart(n: int) -> np.ndarray:
    """Half of the tokens here, half there."""
    return np.stack([np.arange(n) % 2, np.zeros(n)], 1).astype(float)


def test_it_does_not_fall_below_the_lengths_of_values() -> None:
    random, known, function = np.random.default_rng(0), Range(lower=-1.0, upper=1.0), values
    points = [
        np.concatenate([size * random.standard_normal(8), random.uniform(-1, 1, 12)])
        for size in (0.0, 0.1, 0.4, 0.8, 2.0)
        for _ in range(10)
    ]
    seen = max(np.linalg.norm(jacobian(function, x)[:, :8], 2) for x in points)
    assert seen <= rule((4, 2), (4, 3), known=known) - math.sqrt(2.5) * (1 - 1e-9)
    with pytest.raises(UnboundedError, match="may be arbitrarily large"):
        rule((4, 2), (4, 3))


def values(x: np.ndarray) -> np.ndarray:
    """Weights of four tokens, by twice their squared distances, times others."""
    q, v = x[:8].reshape(4, 2), x[8:].reshape(4, 3)
    weights = np.exp(-2 * np.square(q[:, None] - q).sum(-1))
    return (weights / weights.sum(1, keepdims=True) @ v).ravel()
