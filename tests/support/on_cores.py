"""Tests of what is shared among cores, of which there is one in all others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from convsv_cli.spectral import cores


@contextmanager
def on_cores(count: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine with so many, and with torch's threads as they were afterwards."""
    before, _ = torch.get_num_threads(), cores._pool.cache_clear()
    monkeypatch.setattr(cores, "CORES", count)
    yield
    cores._pool.cache_clear()
    torch.set_num_threads(before)
