"""Values of tensors in a file, of which only their own part is mapped into memory."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from convsv_cli import limits
from convsv_cli.remote.files import view


def mapped(path: Path, start: int, count: int, dtype: torch.dtype, *, swapped: bool = False) -> torch.Tensor:
    """So many values [count] of a file, from a byte on, which must be in it.

    Args:
        path: of the file.
        start: position of the first value, in bytes.
        count: number of values, 0 or more.
        dtype: of the values.
        swapped: whether their bytes are in the other order than this machine's.
    """
    if not count:
        return torch.zeros(0, dtype=dtype)
    item = dtype.itemsize
    stored = view(path, start, count * item, "c")
    turned = swapped and item > 1
    flat = torch.from_numpy(stored.reshape(-1, item)[:, ::-1].reshape(-1) if turned else stored)
    if flat.data_ptr() % item:
        flat = flat.clone()
    return flat.view(dtype)


def strided(flat: torch.Tensor, shape: tuple[int, ...], strides: tuple[int, ...]) -> torch.Tensor:
    """A view of this shape, whose entries may share values: then reading it is work beyond the file's bytes.

    Args:
        flat: the values [n], from that of the first entry on.
        shape: of the view.
        strides: between entries along each axis; no entry is beyond the values.

    Raises:
        LimitError: more entries share values than the model may still read.
    """
    count = math.prod(shape)
    if count > flat.numel():
        limits.spend(count, f"reading {count} entries of a tensor of {flat.numel()} values")
    return torch.as_strided(flat, shape, strides)
