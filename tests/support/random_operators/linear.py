"""Linear maps by constants."""

from __future__ import annotations

import math

import numpy as np

from tests.support.random_graphs import Builder
from tests.support.random_operators.drawing import at_least, divisor, image, need, window


def conv(b: Builder) -> None:
    x = b.pick(image)
    c_in = b.shapes[x][1]
    attributes, groups = window(b, b.shapes[x][2:]), divisor(b, c_in)
    c_out = groups * b.integer(1, 3)
    kernel = (c_out, c_in // groups, *attributes["kernel_shape"])
    inputs = [x, b.normal(*kernel, scale=1 / math.sqrt(np.prod(kernel[1:])))]
    b.add("Conv", [*inputs, b.normal(c_out)] if b.chance() else inputs, group=groups, **attributes)


def conv_transpose(b: Builder) -> None:
    x = b.pick(image)
    c_in = b.shapes[x][1]
    attributes, groups = window(b, b.shapes[x][2:]), divisor(b, c_in)
    if b.chance(0.3) and "pads" in attributes:
        attributes["output_padding"] = [b.integer(0, stride - 1) for stride in attributes["strides"]]
    kernel = (c_in, b.integer(1, 2), *attributes["kernel_shape"])
    scale = 1 / math.sqrt(np.prod(kernel[1:]))
    b.add("ConvTranspose", [x, b.normal(*kernel, scale=scale)], group=groups, **attributes)


def gemm(b: Builder) -> None:
    x = b.pick(lambda shape: len(shape) == 2)
    turned, flipped, new = b.chance(), b.chance(), b.integer(1, 6)
    inner = b.shapes[x][0 if turned else 1]
    attributes = {"alpha": b.choice((1.0, 0.5, -2.0)), "beta": b.choice((1.0, 0.0, 3.0))}
    if b.chance(0.3):  # the constant first
        inner = b.shapes[x][1 if turned else 0]
        w = b.normal(*((inner, new) if flipped else (new, inner)), scale=inner**-0.5)
        b.add("Gemm", [w, x], transA=int(flipped), transB=int(turned), **attributes)
        return
    w = b.normal(*((new, inner) if flipped else (inner, new)), scale=inner**-0.5)
    inputs = [x, w, b.normal(new)] if b.chance() else [x, w]
    b.add("Gemm", inputs, transA=int(turned), transB=int(flipped), **attributes)


def matmul(b: Builder) -> None:
    x = b.pick(at_least(2))
    shape, new = b.shapes[x], b.integer(1, 5)
    batch = shape[:-2] if b.chance(0.2) else ((2, *shape[:-2]) if b.chance(0.1) else ())
    if b.chance():
        b.add("MatMul", [x, b.normal(*batch, shape[-1], new, scale=shape[-1] ** -0.5)])
    else:
        b.add("MatMul", [b.normal(*batch, new, shape[-2], scale=shape[-2] ** -0.5), x])


def vector_product(b: Builder) -> None:
    x = b.pick(at_least(1))
    b.add("MatMul", [x, b.normal(b.shapes[x][-1])] if b.chance() else [b.normal(b.shapes[x][-2:][0]), x])


def einsum(b: Builder) -> None:
    need(b.opset >= 12)
    x = b.pick(lambda shape: len(shape) == 3)
    _, i, j = b.shapes[x]
    equation, w = b.choice((("bij,jk->bik", (j, 3)), ("bij,ik->bkj", (i, 2)), ("bij,kj->kbi", (2, j))))
    b.add("Einsum", [x, b.normal(*w, scale=0.5)], equation=equation)
