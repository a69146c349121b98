"""ONNX operators by torch's functions, as far as their inputs vary at all."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from convsv_cli.model.graph import Node

T = TypeVar("T")
MOST = 2**26
"""Entries of all tensors of one sample together; more would not fit into memory."""


class UndifferentiableError(Exception):
    """There is no gradient; the reason, in words."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """A node and its inputs, None for an optional one that is left out."""

    node: Node
    inputs: tuple[Tensor | None, ...]

    def __getitem__(self, index: int) -> Tensor:
        """An input that must be there."""
        value = self.optional(index)
        if value is None:
            raise UndifferentiableError(f"{self.node.op} {self.node.name!r} lacks its input {index}")
        return value

    def optional(self, index: int) -> Tensor | None:
        """An input, or None."""
        return self.inputs[index] if index < len(self.inputs) else None

    def attribute(self, name: str, default: T) -> T:
        """The node's attribute; the default where it is absent."""
        return self.node.attribute(name, default)

    def numbers(self, index: int) -> tuple[int, ...] | None:
        """Whole numbers, of an input; None where it is left out."""
        value = self.optional(index)
        return None if value is None else tuple(value.flatten().tolist())


Operator = Callable[[Values], Tensor | tuple[Tensor, ...]]


def _first(function: Callable[[Tensor], Tensor]) -> Operator:
    """Of one tensor, without attributes."""
    return lambda v: function(v[0])


def _all(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """Of any number of tensors, from the left."""
    return lambda v: functools.reduce(function, (v[i] for i in range(len(v.inputs))))


def _gemm(v: Values) -> Tensor:
    a = v[0].T if v.attribute("transA", 0) else v[0]
    b = v[1].T if v.attribute("transB", 0) else v[1]
    product = v.attribute("alpha", 1.0) * (a @ b)
    bias = v.optional(2)
    return product if bias is None else product + v.attribute("beta", 1.0) * bias


def _batch_norm(v: Values) -> Tensor:
    if v.attribute("training_mode", 0):
        raise UndifferentiableError("BatchNormalization is in training mode")
    shape = (-1, *(1 for _ in v[0].shape[2:]))
    scale = v[1] / (v[4] + v.attribute("epsilon", 1e-5)).sqrt()
    return v[0] * scale.view(shape) + (v[2] - v[3] * scale).view(shape)


def _instance_norm(v: Values) -> Tensor:
    return functional.instance_norm(v[0], weight=v[1], bias=v[2], eps=v.attribute("epsilon", 1e-5))


def _layer_norm(v: Values) -> Tensor:
    shape = v[0].shape[v.attribute("axis", -1) :]
    return functional.layer_norm(v[0], shape, v[1], v.optional(2), v.attribute("epsilon", 1e-5))


def _clip(v: Values) -> Tensor:
    low, high = v.optional(1), v.optional(2)
    value = v[0] if low is None else torch.maximum(v[0], low.to(v[0]))
    return value if high is None else torch.minimum(value, high.to(v[0]))


def _gelu(v: Values) -> Tensor:
    return functional.gelu(v[0], approximate=v.attribute("approximate", "none"))


def _selu(v: Values) -> Tensor:
    alpha, gamma = v.attribute("alpha", 1.6732632), v.attribute("gamma", 1.0507010)
    return gamma * torch.where(v[0] > 0, v[0], alpha * torch.expm1(v[0].clamp_max(0)))


def _hard_sigmoid(v: Values) -> Tensor:
    return (v.attribute("alpha", 0.2) * v[0] + v.attribute("beta", 0.5)).clamp(0, 1)


def _softmax(function: Callable[..., Tensor]) -> Operator:
    return lambda v: function(v[0], dim=v.attribute("axis", -1))


def _reduced(function: Callable[..., Tensor]) -> Operator:
    def apply(v: Values) -> Tensor:
        axes = v.numbers(1)
        if not axes and v.attribute("noop_with_empty_axes", 0):
            return v[0]
        axes = axes or tuple(range(v[0].ndim))
        return function(v[0], dim=axes, keepdim=bool(v.attribute("keepdims", 1)))

    return apply


def _reshape(v: Values) -> Tensor:
    sizes = v.numbers(1) or ()
    kept = not v.attribute("allowzero", 0)
    return v[0].reshape([v[0].shape[i] if size == 0 and kept else size for i, size in enumerate(sizes)])


def _flatten(v: Values) -> Tensor:
    axis = v.attribute("axis", 1)
    axis += v[0].ndim if axis < 0 else 0
    return v[0].reshape(math.prod(v[0].shape[:axis]), -1)


def _transpose(v: Values) -> Tensor:
    return v[0].permute(v.attribute("perm", tuple(reversed(range(v[0].ndim)))))


def _squeeze(v: Values) -> Tensor:
    axes = v.numbers(1)
    return v[0].squeeze() if axes is None else v[0].squeeze(axes)


def _unsqueeze(v: Values) -> Tensor:
    axes = v.numbers(1) or ()
    value = v[0]
    for axis in sorted(axis % (v[0].ndim + len(axes)) for axis in axes):
        value = value.unsqueeze(axis)
    return value


def _concat(v: Values) -> Tensor:
    return torch.cat([v[i] for i in range(len(v.inputs))], dim=v.attribute("axis", 0))


def _pad(v: Values) -> Tensor:
    pads, axes = v.numbers(1) or (), v.numbers(3)
    if v.attribute("mode", "constant") != "constant":
        raise UndifferentiableError(f"Pad is of mode {v.attribute('mode', '')}")
    chosen = [axis % v[0].ndim for axis in axes] if axes is not None else list(range(v[0].ndim))
    ends = dict(zip(chosen, zip(pads, pads[len(chosen) :], strict=False), strict=True))
    flat = [end for axis in reversed(range(v[0].ndim)) for end in ends.get(axis, (0, 0))]
    value = v.optional(2)
    return functional.pad(v[0], flat, value=0.0 if value is None else float(value))


def _slice(v: Values) -> Tensor:
    starts, ends = v.numbers(1) or (), v.numbers(2) or ()
    axes = v.numbers(3) or tuple(range(len(starts)))
    steps = v.numbers(4) or (1,) * len(starts)
    index = [slice(None)] * v[0].ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise UndifferentiableError("Slice goes backwards")
        index[axis % v[0].ndim] = slice(start, end, step)
    return v[0][tuple(index)]


def _split(v: Values) -> tuple[Tensor, ...]:
    axis, sizes = v.attribute("axis", 0), v.numbers(1)
    if sizes is None:
        return torch.chunk(v[0], len(v.node.outputs), dim=axis)
    return torch.split(v[0], list(sizes), dim=axis)


OPERATORS: Mapping[str, Operator] = {
    "Abs": _first(torch.abs),
    "Add": _all(torch.add),
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _all(torch.div),
    "Dropout": _first(lambda x: x),
    "Elu": lambda v: functional.elu(v[0], v.attribute("alpha", 1.0)),
    "Erf": _first(torch.erf),
    "Exp": _first(torch.exp),
    "Flatten": _flatten,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _first(lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "GlobalMaxPool": _first(lambda x: x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "Greater": lambda v: v[0] > v[1],
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _first(functional.hardswish),
    "Identity": _first(lambda x: x),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda v: functional.leaky_relu(v[0], v.attribute("alpha", 0.01)),
    "LogSoftmax": _softmax(functional.log_softmax),
    "MatMul": _all(operator.matmul),
    "Max": _all(torch.maximum),
    "Min": _all(torch.minimum),
    "Mish": _first(functional.mish),
    "Mul": _all(torch.mul),
    "Neg": _first(torch.neg),
    "PRelu": lambda v: torch.where(v[0] < 0, v[1] * v[0], v[0]),
    "Pad": _pad,
    "Pow": lambda v: v[0] ** v[1],
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _first(torch.relu),
    "Reshape": _reshape,
    "Selu": _selu,
    "Sigmoid": _first(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax(functional.softmax),
    "Softplus": _first(functional.softplus),
    "Softsign": _first(functional.softsign),
    "Split": _split,
    "Sqrt": _first(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _all(torch.sub),
    "Sum": _all(torch.add),
    "Tanh": _first(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": lambda v: torch.where(v[0].bool(), v[1], v[2]),
}
"""By operator type; further outputs, such as Dropout's mask, are not made."""
