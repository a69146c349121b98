"""Scales and zero points, fitted to the weights that they belong to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from convsv_cli.loaders.onnx.constants import Constant
from convsv_cli.loaders.onnx.node import LinearMap, Unsupported
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.loaders.state_dict import DEQUANTISED

Maps = Iterator[LinearMap | Unsupported]
MISFIT = "quantised weights whose scale or zero point does not fit them"
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


def mapped(weight: Constant, by: Quantisation, make: Callable[[Constant], Maps]) -> Maps:
    """What `make` makes of the real values, computed in float64."""
    zero = by.zero
    scales = by.fit(by.scale.shape, weight.shape)
    zeros = by.fit(zero.shape, weight.shape) if zero is not None else ()
    if scales is None or zeros is None or not by.divisor:
        yield Unsupported(reason=MISFIT, constant=weight)
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
            identity=(weight.identity, by.scale.identity, zero.identity if zero else None, by.divisor),
            assumed=(DEQUANTISED.format(weight.dtype), *by.assumed),
            read=read,
        )
    )
