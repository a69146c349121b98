"""Floats of four bits in short blocks: MXFP4 as gpt-oss stores it, NVFP4 and MXFP4 of other libraries.

A code is E2M1 (OCP Microscaling Formats v1.0): a sign and one of 0, 0.5, 1, 1.5, 2, 3, 4, 6; two are in a
byte, the lower bits first. Of gpt-oss, `a_blocks` [experts, rows, n, 16] has blocks of 32 codes, `a_scales`
[experts, rows, n] the exponent of each, plus 127. NVFP4 has a scale in E4M3 for each 16 codes of a row, and
one float32 for all: the library ModelOpt multiplies by it (`weight_scale_2`), compressed-tensors divides by
it (`weight_global_scale`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from convsv_cli.loaders.loader import StoredTensor, stacked
from convsv_cli.loaders.quantised.scheme import Found, Scheme, check, check_axes, check_type, grouped, halves

_SIZES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E2M1 = np.array([*_SIZES, *(-size for size in _SIZES)])
"""What each code stands for."""
MX_BLOCK, NV_BLOCK = 32, 16
BIAS, NAN = 127, 255
GLOBAL = ("weight_global_scale", "weight_scale_2")
AFTER = "its scale {} is not one positive number"


def powers(exponents: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Numbers of E8M0: two to the power of a byte less 127, where 255 is NaN."""
    return np.where(exponents == NAN, np.nan, np.ldexp(1.0, exponents.astype(np.int32) - BIAS))


def scaled_by_powers(codes: torch.Tensor, exponents: torch.Tensor) -> torch.Tensor:
    """Values [rows, columns], float64, times numbers of E8M0, uint8 [rows, groups], one for each run."""
    return grouped(codes, torch.from_numpy(powers(exponents.numpy())))


def floats(packed: torch.Tensor) -> torch.Tensor:
    """The numbers that bytes [..., n] stand for, float64 [..., 2 n]."""
    return torch.from_numpy(E2M1[halves(packed).numpy()])


def _experts(found: Found) -> StoredTensor:
    blocks, scales = found["_blocks"], found["_scales"]
    check_type(blocks, "blocks", "uint8")
    check_type(scales, "scales", "uint8")
    check_axes(blocks, "blocks", 4)
    count, rows, groups, width = blocks.shape
    fits = scales.shape == blocks.shape[:3] and 2 * width == MX_BLOCK
    check(fits, "its blocks and scales do not fit each other")

    def read() -> torch.Tensor:
        codes = floats(blocks.read()).reshape(count * rows, -1)
        return scaled_by_powers(codes, scales.read().reshape(count * rows, -1)).reshape(count, rows, -1)

    return stacked(found.weight((count, rows, groups * MX_BLOCK), "MXFP4, in blocks of 32", read))


def _rows(codes_in: str) -> Callable[[Found], StoredTensor]:
    """Reads weights whose codes are in this part."""

    def read(found: Found) -> StoredTensor:
        packed, scales = found[codes_in], found["weight_scale"]
        check_type(packed, codes_in, "uint8")
        check_axes(packed, codes_in, 2)
        check_axes(scales, "weight_scale", 2)
        rows, columns = packed.shape[0], 2 * packed.shape[1]
        whole = next((found.get(part) for part in GLOBAL if found.get(part) is not None), None)
        block = MX_BLOCK if whole is None else NV_BLOCK
        check_type(scales, "weight_scale", "uint8" if whole is None else "float8_e4m3fn")
        fits = columns % block == 0 and scales.shape == (rows, columns // block)
        check(fits, "its codes and scales do not fit each other")
        divided, factor = (False, 1.0) if whole is None else _factor(found)

        def values() -> torch.Tensor:
            codes = floats(packed.read())
            if whole is None:
                return scaled_by_powers(codes, scales.read())
            made = grouped(codes, scales.read())
            return made / factor if divided else made * factor

        name = "MXFP4" if whole is None else "NVFP4"
        return found.weight((rows, columns), f"{name}, in blocks of {block}", values)

    return read


def _factor(found: Found) -> tuple[bool, float]:
    """What divides all values, or multiplies them, and which of both it does."""
    part = next(part for part in GLOBAL if found.get(part) is not None)
    check_type(found[part], part)
    check(math.prod(found[part].shape) == 1, AFTER.format(part))
    value = float(found.values(part).reshape(()))
    check(math.isfinite(value) and value > 0, AFTER.format(part))
    return part == GLOBAL[0], value


def _in_bytes(parts: Mapping[str, StoredTensor]) -> bool:
    """Whether codes are in bytes, which those of integers are not; a scale in one number is no block's."""
    code = parts.get("weight_packed") or parts["weight"]
    return code.dtype == "uint8" and "weight_scale" in parts


SCHEMES = (
    Scheme(
        name="MXFP4",
        mark="_blocks",
        required=("_scales",),
        weight="",
        glued=True,
        read=_experts,
        applies=lambda p: "_scales" in p,
    ),
    Scheme(
        name="compressed-tensors (FP4)",
        mark="weight_packed",
        required=("weight_scale",),
        optional=("weight_global_scale",),
        read=_rows("weight_packed"),
        applies=_in_bytes,
    ),
    Scheme(
        name="NVFP4 of ModelOpt",
        mark="weight_scale_2",
        required=("weight", "weight_scale"),
        codes="weight",
        read=_rows("weight"),
        applies=_in_bytes,
    ),
)
