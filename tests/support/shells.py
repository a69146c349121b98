"""Commands as shells run them, with `convsv` on the path."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.command_line import runner

ROOT = Path(__file__).parents[2]
CLIENT = Path(__file__).with_name("fork_client.py")


def convsv_command() -> list[str]:
    """What starts `convsv` with the arguments that follow, without the second or two that imports take."""
    return [sys.executable, "-I", "-S", str(CLIENT), str(runner().socket)]


def installed(folder: Path) -> dict[str, str]:
    """An environment in which `convsv` is this checkout."""
    script = folder / "bin" / "convsv"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f'#!/bin/sh\nexec {shlex.join(convsv_command())} "$@"\n')
    script.chmod(0o755)
    path = os.pathsep.join([str(script.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


def shell(
    script: str, folder: Path, environment: dict[str, str], *, command: tuple[str, ...] = ("bash", "-c")
) -> subprocess.CompletedProcess[str]:
    """The script, run in that folder."""
    return subprocess.run(
        [*command, script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
