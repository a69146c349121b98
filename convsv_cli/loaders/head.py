"""The first bytes of a model file, and plain words for what is no model file at all."""

from __future__ import annotations

import stat
from pathlib import Path

from convsv_cli.errors import UnreadableModelError

HEAD_BYTES = 4096


def read_head(path: Path) -> bytes:
    """The first 4 KiB of a regular file.

    Raises:
        UnreadableModelError: there is no such file, it is no regular file, it may not be read, or it is
            empty, a git-LFS pointer or a web page.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
            raise UnreadableModelError(f"this is {kind}", where=str(path), hint="name a model file")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise UnreadableModelError("no such file", where=str(path), hint="check the path") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableModelError(
            f"cannot be read: {reason}", where=str(path), hint="check the path"
        ) from error
    except ValueError as error:
        raise UnreadableModelError(f"no path: {error}", where=str(path), hint="check the path") from error
    _check_content(head, path)
    return head


def _check_content(head: bytes, path: Path) -> None:
    """Recognise what is commonly saved in a model file's place."""
    if not head:
        raise UnreadableModelError("the file is empty", where=str(path), hint="download or export it again")
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise UnreadableModelError(
            "this is a git-LFS pointer, not the model", where=str(path), hint="run git lfs pull"
        )
    if head.lstrip()[:64].lower().startswith((b"<!doctype html", b"<html")):
        raise UnreadableModelError(
            "this is a web page, not a model", where=str(path), hint="download the file itself"
        )
