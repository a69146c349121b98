"""Functions of each entry, sums and products of tensors, BatchNorm."""

from __future__ import annotations

from functools import reduce
from operator import add, mul, truediv

import numpy as np

from convsv_cli.lipschitz.density.ranges.entries import Entries, aligned, along_channels
from convsv_cli.lipschitz.fold.diagonal import EPSILON
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar.expressions import Expression, X, number
from convsv_cli.lipschitz.scalar.operators import BUILDERS, expressed
from convsv_cli.lipschitz.scalar.tables import values_over
from convsv_cli.model.graph import Node
from convsv_cli.numerics.intervals import ARITHMETIC, Intervals, exactly, widened

MEET = frozenset(("Add", "Sub", "Mul", "Div", "PRelu"))  # of two tensors


def applied(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """One function of each entry."""
    varying = [name for name in node.inputs if name and name not in known.graph.constants]
    if len(varying) != 1:
        raise UnboundedError("a function of several tensors")
    operands = [_operand(name, known) if name else None for name in node.inputs]
    return (values_over(expressed(node, operands), known.of(varying[0])),)


def _operand(name: str, known: Entries) -> Expression:
    if name not in known.graph.constants:
        return X
    found = known.of(name)
    if found.lower.size != 1 or not (found.lower == found.upper).all():
        raise UnboundedError("a constant that is not one number")
    return number(float(found.lower.reshape(-1)[0]))


def combined(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Add, Sub, Sum, Mean, Mul, Div of tensors that are broadcast to each other."""
    terms = [known.of(name) for name in node.inputs]
    rank = max(term.lower.ndim for term in terms)
    terms = [aligned(term, rank) for term in terms]
    if node.op == "Sub":
        terms[1] = -terms[1]
    operator = {"Mul": mul, "Div": truediv}.get(node.op, add)
    found = reduce(operator, terms)
    return (found * exactly(1 / len(terms), found) if node.op == "Mean" else found,)


def prelu(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """PRelu: the positive part, and slopes times the negative one."""
    x = known.first(node)
    slopes = aligned(known.of(node.inputs[1]), x.lower.ndim)
    below = Intervals(x.lower.clip(max=0), x.upper.clip(max=0)) * slopes
    above = Intervals(x.lower.clip(min=0), x.upper.clip(min=0))
    positive, negative = x.lower >= 0, x.upper <= 0
    lower = np.where(positive, above.lower, np.where(negative, below.lower, below.lower.clip(max=0)))
    upper = np.where(
        positive, above.upper, np.where(negative, below.upper, np.maximum(above.upper, below.upper))
    )
    return (Intervals(lower, upper),)


def normalised(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """BatchNormalization, as in inference."""
    if any(node.outputs[1:]) or node.attribute("training_mode", 0):
        raise UnboundedError("its statistics vary")
    x = known.first(node)
    parameters = (along_channels(known.of(name), x.lower.ndim) for name in node.inputs[1:5])
    scale, shift, mean, variance = parameters
    moved = variance + exactly(node.attribute("epsilon", EPSILON), variance)
    deviation = widened(np.sqrt(moved.lower), np.sqrt(moved.upper), ARITHMETIC, 0.0)
    return ((x + -mean) * (scale / deviation) + shift,)


ROWS = {
    **{op: applied for op in BUILDERS if op not in MEET},
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean", "Mul", "Div"), combined),
    "PRelu": prelu,
    "BatchNormalization": normalised,
}
