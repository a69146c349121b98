"""Some damaged and hostile files of each format; `benchmarks/fuzz.py` reads 50,000."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path

import pytest

from convsv_cli.cache import store
from convsv_cli.sweeping import outcomes, tables
from tests.support.fuzzing import kept
from tests.support.fuzzing.inputs import KEPT, write_input
from tests.support.fuzzing.runs import fuzz
from tests.support.fuzzing.seeds import MAKERS
from tests.support.fuzzing.watching import Watch
from tests.support.fuzzing.worker import AUDITED, PLANTED, REFUSED, SNIFFED, UNSAFE, one, warm_up

COUNT = 30
ALIKE = frozenset(("adapter file", "quantised"))
"""What is in safetensors, whose reader is fuzzed; `benchmarks/fuzz.py` fuzzes these, too."""


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind not in KEPT | ALIKE])
def test_no_file_does_any_harm(kind: str) -> None:
    tally = fuzz(kind, 0, COUNT, seconds=300)
    assert tally.faults == {}
    assert tally.inputs == COUNT
    assert set(tally.outcomes) <= {AUDITED, REFUSED, UNSAFE, SNIFFED}
    assert tally.outcomes[AUDITED] > COUNT // 10, "mutations must leave some files whole"
    assert tally.outcomes[AUDITED] < COUNT * 9 // 10, "mutations must damage most files"
    assert tally.outcomes[SNIFFED] < COUNT // 10


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is wrong with the inputs of what sweeps and caches keep, read here; `kept.prepare` is undone."""
    command = import_module("convsv_cli.cli.sweep")
    for holder, name in ((outcomes, "file_state"), (tables, "file_state"), (command, "executor_of")):
        monkeypatch.setattr(holder, name, getattr(holder, name))
    monkeypatch.setenv("CONVSV_CACHE_KEY", kept.SECRET)
    monkeypatch.chdir(tmp_path)

    def run(kind: str, count: int) -> dict[int, list[str]]:
        warm_up(kind, tmp_path)
        watch = Watch()
        found = {number: one(kind, number, tmp_path, watch) for number in range(count)}
        assert {each["outcome"] for each in found.values()} <= {AUDITED, REFUSED}
        return {number: each["faults"] for number, each in found.items() if each["faults"]}

    return run


@pytest.mark.parametrize("kind", sorted(KEPT))
def test_nothing_that_others_wrote_for_sweeps_and_caches_does_any_harm(kind, runs) -> None:
    assert runs(kind, COUNT // 2) == {}


def test_a_cache_that_believes_anything_is_seen(runs, monkeypatch) -> None:
    unpacked = store._unpacked

    def doubled(packed: bytes) -> bytes:
        return re.sub(rb"[0-9]+\.[0-9]+", lambda n: repr(2 * float(n[0])).encode(), unpacked(packed) or b"")

    monkeypatch.setattr(store, "_unpacked", doubled)
    assert "entries that nobody signed have changed the audit" in str(runs("cache", 6))


def test_tables_of_which_one_is_not_whole_are_seen(runs, monkeypatch) -> None:
    monkeypatch.setattr(tables._Lines, "write", lambda _lines, _rows: None)
    assert "has 0 lines, and 3 rows" in str(runs("sweep results", 4))


def test_the_same_number_is_the_same_input(tmp_path) -> None:
    for number in (3, 8):
        first, again = (tmp_path / f"{number}{name}" for name in "ab")
        first.mkdir()
        again.mkdir()
        name = write_input("onnx", number, first).main
        write_input("onnx", number, again)
        assert (first / name).read_bytes() == (again / name).read_bytes()


def test_faults_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that hang, swell, crash, execute or leave half a document, planted in the worker."""
    monkeypatch.setenv("CONVSV_FUZZ_PLANT", "1")
    monkeypatch.setenv("CONVSV_FUZZ_SECONDS", "1")
    tally = fuzz("safetensors", 0, len(PLANTED), seconds=300)
    for number, (said, _) in enumerate(PLANTED):
        assert said in str(tally.faults.get(number))


def test_the_watch_hears() -> None:
    watch = Watch()
    watch.begin()
    os.system("true")
    exec("x = 1")
    assert {line.split()[0] for line in watch.end()} == {"os.system", "exec"}
