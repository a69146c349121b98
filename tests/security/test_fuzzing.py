"""Some damaged and hostile files of each format; `benchmarks/fuzz.py` reads 50,000."""

from __future__ import annotations

import os

import pytest

from tests.support.fuzzing.inputs import write_input
from tests.support.fuzzing.runs import fuzz
from tests.support.fuzzing.seeds import MAKERS
from tests.support.fuzzing.watching import Watch
from tests.support.fuzzing.worker import AUDITED, PLANTED, REFUSED, SNIFFED, UNSAFE

COUNT = 30


@pytest.mark.parametrize("kind", MAKERS)
def test_no_file_does_any_harm(kind: str) -> None:
    tally = fuzz(kind, 0, COUNT, seconds=300)
    assert tally.faults == {}
    assert tally.inputs == COUNT
    assert set(tally.outcomes) <= {AUDITED, REFUSED, UNSAFE, SNIFFED}
    assert tally.outcomes[AUDITED] > COUNT // 10, "mutations must leave some files whole"
    assert tally.outcomes[AUDITED] < COUNT * 9 // 10, "mutations must damage most files"
    assert tally.outcomes[SNIFFED] < COUNT // 10


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
