"""Functions of each number of a tensor, spelled as exporters, optimisers and people spell them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional

from benchmarks.written_terms import Spelling, Term

Function = Callable[[Tensor], Tensor]
ROOT2, TANH_SCALE, CUBIC = math.sqrt(2), math.sqrt(2 / math.pi), 0.044715
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def erf(x: Term) -> Term:
    """Of x over the root of two."""
    return (x / ROOT2)("Erf")


def relu6(x: Term) -> Term:
    """As torch exports it."""
    return x.clipped(0.0, 6.0)


def softplus(x: Term) -> Term:
    """log(1 + e^x)."""
    return (1 + x("Exp"))("Log")


def inner_tanh(x: Term) -> Term:
    """What GELU by tanh takes the tanh of."""
    return TANH_SCALE * (x + CUBIC * x**3.0)


def double(x: Term) -> Term:
    """In double precision."""
    return x.cast(TensorProto.DOUBLE)


def sign_of(x: Term) -> Term:
    """1 where positive, else 0."""
    return (x > 0.0).cast()


def ratio(up: Term, down: Term | float) -> Term:
    """Of the difference of two terms to their sum."""
    return (up - down) / (up + down)


def by_powers(x: Term) -> Term:
    """With e^x (e^x + 2), which over itself plus 2 is the tanh of softplus."""
    return x("Exp") * (x("Exp") + 2.0)


GELU: Mapping[str, Spelling] = {
    "torch": lambda x: x * 0.5 * (1 + erf(x)),
    "script": lambda x: x * (erf(x) + 1) * 0.5,
    "tf": lambda x: 0.5 * x * (1 + (x * 0.7071067811865476)("Erf")),
    "half-inside": lambda x: x * (0.5 + 0.5 * erf(x)),
    "half-last": lambda x: 0.5 * (x * (1 + erf(x))),
    "over-2": lambda x: x * (1 + erf(x)) / 2.0,
    "sum": lambda x: x * 0.5 * erf(x)("Sum", 1.0),
    "sum-whole": lambda x: (0.5 * x)("Sum", 0.5 * x * erf(x)),
    "expanded": lambda x: 0.5 * x + 0.5 * x * erf(x),
    "cast": lambda x: x * (1 + double(x / ROOT2).cast()("Erf")) * 0.5,
    "op": lambda x: x("Gelu"),
}
GELU_TANH: Mapping[str, Spelling] = {
    "torch": lambda x: 0.5 * x * (1 + inner_tanh(x)("Tanh")),
    "cubes": lambda x: 0.5 * x * (1 + (TANH_SCALE * (x + CUBIC * (x * x * x)))("Tanh")),
    "factored": lambda x: 0.5 * x * (1 + (x * TANH_SCALE * (1 + CUBIC * x * x))("Tanh")),
    "factored-pow": lambda x: 0.5 * x * ((x * (TANH_SCALE + TANH_SCALE * CUBIC * x**2.0))("Tanh") + 1),
    "sum": lambda x: 0.5 * x * (TANH_SCALE * x("Sum", CUBIC * x**3.0))("Tanh")("Sum", 1.0),
    "sigmoid": lambda x: x * (2 * inner_tanh(x))("Sigmoid"),
    "op": lambda x: x("Gelu", approximate="tanh"),
}
SILU: Mapping[str, Spelling] = {
    "torch": lambda x: x * x("Sigmoid"),
    "reversed": lambda x: x("Sigmoid") * x,
    "exp": lambda x: x / (1 + (-x)("Exp")),
    "reciprocal": lambda x: x * (1 + (-x)("Exp"))("Reciprocal"),
    "one-over": lambda x: x * (1 / (1 + (-x)("Exp"))),
    "pow": lambda x: x * (1 + (-x)("Exp")) ** -1.0,
    "tanh": lambda x: x * 0.5 * (1 + (0.5 * x)("Tanh")),
    "cast": lambda x: x * double(x)("Sigmoid").cast(),
    "op": lambda x: x("Swish"),
}
QUICK_GELU: Mapping[str, Spelling] = {
    "torch": lambda x: x * (1.702 * x)("Sigmoid"),
    "exp": lambda x: x / (1 + (x * -1.702)("Exp")),
}
MISH: Mapping[str, Spelling] = {
    "torch": lambda x: x * x("Softplus")("Tanh"),
    "log-exp": lambda x: x * softplus(x)("Tanh"),
    "threshold": lambda x: x * (x > 20.0).where(x, x("Softplus"))("Tanh"),
    "powers": lambda x: x * (by_powers(x) / (by_powers(x) + 2.0)),
    "powers-last": lambda x: x * by_powers(x) / (by_powers(x) + 2.0),
    "squares": lambda x: x * ratio((1 + x("Exp")) ** 2.0, 1.0),
    "op": lambda x: x("Mish"),
}
HARD_SWISH: Mapping[str, Spelling] = {
    "torch": lambda x: x * (relu6(x + 3) / 6.0),
    "tf": lambda x: x * relu6(x + 3) * (1 / 6),
    "before": lambda x: x * relu6(x + 3) / 6.0,
    "min-relu": lambda x: x * (x + 3)("Relu")("Min", 6.0) / 6.0,
    "max-min": lambda x: x * ((x + 3)("Max", 0.0)("Min", 6.0) / 6.0),
    "clip-01": lambda x: x * (x / 6.0 + 0.5).clipped(0.0, 1.0),
    "hard-sigmoid": lambda x: x * x("HardSigmoid", alpha=1 / 6, beta=0.5),
    "where": lambda x: (x < -3.0).where(0.0, (x > 3.0).where(x, x * (x + 3) / 6.0)),
    "op": lambda x: x("HardSwish"),
}
SOFTPLUS: Mapping[str, Spelling] = {
    "op": lambda x: x("Softplus"),
    "log-exp": softplus,
    "threshold": lambda x: (x > 20.0).where(x, x("Softplus")),
    "threshold-log": lambda x: (x > 20.0).where(x, softplus(x)),
    "threshold-less": lambda x: (x < 20.0).where(softplus(x), x),
    "threshold-min": lambda x: (x > 20.0).where(x, softplus(x("Min", 20.0))),
    "stable": lambda x: x("Relu") + softplus(-x("Abs")),
    "stable-max": lambda x: x("Max", 0.0) + softplus(-x("Abs")),
    "log-sigmoid": lambda x: -(-x)("Sigmoid")("Log"),
}
SOFTPLUS_BETA: Mapping[str, Spelling] = {
    "torch": lambda x: (x * 2.0 > 20.0).where(x, (x * 2.0)("Softplus") / 2.0),
    "op": lambda x: (x * 2.0)("Softplus") / 2.0,
    "log-exp": lambda x: softplus(2 * x) * 0.5,
}
ELU: Mapping[str, Spelling] = {
    "op": lambda x: x("Elu", alpha=1.0),
    "where": lambda x: (x > 0.0).where(x, x("Exp") - 1),
    "where-less": lambda x: (x < 0.0).where(x("Exp") - 1, x),
    "where-min": lambda x: (x > 0.0).where(x, x("Min", 0.0)("Exp") - 1),
    "where-equal": lambda x: x("GreaterOrEqual", 0.0).where(x, x("Exp") - 1),
    "where-not": lambda x: (x > 0.0)("Not").where(x("Exp") - 1, x),
    "relu-min": lambda x: x("Relu") + (x("Exp") - 1)("Min", 0.0),
    "relu-relu": lambda x: x("Relu") - (1 - x("Exp"))("Relu"),
    "max-clip": lambda x: x("Max", 0.0) + (x.clipped(None, 0.0)("Exp") - 1),
    "masks": lambda x: x * sign_of(x) + (x("Min", 0.0)("Exp") - 1) * (1 - sign_of(x)),
}
SELU: Mapping[str, Spelling] = {
    "op": lambda x: x("Selu"),
    "where": lambda x: SELU_SCALE * (x > 0.0).where(x, SELU_ALPHA * (x("Exp") - 1)),
    "where-elu": lambda x: SELU_SCALE * (x > 0.0).where(x, x("Elu", alpha=SELU_ALPHA)),
    "elu": lambda x: SELU_SCALE * x("Elu", alpha=SELU_ALPHA),
    "relu-min": lambda x: SELU_SCALE * (x("Relu") + (SELU_ALPHA * (x("Exp") - 1))("Min", 0.0)),
}
LEAKY: Mapping[str, Spelling] = {
    "op": lambda x: x("LeakyRelu", alpha=0.2),
    "where": lambda x: (x < 0.0).where(0.2 * x, x),
    "where-greater": lambda x: (x > 0.0).where(x, x * 0.2),
    "max": lambda x: x("Max", 0.2 * x),
    "relus": lambda x: x("Relu") - 0.2 * (-x)("Relu"),
    "max-min": lambda x: x("Max", 0.0) + 0.2 * x("Min", 0.0),
    "masks": lambda x: x * (sign_of(x) + 0.2 * (1 - sign_of(x))),
    "where-slope": lambda x: x * (x > 0.0).where(1.0, 0.2),
    "abs": lambda x: 0.6 * x + 0.4 * x("Abs"),
}
RELU: Mapping[str, Spelling] = {
    "op": lambda x: x("Relu"),
    "mask": lambda x: x * sign_of(x),
    "where": lambda x: (x > 0.0).where(x, 0.0),
    "where-less": lambda x: (x < 0.0).where(0.0, x),
    "max": lambda x: x("Max", 0.0),
    "clip": lambda x: x.clipped(0.0),
    "abs": lambda x: 0.5 * (x + x("Abs")),
    "not-mask": lambda x: x * (x < 0.0)("Not").cast(),
    "sign": lambda x: x * x("Sign")("Relu"),
}
ABS: Mapping[str, Spelling] = {
    "op": lambda x: x("Abs"),
    "sign": lambda x: x * x("Sign"),
    "where": lambda x: (x < 0.0).where(-x, x),
    "max": lambda x: x("Max", -x),
    "root": lambda x: (x * x)("Sqrt"),
    "root-pow": lambda x: (x**2.0) ** 0.5,
}
SIGMOID: Mapping[str, Spelling] = {
    "op": lambda x: x("Sigmoid"),
    "exp": lambda x: 1 / (1 + (-x)("Exp")),
    "reciprocal": lambda x: (1 + (-x)("Exp"))("Reciprocal"),
    "tanh": lambda x: 0.5 + 0.5 * (0.5 * x)("Tanh"),
    "ratio": lambda x: x("Exp") / (x("Exp") + 1),
}
TANH: Mapping[str, Spelling] = {
    "op": lambda x: x("Tanh"),
    "exp": lambda x: ratio(x("Exp"), (-x)("Exp")),
    "exp-half": lambda x: ratio(0.5 * x("Exp"), 0.5 * (-x)("Exp")),
    "exp-up": lambda x: ratio((2 * x)("Exp"), 1.0),
    "exp-down": lambda x: (1 - (-2 * x)("Exp")) / (1 + (-2 * x)("Exp")),
    "exp-times": lambda x: (1 - (-2 * x)("Exp")) * (1 + (-2 * x)("Exp"))("Reciprocal"),
    "sigmoid": lambda x: 2 * (2 * x)("Sigmoid") - 1,
    "exp-2": lambda x: 1 - 2 / ((2 * x)("Exp") + 1),
}
SOFTSIGN: Mapping[str, Spelling] = {
    "op": lambda x: x("Softsign"),
    "div": lambda x: x / (1 + x("Abs")),
    "reciprocal": lambda x: x * (x("Abs") + 1)("Reciprocal"),
}
CHARBONNIER: Mapping[str, Spelling] = {
    "mul": lambda x: (x * x + 1e-3)("Sqrt"),
    "pow": lambda x: (x**2.0 + 1e-3) ** 0.5,
}
SNAKE: Mapping[str, Spelling] = {
    "pow": lambda x: x + 0.5 * (2.0 * x)("Sin") ** 2.0,
    "mul": lambda x: x + 0.5 * ((2.0 * x)("Sin") * (2.0 * x)("Sin")),
}
GAUSS: Mapping[str, Spelling] = {
    "mul": lambda x: (-(x * x))("Exp"),
    "pow": lambda x: (-(x**2.0) / 2.0 * 2.0)("Exp"),
    "reciprocal": lambda x: 1 / (x * x)("Exp"),
}


def snake(x: Tensor) -> Tensor:
    """The function x + sin(2x)^2 / 2 (Ziyin, Hartwig & Ueda, NeurIPS 2020)."""
    return x + 0.5 * torch.sin(2 * x) ** 2


SCALARS: Mapping[str, tuple[Function, Mapping[str, Spelling]]] = {
    "GELU": (functional.gelu, GELU),
    "GELU-tanh": (partial(functional.gelu, approximate="tanh"), GELU_TANH),
    "QuickGELU": (lambda x: x * torch.sigmoid(1.702 * x), QUICK_GELU),
    "SiLU": (functional.silu, SILU),
    "Mish": (functional.mish, MISH),
    "HardSwish": (lambda x: x * (x + 3).clamp(0, 6) / 6, HARD_SWISH),
    "Softplus": (functional.softplus, SOFTPLUS),
    "Softplus-2": (partial(functional.softplus, beta=2), SOFTPLUS_BETA),
    "ELU": (functional.elu, ELU),
    "SELU": (functional.selu, SELU),
    "LeakyReLU": (partial(functional.leaky_relu, negative_slope=0.2), LEAKY),
    "ReLU": (functional.relu, RELU),
    "Abs": (torch.abs, ABS),
    "Sigmoid": (torch.sigmoid, SIGMOID),
    "Tanh": (torch.tanh, TANH),
    "Softsign": (functional.softsign, SOFTSIGN),
    "Charbonnier": (lambda x: torch.sqrt(x * x + 1e-3), CHARBONNIER),
    "Snake": (snake, SNAKE),
    "Gauss": (lambda x: torch.exp(-x * x), GAUSS),
}
"""The function in torch, and its spellings."""
