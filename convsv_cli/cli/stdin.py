"""Models from stdin: kept in a file of their own while they are worked on, as loaders go back and forth."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO

from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError, UsageError
from convsv_cli.holding import scratch
from convsv_cli.loaders import recognised
from convsv_cli.loaders.files import HEAD_BYTES
from convsv_cli.names import STDIN
from convsv_cli.remote import address, is_remote, public
from convsv_cli.report import Audit

DASH = "-"
PIECE = 2**20
"""Bytes that are copied at a time."""
SHARE = 2
"""Of what is free where files are kept, a model may take one part in so many."""


def is_stdin(path: Path) -> bool:
    """Whether users mean stdin by it."""
    return str(path) == DASH


def shown(path: Path) -> str:
    """What reports call it."""
    return STDIN if is_stdin(path) else public(address(path)) if is_remote(path) else str(path)


def check_once(paths: Iterable[Path | None]) -> None:
    """See that no more than one of the inputs of a command is stdin.

    Raises:
        UsageError: several are.
    """
    if sum(path is not None and is_stdin(path) for path in paths) > 1:
        raise UsageError("stdin can only be read once", hint="save one of the inputs, and name the file")


def with_file(path: Path, run: Callable[[Path], Audit]) -> Audit:
    """What `run` says of a model; of one from stdin, in a file that is there no longer than that.

    Args:
        path: "-" for stdin.
        run: audits a file.

    Raises:
        ConvsvError: as `run`, by the name that reports give it.
        UnreadableModelError: stdin is closed, or cannot be kept.
        UnsafeModelError: it does not end while there is room for it.
    """
    if not is_stdin(path):
        return run(path)
    with scratch() as folder:
        file = folder / "stdin"
        try:
            _keep(file)
            audit = run(file)
        except ConvsvError as error:
            error.where = error.where.replace(str(file), STDIN)
            raise
    return replace(audit, model=replace(audit.model, path=STDIN))


def _keep(file: Path) -> None:
    """Copy stdin; of what does not begin like a model, only that beginning."""
    if sys.stdin is None:
        raise UnreadableModelError("closed", where=STDIN)
    most = shutil.disk_usage(file.parent).free // SHARE
    try:
        with file.open("wb") as kept:
            kept.write(sys.stdin.buffer.read(HEAD_BYTES))
            kept.flush()
            if _begins_like_a_model(file):
                _copy(sys.stdin.buffer, kept, most)
    except OSError as error:
        raise UnreadableModelError(f"cannot be kept: {error.strerror or error}", where=STDIN) from error


def _begins_like_a_model(file: Path) -> bool:
    try:
        return recognised(file)
    except ConvsvError:
        return False  # whoever reads it will say why


def _copy(source: IO[bytes], kept: IO[bytes], most: int) -> None:
    left = most
    while piece := source.read(min(PIECE, left + 1)):
        left -= len(piece)
        if left < 0:
            what = f"larger than {most / 2**30:.3g} GiB, 1/{SHARE} of what is free where it is kept"
            raise UnsafeModelError(what, where=STDIN, hint="save it as a file")
        kept.write(piece)
