"""Arithmetic of two tensors or numbers, comparisons and choices."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import TensorProto

from convsv_cli.loaders.pt2.translation.pointwise import towards_zero
from convsv_cli.loaders.pt2.translation.writer import REALS, Build, Call, UntranslatedError

COMPARISONS = {"lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal"}


def _pair(op: str) -> Build:
    """Of two operands in the type of the result; `alpha` multiplies what is added or subtracted."""

    def build(call: Call) -> str:
        kind = call.kind()
        first, second = call.operand("self", kind), call.operand("other", kind)
        alpha = call.number("alpha", 1)
        if "rsub" in call.node.target:
            first, second = second, first
        if alpha != 1:
            second = call.emit("Mul", second, call.scalar(alpha, kind))
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


def _remainder(call: Call) -> str:
    """What is left of x / y: of whole times below it, or towards zero."""
    kind, truncated = call.kind(), "fmod" in call.node.target
    first, second = call.operand("self", kind), call.operand("other", kind)
    if kind not in REALS:
        return call.emit("Mod", first, second, fmod=int(truncated))
    quotient = call.emit("Div", first, second)
    whole = towards_zero(call, quotient, kind) if truncated else call.emit("Floor", quotient)
    return call.emit("Sub", first, call.emit("Mul", whole, second))


def _compared(op: str) -> Build:
    def build(call: Call) -> str:
        kind = _common(call)
        return call.emit(op, call.operand("self", kind), call.operand("other", kind))

    return build


def _common(call: Call) -> int:
    """The type in which two are compared: that of both, where they have one; a real one beside whole numbers.

    Raises:
        UntranslatedError: it follows from more than these.
    """
    kinds = {call.kind(name) for name in ("self", "other") if call.node.tensor(name)}
    reals = kinds.intersection(REALS)
    found = next(iter(reals or kinds))
    if len(reals or kinds) > 1:
        raise UntranslatedError("a comparison of numbers of several types")
    if reals or call.node.tensor("other"):
        return found
    number = call.number("other")
    if number != int(number):
        return TensorProto.FLOAT
    return TensorProto.INT64 if found == TensorProto.BOOL else found


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


def _end(side: int) -> Build:
    """Clamp_min and clamp_max."""

    def build(call: Call) -> str:
        kind, name = call.kind(), ("min", "max")[side]
        return call.emit(("Max", "Min")[side], call.operand("self", kind), call.operand(name, kind))

    return build


def _power(call: Call) -> str:
    kind = call.kind()
    return call.emit("Pow", call.operand("self", kind), call.operand("exponent", kind))


BUILDS: Mapping[str, Build] = {
    **{name: _compared(op) for name, op in COMPARISONS.items()},
    **{name: _pair(op) for name, op in (("add", "Add"), ("sub", "Sub"), ("mul", "Mul"), ("rsub", "Sub"))},
    **{name: _pair(op) for name, op in (("maximum", "Max"), ("minimum", "Min"))},
    **{f"logical_{name}": _logical(name.capitalize()) for name in ("and", "or", "xor")},
    **{f"bitwise_{name}": _logical(name.capitalize()) for name in ("and", "or", "xor")},
    **{f"__{name}__": _logical(name.capitalize()) for name in ("and", "or", "xor")},
    "ne": _different,
    "div": _divided,
    "floor_divide": _divided,
    "true_divide": _divided,
    "remainder": _remainder,
    "fmod": _remainder,
    "clamp_min": _end(0),
    "clamp_max": _end(1),
    "pow": _power,
    "where": _chosen,
    "masked_fill": _filled,
    "addcmul": _added_product("Mul"),
    "addcdiv": _added_product("Div"),
    "lerp": _between,
}
