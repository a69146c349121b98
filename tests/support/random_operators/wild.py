"""Operators without a Lipschitz constant, at least not at every input."""

from __future__ import annotations

import numpy as np

from tests.support.random_graphs import Builder
from tests.support.random_operators.branches import partner
from tests.support.random_operators.drawing import at_least


def product(b: Builder) -> None:
    x = b.pick()
    y = partner(b, x)
    b.add("Mul", [x, y])


def quotient(b: Builder) -> None:
    x = b.pick()
    b.add("Div", [x, b.one("Add", b.one("Sigmoid", partner(b, x)), b.constant(np.array(1.0)))])


def attention(b: Builder) -> None:
    x = b.pick(at_least(2))
    perm = list(range(len(b.shapes[x])))
    perm[-2:] = perm[:-3:-1]
    scores = b.one("MatMul", x, b.one("Transpose", x, perm=perm))
    b.add("MatMul", [b.one("Softmax", scores, axis=-1), x])


def steep(b: Builder) -> None:
    op = b.choice(("Exp", "Sign", "Floor", "Round", "Ceil", "Sinh", "Cosh"))
    b.add(op, [b.pick()])


def power(b: Builder) -> None:
    b.add("Pow", [b.pick(), b.constant(np.array(b.choice((2.0, 3.0))))])


def products_of_entries(b: Builder) -> None:
    x = b.pick()
    b.add(b.choice(("ReduceProd", "ReduceSumSquare")), [x], keepdims=1)


def jump(b: Builder) -> None:
    x = b.pick()
    b.add("Where", [b.one("Greater", x, b.constant(np.array(0.0))), x, b.one("Neg", partner(b, x))])


def gather_by_the_largest(b: Builder) -> None:
    x = b.pick()
    index = b.one("ArgMax", x, axis=0, keepdims=1)
    b.add("GatherElements", [x, index], axis=0)
