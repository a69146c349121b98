"""Sizes of a program's tensors: numbers, or expressions in those of its inputs, at one input size.

Torch writes expressions as sympy does: "Add(Symbol('s77', positive=True), Integer(2))". They are parsed, and
nothing in them is called but what stands here.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

MOST_CHARACTERS, DEEPEST = 4096, 50
LARGEST = 2**53
"""Of a size: larger ones are none, and floats do not hold them."""
Number = Fraction
ONE = Number(1)


class NoSizeError(Exception):
    """What should be a size is none."""


def _power(base: Number, exponent: Number) -> Number:
    if exponent.denominator != 1 or abs(exponent) > 64 or (not base and exponent < 0):
        raise NoSizeError("a power that no size has")
    return Number(base ** int(exponent))


def _floor(a: Number, b: Number = ONE) -> Number:
    return Number(math.floor(a / b))


def _ceiling(a: Number, b: Number = ONE) -> Number:
    return Number(math.ceil(a / b))


FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "Integer": lambda a: a,
    "Float": lambda a, *_: a,
    "Rational": lambda a, b: a / b,
    "Add": lambda *terms: sum(terms, Number(0)),
    "Mul": lambda *factors: math.prod(factors, start=Number(1)),
    "Pow": _power,
    "PowByNatural": _power,
    "Max": max,
    "Min": min,
    "FloorDiv": _floor,
    "CleanDiv": _floor,
    "CeilDiv": _ceiling,
    "floor": _floor,
    "ceiling": _ceiling,
    "FloorToInt": _floor,
    "CeilToInt": _ceiling,
    "IntTrueDiv": lambda a, b: a / b,
    "ToFloat": lambda a: a,
    "Identity": lambda a: a,
    "TruncToInt": lambda a: Number(math.trunc(a)),
    "Mod": lambda a, b: a % b,
    "PythonMod": lambda a, b: a % b,
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the symbols in sizes stand for.

    Attributes:
        symbols: by name.
    """

    symbols: Mapping[str, int]

    def whole(self, size: Any) -> int:  # noqa: ANN401
        """A size of torch's export schema.

        Raises:
            NoSizeError: none that a tensor has, or in a symbol that no input's size gives.
            KeyError, TypeError, AttributeError: it is not of the schema.
        """
        expression = size.get("as_expr")
        number = size["as_int"] if expression is None else self.value(expression["expr_str"])
        if type(number) is not int or abs(number) > LARGEST:
            raise NoSizeError("a size that is not a number")
        return number

    def value(self, text: Any) -> int:  # noqa: ANN401
        """What an expression is.

        Raises:
            NoSizeError: see `whole`.
        """
        if type(text) is not str or len(text) > MOST_CHARACTERS:
            raise NoSizeError("a size that is no expression, or a long one")
        try:
            found = self._evaluated(ast.parse(text, mode="eval").body, DEEPEST)
        except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
            raise NoSizeError(f"a size that convsv does not compute: {text[:60]}") from error
        if found.denominator != 1:
            raise NoSizeError(f"a size that is not whole: {text[:60]}")
        return int(found)

    def _evaluated(self, tree: ast.expr, depth: int) -> Number:
        if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float):
            return Number(tree.value)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return -self._evaluated(tree.operand, depth - 1)
        name = symbol(tree)
        if name:
            if name not in self.symbols:
                raise NoSizeError(f"a size that no input gives: {name}")
            return Number(self.symbols[name])
        if depth and isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
            function = FUNCTIONS.get(tree.func.id)
            if function is not None:
                found = function(*(self._evaluated(each, depth - 1) for each in tree.args))
                if max(abs(found.numerator), found.denominator) <= LARGEST:
                    return found
        raise NoSizeError("a size that convsv does not compute")


def symbol_of(size: Any) -> str:  # noqa: ANN401
    """The symbol that a size is; empty where it is a number, or an expression in some."""
    text = (size.get("as_expr") or {}).get("expr_str")
    if type(text) is not str or len(text) > MOST_CHARACTERS or not text.startswith("Symbol("):
        return ""
    try:
        return symbol(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def symbol(tree: ast.expr) -> str:
    """The name in a parsed `Symbol('s0', ...)`; empty for anything else."""
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "Symbol":
        first = tree.args[0] if tree.args else None
        if isinstance(first, ast.Constant) and type(first.value) is str:
            return first.value
    return ""
