"""What becomes of a layer that takes too much, or fails: a row with a reason, among others."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from typing import TypeVar

import torch

from convsv_cli import limits
from convsv_cli.limits import LimitError
from convsv_cli.model.kernel import AS_STORED, as_stored
from convsv_cli.model.layer import Layer
from convsv_cli.names import one_line

UNEXPECTED = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
LONGEST = 300
COPIES = 3
"""Of a weight, while it is read and reduced."""
DIGESTED = 2**20
"""Entries that are converted at a time."""

T = TypeVar("T")


def guarded(measured: Callable[[], T], failed: Callable[[str], T]) -> T:
    """What `measured` gives, or, where a layer takes too much or fails, what `failed` makes of the reason.

    Raises:
        ConvsvError: of other kinds than `LimitError`.
        Exception: any, where CONVSV_TRACEBACK asks for them.
    """
    try:
        return measured()
    except LimitError as error:
        return failed(str(error))
    except UNEXPECTED as error:
        if os.environ.get("CONVSV_TRACEBACK"):
            raise
        return failed(_unexpected(error))


def weight_of(layer: Layer) -> torch.Tensor:
    """A layer's weight, float64, once there is memory for it and for its reduction.

    Raises:
        LimitError: there is not.
    """
    _hold(layer, 8)
    return layer.read().to(torch.float64)


def stored_weight_of(layer: Layer) -> torch.Tensor:
    """A layer's weight, `as_stored`: for norms of it alone, as what is computed with it is in its type.

    Raises:
        LimitError: as `weight_of`.
    """
    stored = getattr(torch, layer.dtype, None)
    _hold(layer, stored.itemsize if stored in AS_STORED and not layer.kernel_shape[2:] else 8)
    return as_stored(layer.read())


def _hold(layer: Layer, entry: int) -> None:
    """Ask for the memory of a weight of so many bytes an entry, and of its reduction."""
    axes = zip(layer.kernel_shape[2:], layer.geometry.stride, layer.geometry.dilation, strict=False)
    phases = [(k, min(s // math.gcd(s, d), k)) for k, s, d in axes if k]
    grown = math.prod([-(-k // count) * count / k for k, count in phases])
    limits.hold(entry * math.prod(layer.kernel_shape) * (COPIES + grown), "its weight")


def digest(weight: torch.Tensor) -> str:
    """SHA-256, hexadecimal, of the shape and the values as little-endian float64: one for all formats."""
    found = hashlib.sha256("x".join(map(str, weight.shape)).encode())
    values = weight.contiguous().flatten()
    for start in range(0, len(values), DIGESTED):
        piece = values[start : start + DIGESTED]
        found.update(piece.to(torch.float64).numpy().astype("<f8", copy=False).data)
    return found.hexdigest()


def _unexpected(error: Exception) -> str:
    """An error that a layer was not expected to make, in one sentence."""
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "there is not enough memory for it"
    return one_line(f"it cannot be measured: {type(error).__name__}: {error}")[:LONGEST]
