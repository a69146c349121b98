"""Work in a child process: what comes back, and that nothing it does reaches further."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from convsv_cli.confinement import Limits, StoppedError, confined
from convsv_cli.errors import UsageError
from tests.support.processes import ends

MB = 1 << 20
LIMITS = Limits(seconds=60, processor=30, memory=256 * MB)


def do(task: str, payload: bytes = b"", limits: Limits = LIMITS, progress=lambda _share: None) -> bytes:
    return confined(f"tests.support.confined_tasks:{task}", payload, limits, progress)


def test_bytes_go_there_and_come_back() -> None:
    shares: list[float] = []
    data = os.urandom(5 * MB)
    assert do("echo", data, progress=shares.append) == data
    assert shares == [0.5]


def test_one_request_leaves_nothing_for_the_next() -> None:
    assert do("remember", b"a") == b"a"
    assert do("remember", b"b") == b"b"


def test_errors_come_back() -> None:
    with pytest.raises(UsageError) as caught:
        do("refuse")
    assert (caught.value.what, caught.value.where, caught.value.hint) == ("no", "here", "do that")
    with pytest.raises(RuntimeError, match="ValueError: a fault"):
        do("fail")


@pytest.mark.parametrize(
    ("task", "payload", "limits", "why"),
    [
        ("sleep", b"", replace(LIMITS, seconds=1), "more than 1 s"),
        ("spin", b"", replace(LIMITS, seconds=1), "more than 1 s"),
        ("spin", b"", replace(LIMITS, processor=1), "processor time"),
        ("swell", b"", LIMITS, "more than 0.2 GB of memory"),
        ("crash", b"", LIMITS, "signal 11"),
        ("leave", b"", replace(LIMITS, seconds=1), "more than 1 s"),
        ("boast", b"1000001", replace(LIMITS, answer=1_000_000), "too long"),
    ],
)
def test_what_goes_wrong_there_is_an_error_here(task: str, payload: bytes, limits: Limits, why: str) -> None:
    start = time.monotonic()
    with pytest.raises(StoppedError, match=why):
        do(task, payload, limits)
    assert time.monotonic() - start < 20
    assert do("echo", b"again") == b"again"


def test_memory_within_the_limit_is_there() -> None:
    assert do("swell", limits=replace(LIMITS, memory=3000 * MB)) == b"\0\0"


def test_what_libraries_print_stays_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert do("chatter") == b"done"
    assert capfd.readouterr() == ("", "")


def test_it_reaches_no_file_no_network_and_no_program(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    assert do("reach_out", str(tmp_path).encode()) == b""
    assert not (tmp_path / "canary").exists() or not (tmp_path / "canary").read_text()
    reading = do("reach_out", str(tmp_path).encode(), replace(LIMITS, reads=True)).split()
    assert b"read" in reading
    assert b"write" not in reading


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_ends_it_at_once(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupt(_share: float) -> None:
        raise error

    file = tmp_path / "pid"
    # Writing a file is what confinement forbids, so the test's task gets a pipe to write to.
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(error):
            do("beat", str(file).encode(), replace(LIMITS, reads=True), interrupt)
        process = int(os.read(reader, 100))
    finally:
        os.close(reader)
    assert ends(process)
