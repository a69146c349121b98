"""Run the command line as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
from convsv_cli.cli import main
main()
"""
"""`python -c` code for the command line."""


def convsv(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The finished process; stdin is closed and stdout and stderr are no terminals."""
    return subprocess.run(
        [sys.executable, "-m", "convsv_cli", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
