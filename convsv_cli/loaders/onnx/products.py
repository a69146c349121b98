"""Convolutions by a kernel and products with a matrix, whatever gives these."""

from __future__ import annotations

import math
from collections.abc import Iterator

from convsv_cli.loaders.onnx.constants import Constant
from convsv_cli.loaders.onnx.node import LinearMap, Site, Unsupported
from convsv_cli.loaders.onnx.padding import padding, padding_fits, spatial_size
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.model.layer import Geometry

STACKED = "one matrix for each entry of a batch, taken together: this over-estimates the norm"
NOT_CONSTANT = "its weight is computed from the network's input"


def convolve(site: Site, weight: Constant) -> Iterator[LinearMap | Unsupported]:
    """The convolution of input 0 by [c_out, c_in / g, *k], or its adjoint by [c_in, c_out / g, *k]."""
    axes = len(weight.shape) - 2
    if axes < 1:
        yield Unsupported(reason=f"a kernel with {len(weight.shape)} axes is no convolution", constant=weight)
        return
    ones = (1,) * axes
    strides, dilations = site.attribute("strides", ones), site.attribute("dilations", ones)
    groups = site.attribute("group", 1)
    fits = len(strides) == len(dilations) == axes and padding_fits(site, axes)
    if not fits or min(*strides, *dilations, groups) < 1:
        yield Unsupported(reason="strides, dilations, pads or groups that fit no kernel", constant=weight)
        return
    size = spatial_size(site, axes)
    found = padding(site, weight.shape[2:], size)
    yield LinearMap(
        constant=weight,
        kernel_shape=weight.shape,
        arrange=lambda values: values,
        geometry=Geometry(
            stride=strides,
            dilation=dilations,
            groups=groups,
            transposed=site.node.op_type == "ConvTranspose",
            padding=found.amounts,
            output_padding=found.output_padding,
            either_way=found.either_way,
        ),
        input_size=size,
        assumed=found.assumed,
    )


def multiply(site: Site, constant: Constant, other: int) -> Iterator[LinearMap | Unsupported]:
    """The product with the input `other`: if 0, with [*batch, c_in, c_out], else by [*batch, c_out, c_in]."""
    if not constant.shape:
        yield Unsupported(reason="a MatMul by a scalar", constant=constant)
        return
    *batch, rows, columns = constant.shape if len(constant.shape) > 1 else (1, *constant.shape)
    turned = other == 0 and len(constant.shape) > 1
    c_out, c_in = (columns, rows) if turned else (rows, columns)
    count = math.prod(batch)
    blocks = count > 1 and (site.dims(other) or ())[:-2][-len(batch) :] == tuple(batch)

    def arrange(values: Array) -> Array:
        matrices = values.reshape(count, rows, columns)
        return (matrices.swapaxes(1, 2) if turned else matrices).reshape(-1, c_in)

    yield LinearMap(
        constant=constant,
        kernel_shape=(count * c_out, c_in),
        arrange=arrange,
        geometry=Geometry(groups=count if blocks else 1),
        assumed=(STACKED,) if count > 1 and not blocks else (),
    )
