"""Operators that compute with quantised weights: the linear map that they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from convsv_cli.model.graph import Constant, Graph, Node
from convsv_cli.model.layer import DEQUANTISED
from convsv_cli.model.linear_map import MISFIT, NOT_CONSTANT, Array, Maps, unsupported
from convsv_cli.model.linear_maps.convolution import convolve
from convsv_cli.model.linear_maps.matrices import multiply

Fit = Callable[[tuple[int, ...], tuple[int, ...]], tuple[int, ...] | None]
"""The shape in which a parameter broadcasts to a weight, from both shapes; None where it does not fit."""


def channels(scale: Constant, axes: int) -> Constant:
    """A factor of a convolution's result as one number an output channel, where it is that."""
    shape = (1,) * (axes - len(scale.shape)) + scale.shape
    per_output = len(shape) == axes and math.prod(shape) == shape[1]
    return _reshaped(scale, (shape[1],) if per_output else shape)


def as_result(scale: Constant) -> Constant:
    """A factor of a product of matrices, which broadcasts along columns, with an axis for the rows too."""
    return _reshaped(scale, (1, *scale.shape)) if len(scale.shape) == 1 else scale


def _reshaped(scale: Constant, shape: tuple[int, ...]) -> Constant:
    return replace(scale, shape=shape, read=lambda: scale.read().reshape(shape))


def per_channel(shape: tuple[int, ...], weight: tuple[int, ...]) -> tuple[int, ...] | None:
    """One for all, or one for each first index of a kernel."""
    if math.prod(shape) == 1:
        return ()
    return (-1, *(1,) * (len(weight) - 1)) if shape == weight[:1] else None


def per_column(shape: tuple[int, ...], weight: tuple[int, ...]) -> tuple[int, ...] | None:
    """One for all, or one for each column of [*batch, rows, columns], the same in each batch entry or not."""
    if math.prod(shape) == 1:
        return ()
    ones = (1,) * (len(shape) - 1)
    fits = shape[-1:] == weight[-1:] and shape[:-1] in (ones, (*weight[:-2], 1))
    return shape if fits and len(shape) <= len(weight) else None


def per_row(shape: tuple[int, ...], weight: tuple[int, ...]) -> tuple[int, ...] | None:
    """The same for rows."""
    if math.prod(shape) == 1:
        return ()
    if shape == weight[-2:-1]:
        return (-1, 1)
    return shape if shape == (*weight[:-1], 1) else None


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How integers stand for real numbers: `(integer - zero) * scale / divisor`.

    Attributes:
        scale, zero: of the weight; no zero point is 0.
        fit: how they broadcast to it.
        divisor: the scale of the layer's input, where `scale` is that of its result.
        assumed: what was taken for granted.
    """

    scale: Constant
    zero: Constant | None
    fit: Fit
    divisor: float = 1.0
    assumed: tuple[str, ...] = ()


def mapped(node: Node, weight: Constant, by: Quantisation, make: Callable[[Constant], Maps]) -> Maps:
    """What `make` makes of the real values, computed in float64."""
    zero = by.zero
    scales = by.fit(by.scale.shape, weight.shape)
    zeros = by.fit(zero.shape, weight.shape) if zero is not None else ()
    if scales is None or zeros is None or not by.divisor:
        yield unsupported(node, MISFIT, weight)
        return

    def read() -> Array:
        shift = 0.0 if zero is None else zero.read().astype(np.float64).reshape(zeros)
        factor = by.scale.read().astype(np.float64).reshape(scales) / by.divisor
        return np.asarray((weight.read().astype(np.float64) - shift) * factor)

    yield from make(
        Constant(
            name=weight.name,
            shape=weight.shape,
            dtype=by.scale.dtype,
            identity=(
                (weight.identity, by.scale.identity, zero.identity if zero else None),
                (scales, zeros, by.divisor),
            ),
            assumed=(DEQUANTISED.format(weight.dtype), *by.assumed),
            read=read,
        )
    )


Factor = tuple[Constant, float, tuple[str, ...]]
NO_SCALE = "integer weights whose scale is not found behind the Cast of their result"
VARYING = "quantised weights whose scale or zero point is computed from the network's input"
INTEGERS = "the layer's input is the integers it is given, whose scale the graph does not say"


def qlinear_conv(node: Node, graph: Graph) -> Maps:
    """The weight is input 3, its scale 4 and its zero point 5."""
    weight, scale, zero = (graph.constant(node.input(index)) for index in (3, 4, 5))
    if weight is None:
        yield unsupported(node, NOT_CONSTANT)
    elif scale is None or (zero is None and node.input(5)):
        yield unsupported(node, VARYING, weight)
    else:
        by = Quantisation(scale=scale, zero=zero, fit=per_channel)
        yield from mapped(node, weight, by, lambda values: convolve(node, graph, values))


def qlinear_matmul(node: Node, graph: Graph) -> Maps:
    """The factors are inputs 0 and 3, each before its scale and zero point."""
    for first, other, fit in ((3, 0, per_column), (0, 3, per_row)):
        weight, scale, zero = (graph.constant(node.input(first + index)) for index in range(3))
        if weight is None or graph.constant(node.input(other)) is not None:
            continue
        if scale is None or zero is None:
            yield unsupported(node, VARYING, weight)
        else:
            by = Quantisation(scale=scale, zero=zero, fit=fit)
            yield from mapped(node, weight, by, partial(multiply, node, graph, data=other))


def conv_integer(node: Node, graph: Graph) -> Maps:
    """The weight is input 1, its zero point 3; its scale is a factor of what the result is multiplied by."""
    weight = graph.constant(node.input(1))
    if weight is None:
        yield unsupported(node, NOT_CONSTANT)
        return
    yield from _scaled(node, graph, weight, (3, per_channel), lambda values: convolve(node, graph, values))


def matmul_integer(node: Node, graph: Graph) -> Maps:
    """The same for inputs 0 and 1 with the zero points 2 and 3."""
    for index, other, fit in ((1, 0, per_column), (0, 1, per_row)):
        weight = graph.constant(node.input(index))
        if weight is not None and graph.constant(node.input(other)) is None:
            yield from _scaled(
                node, graph, weight, (index + 2, fit), partial(multiply, node, graph, data=other)
            )


def _scaled(
    node: Node, graph: Graph, weight: Constant, zero_point: tuple[int, Fit], make: Callable[[Constant], Maps]
) -> Maps:
    index, fit = zero_point
    zero, factor = graph.constant(node.input(index)), _factor(node, graph)
    if zero is None and node.input(index):
        yield unsupported(node, VARYING, weight)
    elif factor is None:
        yield unsupported(node, NO_SCALE, weight)
    else:
        scale, divisor, assumed = factor
        scale = channels(scale, len(weight.shape)) if fit is per_channel else as_result(scale)
        by = Quantisation(scale=scale, zero=zero, fit=fit, divisor=divisor, assumed=assumed)
        yield from mapped(node, weight, by, make)


def _factor(node: Node, graph: Graph) -> Factor | None:
    """The constant scale of an integer result, what to divide it by, and what was assumed.

    The result goes through a Cast and is multiplied by a constant; or by a constant times the scale of a
    DynamicQuantizeLinear that gives the node its input.
    """
    cast = _only_user(graph, node.outputs[0], "Cast")
    product = _only_user(graph, cast.outputs[0], "Mul") if cast is not None else None
    if cast is None or product is None:
        return None
    name = product.inputs[1] if product.inputs[0] == cast.outputs[0] else product.inputs[0]
    maker = graph.makers.get(node.input(0))
    scale = graph.constant(name)
    if scale is None:
        return _dynamic_factor(node, graph, name, maker)
    given = None
    if maker is not None and maker.op == "QuantizeLinear":
        given = graph.constant(maker.inputs[1])
    if given is None or math.prod(given.shape) != 1:
        return scale, 1.0, (INTEGERS,)
    return scale, float(given.read().astype(np.float64).reshape(())), ()


def _dynamic_factor(node: Node, graph: Graph, name: str, maker: Node | None) -> Factor | None:
    """The constant in a product with the scale that `maker` finds for its input."""
    product = graph.makers.get(name)
    if product is None or product.op != "Mul":
        return None
    if maker is None or maker.op != "DynamicQuantizeLinear" or maker.outputs[0] != node.input(0):
        return None
    others = [other for other in product.inputs if other != maker.outputs[1]]
    scale = graph.constant(others[0]) if len(others) == 1 else None
    return None if scale is None else (scale, 1.0, ())


def _only_user(graph: Graph, name: str, operator: str) -> Node | None:
    """The one node that uses a tensor, if it is of this type."""
    users = graph.users.get(name, ())
    return users[0] if len(users) == 1 and users[0].op == operator else None


RULES = {
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}
