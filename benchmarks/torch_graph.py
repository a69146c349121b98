"""ONNX graphs of image classifiers run by torch, as they are or linearised, without any of convsv's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Slope:
    """An activation, of which a linearisation keeps one slope an entry.

    Attributes:
        lower, upper: what its slopes are in.
    """

    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class Window:
    """A max pool, of which a linearisation keeps one input a window.

    Attributes:
        largest: [b, c, h, w] to the indices of the largest entries in flattened planes, [b, c, h', w'].
    """

    largest: Callable[[Tensor], Tensor]


Choose = Callable[[str, Slope | Window, Tensor], Tensor]
"""Gives what a nonlinear node, told by its output's name, makes of its input in a linearised graph."""
ACTIVATIONS: Mapping[str, tuple[Slope, Callable[..., Tensor]]] = {
    "Relu": (Slope(lower=0, upper=1), torch.relu),
    "Clip": (Slope(lower=0, upper=1), torch.clamp),
    "Softplus": (Slope(lower=0, upper=1), functional.softplus),
    "Tanh": (Slope(lower=0, upper=1), torch.tanh),
    "Sigmoid": (Slope(lower=0, upper=0.25), torch.sigmoid),
}


class TorchGraph:
    """A graph with one input and one output, at a fixed input size, in single precision.

    Attributes:
        shape: of one input: [c, h, w], or [features].
    """

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        self._constants = {each.name: _tensor(each) for each in graph.initializer}
        self._nodes: list[NodeProto] = []
        for node in graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _tensor(node.attribute[0].t)
            else:
                self._nodes.append(node)
        (image,) = (each for each in graph.input if each.name not in self._constants)
        self._input, self._output = image.name, graph.output[0].name
        self.shape = tuple(dim.dim_value for dim in image.type.tensor_type.shape.dim[1:])

    def values(self, x: Tensor) -> Tensor:
        """What the network computes of inputs [b, *shape]."""
        return self._run(x, None)

    def linear(self, v: Tensor, choose: Choose) -> Tensor:
        """The image of directions [b, *shape] under the graph without its constant terms.

        Args:
            v: the directions.
            choose: stands for every activation and every max pool.
        """
        return self._run(v, choose)

    def _run(self, x: Tensor, choose: Choose | None) -> Tensor:
        tensors = {self._input: x}
        for node in self._nodes:
            step = _Step(node=node, tensors=tensors, constants=self._constants, choose=choose)
            tensors[node.output[0]] = step.result()
        return tensors[self._output]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    """One node, and what is known where it runs; in a linearised graph, constant terms are left out."""

    node: NodeProto
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    choose: Choose | None

    def result(self) -> Tensor:
        """Its output.

        Raises:
            NotImplementedError: for an operator that no classifier here has.
        """
        op = self.node.op_type
        if op in ACTIVATIONS:
            return self._activation(*ACTIVATIONS[op])
        if op not in OPERATORS:
            raise NotImplementedError(f"{op} at {self.node.name or self.node.output[0]}")
        return OPERATORS[op](self, self.tensor(0), self.attributes())

    def attributes(self) -> dict[str, Any]:
        """As plain values."""
        return {each.name: helper.get_attribute_value(each) for each in self.node.attribute}

    def tensor(self, index: int) -> Tensor:
        """An input, varying or not."""
        name = self.node.input[index]
        return self.tensors[name] if name in self.tensors else self.constants[name]

    def varies(self, index: int) -> bool:
        """Whether an input depends on the network's."""
        return self.node.input[index] in self.tensors

    def bias(self, index: int) -> Tensor | None:
        """A constant term; None where there is none, or the graph is linearised."""
        return self.tensor(index) if self.choose is None and len(self.node.input) > index else None

    def integers(self, index: int) -> list[int]:
        """A constant input of whole numbers."""
        return [int(each) for each in self.tensor(index).reshape(-1).tolist()]

    def _activation(self, slope: Slope, function: Callable[..., Tensor]) -> Tensor:
        if self.choose is not None:
            return self.choose(self.node.output[0], slope, self.tensor(0))
        limits = [float(self.tensor(index)) for index in range(1, len(self.node.input))]
        return function(self.tensor(0), *limits)


def _convolution(step: _Step, x: Tensor, attributes: dict[str, Any], *, transposed: bool = False) -> Tensor:
    axes = x.ndim - 2
    before, after = _pads(attributes, axes)
    if before != after:
        raise NotImplementedError(f"asymmetric padding at {step.node.name}")
    function = functional.conv_transpose2d if transposed else functional.conv2d
    return function(
        x,
        step.tensor(1),
        step.bias(2),
        stride=attributes.get("strides", [1] * axes),
        padding=before,
        dilation=attributes.get("dilations", [1] * axes),
        groups=attributes.get("group", 1),
    )


def _batch_norm(step: _Step, x: Tensor, attributes: dict[str, Any]) -> Tensor:
    gamma, beta, mean, variance = (step.tensor(index) for index in range(1, 5))
    scale = gamma / torch.sqrt(variance + attributes.get("epsilon", 1e-5))
    shift = beta - mean * scale if step.choose is None else torch.zeros_like(beta)
    return x * scale[:, None, None] + shift[:, None, None]


def _sum(step: _Step, x: Tensor, _: dict[str, Any], *, sign: int = 1) -> Tensor:
    terms = [(0, 1), (1, sign)]
    kept = [factor * step.tensor(i) for i, factor in terms if step.choose is None or step.varies(i)]
    return sum(kept, torch.zeros_like(x) if step.varies(0) else torch.zeros(()))


def _max_pool(step: _Step, x: Tensor, attributes: dict[str, Any]) -> Tensor:
    before, _ = _pads(attributes, 2)
    pool = partial(
        functional.max_pool2d,
        kernel_size=attributes["kernel_shape"],
        stride=attributes.get("strides", [1, 1]),
        padding=before,
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )
    if step.choose is None:
        return pool(x)
    window = Window(largest=lambda z: pool(z, return_indices=True)[1])
    return step.choose(step.node.output[0], window, x)


def _average_pool(_: _Step, x: Tensor, attributes: dict[str, Any]) -> Tensor:
    before, _after = _pads(attributes, 2)
    counted = bool(attributes.get("count_include_pad", 0))
    strides = attributes.get("strides", [1, 1])
    return functional.avg_pool2d(x, attributes["kernel_shape"], strides, before, count_include_pad=counted)


def _mean(step: _Step, x: Tensor, attributes: dict[str, Any]) -> Tensor:
    axes = attributes["axes"] if "axes" in attributes else step.integers(1)
    return x.mean(axes, keepdim=bool(attributes.get("keepdims", 1)))


def _gemm(step: _Step, x: Tensor, attributes: dict[str, Any]) -> Tensor:
    weight = step.tensor(1) if attributes.get("transB") else step.tensor(1).T
    return functional.linear(x, weight, step.bias(2))


def _slice(step: _Step, x: Tensor, _: dict[str, Any]) -> Tensor:
    starts, ends, axes = (step.integers(index) for index in (1, 2, 3))
    steps = step.integers(4) if len(step.node.input) > 4 else [1] * len(axes)
    chosen = [slice(None)] * x.ndim
    for axis, start, end, stride in zip(axes, starts, ends, steps, strict=True):
        chosen[axis] = slice(start, end, stride)
    return x[tuple(chosen)]


def _padded(step: _Step, x: Tensor, _: dict[str, Any]) -> Tensor:
    pads = step.integers(1)
    pairs = [(pads[axis], pads[axis + x.ndim]) for axis in reversed(range(x.ndim))]
    return functional.pad(x, [size for pair in pairs for size in pair])


OPERATORS: Mapping[str, Callable[[_Step, Tensor, dict[str, Any]], Tensor]] = {
    "Add": _sum,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concat": lambda step, _, attributes: torch.cat(
        [step.tensor(index) for index in range(len(step.node.input))], attributes["axis"]
    ),
    "Conv": _convolution,
    "ConvTranspose": partial(_convolution, transposed=True),
    "Div": lambda step, x, _: x / step.tensor(1),
    "Flatten": lambda _step, x, _: x.flatten(1),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _step, x, _: x.mean((2, 3), keepdim=True),
    "MaxPool": _max_pool,
    "Pad": _padded,
    "ReduceMean": _mean,
    "Slice": _slice,
    "Sub": partial(_sum, sign=-1),
}


def _pads(attributes: Mapping[str, Any], axes: int) -> tuple[list[int], list[int]]:
    """Zeros before and after each axis."""
    pads = list(attributes.get("pads", [0] * (2 * axes)))
    return pads[:axes], pads[axes:]


def _tensor(stored: onnx.TensorProto) -> Tensor:
    """Integers as they are, real numbers in single precision."""
    array = np.array(numpy_helper.to_array(stored))
    return torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array)
