"""Element-wise nodes as functions of one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar import Expression, number
from convsv_cli.model.graph import Node

OP = "convsv.Elementwise"
"""A node whose attribute "expression" is what it does to each entry of its input."""

SLOPE, LEAK = float(np.float32(0.2)), float(np.float32(0.01))
"""Defaults of alpha: attributes are of single precision."""

REAL_TYPES = (1, 10, 11, 16)  # float, float16, double, bfloat16 in TensorProto.DataType
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A node with an expression for each input; None where an optional one is left out.

    Constants are exact in `Expression.numbers`.
    """

    node: Node
    operands: Sequence[Expression | None]

    @property
    def first(self) -> Expression:
        """The first input."""
        return self.operand(0)

    def operand(self, index: int) -> Expression:
        """An input that must be there."""
        found = self.operands[index] if index < len(self.operands) else None
        if found is None:
            raise UnboundedError(f"its input {index} is missing")
        return found

    def given(self, index: int) -> bool:
        """Whether an input is there."""
        return index < len(self.operands) and self.operands[index] is not None

    def number(self, index: int) -> float:
        """An input that must be a constant."""
        found = self.operand(index)
        if not found.constant:
            raise UnboundedError(f"its input {self.node.inputs[index]!r} varies with the network's input")
        return found.numbers[0]

    def attribute(self, name: str, default: float) -> float:
        """A number; ONNX keeps defaults in single precision."""
        return float(self.node.attribute(name, float(np.float32(default))))


def expressed(node: Node, operands: Sequence[Expression | None]) -> Expression:
    """What a node does to each entry.

    Raises:
        UnboundedError: it is not element-wise, or does it in a way that convsv does not know.
    """
    builder = BUILDERS.get(node.op)
    if builder is None:
        raise UnboundedError("not an element-wise operator")
    result = builder(Call(node=node, operands=operands))
    if not all(math.isfinite(value) for value in _constants(result)):
        raise UnboundedError("one of its constants is not finite")
    return result


def _constants(expression: Expression) -> list[float]:
    own = list(expression.numbers) if expression.constant else []
    return own + [value for operand in expression.operands for value in _constants(operand)]


def _added(call: Call) -> Expression:
    return call.operand(0) + call.operand(1)


def _subtracted(call: Call) -> Expression:
    return call.operand(0) + call.operand(1) * -1.0


def _multiplied(call: Call) -> Expression:
    return call.operand(0) * call.operand(1)


def _divided(call: Call) -> Expression:
    a, b = call.operand(0), call.operand(1)
    return b.apply("Reciprocal") if a == number(1.0) else a / b


def _power(call: Call) -> Expression:
    exponent = call.number(1)
    if not math.isfinite(exponent):
        raise UnboundedError("its exponent is not finite")
    if exponent == 0:
        return number(1.0)
    if exponent < 0 and exponent == int(exponent):
        return call.first.apply("Pow", -exponent).apply("Reciprocal")
    return call.first.apply("Pow", exponent)


def _largest(call: Call) -> Expression:
    return _limited(call, -math.inf, math.inf, max)


def _smallest(call: Call) -> Expression:
    return _limited(call, -math.inf, math.inf, min)


def _limited(call: Call, lower: float, upper: float, choose: Callable[[float, float], float]) -> Expression:
    """Max or Min of one function and constants."""
    varying = [operand for operand in call.operands if operand is not None and not operand.constant]
    if len(varying) != 1:
        raise UnboundedError("the larger or smaller of several functions")
    for operand in call.operands:
        if operand is not None and operand.constant:
            if choose is max:
                lower = max(lower, _ordered(operand.numbers[0]))
            else:
                upper = min(upper, _ordered(operand.numbers[0]))
    return varying[0].apply("Clip", lower, upper)


def _ordered(value: float) -> float:
    if math.isnan(value):
        raise UnboundedError("one of its limits is not a number")
    return value


def _clipped(call: Call) -> Expression:
    lower = call.number(1) if call.given(1) else -math.inf
    upper = call.number(2) if call.given(2) else math.inf
    return call.first.apply("Clip", _ordered(lower), _ordered(upper))


def _hard_sigmoid(call: Call) -> Expression:
    scaled = call.first * call.attribute("alpha", SLOPE) + call.attribute("beta", 0.5)
    return scaled.apply("Clip", 0.0, 1.0)


def _hard_swish(call: Call) -> Expression:
    return call.first * (call.first + 3.0).apply("Clip", 0.0, 6.0) / 6.0


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


def _mish(call: Call) -> Expression:
    return call.first * call.first.apply("Softplus").apply("Tanh")


def _swish(call: Call) -> Expression:
    return call.first * (call.first * call.attribute("alpha", 1.0)).apply("Sigmoid")


def _celu(call: Call) -> Expression:
    alpha = call.attribute("alpha", 1.0)
    if alpha <= 0:
        raise UnboundedError("its alpha is not positive")
    return (call.first / alpha).apply("Elu", 1.0) * alpha


def _selu(call: Call) -> Expression:
    alpha = call.attribute("alpha", 1.67326319217681884765625)
    return call.first.apply("Elu", alpha) * call.attribute("gamma", 1.05070102214813232421875)


def _elu(call: Call) -> Expression:
    return call.first.apply("Elu", call.attribute("alpha", 1.0))


def _leaky(call: Call) -> Expression:
    return call.first.apply("LeakyRelu", call.attribute("alpha", LEAK), 1.0)


def _prelu(call: Call) -> Expression:
    return call.first.apply("LeakyRelu", call.number(1), 1.0)


def _shrunk(call: Call) -> Expression:
    """Without a jump: the part beyond [-lambd, lambd]."""
    bound = call.attribute("lambd", 0.5)
    if call.attribute("bias", 0.0) != bound or bound < 0:
        raise UnboundedError("it jumps, as its bias is not its lambd")
    return call.first + call.first.apply("Clip", -bound, bound) * -1.0


def _thresholded(call: Call) -> Expression:
    alpha = call.attribute("alpha", 1.0)
    if alpha != 0:
        raise UnboundedError(f"it jumps at {alpha:g}")
    return call.first.apply("LeakyRelu", 0.0, 1.0)


def _dropout(call: Call) -> Expression:
    if call.given(2) and call.number(2) != 0:
        raise UnboundedError("it drops at random: training_mode is set")
    return call.first


def _cast(call: Call) -> Expression:
    if call.node.attribute("to", 0) not in REAL_TYPES:
        raise UnboundedError("it rounds to a type that is not real")
    return call.first


def _as(op: str, *numbers: float) -> Callable[[Call], Expression]:
    return lambda call: call.first.apply(op, *numbers)


PLAIN = (
    *("Sigmoid", "Tanh", "Erf", "Softplus", "Softsign", "Atan", "Asinh", "Exp", "Log", "Reciprocal"),
    *("Sin", "Cos", "Tan", "Sinh", "Cosh", "Asin", "Acos", "Acosh", "Atanh"),
)

BUILDERS: Mapping[str, Callable[[Call], Expression]] = {
    **{op: _as(op) for op in PLAIN},
    "Relu": _as("LeakyRelu", 0.0, 1.0),
    "Abs": _as("LeakyRelu", -1.0, 1.0),
    "Sqrt": _as("Pow", 0.5),
    "Neg": lambda call: call.first * -1.0,
    "Identity": lambda call: call.first,
    "Add": _added,
    "Sub": _subtracted,
    "Mul": _multiplied,
    "Div": _divided,
    "Pow": _power,
    "Max": _largest,
    "Min": _smallest,
    "Clip": _clipped,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Gelu": _gelu,
    "Mish": _mish,
    "Swish": _swish,
    "Celu": _celu,
    "Selu": _selu,
    "Elu": _elu,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Shrink": _shrunk,
    "ThresholdedRelu": _thresholded,
    "Dropout": _dropout,
    "Cast": _cast,
    OP: lambda call: substituted(call.node.attributes["expression"], call.first),  # type: ignore[arg-type]
}


def substituted(expression: Expression, x: Expression) -> Expression:
    """The expression of another expression."""
    if expression.op == "x":
        return x
    operands = tuple(substituted(operand, x) for operand in expression.operands)
    return Expression(op=expression.op, operands=operands, numbers=expression.numbers)
