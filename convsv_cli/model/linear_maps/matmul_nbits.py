"""MatMulNBits of com.microsoft: a matrix of 2, 4 or 8 bits an entry, with a scale for each block of a row."""

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


RULES = {"com.microsoft.MatMulNBits": matmul_n_bits}
