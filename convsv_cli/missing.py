"""Paths at which there is nothing to read: one wording for all commands, with a guess at what was meant."""

from __future__ import annotations

import difflib
import os
from itertools import islice
from pathlib import Path
from typing import TypeVar

from convsv_cli.errors import ConvsvError
from convsv_cli.remote import address, is_remote, public

E = TypeVar("E", bound=ConvsvError)
MOST = 10_000
"""Entries of a folder that are looked at."""


def nothing_at(kind: type[E], path: Path | str, hint: str = "check the path") -> E:
    """The error to raise where there is no file.

    Args:
        kind: of the error.
        path: as users gave it.
        hint: what to do where no file there has a name like that.
    """
    if url := address(path):
        here = "only a file will do here" if is_remote(url) else "convsv does not read such ones"
        what = f"this is a URL, and {here}"
        return kind(what, where=public(url), hint="download it first, as curl -LO does")
    if str(path) == "-":
        return kind("only a file will do here, not stdin", where="-", hint="save it, and name the file")
    if os.path.islink(path):  # noqa: PTH114  (which takes whatever a path is)
        return kind(f"the link leads nowhere: there is no {_target(path)}", where=str(path), hint=hint)
    near = _near(Path(path))
    return kind("no such file", where=str(path), hint=f"did you mean {near}?" if near else hint)


def is_url(path: Path | str) -> bool:
    """Whether a path is rather the address of something in a network."""
    return bool(address(path))


def _target(link: Path | str) -> str:
    """What a link says that it leads to."""
    try:
        return os.readlink(link)  # noqa: PTH115  (as it is written)
    except OSError:
        return "such file"


def _near(path: Path) -> Path | None:
    """The file beside it whose name is most like its own; None where none is, or nothing may be listed."""
    try:
        with os.scandir(path.parent) as entries:
            names = sorted(entry.name for entry in islice(entries, MOST))
    except (OSError, ValueError):
        return None
    alike = [name for name in names if Path(name).suffix.lower() == path.suffix.lower()]
    for each in (alike, names):
        forms = {name.lower(): name for name in each}
        found = difflib.get_close_matches(path.name.lower(), forms, n=1)
        if found:
            return path.parent / forms[found[0]]
    return None
