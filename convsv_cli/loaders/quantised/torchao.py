"""torchao: Float8Tensor, Int8Tensor and IntxUnpackedToInt8Tensor, in safetensors and in checkpoints.

All three are affine, `W = scale (qdata - zero_point)`, with a scale for each block of [rows / r, columns /
g] entries, where `scale` is [r, g]. In safetensors, parts are called `a._weight_qdata`; in a checkpoint
they are attributes of the tensor `a.weight`. Its other layouts (Int4Tensor, tiles of one kind of processor)
are rows with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.quantised.scheme import Found, Scheme, check, check_axes, check_type

CODES = ("int8", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")


def _scheme(before: str) -> Scheme:
    """The scheme, whose parts are called so before the names of torchao's attributes."""
    return Scheme(
        name="torchao",
        mark=f"{before}qdata",
        required=(f"{before}scale",),
        optional=tuple(f"{before}{name}" for name in ("zero_point", "act_pre_scale", *_ACTIVATIONS)),
        read=lambda found: _read(found, before),
        applies=_has_scales,
    )


_ACTIVATIONS = ("act_quant_scale", "act_quant_zero_point")
"""How inputs are rounded, which changes no weight."""


def _has_scales(parts: Mapping[str, StoredTensor]) -> bool:
    return any(part.endswith("scale") for part in parts)


def _read(found: Found, before: str) -> StoredTensor:
    codes, scales = found[f"{before}qdata"], found[f"{before}scale"]
    zero = found.get(f"{before}zero_point")
    check(found.get(f"{before}act_pre_scale") is None, "its inputs are scaled, too (act_pre_scale)")
    check_type(codes, "qdata", *CODES)
    check_type(scales, "scale")
    check_axes(codes, "qdata", 2)
    rows, columns = codes.shape
    shape = (1, 1) if math.prod(scales.shape) == 1 else scales.shape
    check(len(shape) == 2 and 0 not in shape, "its scales are of no blocks")
    down, right = shape
    check(rows % down == 0 and columns % right == 0, f"{rows}x{columns} entries are no {down}x{right} blocks")
    if zero is not None:
        check(codes.dtype == "int8", "floats have no zero points")
        check_type(zero, "zero_point", "int8", "int32", "int64", "float32", "bfloat16", "float16")
        check(math.prod(zero.shape) == down * right, "its zero points do not fit its scales")

    def read() -> torch.Tensor:
        made = codes.read().double().reshape(down, rows // down, right, columns // right)
        if zero is not None:
            made = made - zero.read().double().reshape(down, 1, right, 1)
        return (made * scales.read().double().reshape(down, 1, right, 1)).reshape(rows, columns)

    return found.weight(
        (rows, columns), f"torchao {codes.dtype}, in blocks of {rows // down}x{columns // right}", read
    )


SCHEMES = (_scheme("_weight_"), _scheme("weight."))
