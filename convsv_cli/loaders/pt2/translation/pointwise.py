"""Functions of each entry, and of pairs of entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from onnx import TensorProto

from convsv_cli.loaders.pt2.translation.writer import REALS, Build, Call, UntranslatedError

SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan",
    "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "erf": "Erf", "exp": "Exp",
    "floor": "Floor", "log": "Log", "logical_not": "Not", "mish": "Mish", "neg": "Neg",
    "reciprocal": "Reciprocal", "relu": "Relu", "round": "Round", "sigmoid": "Sigmoid", "sign": "Sign",
    "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh", "hardswish": "HardSwish",
}  # fmt: skip
"""Operators of ONNX that are the same function."""
COMPARISONS = {"lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal"}


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
    """Above the threshold torch gives x itself, which Softplus is to within its rounding."""
    beta = call.number("beta", 1.0)
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


def _power(call: Call) -> str:
    kind = call.kind()
    return call.emit("Pow", call.operand("self", kind), call.operand("exponent", kind))


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


def _pair(op: str) -> Build:
    """Of two operands in the type of the result; `alpha` multiplies the second."""

    def build(call: Call) -> str:
        kind = call.kind()
        first, second = call.operand("self", kind), call.operand("other", kind)
        alpha = call.number("alpha", 1)
        if alpha != 1:
            second = call.emit("Mul", second, call.scalar(alpha, kind))
        if "rsub" in call.node.target:
            first, second = second, first
        if kind == TensorProto.BOOL:
            op_of_truths = {"Add": "Or", "Mul": "And"}.get(op)
            if op_of_truths is None:
                raise UntranslatedError("arithmetic of truth values")
            return call.emit(op_of_truths, first, second)
        return call.emit(op, first, second)

    return build


def _divided(call: Call) -> str:
    kind, mode = call.kind(), call.text("rounding_mode")
    first, second = call.operand("self", kind), call.operand("other", kind)
    if "floor_divide" in call.node.target:
        mode = "floor"
    if not mode:
        return call.emit("Div", first, second)
    if mode != "floor" or kind not in REALS:
        raise UntranslatedError("a division of whole numbers")
    return call.emit("Floor", call.emit("Div", first, second))


def _towards_zero(call: Call, x: str, _: int) -> str:
    return call.emit("Mul", call.emit("Sign", x), call.emit("Floor", call.emit("Abs", x)))


def _fraction(call: Call, x: str, kind: int) -> str:
    return call.emit("Sub", x, _towards_zero(call, x, kind))


def _remainder(call: Call) -> str:
    """What is left of x / y: of whole times below it, or towards zero."""
    kind, truncated = call.kind(), "fmod" in call.node.target
    first, second = call.operand("self", kind), call.operand("other", kind)
    if kind not in REALS:
        return call.emit("Mod", first, second, fmod=int(truncated))
    quotient = call.emit("Div", first, second)
    whole = _towards_zero(call, quotient, kind) if truncated else call.emit("Floor", quotient)
    return call.emit("Sub", first, call.emit("Mul", whole, second))


def _compared(op: str) -> Build:
    def build(call: Call) -> str:
        kinds = [call.kind(name) for name in ("self", "other") if call.node.tensor(name)]
        kind = next((each for each in kinds if each in REALS), kinds[0])
        if kind not in REALS and not call.node.tensor("other"):
            number = call.number("other")
            kind = kind if number == int(number) else TensorProto.FLOAT
        return call.emit(op, call.operand("self", kind), call.operand("other", kind))

    return build


def _different(call: Call) -> str:
    return call.emit("Not", str(_compared("Equal")(call)))


def _logical(op: str) -> Build:
    truth = TensorProto.BOOL

    def build(call: Call) -> str:
        if call.kind() != truth:
            raise UntranslatedError("arithmetic of bits")
        return call.emit(op, call.operand("self", truth), call.operand("other", truth))

    return build


def _chosen(call: Call) -> str:
    kind = call.kind()
    return call.emit(
        "Where", call.tensor("condition"), call.operand("self", kind), call.operand("other", kind)
    )


def _filled(call: Call) -> str:
    kind = call.kind()
    mask = call.operand("mask", TensorProto.BOOL)
    return call.emit("Where", mask, call.operand("value", kind), call.operand("self", kind))


def _added_product(op: str) -> Build:
    """Self + value * (tensor1 op tensor2)."""

    def build(call: Call) -> str:
        kind, value = call.kind(), call.number("value", 1)
        made = call.emit(op, call.operand("tensor1", kind), call.operand("tensor2", kind))
        if value != 1:
            made = call.emit("Mul", made, call.scalar(value, kind))
        return call.emit("Add", call.operand("self", kind), made)

    return build


def _between(call: Call) -> str:
    """Lerp: self + weight (end - self)."""
    kind = call.kind()
    first = call.operand("self", kind)
    step = call.emit("Sub", call.operand("end", kind), first)
    return call.emit("Add", first, call.emit("Mul", call.operand("weight", kind), step))


def _ranged(name: str, low: float, high: float) -> Mapping[str, Build]:
    def build(call: Call) -> str:
        x = call.operand("self", call.kind())
        return _clip(call, x, call.number("min_val", low), call.number("max_val", high))

    return {name: build}


def _end(side: int) -> Build:
    """Clamp_min and clamp_max."""

    def build(call: Call) -> str:
        kind, name = call.kind(), ("min", "max")[side]
        return call.emit(("Max", "Min")[side], call.operand("self", kind), call.operand(name, kind))

    return build


def _without_numbers(call: Call, x: str, kind: int) -> str:
    """nan_to_num, of which only what it does to NaN concerns networks."""
    return call.emit("Where", call.emit("IsNaN", x), call.scalar(call.number("nan", 0.0), kind), x)


BUILDS: Mapping[str, Build] = {
    **{name: _same(op) for name, op in SAME.items()},
    **{name: _compared(op) for name, op in COMPARISONS.items()},
    **_ranged("hardtanh", -1.0, 1.0),
    **_ranged("relu6", 0.0, 6.0),
    **{name: _pair(op) for name, op in (("add", "Add"), ("sub", "Sub"), ("mul", "Mul"), ("rsub", "Sub"))},
    **{name: _pair(op) for name, op in (("maximum", "Max"), ("minimum", "Min"))},
    **{f"logical_{name}": _logical(name.capitalize()) for name in ("and", "or", "xor")},
    **{f"bitwise_{name}": _logical(name.capitalize()) for name in ("and", "or", "xor")},
    **{f"__{name}__": _logical(name.capitalize()) for name in ("and", "or", "xor")},
    "bitwise_not": _same("Not"),
    "ne": _different,
    "div": _divided,
    "floor_divide": _divided,
    "true_divide": _divided,
    "remainder": _remainder,
    "fmod": _remainder,
    "trunc": _of(_towards_zero),
    "fix": _of(_towards_zero),
    "frac": _of(_fraction),
    "leaky_relu": _of(_leaky),
    "elu": _of(_elu),
    "celu": _of(lambda call, x, _: call.emit("Celu", x, alpha=call.number("alpha", 1.0))),
    "selu": _same("Selu"),
    "softplus": _of(_softplus),
    "softsign": _same("Softsign"),
    "clamp": _clamped,
    "clip": _clamped,
    "clamp_min": _end(0),
    "clamp_max": _end(1),
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
    "pow": _power,
    "square": _of(_square),
    "rsqrt": _of(_inverse_root),
    "threshold": _of(_threshold),
    "hardshrink": _of(_shrunk),
    "softshrink": _of(_shrunk),
    "tanhshrink": _of(_tanh_shrunk),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "where": _chosen,
    "masked_fill": _filled,
    "addcmul": _added_product("Mul"),
    "addcdiv": _added_product("Div"),
    "lerp": _between,
    "nan_to_num": _of(_without_numbers),
    "isnan": lambda call: call.emit("IsNaN", call.tensor()),
}
