"""What a process holds for as long as it lives: a lock, or a folder for its temporary files.

The system takes locks from processes that are killed, which no process id says as surely: ids are used again,
and mean other processes in containers.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EAGAIN, EDEADLK
from pathlib import Path
from typing import BinaryIO

from convsv_cli.machine import regular

PREFIX, LOCK = "convsv-", ".lock"
HELD = frozenset((EACCES, EAGAIN, EDEADLK))
"""What systems say of a lock that somebody else has."""


def hold(handle: int) -> bool:
    """Lock a file that is open, until it is closed; False where somebody else has locked it.

    Where the file system has no locks, it counts as locked by this process.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in HELD
    return True


def lock_file(folder: Path) -> BinaryIO:
    """The file of a folder that is locked, which is made; no link, and no pipe with which one might wait.

    Raises:
        OSError: it cannot be written.
    """
    names = ("O_RDWR", "O_CREAT", "O_NOFOLLOW", "O_NONBLOCK")
    handle = os.open(folder / LOCK, sum(getattr(os, name, 0) for name in names), 0o666)
    return os.fdopen(handle, "rb", buffering=0)


@contextmanager
def scratch(folder: Path | None = None) -> Iterator[Path]:
    """A folder for temporary files, removed at the end; what killed processes have left goes first.

    Args:
        folder: where to make it; None for the system's.
    """
    home = folder or Path(tempfile.gettempdir())
    _remove_left(home)
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=home)).resolve()
    handle, name = tempfile.mkstemp(dir=made)
    try:
        hold(handle)
        Path(name).rename(made / LOCK)  # it is locked from the moment in which it has its name
        yield made
    finally:
        os.close(handle)
        shutil.rmtree(made, ignore_errors=True)


def _remove_left(home: Path) -> None:
    """Remove the user's own folders here whose process has ended; those without a lock may be anything."""
    with suppress(OSError):
        for folder in home.glob(f"{PREFIX}*"):
            if not folder.is_symlink() and _is_left(folder / LOCK):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(lock: Path) -> bool:
    """Whether nobody holds a lock that this user has made."""
    try:
        with regular(lock) as file:
            own = not hasattr(os, "getuid") or os.fstat(file.fileno()).st_uid == os.getuid()
            return own and hold(file.fileno())
    except (OSError, ValueError):
        return False
