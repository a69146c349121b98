"""Which models there are in folders: files by their names, those in several files once, links once.

Links to folders are followed, each folder once, so that circles end; of Hugging Face's caches, snapshots are
looked at, and the blobs that these link to are not.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from convsv_cli.errors import ConvsvError, UsageError
from convsv_cli.loaders import parts_of
from convsv_cli.loaders.files import ADAPTER_CONFIG, may_be_model
from convsv_cli.remote import is_remote
from convsv_cli.remote.listing import folders
from convsv_cli.remote.mirror import mirrored

MOST = 1_000_000
"""Entries of folders that are looked at."""
PASSED_OVER = frozenset((".git", ".locks", ".no_exist", "__pycache__", "node_modules"))
BLOBS, SNAPSHOTS = "blobs", "snapshots"
STATE = re.compile(r"(optimizer|scheduler|scaler|rng_state|training_args|random_states)[\w.-]*\.(pt|pth|bin)")
"""What trainers save beside a model."""
SHARE = re.compile(
    r".*_optim_states\.pt|.*_rank_?0*[1-9]\d*\.bin|zero_pp_rank_0*[1-9]\d*_mp_rank_\d+_model_states\.pt"
    r"|(zero_pp_rank_\d+_)?mp_rank_0*[1-9]\d*_model_states\.pt|mp_rank_(?!0+(_0+)*$)\d[\d_]*"
)
"""What ranks have of a model by which the first one's file is known: files, and Megatron's folders."""
NAMING = (".index.json", ADAPTER_CONFIG)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file to be audited.

    Attributes:
        path: as a user would name it.
        same_as: the path of the same file under the name that came first; empty for that itself.
    """

    path: str
    same_as: str = ""


def discover(named: Iterable[str], *, absent: bool = False) -> Iterator[Found]:
    """The models that paths and globs name: files as they are, of folders all in them, in order.

    Args:
        named: paths, addresses, or globs where there is no such path; ** is any number of folders.
        absent: whether there may be nothing yet, or any more, at a path of this machine.

    Raises:
        UsageError: one of them names nothing, or there is too much to look at.
    """
    known: dict[tuple[int, int] | str, str] = {}
    walk = _Walk()
    for name in named:
        if is_remote(name):
            yield from _remote(name)
            continue
        matches = [name] if os.path.lexists(name) else sorted(glob.glob(name, recursive=True))  # noqa: PTH207  (absolute ones, too)
        if not (matches or absent):
            raise UsageError("no such file or folder", where=name)
        for path in (path for match in matches for path in walk.models(Path(match))):
            first = known.setdefault(_identity(path), str(path))
            yield Found(path=str(path), same_as="" if first == str(path) else first)


def _remote(url: str) -> Iterator[Found]:
    """The models that an address leads to."""
    for folder, names in folders(url, lambda name: name in PASSED_OVER):
        if not folder:
            yield from (Found(path=name) for name in names)
            continue
        chosen = [name for name in names if _is_named(name)]
        shards = {
            part for name in chosen if name.endswith(NAMING) for part in _remote_parts(f"{folder}/{name}")
        }
        for name in chosen:
            if name not in shards:
                yield Found(path=f"{folder}/{name}")


def _remote_parts(index: str) -> list[str]:
    try:
        with mirrored(index) as mirror:
            return [part.relative_to(mirror.path.parent).as_posix() for part in parts_of(mirror.path)]
    except (ConvsvError, ValueError):  # which auditing it will say
        return []


class _Walk:
    """Through folders, each once."""

    def __init__(self) -> None:
        self._folders: set[tuple[int, int] | str] = set()
        self._left = MOST

    def models(self, path: Path) -> Iterator[Path]:
        """The models in a folder and those below; a path that is none as it is."""
        if not path.is_dir():
            yield path
            return
        todo = [path]
        while todo:
            folder = todo.pop()
            entries = self._entries(folder)
            shards = set(_shards(entries))
            for entry in entries:
                if entry.path not in shards and _is_model(entry):
                    yield Path(entry.path)
            below = [Path(entry.path) for entry in entries if _is_folder(entry, entries)]
            todo += reversed(below)

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What is in a folder, by name; nothing of one that was looked at, or that may not be read."""
        key = _identity(folder)
        if key in self._folders:
            return []
        self._folders.add(key)
        found: list[os.DirEntry[str]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._left -= 1
                    if self._left < 0:
                        what = f"more than {MOST:,} files and folders to look at"
                        raise UsageError(what, where=str(folder), hint="sweep its folders one by one")
                    found.append(entry)
        except OSError:
            return []
        return sorted(found, key=lambda entry: entry.name)


def _identity(path: Path) -> tuple[int, int] | str:
    """What two names of one file have in common."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return str(path)
    return (status.st_dev, status.st_ino) if status.st_ino else str(path.resolve())


def _is_model(entry: os.DirEntry[str]) -> bool:
    """Whether a file's name is that of a model; one that leads nowhere is, for it cannot be audited."""
    try:
        return _is_named(entry.name) and not entry.is_dir()
    except OSError:
        return True


def _is_named(name: str) -> bool:
    return may_be_model(name) and not any(each.fullmatch(name.lower()) for each in (STATE, SHARE))


def _is_folder(entry: os.DirEntry[str], beside: list[os.DirEntry[str]]) -> bool:
    if entry.name in PASSED_OVER or SHARE.fullmatch(entry.name):
        return False
    if entry.name == BLOBS and any(other.name == SNAPSHOTS for other in beside):
        return False
    try:
        return entry.is_dir()
    except OSError:
        return False


def _shards(entries: list[os.DirEntry[str]]) -> Iterator[str]:
    """The files that an index or a configuration among them names, which are no models by themselves."""
    for entry in entries:
        if entry.name.endswith(NAMING) and _is_model(entry):
            try:
                yield from map(str, parts_of(Path(entry.path)))
            except (ConvsvError, OSError):  # which auditing it will say
                continue
