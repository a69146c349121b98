"""Attention of bounded tokens, and how long tokens are: Jacobians and vectors against their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, helper

from convsv_cli.lipschitz.bound import simplified
from convsv_cli.lipschitz.composition import _Composition
from convsv_cli.lipschitz.dependencies import relevant
from convsv_cli.lipschitz.norms import kernel_norm
from convsv_cli.lipschitz.operation import Tensor
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.numerics.intervals import ANYTHING
from tests.support.sensitivity import bound, double_model, flat, jacobian, network, norms_of_rows, runner

node = helper.make_node
TOKENS, WIDTH, HEADS = 5, 6, 2
SHAPES = {"x": [1, TOKENS, WIDTH]}


def weights(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    each = {name: rng.standard_normal((WIDTH, WIDTH)) for name in ("wq", "wk", "wv")}
    mask = np.triu(np.full((TOKENS, TOKENS), -np.inf), 1)
    constants = {
        "gamma": rng.uniform(-2, 2, WIDTH), "beta": rng.standard_normal(WIDTH), "mask": mask,
        "scale": np.array(1 / np.sqrt(WIDTH / HEADS)), "heads": np.array([1, TOKENS, HEADS, WIDTH // HEADS]),
        "whole": np.array([1, TOKENS, WIDTH]), "bias": rng.standard_normal(WIDTH),
    }  # fmt: skip
    return each | constants


def attention(*, masked: bool = False, dropped: bool = False) -> list[NodeProto]:
    """LayerNorm, then heads of causal or full attention, written out."""
    nodes = [node("LayerNormalization", ["x", "gamma", "beta"], ["n"], epsilon=0.1)]
    for part in "qkv":
        order = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
        nodes += [
            node("MatMul", ["n", f"w{part}"], [f"{part}0"]),
            node("Add", [f"{part}0", "bias"], [f"{part}1"]),
            node("Reshape", [f"{part}1", "heads"], [f"{part}2"]),
            node("Transpose", [f"{part}2"], [part], perm=order),
        ]
    nodes += [node("MatMul", ["q", "k"], ["s"]), node("Mul", ["s", "scale"], ["t"])]
    nodes += [node("Add", ["t", "mask"], ["m"])] if masked else []
    nodes += [node("Softmax", ["m" if masked else "t"], ["p"], axis=-1)]
    nodes += [node("Identity", ["p"], ["p1"])] if dropped else []
    nodes += [
        node("MatMul", ["p1" if dropped else "p", "v"], ["o"]),
        node("Transpose", ["o"], ["o1"], perm=[0, 2, 1, 3]),
        node("Reshape", ["o1", "whole"], ["y"]),
    ]
    return nodes


def used(nodes: list[NodeProto], values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = {name for each in nodes for name in each.input}
    return {name: value for name, value in values.items() if name in names}


def operator(heads_first: bool) -> list[NodeProto]:
    """The same by Attention of opset 23, of three or of four axes."""
    nodes = attention()
    start = [each for each in nodes if each.output[0] in {"n", "q0", "k0", "v0", "q1", "k1", "v1"}]
    if not heads_first:
        return [*start, node("Attention", ["q1", "k1", "v1"], ["y"], q_num_heads=HEADS, kv_num_heads=HEADS)]
    moves = [
        step
        for part in "qkv"
        for step in (
            node("Reshape", [f"{part}1", "heads"], [f"{part}2"]),
            node("Transpose", [f"{part}2"], [part], perm=[0, 2, 1, 3]),
        )
    ]
    return [*start, *moves, node("Attention", ["q", "k", "v"], ["y"])]


def safe() -> list[NodeProto]:
    """As torch takes it apart: rows of which a mask leaves nothing are zeros, and batches are flattened."""
    nodes = attention(masked=True)
    at = next(i for i, each in enumerate(nodes) if each.output[0] == "o")
    asked = [
        node("Equal", ["m", "nothing"], ["m0"]),
        node("Not", ["m0"], ["m1"]),
        node("Cast", ["m1"], ["m2"], to=6),
        node("ReduceMax", ["m2", "last"], ["m3"]),
        node("Cast", ["m3"], ["m4"], to=9),
        node("Not", ["m4"], ["m5"]),
        node("Where", ["m5", "kept", "p"], ["p2"]),
        node("Reshape", ["p2", "merged"], ["p3"]),
        node("Reshape", ["v", "merged v"], ["v3"]),
        node("MatMul", ["p3", "v3"], ["o0"]),
        node("Reshape", ["o0", "apart"], ["o"]),
    ]
    return [*nodes[:at], *asked, *nodes[at + 1 :]]


def masks(kept: float = 0.0, left_out: int = 0) -> dict[str, np.ndarray]:
    """What these need; rows of the mask in which nothing is left come first."""
    mask = np.triu(np.full((TOKENS, TOKENS), -np.inf), 1)
    mask[:left_out] = -np.inf
    return {
        "nothing": np.array(-np.inf), "last": np.array([-1]), "kept": np.array(kept), "mask": mask,
        "merged": np.array([HEADS, TOKENS, TOKENS]), "merged v": np.array([HEADS, TOKENS, WIDTH // HEADS]),
        "apart": np.array([1, HEADS, TOKENS, WIDTH // HEADS]),
    }  # fmt: skip


SPELLINGS = {
    "full": (attention(), 20),
    "causal": (attention(masked=True), 20),
    "passed on": (attention(dropped=True), 13),
    "operator, three axes": (operator(heads_first=False), 23),
    "operator, four axes": (operator(heads_first=True), 23),
}


def largest_jacobian(model: object, seed: int) -> float:
    """Found by going uphill at random from several scales."""
    function, rng = flat(model, SHAPES), np.random.default_rng(seed)
    points = [scale * rng.standard_normal(TOKENS * WIDTH) for scale in (0.05, 0.3, 1.0, 5.0)]
    found = {float(np.linalg.norm(jacobian(function, x), 2)): x for x in points}
    for _ in range(12):
        best = found[max(found)]
        x = best + 0.3 * np.linalg.norm(best) / np.sqrt(best.size) * rng.standard_normal(best.size)
        found[float(np.linalg.norm(jacobian(function, x), 2))] = x
    return max(found)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", SPELLINGS)
def test_no_jacobian_is_above_the_bound(name: str, seed: int) -> None:
    nodes, opset = SPELLINGS[name]
    model = double_model(nodes, SHAPES, used(nodes, weights(seed)), opset=max(opset, 17))
    found = bound_of(model)
    assert largest_jacobian(model, seed) <= found < 1e5


def test_spellings_have_one_bound() -> None:
    found = []
    for name in ("full", "causal", "passed on", "operator, four axes"):
        nodes, opset = SPELLINGS[name]
        found.append(bound_of(double_model(nodes, SHAPES, used(nodes, weights(0)), opset=max(opset, 17))))
    assert found == pytest.approx([found[0]] * len(found), rel=1e-9)


def test_rows_of_which_a_mask_leaves_nothing_are_zeros() -> None:
    plain = bound_of(double_model(attention(masked=True), SHAPES, used(attention(masked=True), weights(0))))
    model = double_model(safe(), SHAPES, used(safe(), weights(0) | masks(left_out=2)), opset=18)
    assert bound_of(model) == pytest.approx(plain, rel=1e-9)
    assert largest_jacobian(model, 0) <= plain


def test_rows_in_place_of_which_something_else_stands_are_no_attention() -> None:
    """The sum of all values, a thousand times, in rows of which the mask leaves nothing."""
    model = double_model(safe(), SHAPES, used(safe(), weights(0) | masks(1000.0, left_out=2)), opset=18)
    assert 1e3 < largest_jacobian(model, 0) <= bound_of(model)


def test_tokens_of_any_length_have_none() -> None:
    nodes = [each for each in attention() if each.op_type != "LayerNormalization"]
    nodes = [node("Identity", ["x"], ["n"]), *nodes]
    assert bound(double_model(nodes, SHAPES, used(nodes, weights(0)))) == np.inf


def bound_of(model: object) -> float:
    from convsv_cli.lipschitz.bound import network_bound

    found = network(model)
    assert found.graph is not None
    return network_bound(found.graph, norms_of_rows(found, kernel_norm)).lipschitz


def known(model: object) -> dict[str, Tensor]:
    """What rules know of every tensor."""
    found = network(model)
    assert found.graph is not None
    graph = simplified(found.graph)
    composition = _Composition(graph, RULES, norms_of_rows(found, kernel_norm), ANYTHING)
    for each in relevant(graph):
        composition._run(each)
    return composition._tensors


MOVES = [
    node("Reshape", ["z", "heads"], ["a"]),
    node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
    node("Gather", ["b", "second"], ["c"], axis=1),
    node("Concat", ["b", "b"], ["d"], axis=2),
    node("Relu", ["d"], ["e"]),
    node("Add", ["z", "bias"], ["f"]),
    node("Gelu", ["f"], ["g"]),
    node("Mul", ["g", "gamma"], ["h"]),
    node("MatMul", ["h", "wq"], ["i"]),
    node("Softplus", ["i"], ["j"]),
    node("Expand", ["j", "thrice"], ["k"]),
    node("Unsqueeze", ["k", "second"], ["l"]),
    node("Slice", ["l", "second", "thrice1", "thrice1"], ["m"]),
]


@pytest.mark.parametrize("seed", range(3))
def test_no_vector_is_longer_than_its_bound(seed: int) -> None:
    nodes = [node("LayerNormalization", ["x", "gamma", "beta"], ["z"]), *MOVES]
    values = weights(seed) | {
        "second": np.array([1]), "thrice": np.array([3, TOKENS, WIDTH]), "thrice1": np.array([3]),
    }  # fmt: skip
    names = tuple("zabcdefghijklm")
    model = double_model(nodes, SHAPES, used(nodes, values), outputs=names)
    tensors, run, rng = known(model), runner(model), np.random.default_rng(seed)
    assert sum(len(tensors[name].lengths) for name in names if name in tensors) > len(names)
    for scale in (0.1, 1.0, 100.0):
        outputs = run({"x": scale * rng.standard_normal(SHAPES["x"])})
        for name, value in zip(names, outputs, strict=True):
            for axis, longest in tensors[name].lengths.items() if name in tensors else ():
                assert np.linalg.norm(value, axis=axis).max() <= longest, (name, axis)
