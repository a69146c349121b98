"""Systems that are not Linux: what they lack is taken away here, in the process and in its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convsv_cli.cli.streams import PLAIN, prepare_streams
from convsv_cli.confinement import lacking
from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders import files
from tests.support.onnx_models import normal, small_network

BARE = """
import builtins, io, os, signal, sys

MODULES = "fcntl", "grp", "posix_ipc", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"
CALLS = "fork forkpty geteuid getgid getuid killpg mkfifo pread sched_getaffinity setsid sysconf wait4"
SIGNALS = "SIGALRM SIGCHLD SIGHUP SIGPIPE SIGQUIT SIGUSR1 SIGXCPU SIGXFSZ"


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def nowhere(function):
    def called(path, *arguments, **options):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(("/proc", "/dev")):
            raise FileNotFoundError(2, "No such file or directory", os.fspath(path))
        return function(path, *arguments, **options)

    return called


for module in MODULES:
    sys.modules.pop(module, None)
sys.meta_path.insert(0, Absent())
for call in CALLS.split():
    hasattr(os, call) and delattr(os, call)
for name in SIGNALS.split():
    delattr(signal, name)
builtins.open = io.open = nowhere(io.open)
os.open, os.stat, os.listdir = map(nowhere, (os.open, os.stat, os.listdir))
os.devnull = os.environ["NUL"]
"""
CORE = """
from convsv_cli.cli import cli
from convsv_cli import confinement
from convsv_cli.confinement import protocol

assert not protocol.FORKS
confinement.START = BARE + confinement.START
print([cli.main(line.split(), "convsv", standalone_mode=False) for line in sys.argv[1].splitlines()])
"""


def test_the_core_works_without_fork_resource_proc_and_dev(root: Path, tmp_path: Path) -> None:
    """Audits of a graph and of a checkpoint, a check and a certification, with children for each request."""
    small_network(tmp_path)
    np.savez(tmp_path / "data.npz", x=normal(2, 1, 8, 8), y=np.zeros(2, int))
    (tmp_path / "convsv.toml").write_text('models = ["*.onnx"]\nmax-layer = 12\n')
    quick = "--network-effort quick -q"
    lines = f"""audit model.onnx {quick} -o audit.json
        audit {root}/sample_models/mnist_curvature.pt -q -o checkpoint.json
        check {quick} -o check.json
        certify model.onnx --data data.npz --effort none {quick} -o certificate.json"""
    (tmp_path / "nul").touch()
    process = subprocess.run(
        [sys.executable, "-c", f"BARE = {BARE!r}\nexec(BARE){CORE}", lines],
        cwd=tmp_path,
        env={**os.environ, "NUL": str(tmp_path / "nul")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.stdout, process.stderr) == ("[0, 0, 0, None]\n", "")
    names = ("audit", "checkpoint", "check", "certificate")
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in names}
    found |= {name: document["audits"][0] for name, document in found.items() if "audits" in document}
    fc = found["audit"]["layers"][1]["certified"]
    assert fc["lower"] <= np.linalg.norm(normal(36, 3) / 2, 2) <= fc["upper"]
    assert found["audit"]["network"]["lipschitz_upper"] > 0
    head = found["checkpoint"]["layers"][1]["certified"]
    assert head["upper"] == pytest.approx(4.049, rel=1e-3), "as the README says"
    assert found["check"]["verdict"]["outcome"] == "passed"
    assert found["certificate"]["samples"] == 2
    said = [finding["message"] for finding in found["audit"]["findings"]]
    lost = (
        "this system has no limit on memory, processor time and open files of the process that reads the file"
    )
    assert sum(message.startswith(lost) for message in said) == 1
    assert any(note.startswith(lost) for note in found["certificate"]["notes"])


def test_what_a_system_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "linux":
        assert lacking() == ()
    monkeypatch.setattr(sys, "platform", "darwin")
    (line,) = lacking()
    assert line.startswith("this system has no limit on the memory of the process that reads the file")


def test_what_an_encoding_lacks_is_written_in_ascii() -> None:
    prepare_streams()
    for encoding, times in (("cp1252", "×"), ("ascii", "x")):
        text = "certified ≤ 3×3 ─── █▏ a → b\ud800 ‖W‖ \u4e00".encode(encoding, PLAIN).decode(encoding)
        assert text == f"certified <= 3{times}3 --- ## a -> b\\ud800 ||W|| \\u4e00"
    assert "≤".encode("utf-8", PLAIN).decode() == "≤"


@pytest.mark.parametrize(
    "location", ["C:\\weights.bin", "C:weights.bin", "\\weights.bin", "\\\\host\\share\\w"]
)
def test_windows_paths_leave_the_folder_there(location: str, tmp_path: Path, monkeypatch) -> None:
    """A drive, the root of one, and a share; here, such names are of files in the folder."""
    from pathlib import PureWindowsPath

    monkeypatch.setattr(files, "Path", PureWindowsPath)
    with pytest.raises(UnsafeModelError, match="outside the model's folder"):
        files.locate(PureWindowsPath(str(tmp_path / "model.onnx")), location, "it")
