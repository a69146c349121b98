"""The real values of blocks of few bits, as ggml defines them, in float64.

A block has one or two numbers in float16, `d` and `m`, and what follows them are codes; some blocks have
further scales of few bits, one for each run of 16 or 32 entries. Each function says which entries these make.
In float64, all products of these are exact (11 bits of `d`, at most 8 of a scale and 8 of a code), and so are
the differences `d s q - m t`: both are multiples of 2^-24 below 2^28. Source: ggml/src/ggml-quants.c.

The IQ types, whose codes are places in tables, are read by the package `gguf` of llama.cpp, which has these.
It computes in float32: there, an entry is within a relative 2^-22 of the product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.quantised.microscaling import E2M1, powers

if TYPE_CHECKING:
    Bytes = NDArray[np.uint8]
    Reals = NDArray[np.float64]

AT_ONCE = 2**16
"""Entries whose codes are looked at together: what is made of them on the way takes more memory."""
RUN = 256
EXTRA = "{} is read by the package gguf: pip install 'convsv[gguf]'"
_QUANTILES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""The sixteen values of IQ4_NL and IQ4_XS."""


def values(blocks: Bytes, kind: str, length: int) -> Reals:
    """The entries [n * length] of blocks [n, bytes] of this type, which have so many each."""
    made = np.empty((len(blocks), length))
    step = max(1, AT_ONCE // length)
    read = READERS.get(kind) or _by_library(kind)
    with np.errstate(all="ignore"):  # whoever measures them sees what is not finite
        for first in range(0, len(blocks), step):
            made[first : first + step] = read(blocks[first : first + step])
    return made.reshape(-1)


def missing(kind: str) -> str:
    """Why blocks of this type cannot be read here; empty where they can."""
    if kind in READERS:
        return ""
    library = _library()
    if library is None:
        return EXTRA.format(kind)
    known = {name.name for name in library.quants._type_traits}  # noqa: SLF001  (no other way to ask)
    return "" if kind in known else f"{kind} is no type of weights that convsv reads"


def _library() -> ModuleType | None:
    try:
        import gguf.quants
    except ImportError:
        return None
    return gguf


def _by_library(kind: str) -> Callable[[Bytes], Reals]:
    library = _library()
    if library is None:
        raise UnreadableModelError(EXTRA.format(kind))
    number = library.GGMLQuantizationType[kind]
    return lambda blocks: np.asarray(library.quants.dequantize(blocks, number), np.float64)


def _half(blocks: Bytes, at: int) -> Reals:
    """A float16 of each block [n, 1], from this byte on."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float64)


def _fields(packed: Bytes, bits: int, run: int) -> Bytes:
    """Codes of 1, 2 or 4 bits: of every `run` bytes first the lowest bits of all, then those above."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    split = packed.reshape(len(packed), -1, 1, run) >> shifts
    return np.asarray(split & np.uint8(2**bits - 1)).reshape(len(packed), -1)


def _bits(packed: Bytes) -> Bytes:
    """Each bit, the lowest of a byte first."""
    return np.unpackbits(np.ascontiguousarray(packed), axis=1, bitorder="little")


def _spread(factors: Reals, count: int = RUN) -> Reals:
    """Factors [n, runs] for entries [n, count]."""
    return np.repeat(factors, count // factors.shape[1], axis=1)


def _q4_0(b: Bytes) -> Reals:
    return _half(b, 0) * (_fields(b[:, 2:], 4, 16).astype(np.float64) - 8)


def _q4_1(b: Bytes) -> Reals:
    return _half(b, 0) * _fields(b[:, 4:], 4, 16) + _half(b, 2)


def _q5_0(b: Bytes) -> Reals:
    codes = _fields(b[:, 6:], 4, 16) + 16 * _bits(b[:, 2:6])
    return _half(b, 0) * (codes.astype(np.float64) - 16)


def _q5_1(b: Bytes) -> Reals:
    return _half(b, 0) * (_fields(b[:, 8:], 4, 16) + 16 * _bits(b[:, 4:8])) + _half(b, 2)


def _q8_0(b: Bytes) -> Reals:
    return _half(b, 0) * b[:, 2:].view(np.int8)


def _q2_k(b: Bytes) -> Reals:
    """A scale and an offset of four bits for each 16 entries."""
    scales, offsets = b[:, :16] & 15, b[:, :16] >> 4
    codes = _fields(b[:, 16:80], 2, 32)
    return _spread(_half(b, 80) * scales) * codes - _spread(_half(b, 82) * offsets)


def _q3_k(b: Bytes) -> Reals:
    """Scales of six bits, less 32; codes of two bits, less 4 where the bit of the mask is not set."""
    low, high = _fields(b[:, 96:104], 4, 8), _fields(b[:, 104:108], 2, 4)
    scales = (low | high << 4).astype(np.float64) - 32
    mask = _fields(b[:, :32], 1, 32)
    codes = _fields(b[:, 32:96], 2, 32).astype(np.float64) - 4 * (mask ^ 1).astype(np.float64)
    return _spread(_half(b, 108) * scales) * codes


def _six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales and eight offsets [n, 8] of twelve bytes.

    The first four of each have bytes of their own, whose two upper bits belong to the last four; what else
    these have are the lower and the upper half of the last four bytes.
    """
    first, second, rest = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.hstack([first & 63, (rest & 15) | (first >> 6) << 4])
    offsets = np.hstack([second & 63, (rest >> 4) | (second >> 6) << 4])
    return scales, offsets


def _q4_k(b: Bytes) -> Reals:
    scales, offsets = _six_bits(b[:, 4:16])
    return _spread(_half(b, 0) * scales) * _fields(b[:, 16:], 4, 32) - _spread(_half(b, 2) * offsets)


def _q5_k(b: Bytes) -> Reals:
    scales, offsets = _six_bits(b[:, 4:16])
    codes = _fields(b[:, 48:], 4, 32) + 16 * _fields(b[:, 16:48], 1, 32)
    return _spread(_half(b, 0) * scales) * codes - _spread(_half(b, 2) * offsets)


def _q6_k(b: Bytes) -> Reals:
    """Of each half of the block, 64 bytes have the lower four bits of 128 codes, 32 the upper two."""
    codes = (_fields(b[:, :128], 4, 64) | _fields(b[:, 128:192], 2, 32) << 4).astype(np.float64) - 32
    return _spread(_half(b, 208) * b[:, 192:208].view(np.int8)) * codes


def _tq2_0(b: Bytes) -> Reals:
    return _half(b, 64) * (_fields(b[:, :64], 2, 32).astype(np.float64) - 1)


def _iq4_nl(b: Bytes) -> Reals:
    return _half(b, 0) * np.array(_QUANTILES, np.float64)[_fields(b[:, 2:], 4, 16)]


def _iq4_xs(b: Bytes) -> Reals:
    """Scales of six bits, less 32, of which two bytes have the upper bits and four the lower ones."""
    low = _fields(b[:, 4:8], 4, 1)
    high = _fields(b[:, 2:4], 2, 1)
    scales = (low | high << 4).astype(np.float64) - 32
    codes = np.array(_QUANTILES, np.float64)[_fields(b[:, 8:], 4, 16)]
    return _spread(_half(b, 0) * scales) * codes


def _mxfp4(b: Bytes) -> Reals:
    """An exponent of two, E8M0, and floats of four bits."""
    return np.asarray(powers(b[:, :1]) * E2M1[_fields(b[:, 1:], 4, 16)])


READERS: Mapping[str, Callable[[Bytes], Reals]] = {
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0, "Q2_K": _q2_k, "Q3_K": _q3_k,
    "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k, "TQ2_0": _tq2_0, "IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
}  # fmt: skip
