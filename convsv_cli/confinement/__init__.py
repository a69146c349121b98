"""Work on what strangers wrote, in a child process that may fail, with time and memory limits.

Code in C++ that reads a model may crash, never return, or want all memory there is. It runs in a process of
its own, which has what it was sent, and gives back bytes.

On POSIX, one child that has imported what it needs waits for requests, and forks for each of them: nothing is
left of a file when the next one comes. Where there is no fork, or system libraries do not bear one (macOS),
each request has a fresh child. The limits on memory, processor time and files are those of the `resource`
module: Windows has none of them, and macOS does not keep the one on memory, as `lacking` says. The limit on
elapsed time, and that a crash harms nobody, hold everywhere.
"""

from __future__ import annotations

from convsv_cli.confinement.parent import StoppedError, confined, prepare
from convsv_cli.confinement.protocol import MB, Limits, lacking

__all__ = ["MB", "Limits", "StoppedError", "confined", "lacking", "prepare"]
