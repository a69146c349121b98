"""GPTQ (Frantar, Ashkboos, Hoefler & Alistarh, ICLR 2023), as AutoGPTQ and GPTQModel store it.

Of a layer with W [out, in], `qweight` [in * bits / 32, out] has the codes of each row of W one after the
other along its first axis, `qzeros` [groups, out * bits / 32] the zero points along its second, and `g_idx`
[in] says which group a column is of: `W[i, j] = scales[g, i] (q[i, j] - z[g, i])` with g = g_idx[j]. The
first version of the format stores z - 1. Nothing in the tensors says which version it is, only a
configuration beside them; that is also why a zero point of 2^bits in version 1 is refused: some programs
take it for 0.
"""

from __future__ import annotations

import torch

from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.quantised.scheme import (
    WORD,
    Found,
    MisfitError,
    Scheme,
    check,
    check_axes,
    check_type,
    group_size,
    picked,
    unpacked,
    words_for,
)

BITS = (2, 3, 4, 8)
VERSIONS = {"gptq": 1, "gptq_v2": 0}
"""What is added to stored zero points, by the version's name."""
NO_CONFIG = (
    "no config.json or quantize_config.json says of which version of the format its zero points are:"
    " put the quantization config beside the file"
)


def _read(found: Found) -> StoredTensor:
    qweight, qzeros, scales = found["qweight"], found["qzeros"], found["scales"]
    for part in ("qweight", "qzeros", "scales"):
        check_axes(found[part], part, 2)
    check_type(qweight, "qweight", "int32")
    check_type(qzeros, "qzeros", "int32")
    check_type(scales, "scales")
    groups, rows = scales.shape
    bits = bits_of(rows, qzeros.shape[1])
    columns = qweight.shape[0] * WORD // bits
    fits = qweight.shape == (words_for(columns, bits), rows) and qzeros.shape == (
        groups,
        words_for(rows, bits),
    )
    check(fits, "its codes, zero points and scales do not fit each other")
    added = _added(found, bits)
    index = _index(found, columns, groups)
    stored = unpacked(found.values("qzeros"), bits, rows)
    check(not added or int(stored.max()) < 2**bits - 1, f"a zero point of {2**bits} has two meanings")

    def read() -> torch.Tensor:
        codes = unpacked(qweight.read().T, bits, columns)
        zeros = unpacked(qzeros.read(), bits, rows).double() + added
        return picked(codes, scales.read().T, zeros.T, index)

    order = "" if found.get("g_idx") is None or _is_sorted(index) else ", in an order of its own"
    return found.weight((rows, columns), f"GPTQ int{bits}{order}", read)


def bits_of(count: int, words: int) -> int:
    """The bits of a code, of which so many take so many words.

    Raises:
        MisfitError: none do, or codes of several lengths.
    """
    fitting = [bits for bits in BITS if words_for(count, bits) == words]
    if len(fitting) != 1:
        raise MisfitError(f"{words} words of 32 bits do not say how long {count} codes are")
    return fitting[0]


def _added(found: Found, bits: int) -> int:
    """What is added to the stored zero points."""
    said = found.config.said
    check(bool(said), NO_CONFIG)
    method, version = (
        said.get("quant_method", "gptq"),
        said.get("checkpoint_format", said.get("format", "gptq")),
    )
    check(method == "gptq", f"the configuration says {method!r}")
    check(isinstance(version, str) and version in VERSIONS, f"the format {version!r} is not known")
    same = said.get("bits", bits) == bits or bool(said.get("dynamic"))
    check(same, f"the configuration says {said.get('bits')!r} bits, the tensors {bits}")
    return VERSIONS[version]


def _index(found: Found, columns: int, groups: int) -> torch.Tensor:
    """Which group each column is of [columns]."""
    stored = found.get("g_idx")
    if stored is None:
        check(not found.config.said.get("desc_act"), "the order of its groups is missing (g_idx)")
        return torch.arange(columns) // group_size(columns, groups)
    check_type(stored, "g_idx", "int32", "int64")
    check(stored.shape == (columns,), f"its g_idx has {stored.shape} entries for {columns} columns")
    index = found.values("g_idx").long()
    inside = bool(((index >= 0) & (index < groups)).all())
    check(inside, f"its g_idx names groups that are not there: there are {groups}")
    return index


def _is_sorted(index: torch.Tensor) -> bool:
    return bool((index.diff() >= 0).all())


SCHEMES = (
    Scheme(
        name="GPTQ",
        mark="qweight",
        required=("qzeros", "scales"),
        optional=("g_idx",),
        read=_read,
        applies=lambda parts: "scales" in parts,
    ),
)
