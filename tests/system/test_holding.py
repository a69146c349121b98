"""Folders for temporary files, and what killed processes leave of them."""

import subprocess
import sys

import pytest

from convsv_cli.holding import LOCK, hold, scratch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has other locks")


def test_what_killed_processes_have_left_goes_and_nothing_else(tmp_path):
    """Locks are those of the system: a process that is killed, by whatever, holds none."""
    killed = (
        "import os, pathlib, sys; from convsv_cli.holding import scratch;"
        "held = scratch(pathlib.Path(sys.argv[1])); (held.__enter__() / 'kept').mkdir(); os._exit(9)"
    )
    for name in ("convsv-foreign", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / LOCK).touch()
    (tmp_path / "convsv-link").symlink_to(tmp_path / "elsewhere")
    before = {"convsv-foreign", "convsv-link", "elsewhere", "other"}
    with scratch(tmp_path) as held:
        assert subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False).returncode == 9
        assert len(list(tmp_path.iterdir())) == len(before) + 2
        with scratch(tmp_path) as own:
            assert {path.name for path in tmp_path.iterdir()} == before | {held.name, own.name}
    assert {path.name for path in tmp_path.iterdir()} == before


def test_where_there_are_no_locks_everything_goes_on(tmp_path, monkeypatch):
    def none(*_arguments):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    with (tmp_path / "file").open("wb") as file:
        assert hold(file.fileno())
