"""AWQ (Lin, Tang, Tang, Yang, Chen, Wang, Xiao, Dang, Gan & Han, MLSys 2024), as AutoAWQ stores it ("gemm").

Of a layer with W [out, in], `qweight` [in, out / 8] has eight codes of four bits in each word, those of rows
0, 2, 4, 6, 1, 3, 5 and 7 of eight, the lowest bits first; so has `qzeros` [groups, out / 8]. With `scales`
[groups, out], `W[i, j] = scales[g, i] (q[i, j] - z[g, i])`, where g is the group of column j, in order.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.quantised.scheme import (
    Found,
    Scheme,
    check,
    check_axes,
    check_type,
    group_size,
    grouped,
    unpacked,
)

ROWS = (0, 2, 4, 6, 1, 3, 5, 7)
BITS, CODES = 4, 8
"""Of a code, and how many there are in a word."""
VERSIONS = ("gemm",)


def _read(found: Found) -> StoredTensor:
    qweight, qzeros, scales = found["qweight"], found["qzeros"], found["scales"]
    for part in ("qweight", "qzeros", "scales"):
        check_axes(found[part], part, 2)
    check_type(qweight, "qweight", "int32")
    check_type(qzeros, "qzeros", "int32")
    check_type(scales, "scales")
    columns, (groups, rows) = qweight.shape[0], scales.shape
    fits = rows == CODES * qweight.shape[1] and qzeros.shape == (groups, qweight.shape[1])
    check(fits, "its codes, zero points and scales do not fit each other")
    said = found.config.said
    method, version = said.get("quant_method", "awq"), said.get("version", "gemm")
    check(method == "awq", f"the configuration says {method!r}")
    check(str(version).lower() in VERSIONS, f"the version {version!r} is not known")
    bits = said.get("bits", said.get("w_bit", BITS))
    check(bits == BITS, f"the configuration says {bits!r} bits, the tensors {BITS}")
    size = group_size(columns, groups)

    def read() -> torch.Tensor:
        codes, zeros = _rows(qweight.read()), _rows(qzeros.read())
        return grouped(codes, scales.read().T, zeros)

    return found.weight((rows, columns), f"AWQ int{BITS}, in groups of {size}", read)


def _rows(words: torch.Tensor) -> torch.Tensor:
    """Codes [8 m, n] of words [n, m]."""
    codes = unpacked(words, BITS, CODES * words.shape[1]).reshape(len(words), -1, CODES)
    return codes[..., torch.tensor(ROWS).argsort()].reshape(len(words), -1).T


def _is_awq(parts: Mapping[str, StoredTensor]) -> bool:
    """Whether codes are packed along the rows of W, as zero points are; GPTQ has them along the columns."""
    if "qzeros" not in parts or "scales" not in parts or "g_idx" in parts:
        return False
    words, rows = parts["qweight"].shape[1:], parts["scales"].shape[1:]
    return parts["qzeros"].shape[1:] == words != rows


SCHEMES = (
    Scheme(
        name="AWQ",
        mark="qweight",
        required=("qzeros", "scales"),
        read=_read,
        applies=_is_awq,
    ),
)
