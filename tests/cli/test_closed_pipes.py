"""Pipes that close, streams that are closed and disks that are full: no such end is taken for a finding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.budget_models import scaled
from tests.support.shells import convsv_command

READER_GONE = 141
DATA = "samples.npz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a model, a budget that it exceeds, samples and a saved audit."""
    made = tmp_path_factory.mktemp("pipes")
    scaled(made, 2)
    (made / "convsv.toml").write_text("max-layer = 1")
    np.savez(made / DATA, x=np.eye(4, dtype="float32"), y=np.zeros(4, int))
    shell(made, "audit model.onnx -o audit.json")
    return made


def shell(folder: Path, arguments: str, redirection: str = "") -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -m convsv_cli {arguments} {redirection}'
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)


def piped(folder: Path, arguments: str, into: str) -> subprocess.CompletedProcess[str]:
    """Two commands, of which the first one's exit code counts."""
    script = f'"{sys.executable}" -m convsv_cli {arguments} | {into}; exit "${{PIPESTATUS[0]}}"'
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def unread(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The finished command, whose stdout nobody has read from the beginning."""
    reader, writer = os.pipe()
    os.close(reader)
    anew = [sys.executable, "-m", "convsv_cli"]
    command = [*(convsv_command() if arguments[:1] in WARM else anew), *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    return process


COMMANDS = {
    "help": "--help",
    "help of a command": "check --help",
    "version": "--version",
    "methods": "methods",
    "audit": "audit model.onnx",
    "check": "check model.onnx",
    "report": "report audit.json",
    "certify": f"certify model.onnx --data {DATA}",
    "spectrum": "spectrum model.onnx --layer fc0",
}
WARM = (("check",), ("certify",), ("spectrum",))
"""As an audit begins anew, these go on from a process that has imported torch, and end as all do."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_is_gone_is_told_as_shells_do(name: str, folder: Path) -> None:
    process = unread(folder, *COMMANDS[name].split())
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (READER_GONE, "")


def test_completion_of_the_shell_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_CONVSV_COMPLETE", "bash_source")
    process = unread(folder)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (READER_GONE, "")


@pytest.mark.parametrize(("arguments", "code"), [("check model.onnx", 1), ("methods", 0)])
def test_a_reader_that_takes_everything_changes_nothing(arguments: str, code: int, folder: Path) -> None:
    assert piped(folder, arguments, "cat >/dev/null").returncode == code


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_head_ends_a_long_document(unbuffered: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fits into a pipe, so that the command must notice."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    long = folder / "long.json"
    document = json.loads((folder / "audit.json").read_text())
    (audit,) = document["audits"]
    layer = audit["layers"][0]
    audit["layers"] = [{**layer, "name": f"layer{i}"} for i in range(2000)]
    long.write_text(json.dumps(document))
    process = piped(folder, "report long.json --format csv", "head -1")
    assert (process.returncode, process.stderr) == (READER_GONE, "")
    assert process.stdout.count("\n") == 1


def test_what_is_left_to_the_exit_of_python_is_noticed_too() -> None:
    """Without click's own flush the text stays in Python's buffer until the end."""
    code = "import sys, click; click.echo = lambda text='', **_: sys.stdout.write(text + '\\n')\n"
    code += "sys.argv = ['convsv', 'methods']; from convsv_cli.cli import main; main()"
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (READER_GONE, "")


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("check model.onnx -o out.json", 1), ("audit none.onnx", 2)])
def test_closed_streams_change_no_exit_code(arguments: str, code: int, closed: str, folder: Path) -> None:
    assert shell(folder, arguments, closed).returncode == code
    if "-o" in arguments:
        assert json.loads((folder / "out.json").read_text())["audits"][0]["verdict"]["outcome"] == "failed"


def test_nobody_who_reads_stderr_changes_no_exit_code(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "convsv_cli", "audit", "none.onnx", "also_none.onnx"]
    process = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert process.returncode == 2
    assert b"none.onnx" in process.stdout


@pytest.mark.parametrize("arguments", ["--help", "check --help", "methods"])
def test_a_full_disk_is_one_line(arguments: str, folder: Path) -> None:
    process = shell(folder, arguments, ">/dev/full")
    assert (process.returncode, process.stderr) == (
        2,
        "convsv: stdout: cannot write: No space left on device\n",
    )
