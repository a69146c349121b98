"""Frequencies in parts, each of which fits into a core's cache; every core takes the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from convsv_cli.spectral.cores import parallel_map

NUMBERS = 2**16
"""Of one tensor, in a part: 1 MB of complex ones."""

R = TypeVar("R")


def in_parts(function: Callable[[slice], R], frequencies: int, entries: int) -> list[R]:
    """What a function gives for each part, without derivatives.

    Args:
        function: called with the place of the part's frequencies, on any core.
        frequencies: how many there are.
        entries: of a tensor that it works on, at one of them.
    """
    length = max(1, NUMBERS // entries)
    parts = [slice(start, start + length) for start in range(0, frequencies, length)]

    def apply(part: slice) -> R:
        with torch.no_grad():  # which each thread has of its own
            return function(part)

    return parallel_map(apply, parts)
