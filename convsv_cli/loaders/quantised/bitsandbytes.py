"""bitsandbytes: four bits (Dettmers, Pagnoni, Holtzman & Zettlemoyer, NeurIPS 2023), and LLM.int8().

Four bits: `weight` has two codes a byte, the higher bits first; each is a place in `weight.quant_map` [16],
times the scale of its block in `weight.absmax`. Where that is bytes, these are places in
`weight.nested_quant_map` [256], times the scale of their own block in `weight.nested_absmax`, plus an
offset. Sizes are JSON in the bytes of `weight.quant_state.bitsandbytes__nf4`, or `fp4`.

Eight bits: `W[i, j] = weight[i, j] SCB[i] / 127`, where `SCB` is the largest magnitude in the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from convsv_cli.errors import ConvsvError
from convsv_cli.loaders.files import parse_json
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.quantised.scheme import (
    Found,
    MisfitError,
    Scheme,
    check,
    check_axes,
    check_type,
    halves,
)

LARGEST = 127
CODES = 16
NESTED_CODES = 256
LARGEST_SIZE = 2**40
MOST_AXES = 8
MAX_STATE = 4096
"""Bytes of the description of a weight."""
STATE = "weight.quant_state.bitsandbytes__"


def _four(kind: str) -> Scheme:
    """The scheme of a type of four bits."""
    return Scheme(
        name=f"bitsandbytes ({kind})",
        mark=STATE + kind,
        required=("weight", "weight.absmax", "weight.quant_map"),
        optional=("weight.nested_absmax", "weight.nested_quant_map"),
        codes="weight",
        read=lambda found: _read_four(found, kind),
    )


def _read_four(found: Found, kind: str) -> StoredTensor:
    state = _state(found, STATE + kind)
    check(state.get("quant_type", kind) == kind, "its description is of another type")
    shape, block = state.get("shape"), _size(state.get("blocksize"))
    check(isinstance(shape, list) and 0 < len(shape) <= MOST_AXES, "its description has no shape")
    sizes = tuple(map(_size, shape or ()))
    count = math.prod(sizes)
    stored, absmax, codebook = found["weight"], found["weight.absmax"], found["weight.quant_map"]
    check_type(stored, "weight", "uint8")
    check_type(codebook, "quant_map", "float32")
    fits = math.prod(stored.shape) == -(-count // 2) and math.prod(absmax.shape) == -(-count // block)
    check(fits and codebook.shape == (CODES,), "its codes, scales and sizes do not fit each other")
    nested = _nested(found, state) if absmax.dtype == "uint8" else None
    if nested is None:
        check_type(absmax, "absmax", "float32")

    def read() -> torch.Tensor:
        codes = halves(stored.read().reshape(-1), high_first=True)[:count]
        scales = absmax.read().reshape(-1)
        factors = scales.double() if nested is None else nested(scales)
        made = codebook.read().double()[codes.int()]
        return (made * factors.repeat_interleave(block)[:count]).reshape(sizes)

    twice = "" if nested is None else ", its scales in eight bits"
    return found.weight(sizes, f"{kind}, of bitsandbytes, in blocks of {block}{twice}", read)


def _nested(found: Found, state: Mapping[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """What turns the bytes of scales into these."""
    missing = {"weight.nested_quant_map", "weight.nested_absmax"} - found.parts.keys()
    offset, block = state.get("nested_offset"), _size(state.get("nested_blocksize"))
    is_whole = not missing and isinstance(offset, (int, float)) and math.isfinite(offset)
    check(is_whole, "the scales of its scales are missing")
    codebook, absmax = found["weight.nested_quant_map"], found["weight.nested_absmax"]
    check_type(codebook, "nested_quant_map", "float32")
    check_type(absmax, "nested_absmax", "float32")
    count = math.prod(found["weight.absmax"].shape)
    fits = codebook.shape == (NESTED_CODES,) and math.prod(absmax.shape) == -(-count // block)
    check(fits, "the scales of its scales do not fit these")

    def scales(codes: torch.Tensor) -> torch.Tensor:
        factors = absmax.read().double().reshape(-1).repeat_interleave(block)[:count]
        return codebook.read().double()[codes.int()] * factors + float(offset or 0)

    return scales


def _state(found: Found, part: str) -> Mapping[str, Any]:
    """The description of a weight."""
    stored = found[part]
    check_type(stored, "quant_state", "uint8")
    check(math.prod(stored.shape) <= MAX_STATE, "its description is too long")
    try:
        said = parse_json(bytes(found.values(part).reshape(-1).tolist()), "the description of a weight")
    except ConvsvError as error:
        said = error.what
    check(isinstance(said, dict), f"its description cannot be read: {said}")
    return dict(said)


def _size(value: object) -> int:
    """A size in a description.

    Raises:
        MisfitError: it is none.
    """
    if type(value) is not int or not 0 < value < LARGEST_SIZE:
        raise MisfitError("its description has no sizes")
    return value


def _read_eight(found: Found) -> StoredTensor:
    weight, scales = found["weight"], found["SCB"]
    check_axes(weight, "weight", 2)
    check_type(scales, "SCB", "float32", "float16", "bfloat16")
    check(scales.shape == weight.shape[:1], "its scales do not fit its rows")
    in_rows = found.get("weight_format") is None or not found.values("weight_format").any()
    check(in_rows, "its codes are in the order of one kind of processor")

    def read() -> torch.Tensor:
        return weight.read().double() * scales.read().double()[:, None] / LARGEST

    return found.weight(weight.shape, "LLM.int8(), of bitsandbytes", read)


SCHEMES = (
    _four("nf4"),
    _four("fp4"),
    Scheme(
        name="bitsandbytes (eight bits)",
        mark="SCB",
        required=("weight",),
        optional=("weight_format",),
        codes="weight",
        read=_read_eight,
        applies=lambda parts: parts["weight"].dtype == "int8",
    ),
)
