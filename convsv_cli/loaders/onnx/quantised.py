"""Operators that compute with quantised weights: the linear map that they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from onnx import NodeProto

from convsv_cli.loaders.onnx.constants import Constant
from convsv_cli.loaders.onnx.node import Site, Unsupported
from convsv_cli.loaders.onnx.products import NOT_CONSTANT, convolve, multiply
from convsv_cli.loaders.onnx.scales import (
    Fit,
    Maps,
    Quantisation,
    as_result,
    channels,
    mapped,
    per_channel,
    per_column,
    per_row,
)

Factor = tuple[Constant, float, tuple[str, ...]]
NO_SCALE = "integer weights whose scale is not found behind the Cast of their result"
VARYING = "quantised weights whose scale or zero point is computed from the network's input"
INTEGERS = "the layer's input is the integers it is given, whose scale the graph does not say"


def qlinear_conv(site: Site) -> Maps:
    """The weight is input 3, its scale 4 and its zero point 5."""
    weight, scale, zero = (site.constant(index) for index in (3, 4, 5))
    if weight is None:
        yield Unsupported(reason=NOT_CONSTANT)
    elif scale is None or (zero is None and _given(site, 5)):
        yield Unsupported(reason=VARYING, constant=weight)
    else:
        by = Quantisation(scale=scale, zero=zero, fit=per_channel)
        yield from mapped(weight, by, lambda values: convolve(site, values))


def qlinear_matmul(site: Site) -> Maps:
    """The factors are inputs 0 and 3, each before its scale and zero point."""
    for first, other, fit in ((3, 0, per_column), (0, 3, per_row)):
        weight, scale, zero = (site.constant(first + index) for index in range(3))
        if weight is None or site.constant(other) is not None:
            continue
        if scale is None or zero is None:
            yield Unsupported(reason=VARYING, constant=weight)
        else:
            by = Quantisation(scale=scale, zero=zero, fit=fit)
            yield from mapped(weight, by, partial(multiply, site, other=other))


def conv_integer(site: Site) -> Maps:
    """The weight is input 1, its zero point 3; its scale is a factor of what the result is multiplied by."""
    weight = site.constant(1)
    if weight is None:
        yield Unsupported(reason=NOT_CONSTANT)
        return
    yield from _scaled(site, weight, (3, per_channel), lambda values: convolve(site, values))


def matmul_integer(site: Site) -> Maps:
    """The same for inputs 0 and 1 with the zero points 2 and 3."""
    for index, other, fit in ((1, 0, per_column), (0, 1, per_row)):
        weight = site.constant(index)
        if weight is not None and site.constant(other) is None:
            yield from _scaled(site, weight, (index + 2, fit), partial(multiply, site, other=other))


def _given(site: Site, index: int) -> bool:
    return index < len(site.node.input) and bool(site.node.input[index])


def _scaled(
    site: Site, weight: Constant, zero_point: tuple[int, Fit], make: Callable[[Constant], Maps]
) -> Maps:
    index, fit = zero_point
    zero, factor = site.constant(index), _factor(site)
    if zero is None and _given(site, index):
        yield Unsupported(reason=VARYING, constant=weight)
    elif factor is None:
        yield Unsupported(reason=NO_SCALE, constant=weight)
    else:
        scale, divisor, assumed = factor
        scale = channels(scale, len(weight.shape)) if fit is per_channel else as_result(scale)
        by = Quantisation(scale=scale, zero=zero, fit=fit, divisor=divisor, assumed=assumed)
        yield from mapped(weight, by, make)


def _factor(site: Site) -> Factor | None:
    """The constant scale of an integer result, what to divide it by, and what was assumed.

    The result goes through a Cast and is multiplied by a constant; or by a constant times the scale of a
    DynamicQuantizeLinear that gives the node its input.
    """
    cast = _only_user(site, site.node.output[0], "Cast")
    product = _only_user(site, cast.output[0], "Mul") if cast is not None else None
    if cast is None or product is None:
        return None
    name = product.input[1] if product.input[0] == cast.output[0] else product.input[0]
    source = site.scope.find(site.node.input[0])[1]
    maker = source if isinstance(source, NodeProto) else None
    scale = site.constants.find(site.scope, name)
    if scale is None:
        return _dynamic_factor(site, name, maker)
    given = None
    if maker is not None and maker.op_type == "QuantizeLinear":
        given = site.constants.find(site.scope, maker.input[1])
    if given is None or math.prod(given.shape) != 1:
        return scale, 1.0, (INTEGERS,)
    return scale, float(given.read().astype(np.float64).reshape(())), ()


def _dynamic_factor(site: Site, name: str, maker: NodeProto | None) -> Factor | None:
    """The constant in a product with the scale that `maker` finds for its input."""
    product = site.scope.find(name)[1]
    if not isinstance(product, NodeProto) or product.op_type != "Mul":
        return None
    if maker is None or maker.op_type != "DynamicQuantizeLinear" or maker.output[0] != site.node.input[0]:
        return None
    others = [other for other in product.input if other != maker.output[1]]
    scale = site.constants.find(site.scope, others[0]) if len(others) == 1 else None
    return None if scale is None else (scale, 1.0, ())


def _only_user(site: Site, name: str, operator: str) -> NodeProto | None:
    """The one node that uses a tensor, if it is of this type."""
    users = site.scope.users.get(name, ())
    return users[0] if len(users) == 1 and users[0].op_type == operator else None
