"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import click


def written(path: Path, write: Callable[[Path], object], consequence: str = "") -> None:
    """Write a file beside `path`, then put it in its place.

    Raises:
        click.ClickException: the disk is full, or refuses; the old file is still there. One line, which ends
            with the `consequence`.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save wraps what the disk says
        reason = str(error).splitlines()[0]
        raise click.ClickException(f"cannot write {path}: {reason}{consequence}") from error
    finally:
        with contextlib.suppress(OSError):  # where the folder could not be made
            partial.unlink(missing_ok=True)
