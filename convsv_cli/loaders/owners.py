"""The models that a file is a part of: graphs with external data, and indices of shards."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from convsv_cli.errors import ConvsvError
from convsv_cli.loaders import LOADERS, parts_of
from convsv_cli.loaders.files import model_file
from convsv_cli.loaders.loader import alone

DEPTH = 8
"""How many folders above a file are looked into: a model names its data by paths below its own folder."""
CHECKOUT = ".git"
"""What the topmost folder has that is looked into."""
OWNING = tuple(suffix for loader in LOADERS if loader.parts is not alone for suffix in loader.suffixes)


def owners(file: Path, known: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Models, of the known ones and of those in a file's folder or above, that are in this file, too."""
    entries = [entry for folder in _above(file) for entry in _entries(folder)]
    near = (entry for entry in entries if entry.name.lower().endswith(OWNING))
    names = {file.name, *(entry.name for entry in entries if _leads_to(entry, file))}
    candidates = dict.fromkeys((*known, *near))
    return tuple(path for path in candidates if _owns(path, file, names))


def _above(file: Path) -> Iterator[Path]:
    """The folder of a file and those around it, wherever the command runs; relative where the file is."""
    folder = file.parent.resolve()
    for each in (folder, *folder.parents)[:DEPTH]:
        yield each if file.is_absolute() else Path(os.path.relpath(each))
        if (each / CHECKOUT).exists():
            return


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing where that may not be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _leads_to(entry: Path, file: Path) -> bool:
    """Whether it is a link to the file, by whose name a model may know it."""
    try:
        return entry.is_symlink() and entry.samefile(file)
    except OSError:
        return False


def _owns(path: Path, file: Path, names: Iterable[str]) -> bool:
    """Models that do not even mention such a name are not parsed; those that cannot be may own it."""
    try:
        path = model_file(path)
        if not path.is_file() or path.samefile(file) or not _mentions(path, names):
            return False
    except (ConvsvError, OSError):
        return False
    try:
        return any(part.exists() and part.samefile(file) for part in parts_of(path))
    except (ConvsvError, OSError, ValueError):
        return True  # whoever checks it will say what is wrong


def _mentions(path: Path, names: Iterable[str]) -> bool:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(form) >= 0 for name in names for form in _written(name))


def _written(name: str) -> tuple[bytes, bytes]:
    """The name as a graph stores it, and as JSON may."""
    return name.encode(errors="surrogateescape"), json.dumps(name)[1:-1].encode()
