"""Small files that claim much: none takes a command long, or much memory, or an error of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.measured import Runner
from tests.support.small_files import SIZE, SMALL_FILES

PEAK, SECONDS = 1.5e9, 30.0
"""Bytes, and seconds of processors."""
LINE = 1100


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with closing(Runner()) as running:
        yield running


@pytest.mark.parametrize("name", SMALL_FILES)
def test_small_file(name: str, runner: Runner, tmp_path: Path) -> None:
    small = SMALL_FILES[name]
    path = small.make(tmp_path)
    assert sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file()) < SIZE
    found = runner.run(*small.arguments(path))
    assert found.code in small.codes, found.stderr
    assert small.says in found.stdout + found.stderr
    assert found.seconds < SECONDS
    assert found.peak < PEAK
    assert len(found.stderr.splitlines()) <= 1
    assert len(found.stderr) < LINE
    shutil.rmtree(tmp_path)
