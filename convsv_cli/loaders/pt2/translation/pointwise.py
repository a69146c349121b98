"""Functions of each entry."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from onnx import TensorProto

from convsv_cli.loaders.pt2.translation.writer import Build, Call, UntranslatedError

SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan",
    "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "erf": "Erf", "exp": "Exp",
    "floor": "Floor", "log": "Log", "logical_not": "Not", "mish": "Mish", "neg": "Neg",
    "reciprocal": "Reciprocal", "relu": "Relu", "sigmoid": "Sigmoid", "sign": "Sign",
    "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh", "hardswish": "HardSwish",
}  # fmt: skip
"""Operators of ONNX that are the same function."""


SMOOTH = 20.0
"""The least threshold of a Softplus at which it does not jump by more than it is rounded."""


def _same(op: str) -> Build:
    return lambda call: call.emit(op, call.operand("self", call.kind()))


def _of(build: Callable[[Call, str, int], str]) -> Build:
    """One that looks at its first operand, in the type of the result."""
    return lambda call: build(call, call.operand("self", call.kind()), call.kind())


def _leaky(call: Call, x: str, _: int) -> str:
    return call.emit("LeakyRelu", x, alpha=call.number("negative_slope", 0.01))


def _elu(call: Call, x: str, kind: int) -> str:
    """ELU as torch has it: scale * (x above 0, alpha (exp(input_scale x) - 1) below)."""
    scale, inner = call.number("scale", 1.0), call.number("input_scale", 1.0)
    if inner != 1.0:
        raise UntranslatedError("an ELU with an input_scale")
    made = call.emit("Elu", x, alpha=call.number("alpha", 1.0))
    return made if scale == 1.0 else call.emit("Mul", made, call.scalar(scale, kind))


def _softplus(call: Call, x: str, kind: int) -> str:
    """Above the threshold torch gives x itself: a jump by log(1 + exp(-threshold)) / beta.

    From 20 on, which is the default, that is below the rounding of single precision.
    """
    beta = call.number("beta", 1.0)
    if call.number("threshold", SMOOTH) < SMOOTH:
        raise UntranslatedError("a Softplus that jumps at its threshold")
    if beta == 1.0:
        return call.emit("Softplus", x)
    made = call.emit("Softplus", call.emit("Mul", x, call.scalar(beta, kind)))
    return call.emit("Div", made, call.scalar(beta, kind))


def _clip(call: Call, x: str, low: float | None, high: float | None) -> str:
    ends = ("" if end is None else call.scalar(end, call.kind()) for end in (low, high))
    return call.emit("Clip", x, *ends)


def _clamped(call: Call) -> str:
    x, kind = call.operand("self", call.kind()), call.kind()
    for name, op in (("min", "Max"), ("max", "Min")):
        if call.node.tensor(name):
            x = call.emit(op, x, call.operand(name, kind))
    ends = (
        call.number(name) if call.has(name) and not call.node.tensor(name) else None
        for name in ("min", "max")
    )
    low, high = ends
    return x if low is high is None else _clip(call, x, low, high)


def _hard_sigmoid(call: Call, x: str, _: int) -> str:
    return call.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5)


def _gelu(call: Call, x: str, _: int) -> str:
    return call.emit("Gelu", x, approximate=call.text("approximate", "none"))


def _silu(call: Call, x: str, _: int) -> str:
    return call.emit("Mul", x, call.emit("Sigmoid", x))


def _log_sigmoid(call: Call, x: str, _: int) -> str:
    return call.emit("Neg", call.emit("Softplus", call.emit("Neg", x)))


def _glu(call: Call, x: str, _: int) -> str:
    first, second = call.several("Split", x, outputs=2, axis=call.whole("dim", -1), num_outputs=2)
    return call.emit("Mul", first, call.emit("Sigmoid", second))


def _less_one(op: str, *, before: float, after: float) -> Build:
    """Exp(x) - 1, log(1 + x) and their like."""

    def build(call: Call) -> str:
        kind = call.kind()
        x = call.operand("self", kind)
        x = call.emit("Add", x, call.scalar(before, kind)) if before else x
        made = call.emit(op, x)
        return call.emit("Add", made, call.scalar(after, kind)) if after else made

    return build


def _based(op: str, base: float) -> Build:
    """Logarithms and powers of other bases."""

    def build(call: Call) -> str:
        kind = call.kind()
        x, factor = call.operand("self", kind), call.scalar(math.log(base), kind)
        if op == "Log":
            return call.emit("Div", call.emit("Log", x), factor)
        return call.emit("Exp", call.emit("Mul", x, factor))

    return build


def _square(call: Call, x: str, kind: int) -> str:
    return call.emit("Pow", x, call.scalar(2.0, kind))


def _inverse_root(call: Call, x: str, _: int) -> str:
    return call.emit("Reciprocal", call.emit("Sqrt", x))


def _threshold(call: Call, x: str, kind: int) -> str:
    above = call.emit("Greater", x, call.scalar(call.number("threshold"), kind))
    return call.emit("Where", above, x, call.scalar(call.number("value"), kind))


def _shrunk(call: Call, x: str, _: int) -> str:
    hard = "hardshrink" in call.node.target
    lambd = call.number("lambd", 0.5)
    return call.emit("Shrink", x, lambd=lambd, bias=0.0 if hard else lambd)


def _tanh_shrunk(call: Call, x: str, _: int) -> str:
    return call.emit("Sub", x, call.emit("Tanh", x))


def _prelu(call: Call) -> str:
    weight, rank = call.tensor("weight"), len(call.shape())
    count = math.prod(call.shape("weight"))
    slope = weight if rank < 2 else call.reshaped(weight, (count, *(1 for _ in range(rank - 2))))
    return call.emit("PRelu", call.tensor(), slope)


def _rounded(call: Call, x: str, _: int) -> str:
    if call.number("decimals", 0):
        raise UntranslatedError("rounding to decimals")
    return call.emit("Round", x)


def towards_zero(call: Call, x: str, _: int) -> str:
    """Without what is behind the point."""
    return call.emit("Mul", call.emit("Sign", x), call.emit("Floor", call.emit("Abs", x)))


def _fraction(call: Call, x: str, kind: int) -> str:
    return call.emit("Sub", x, towards_zero(call, x, kind))


def _inverted(call: Call) -> str:
    op = "Not" if call.kind() == TensorProto.BOOL else "BitwiseNot"
    return call.emit(op, call.tensor())


def _ranged(name: str, low: float, high: float) -> Mapping[str, Build]:
    def build(call: Call) -> str:
        x = call.operand("self", call.kind())
        return _clip(call, x, call.number("min_val", low), call.number("max_val", high))

    return {name: build}


def _without_numbers(call: Call, x: str, kind: int) -> str:
    """nan_to_num, of which only what it does to NaN concerns networks."""
    return call.emit("Where", call.emit("IsNaN", x), call.scalar(call.number("nan", 0.0), kind), x)


BUILDS: Mapping[str, Build] = {
    **{name: _same(op) for name, op in SAME.items()},
    **_ranged("hardtanh", -1.0, 1.0),
    **_ranged("relu6", 0.0, 6.0),
    "bitwise_not": _inverted,
    "round": _of(_rounded),
    "trunc": _of(towards_zero),
    "fix": _of(towards_zero),
    "frac": _of(_fraction),
    "leaky_relu": _of(_leaky),
    "elu": _of(_elu),
    "celu": _of(lambda call, x, _: call.emit("Celu", x, alpha=call.number("alpha", 1.0))),
    "selu": _same("Selu"),
    "softplus": _of(_softplus),
    "softsign": _same("Softsign"),
    "clamp": _clamped,
    "clip": _clamped,
    "hardsigmoid": _of(_hard_sigmoid),
    "gelu": _of(_gelu),
    "silu": _of(_silu),
    "log_sigmoid": _of(_log_sigmoid),
    "log_sigmoid_forward": _of(_log_sigmoid),
    "glu": _of(_glu),
    "expm1": _less_one("Exp", before=0.0, after=-1.0),
    "log1p": _less_one("Log", before=1.0, after=0.0),
    "log2": _based("Log", 2.0),
    "log10": _based("Log", 10.0),
    "exp2": _based("Exp", 2.0),
    "square": _of(_square),
    "rsqrt": _of(_inverse_root),
    "threshold": _of(_threshold),
    "hardshrink": _of(_shrunk),
    "softshrink": _of(_shrunk),
    "tanhshrink": _of(_tanh_shrunk),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "nan_to_num": _of(_without_numbers),
    "isnan": lambda call: call.emit("IsNaN", call.tensor()),
}
