"""Activations, whole and in parts, and sums and products with constants."""

from __future__ import annotations

import math

import numpy as np

from tests.support.random_graphs import Builder
from tests.support.random_operators.drawing import at_least, need


def activation(b: Builder) -> None:
    x = b.pick()
    op, since, attributes = b.choice(ACTIVATIONS)
    need(b.opset >= since)
    drawn = {
        name: values if isinstance(values, str) else b.choice(values) for name, values in attributes.items()
    }
    b.add(op, [x], **drawn)


ACTIVATIONS = [
    *((op, 1, {}) for op in ("Relu", "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Abs", "Neg", "Sin")),
    *((op, 1, {}) for op in ("Cos", "Atan", "Erf", "Identity", "Dropout", "Asinh", "Selu")),
    *[("LeakyRelu", 1, {"alpha": (0.01, 2.0, -3.0)})] * 2,
    *[("Elu", 1, {"alpha": (0.5, 1.0, 3.0)})] * 2,
    *[("Celu", 12, {"alpha": (0.5, 2.0)})] * 2,
    *[("HardSigmoid", 1, {"alpha": (0.2, 2.0), "beta": (0.5, 0.0)})] * 2,
    *[("HardSwish", 14, {})] * 3,
    *[("Mish", 18, {})] * 4,
    *[("Gelu", 20, {"approximate": ("none", "tanh")})] * 4,
]


def clip(b: Builder) -> None:
    ends = [b.constant(np.array(end, float)) for end in (-0.5, 1.5)]
    b.add("Clip", [b.pick(), *b.choice((ends, ends[:1], ["", ends[1]], []))])


def prelu(b: Builder) -> None:
    x = b.pick(at_least(2))
    shape = b.shapes[x]
    slope = b.choice(((shape[1], *(1 for _ in shape[2:])), (1,), shape))
    b.add("PRelu", [x, b.normal(*slope)])


def silu(b: Builder) -> None:
    x = b.pick()
    b.add("Mul", [x, b.part("Sigmoid", x)])


def gelu(b: Builder) -> None:
    x = b.pick()
    one, half, root = (b.constant(np.array(v)) for v in (1.0, 0.5, math.sqrt(2)))
    z = b.part("Add", b.part("Erf", b.part("Div", x, root)), one)
    b.add("Mul", [b.part("Mul", x, z), half])


def mish(b: Builder) -> None:
    x = b.pick()
    b.add("Mul", [x, b.part("Tanh", b.part("Softplus", x))])


def hard_swish(b: Builder) -> None:
    x = b.pick()
    b.add("Mul", [b.part("HardSigmoid", x, alpha=1 / 6, beta=0.5), x])


def with_constant(b: Builder) -> None:
    """Either may be broadcast to the other."""
    x = b.pick()
    shape = [size if b.chance() else 1 for size in b.shapes[x]]
    shape = [b.integer(1, 3) if b.shapes[x][i] == 1 and b.chance(0.3) else n for i, n in enumerate(shape)]
    shape = [2, *shape] if b.chance(0.1) else shape[b.integer(0, len(shape)) :]
    op = b.choice(("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"))
    c = b.constant(1 + np.abs(b.rng.standard_normal(shape))) if op == "Div" else b.normal(*shape)
    b.add(op, [x, c] if op == "Div" or b.chance() else [c, x])


def mask(b: Builder) -> None:
    """Where by a constant condition."""
    x = b.pick()
    condition = b.constant(b.rng.random(b.shapes[x]) < 0.5)
    other = b.choice([name for name in b.real if b.shapes[name] == b.shapes[x]])
    b.add("Where", [condition, x, other if b.chance() else b.normal(1)])
