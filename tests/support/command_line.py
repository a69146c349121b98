"""Run the command line as a user does, in a process of its own."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.measured import Runner

COMMAND_LINE = """
from convsv_cli.__main__ import main
main()
"""
"""`python -c` code for the command line."""


def convsv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The finished process; stdin is empty and stdout and stderr are no terminals.

    It goes on from a process that has imported torch, which takes longer than most audits.
    """
    outcome = runner().run(*arguments)
    return subprocess.CompletedProcess(arguments, outcome.code, outcome.stdout, outcome.stderr)


def convsv_anew(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same from the start, as Python and libraries begin; with these variables in the environment."""
    return subprocess.run(
        [sys.executable, "-m", "convsv_cli", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@cache
def runner() -> Runner:
    """For all tests of this process."""
    made = Runner(seconds=600)
    atexit.register(made.close)
    return made
