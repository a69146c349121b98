"""compressed-tensors, of LLM Compressor and vLLM: integers in words or bytes, and floats of eight bits.

Packed (`weight_packed` [out, in * bits / 32]): codes of a row follow one another, and stand for themselves
less 2^(bits - 1); `weight_zero_point` [out * bits / 32, groups] has those of a column, and `weight_shape`
the shape of W. With `weight_scale` [out, groups], `W[i, j] = scale[i, g] (q[i, j] - z[i, g])`; columns are
in the groups in order, or in that of `weight_g_idx`. Not packed (`weight` of bytes): the same, and zero
points are not packed either. What is scaled by rows, as a whole or in blocks of 128 x 128 without zero
points, is read by `loaders.scaled`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.quantised.microscaling import powers
from convsv_cli.loaders.quantised.scheme import (
    Found,
    MisfitError,
    Scheme,
    check,
    check_axes,
    check_type,
    group_size,
    grouped,
    picked,
    unpacked,
    words_for,
)

MOST_BITS = 8
METHOD = "compressed-tensors"


def _packed(found: Found) -> StoredTensor:
    packed, scales = found["weight_packed"], found["weight_scale"]
    check_type(packed, "weight_packed", "int32")
    check_axes(packed, "weight_packed", 2)
    check_type(scales, "weight_scale")
    rows, columns = _shape(found)
    check(packed.shape[0] == rows, "its codes do not fit its shape")
    bits = _bits(found, columns, packed.shape[1])
    by_row = _by_row(scales, rows)
    index = _index(found, columns, by_row)
    zero = found.get("weight_zero_point")
    if zero is not None:
        check_type(zero, "weight_zero_point", "int32")
        check(zero.shape == (words_for(rows, bits), by_row), "its zero points do not fit its scales")
    half = 2 ** (bits - 1)

    def read() -> torch.Tensor:
        codes = unpacked(packed.read(), bits, columns).double() - half
        factors = scales.read().double().reshape(-1, by_row).expand(rows, by_row)
        zeros = (
            torch.zeros(rows, by_row)
            if zero is None
            else unpacked(zero.read().T, bits, rows).T.double() - half
        )
        if index is not None:
            return picked(codes, factors, zeros, index)
        return grouped(codes, factors, zeros)

    return found.weight((rows, columns), f"{METHOD} int{bits}, packed", read)


def _shape(found: Found) -> tuple[int, int]:
    """Of the weight, as the file has it."""
    stored = found["weight_shape"]
    check_type(stored, "weight_shape", "int64", "int32")
    check(stored.shape == (2,), "its shape is none of a matrix")
    rows, columns = map(int, found.values("weight_shape"))
    check(0 < rows < 2**40 and 0 < columns < 2**40, "its shape is impossible")
    return rows, columns


def _bits(found: Found, columns: int, words: int) -> int:
    """Of a code, which the configuration has; where there is none, those that the width leaves.

    Early versions left bits of a word unused that were too few for a code. That is another layout where the
    bits do not divide 32, and is told from this one by its width alone.

    Raises:
        MisfitError: it is not known.
    """
    groups = found.config.said.get("config_groups")
    named = (
        [group.get("weights") for group in groups.values() if isinstance(group, dict)]
        if isinstance(groups, dict)
        else []
    )
    said = {one.get("num_bits") for one in named if isinstance(one, dict)}
    known = [bits for bits in range(1, MOST_BITS + 1) if words_for(columns, bits) == words]
    likely = [bits for bits in known if bits in said] or known
    if len(likely) != 1 or (said and likely[0] not in said):
        raise MisfitError(f"{words} words of 32 bits do not say how long {columns} codes are")
    spare = 32 // likely[0]
    check(32 % likely[0] == 0 or -(-columns // spare) != words, "its codes may be packed in two ways")
    return likely[0]


def _by_row(scales: StoredTensor, rows: int) -> int:
    """How many scales a row has: one for all rows counts as one for each."""
    if math.prod(scales.shape) == 1:
        return 1
    check(
        len(scales.shape) == 2 and scales.shape[0] == rows and scales.shape[1] > 0,
        "its scales do not fit its rows",
    )
    return scales.shape[1]


def _index(found: Found, columns: int, groups: int) -> torch.Tensor | None:
    """Which group each column is of; None where they are in order.

    The library sorts columns by `weight_g_idx`, and splits them into groups of one length; that is the group
    which is named there if each is named as often. An index of -1 says that there is none.
    """
    size = group_size(columns, groups)
    stored = found.get("weight_g_idx")
    if stored is None:
        return None
    check_type(stored, "weight_g_idx", "int32", "int64")
    check(stored.shape == (columns,), "its order of groups does not fit its columns")
    index = found.values("weight_g_idx").long()
    if bool((index == -1).any()):
        return None
    counts = torch.bincount(index.clamp(0, groups), minlength=groups)
    whole = bool((index >= 0).all()) and counts.tolist() == [size] * groups
    check(whole, "its order of groups does not name each as often")
    return index


def _bytes(found: Found) -> StoredTensor:
    weight, scales, zero = found["weight"], found["weight_scale"], found.get("weight_zero_point")
    check_axes(weight, "weight", 2)
    rows, columns = weight.shape
    check_type(scales, "weight_scale", "float64", "float32", "float16", "bfloat16", "uint8")
    by_row = _by_row(scales, rows)
    index = _index(found, columns, by_row)
    exponents = scales.dtype == "uint8"
    if zero is not None:
        check_type(zero, "weight_zero_point", weight.dtype, "float64", "float32", "float16", "bfloat16")
        check(zero.shape == scales.shape, "its zero points do not fit its scales")

    def read() -> torch.Tensor:
        stored = scales.read()
        factors = torch.from_numpy(powers(stored.numpy())) if exponents else stored.double()
        factors = factors.reshape(-1, by_row).expand(rows, by_row)
        zeros = torch.zeros(1, 1) if zero is None else zero.read().double().reshape(-1, by_row)
        if index is not None:
            return picked(weight.read(), factors, zeros.expand(rows, by_row), index)
        return grouped(weight.read(), factors, zeros.expand(rows, by_row))

    return found.weight((rows, columns), f"{METHOD} {weight.dtype}, not packed", read)


def _in_groups(parts: Mapping[str, StoredTensor]) -> bool:
    """Whether bytes have zero points, or several scales in a row."""
    weight, scales = parts["weight"], parts.get("weight_scale")
    if scales is None or weight.dtype not in ("int8", "float8_e4m3fn") or len(weight.shape) != 2:
        return False
    several = len(scales.shape) == 2 and scales.shape[0] == weight.shape[0] and scales.shape[1] > 1
    return several or "weight_zero_point" in parts


def _is_said(found: Found) -> StoredTensor:
    """As `_bytes`, where the configuration says that this is the library's."""
    said: Any = found.config.said.get("quant_method")
    check(said == METHOD, "nothing beside the file says how its scales are spread")
    return _bytes(found)


SCHEMES = (
    Scheme(
        name=METHOD,
        mark="weight_packed",
        required=("weight_scale", "weight_shape"),
        optional=("weight_zero_point", "weight_g_idx"),
        read=_packed,
        applies=lambda parts: parts["weight_packed"].dtype != "uint8",
    ),
    Scheme(
        name=METHOD,
        mark="weight_scale",
        required=("weight",),
        optional=("weight_zero_point", "weight_g_idx"),
        codes="weight",
        read=_is_said,
        applies=_in_groups,
    ),
)
