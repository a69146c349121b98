"""MatMulBnb4 of com.microsoft: each entry of a matrix is one of 16 numbers, times the scale of its block.

Source: onnxruntime, docs/ContribOperators.md; the numbers are those of bitsandbytes (Dettmers, Pagnoni,
Holtzman & Zettlemoyer, "QLoRA: Efficient Finetuning of Quantized LLMs", NeurIPS 2023).
"""

from __future__ import annotations

import math

import numpy as np

from convsv_cli.model.graph import Constant, Graph, Node
from convsv_cli.model.layer import DEQUANTISED, Geometry
from convsv_cli.model.linear_map import MISFIT, NOT_CONSTANT, Array, LinearMap, Maps, unsupported

MAX_ELEMENTS = 2**28
SIZES = "a MatMulBnb4 of sizes or of a type that convsv does not read"
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


def matmul_bnb4(node: Node, graph: Graph) -> Maps:
    """`x W'` with W [N, K]; with `transB` 0, `x W` with W [K, N]. Two entries a byte, higher bits first."""
    packed, scales = (graph.constant(node.input(index)) for index in (1, 2))
    inner, outer = node.attribute("K", 0), node.attribute("N", 0)
    block, kind = node.attribute("block_size", 0), node.attribute("quant_type", -1)
    count = inner * outer
    if packed is None or scales is None:
        yield unsupported(node, NOT_CONSTANT, packed)
    elif min(inner, outer, block) < 1 or count > MAX_ELEMENTS or not 0 <= kind < len(NUMBERS):
        yield unsupported(node, SIZES, packed)
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
            constant=_matrix(packed, scales, (outer, inner) if turned else (inner, outer), (block, kind)),
            kernel_shape=(outer, inner),
            arrange=lambda values: values if turned else values.T,
            variant=turned,
            geometry=Geometry(),
        )


def _matrix(packed: Constant, scales: Constant, shape: tuple[int, int], layout: tuple[int, int]) -> Constant:
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


RULES = {"com.microsoft.MatMulBnb4": matmul_bnb4}
