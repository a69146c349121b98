"""ONNX's element-wise operators as functions of one number: how each is built, and how steep it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convsv_cli.digits import short
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar import rewriting
from convsv_cli.lipschitz.scalar.expressions import Expression, X, number
from convsv_cli.lipschitz.scalar.primitives import PLAIN
from convsv_cli.model.graph import Node

COLLAPSED = "convsv.Elementwise"
"""A node whose attribute "expression" is what it does to each entry of its input."""

SLOPE, LEAK = float(np.float32(0.2)), float(np.float32(0.01))
"""Defaults of alpha: attributes are of single precision."""

REAL_TYPES = (1, 10, 11, 16)  # float, float16, double, bfloat16 in TensorProto.DataType


@dataclass(frozen=True, kw_only=True)
class Call:
    """A node with an expression for each input; None where an optional one is left out.

    Constants are exact in `Expression.numbers`.
    """

    node: Node
    operands: Sequence[Expression | None]

    @property
    def given(self) -> list[Expression]:
        """The inputs that are there."""
        return [operand for operand in self.operands if operand is not None]

    @property
    def first(self) -> Expression:
        """The first input."""
        return self.operand(0)

    def operand(self, index: int) -> Expression:
        """An input that must be there."""
        found = self.optional(index)
        if found is None:
            raise UnboundedError(f"its input {index} is missing")
        return found

    def optional(self, index: int) -> Expression | None:
        """An input, or None."""
        return self.operands[index] if index < len(self.operands) else None

    def number(self, index: int, default: float | None = None) -> float:
        """An input that must be a constant; it may be left out if there is a default."""
        if default is not None and self.optional(index) is None:
            return default
        found = self.operand(index)
        if not found.constant:
            raise UnboundedError(f"its input {self.node.inputs[index]!r} varies with the network's input")
        return found.numbers[0]

    def attribute(self, name: str, default: float) -> float:
        """A number; ONNX keeps defaults in single precision."""
        return float(self.node.attribute(name, float(np.float32(default))))


def expressed(node: Node, operands: Sequence[Expression | None]) -> Expression:
    """What a node does to each entry.

    Args:
        node: of the graph.
        operands: its inputs; None where one is left out.

    Raises:
        UnboundedError: it is not element-wise, or does it in a way that convsv does not know.
    """
    builder = BUILDERS.get(node.op)
    if builder is None:
        raise UnboundedError("not an element-wise operator")
    return built(builder, node, operands)


def built(
    builder: Callable[[Call], Expression], node: Node, operands: Sequence[Expression | None]
) -> Expression:
    """What a builder makes of a node.

    Args:
        builder: of its operator.
        node: of the graph.
        operands: its inputs; None where one is left out.

    Raises:
        UnboundedError: the builder knows of none, or a constant is not finite.
    """
    result = builder(Call(node=node, operands=operands))
    if result.count(lambda part: part.constant and not math.isfinite(part.numbers[0])):
        raise UnboundedError("one of its constants is not finite")
    return result


def _power(call: Call) -> Expression:
    exponent = call.number(1)
    if not math.isfinite(exponent):
        raise UnboundedError("its exponent is not finite")
    if exponent == 0:
        return number(1.0)
    if exponent < 0 and exponent == int(exponent):
        return call.first.apply("Pow", -exponent).apply("Reciprocal")
    return call.first.apply("Pow", exponent)


def _limited(call: Call) -> Expression:
    """Max or Min of one function and constants."""
    varying = [operand for operand in call.given if not operand.constant]
    if len(varying) != 1:
        raise UnboundedError("the larger or smaller of several functions")
    limits = [_ordered(operand.numbers[0]) for operand in call.given if operand.constant]
    if call.node.op == "Max":
        return rewriting.clipped(varying[0], max(limits, default=-math.inf), math.inf)
    return rewriting.clipped(varying[0], -math.inf, min(limits, default=math.inf))


def _clipped(call: Call) -> Expression:
    lower, upper = (_ordered(call.number(i, default)) for i, default in ((1, -math.inf), (2, math.inf)))
    return rewriting.clipped(call.first, lower, upper)


def _ordered(value: float) -> float:
    if math.isnan(value):
        raise UnboundedError("one of its limits is not a number")
    return value


def _rectified(call: Call) -> Expression:
    found = rewriting.pushed(call.first, 0.0, math.inf)
    return call.first.apply("LeakyRelu", 0.0, 1.0) if found is None else found


def _hard_sigmoid(call: Call) -> Expression:
    scaled = call.first * call.attribute("alpha", SLOPE) + call.attribute("beta", 0.5)
    return scaled.apply("Clip", 0.0, 1.0)


def _gelu(call: Call) -> Expression:
    x, form = call.first, call.node.attribute("approximate", "none")
    if form == "none":
        gate = (x / math.sqrt(2)).apply("Erf")
    elif form == "tanh":
        cubic = x + x.apply("Pow", 3.0) * 0.044715
        gate = (cubic * math.sqrt(2 / math.pi)).apply("Tanh")
    else:
        raise UnboundedError(f"an unknown approximation {form!r}")
    return x * 0.5 * (gate + 1.0)


def _celu(call: Call) -> Expression:
    alpha = call.attribute("alpha", 1.0)
    if alpha <= 0:
        raise UnboundedError("its alpha is not positive")
    return (call.first / alpha).apply("Elu", 1.0) * alpha


def _selu(call: Call) -> Expression:
    alpha = call.attribute("alpha", 1.67326319217681884765625)
    return call.first.apply("Elu", alpha) * call.attribute("gamma", 1.05070102214813232421875)


def _shrunk(call: Call) -> Expression:
    """Without a jump: the part beyond [-lambd, lambd]."""
    bound = call.attribute("lambd", 0.5)
    if call.attribute("bias", 0.0) != bound or bound < 0:
        raise UnboundedError("it jumps, as its bias is not its lambd")
    return call.first + call.first.apply("Clip", -bound, bound) * -1.0


def _thresholded(call: Call) -> Expression:
    alpha = call.attribute("alpha", 1.0)
    if alpha != 0:
        raise UnboundedError(f"it jumps at {short(alpha)}")
    return call.first.apply("LeakyRelu", 0.0, 1.0)


def _dropout(call: Call) -> Expression:
    if call.number(2, 0.0) != 0:
        raise UnboundedError("it drops at random: training_mode is set")
    return call.first


def _cast(call: Call) -> Expression:
    if call.node.attribute("to", 0) not in REAL_TYPES:
        raise UnboundedError("it rounds to a type that is not real")
    return call.first


def _as(op: str, *numbers: float) -> Callable[[Call], Expression]:
    return lambda call: call.first.apply(op, *numbers)


BUILDERS: Mapping[str, Callable[[Call], Expression]] = {
    **{op: _as(op) for op in PLAIN},
    "Relu": _rectified,
    "Abs": _as("LeakyRelu", -1.0, 1.0),
    "Sqrt": _as("Pow", 0.5),
    "Neg": lambda call: call.first * -1.0,
    "Identity": lambda call: call.first,
    "Add": lambda call: call.operand(0) + call.operand(1),
    "Sub": lambda call: call.operand(0) + call.operand(1) * -1.0,
    "Mul": lambda call: rewriting.product(call.operand(0), call.operand(1)),
    "Div": lambda call: rewriting.quotient(call.operand(0), call.operand(1)),
    "Pow": _power,
    "Max": _limited,
    "Min": _limited,
    "Clip": _clipped,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda call: call.first * (call.first + 3.0).apply("Clip", 0.0, 6.0) / 6.0,
    "Gelu": _gelu,
    "Mish": lambda call: call.first * call.first.apply("Softplus").apply("Tanh"),
    "Swish": lambda call: call.first * (call.first * call.attribute("alpha", 1.0)).apply("Sigmoid"),
    "Celu": _celu,
    "Selu": _selu,
    "Elu": lambda call: call.first.apply("Elu", call.attribute("alpha", 1.0)),
    "LeakyRelu": lambda call: call.first.apply("LeakyRelu", call.attribute("alpha", LEAK), 1.0),
    "PRelu": lambda call: call.first.apply("LeakyRelu", call.number(1), 1.0),
    "Shrink": _shrunk,
    "ThresholdedRelu": _thresholded,
    "Dropout": _dropout,
    "Cast": _cast,
    COLLAPSED: lambda call: call.node.attribute("expression", X).of(call.first),
}

STEEPEST: Mapping[str, float] = {
    **dict.fromkeys(("Relu", "Clip", "Abs", "Neg", "Tanh", "Softplus", "Softsign", "Atan", "Asinh"), 1.0),
    **dict.fromkeys(("Sin", "Cos", "Identity", "Dropout", "Cast"), 1.0),
    "Sigmoid": 0.25,
    "Erf": 1.128379168,
    "Gelu none": 1.128904146,
    "Gelu tanh": 1.128993070,
    "Swish": 1.099839321,
    "Mish": 1.088498162,
    "HardSwish": 1.5,
}
"""sup|f'| on the whole line, rounded up, whatever the attributes are (x sigmoid(ax): substitute ax)."""


def steepest(node: Node) -> float:
    """sup|f'| of a node on the whole line, as far as `STEEPEST` has it; else infinite.

    Args:
        node: an element-wise one.
    """
    form = f" {node.attribute('approximate', 'none')}" if node.op == "Gelu" else ""
    return STEEPEST.get(node.op + form, math.inf)
