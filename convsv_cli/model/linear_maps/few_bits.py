"""MatMulNBits and MatMulBnb4 of com.microsoft: matrices of few bits an entry, with a scale for each block.

Source: onnxruntime, docs/ContribOperators.md; the numbers of MatMulBnb4 are those of bitsandbytes (Dettmers,
Pagnoni, Holtzman & Zettlemoyer, "QLoRA: Efficient Finetuning of Quantized LLMs", NeurIPS 2023).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from convsv_cli.model.graph import Constant, Graph, Node
from convsv_cli.model.layer import DEQUANTISED, Geometry
from convsv_cli.model.linear_map import MISFIT, NOT_CONSTANT, Array, LinearMap, Maps, unsupported

BITS = (2, 4, 8)
MAX_ELEMENTS = 2**28
ORDER = "blocks in an order of their own (g_idx), which convsv does not read"
PREPACKED = "weights in an order of one kind of processor (weight_prepacked), which convsv does not read"
SIZES = "a MatMulNBits of sizes that convsv does not read"
BNB4_SIZES = "a MatMulBnb4 of sizes or of a type that convsv does not read"
_FLOATS = (0.0, 0.0625 / 12, 2 / 3, 1.0, 1 / 3, 0.5, 1 / 6, 0.25)
# fmt: off
_NORMAL = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)
# fmt: on
NUMBERS = ((*_FLOATS, *(-value for value in _FLOATS)), _NORMAL)
"""By `quant_type`: four bits of a float, and quantiles of the normal distribution."""


def matmul_n_bits(node: Node, graph: Graph) -> Maps:
    """`x W'` with W [N, K], stored as [N, blocks, bytes]; scales and zero points are [N, blocks]."""
    given = [graph.constant(node.input(index)) for index in range(1, 5)]
    packed, scales, zeros, order = given
    rows, columns = node.attribute("N", 0), node.attribute("K", 0)
    bits, block = node.attribute("bits", 4), node.attribute("block_size", 0)
    present = [node.input(index) for index in range(1, 5)]
    if packed is None or scales is None or (zeros is None and present[2]):
        yield unsupported(node, NOT_CONSTANT, packed)
    elif order is not None or present[3]:
        yield unsupported(node, ORDER, packed)
    elif node.attribute("weight_prepacked", 0):
        yield unsupported(node, PREPACKED, packed)
    elif bits not in BITS or min(rows, columns, block) < 1 or rows * columns > MAX_ELEMENTS:
        yield unsupported(node, SIZES, packed)
    elif not _fits(packed, scales, zeros, (rows, columns, bits, block)):
        yield unsupported(node, MISFIT, packed)
    else:
        yield LinearMap(
            op=node.type,
            constant=_matrix(packed, scales, zeros, (rows, columns, bits, block)),
            kernel_shape=(rows, columns),
            arrange=lambda values: values,
            geometry=Geometry(),
        )


Sizes = tuple[int, int, int, int]
"""Rows, columns, bits and the length of a block."""


def _fits(packed: Constant, scales: Constant, zeros: Constant | None, sizes: Sizes) -> bool:
    rows, columns, bits, block = sizes
    blocks = -(-columns // block)
    expected = rows * blocks * block * bits // 8
    if block * bits % 8 or packed.dtype != "uint8" or math.prod(packed.shape) != expected:
        return False
    if math.prod(scales.shape) != rows * blocks or not scales.dtype.startswith(("float", "bfloat")):
        return False
    if zeros is None:
        return True
    expected = rows * -(-blocks * bits // 8) if zeros.dtype == "uint8" else rows * blocks
    return math.prod(zeros.shape) == expected


def _matrix(packed: Constant, scales: Constant, zeros: Constant | None, sizes: Sizes) -> Constant:
    """The real values, in float32 as onnxruntime has them."""
    rows, columns, bits, block = sizes
    blocks = -(-columns // block)

    def read() -> Array:
        codes = unpacked(packed.read().reshape(rows, blocks, -1), bits).astype(np.float32)
        factor = scales.read().reshape(rows, blocks, 1).astype(np.float32)
        real = (codes - _zeros(zeros, rows, blocks, bits)) * factor
        return np.asarray(real.reshape(rows, -1)[:, :columns])

    return Constant(
        name=packed.name,
        shape=(rows, columns),
        dtype=scales.dtype,
        identity=(packed.identity, scales.identity, zeros.identity if zeros else None, sizes),
        assumed=(DEQUANTISED.format(f"{bits}-bit"),),
        read=read,
    )


def _zeros(zeros: Constant | None, rows: int, blocks: int, bits: int) -> NDArray[np.float32]:
    """Half of the range where there are none; packed by rows, or a float for each block."""
    if zeros is None:
        return np.array(2 ** (bits - 1), np.float32)
    values = zeros.read()
    if values.dtype == np.uint8:
        values = unpacked(values.reshape(rows, -1), bits)[:, :blocks]
    return values.reshape(rows, blocks, 1).astype(np.float32)


def unpacked(packed: Array, bits: int) -> Array:
    """Unsigned integers from bytes, the lowest bits first, along the last axis."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = np.right_shift(packed.astype(np.uint8)[..., None], shifts) & np.uint8(2**bits - 1)
    return np.asarray(parts).reshape(*packed.shape[:-1], -1)


def matmul_bnb4(node: Node, graph: Graph) -> Maps:
    """`x W'` with W [N, K]; with `transB` 0, `x W` with W [K, N]. Two entries a byte, higher bits first."""
    packed, scales = (graph.constant(node.input(index)) for index in (1, 2))
    inner, outer = node.attribute("K", 0), node.attribute("N", 0)
    block, kind = node.attribute("block_size", 0), node.attribute("quant_type", -1)
    count = inner * outer
    if packed is None or scales is None:
        yield unsupported(node, NOT_CONSTANT, packed)
    elif min(inner, outer, block) < 1 or count > MAX_ELEMENTS or not 0 <= kind < len(NUMBERS):
        yield unsupported(node, BNB4_SIZES, packed)
    elif (
        math.prod(packed.shape) != -(-count // 2)
        or packed.dtype != "uint8"
        or math.prod(scales.shape) != -(-count // block)
        or not scales.dtype.startswith(("float", "bfloat"))
    ):
        yield unsupported(node, MISFIT, packed)
    else:
        turned = bool(node.attribute("transB", 1))
        yield LinearMap(
            op=node.type,
            constant=_bnb4_matrix(
                packed, scales, (outer, inner) if turned else (inner, outer), (block, kind)
            ),
            kernel_shape=(outer, inner),
            arrange=lambda values: values if turned else values.T,
            variant=turned,
            geometry=Geometry(),
        )


def _bnb4_matrix(
    packed: Constant, scales: Constant, shape: tuple[int, int], layout: tuple[int, int]
) -> Constant:
    """The real values, in float32 as onnxruntime has them."""
    block, kind = layout

    def read() -> Array:
        values = packed.read().reshape(-1).astype(np.uint8)
        codes = np.stack([values >> 4, values & 15], 1).reshape(-1)[: math.prod(shape)]
        factors = np.repeat(scales.read().reshape(-1).astype(np.float32), block)[: codes.size]
        return np.asarray((np.array(NUMBERS[kind], np.float32)[codes] * factors).reshape(shape))

    return Constant(
        name=packed.name,
        shape=shape,
        dtype=scales.dtype,
        identity=(packed.identity, scales.identity, shape, layout),
        assumed=(DEQUANTISED.format("4-bit"),),
        read=read,
    )


RULES = {"com.microsoft.MatMulBnb4": matmul_bnb4, "com.microsoft.MatMulNBits": matmul_n_bits}
