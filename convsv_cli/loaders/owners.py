"""The models that a file is a part of: graphs with external data, and indices of shards."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

from convsv_cli.errors import ConvsvError
from convsv_cli.loaders import LOADERS, parts_of
from convsv_cli.loaders.folder import model_file
from convsv_cli.loaders.loader import alone

DEPTH = 8
"""So many folders above a file are looked into: a model names its data by paths below its own folder."""
OWNING = tuple(suffix for loader in LOADERS if loader.parts is not alone for suffix in loader.suffixes)


def owners(file: Path, known: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Models, of the known ones and of those in a file's folder or above, that are in this file, too."""
    candidates = dict.fromkeys((*known, *_near(file)))
    return tuple(path for path in candidates if _owns(path, file))


def _near(file: Path) -> Iterator[Path]:
    """Models that may be in several files, as far above as the file's path says."""
    folders = [file.parent] if file.is_absolute() else list(file.parents)[:DEPTH]
    for folder in folders:
        yield from sorted(path for path in folder.iterdir() if path.name.lower().endswith(OWNING))


def _owns(path: Path, file: Path) -> bool:
    """Models that do not even mention the file's name are not parsed; those that cannot be may own it."""
    try:
        path = model_file(path)
        if not path.is_file() or path.samefile(file) or not _mentions(path, file.name):
            return False
    except (ConvsvError, OSError):
        return False
    try:
        return any(part.exists() and part.samefile(file) for part in parts_of(path))
    except (ConvsvError, OSError, ValueError):
        return True  # whoever checks it will say what is wrong


def _mentions(path: Path, name: str) -> bool:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(name.encode(errors="surrogateescape")) >= 0
