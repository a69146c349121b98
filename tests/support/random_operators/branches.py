"""Where branches meet."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, ValueInfoProto, helper

from tests.support.random_graphs import Builder
from tests.support.random_operators.drawing import axis_of
from tests.support.random_operators.reduction import reduced


def partner(b: Builder, x: str) -> str:
    """Another tensor of the same shape, or one that is broadcast to it."""
    same = [name for name in b.real if b.shapes[name] == b.shapes[x]]
    if b.chance(0.2):
        return reduced(b, x, keepdims=1)
    return b.choice(same) if b.chance(0.2) or len(same) == 1 else b.choice([n for n in same if n != x])


def meeting(b: Builder) -> None:
    x = b.pick()
    op = b.choice(("Add", "Add", "Sub", "Max", "Min", "Sum", "Mean"))
    others = [partner(b, x) for _ in range(2 if op in ("Sum", "Mean", "Max") and b.chance(0.3) else 1)]
    inputs = [x, *others]
    b.add(op, [inputs[i] for i in b.rng.permutation(len(inputs))])


def concat(b: Builder) -> None:
    x = b.pick()
    axis = axis_of(b, x)
    rest = [n for i, n in enumerate(b.shapes[x]) if i != axis % len(b.shapes[x])]

    def fits(name: str) -> bool:
        shape = b.shapes[name]
        return len(shape) == len(rest) + 1 and [*np.delete(shape, axis % len(shape))] == rest

    others = [b.choice([name for name in b.real if fits(name)]) for _ in range(b.integer(1, 2))]
    if b.chance(0.2):
        others.append(b.normal(*b.shapes[x]))
    b.add("Concat", [x, *others], axis=axis)


def branch(b: Builder) -> None:
    """If by a constant condition, which is stored or computed."""
    x, y = b.pick(), b.pick()
    if b.shapes[x] != b.shapes[y]:
        y = x
    bodies = [
        _body(b, b.choice(("Neg", "Relu", "Sigmoid")), x),
        _body(b, b.choice(("Identity", "Tanh")), b.choice((x, y))),
    ]
    condition = b.constant(np.array(b.chance()))
    if b.chance():
        condition = b.one("Not", condition)
    b.add("If", [condition], then_branch=bodies[0], else_branch=bodies[1])


def _body(b: Builder, op: str, x: str) -> GraphProto:
    name = f"{op}{len(b.nodes)}"
    return helper.make_graph([helper.make_node(op, [x], [name])], op, [], [ValueInfoProto(name=name)])
