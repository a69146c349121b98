"""What became of each model, a file each in the results' folder: all that a run that goes on later needs.

A file is a line of JSON that says of what it is, then the document of the report, as `convsv audit` writes
it. It is replaced whole, so that a run that is killed loses what was being worked on, and nothing else.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from convsv_cli import limits
from convsv_cli.cache import fingerprint
from convsv_cli.errors import ConvsvError, UsageError
from convsv_cli.holding import hold, lock_file
from convsv_cli.machine import file_state, regular
from convsv_cli.remote import is_remote
from convsv_cli.remote.listing import version_of
from convsv_cli.replacing import blaming, replacement
from convsv_cli.report import Failure, Report, Settings
from convsv_cli.report.verdict import INTERNAL
from convsv_cli.saved import LARGEST, parsed
from convsv_cli.sweeping.executor import Answer, Order

FOLDER = "outcomes"
SUFFIX = ".outcome"
MOST = 1_000_000
"""Outcomes in a folder."""
LONGEST_HEAD = 2**20
"""Bytes."""
BUSY = "wait for it to end, or choose another folder; several may share one --cache"
GOES_ON = "once it can be written, the same command goes on where it was"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a model.

    Attributes:
        path: as it was found.
        same_as: the path of the same file under which it was audited; empty where it is that itself.
        report: with one audit, or one failure; None where `same_as` has it.
        gone: whether the file is no longer there.
    """

    path: str
    same_as: str = ""
    report: Report | None = None
    gone: bool = False


class Outcomes:
    """The outcomes in a results' folder, for audits that are asked for in one way.

    Args:
        results: the folder, which is made.
        settings: what is asked for; what was found otherwise is found again.
        memory: bytes that each worker may have; what failed is tried again with others.
        graph: of checkpoints, see `Order`.

    Raises:
        UsageError: the folder cannot be one.
    """

    def __init__(
        self, results: Path, settings: Settings, *, memory: float | None = None, graph: str = ""
    ) -> None:
        self._memory = memory
        self._before: dict[str, tuple[int, list[Any]]] = {}
        self._folder = results / FOLDER
        of_graph = (repr(state_of_file(graph)),) if graph else ()
        self._asked = _digest(repr(settings), fingerprint(), repr(limits.granted()), *of_graph)
        with blaming(results):
            self._folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other sweeps out of the folder: of two, one would write tables without the other's models.

        Raises:
            UsageError: another one is there, or nothing can be written.
        """
        with blaming(self._folder.parent):
            lock = lock_file(self._folder.parent)
        with lock:
            if not hold(lock.fileno()):
                where = str(self._folder.parent)
                raise UsageError("another sweep is writing to this folder", where=where, hint=BUSY)
            yield

    def has(self, path: str) -> bool:
        """Whether a model was audited in this way, and none of its files has changed since."""
        head = _head(self._file(path))
        if head is None or head.get("asked") != self._asked or head.get("path") != path or head.get("gone"):
            return False
        if head.get("failed") and head.get("memory") != self._memory:
            return False
        files = head.get("files")
        return isinstance(files, list) and files == [state_of_file(str(file)) for file, *_ in _pairs(files)]

    def kept(self) -> Iterator[Outcome]:
        """Those of audits that were asked for in this way, whether their files have changed or not."""
        for file in sorted(file for file in self._folder.iterdir() if file.suffix == SUFFIX):
            head = _head(file)
            if head is not None and head.get("asked") == self._asked and self._file(head["path"]) == file:
                yield _read(head["path"], file)

    def forget(self, path: str) -> None:
        """Have no outcome of a path any more.

        Raises:
            UsageError: it cannot be removed.
        """
        with blaming(self._file(path)):
            self._file(path).unlink(missing_ok=True)

    def begin(self, path: str) -> None:
        """Note that a model is read from now on: what is written later is none of its outcome's."""
        self._before[path] = time.time_ns(), state_of_file(path)

    def keep(self, order: Order, answer: Answer) -> None:
        """Write down what became of a model; a later run looks again at one whose worker has died.

        Raises:
            UsageError: it cannot be written.
        """
        start, before = self._before.pop(order.path)
        others = sorted({*answer.files} - {order.path})
        head = {
            "path": order.path,
            "asked": "" if answer.died else self._asked,
            "files": [before, *(state_of_file(file, start) for file in others)],
            "failed": not answer.files,
            "memory": self._memory,
        }
        self._write(order.path, head, answer.document)

    def keep_link(self, path: str, same_as: str) -> None:
        """Write down that a path leads to a file of another name."""
        head = {"path": path, "same_as": same_as, "asked": "", "files": []}
        if _head(self._file(path)) != head:
            self._write(path, head, b"")

    def settle(self, found: Iterable[str], named: Iterable[str], *, prune: bool = False) -> int:
        """Mark the outcomes of files that are no longer there, among those that the names are about.

        Args:
            found: the paths of all models that there are now.
            named: paths and globs, as `discover` takes them; what is elsewhere stays as it is.
            prune: remove them instead.

        Returns:
            How many there are.

        Raises:
            UsageError: one of them cannot be written.
        """
        known = {self._file(path).name for path in found}
        roots, gone = [_root(name) for name in named if not is_remote(name)], 0
        for file in [file for file in self._folder.iterdir() if file.suffix == SUFFIX]:
            head = None if file.name in known else _head(file)
            if head is None or self._file(head["path"]) != file or not _is_gone(head["path"], roots):
                continue
            gone += 1
            if prune:
                with blaming(file):
                    file.unlink()
            elif not head.get("gone"):
                self._write(head["path"], {**head, "gone": True}, _document(file))
        return gone

    def _write(self, path: str, head: dict[str, Any], document: bytes) -> None:
        try:
            with replacement(self._file(path), links=False) as file:
                file.write(json.dumps(head).encode() + b"\n" + document)
        except UsageError as error:
            error.hint = GOES_ON
            raise

    def _file(self, path: str) -> Path:
        return self._folder / f"{_digest(path)}{SUFFIX}"


def outcomes_in(results: Path) -> Iterator[Outcome]:
    """All outcomes in a results' folder, by path; those that cannot be read are failures.

    Raises:
        UsageError: there is no such folder, or it has too many.
    """
    try:
        files = [file for file in (results / FOLDER).iterdir() if file.suffix == SUFFIX]
    except OSError as error:
        raise UsageError("not the results of a sweep", where=str(results)) from error
    if len(files) > MOST:
        raise UsageError(f"more than {MOST:,} outcomes", where=str(results))
    heads = [(str((_head(file) or {}).get("path", file.name)), file) for file in files]
    for path, file in sorted(heads):
        yield _read(path, file)


def state_of(results: Path) -> str:
    """What changes when an outcome does, without any of them being read; empty where there are none."""
    found: list[str] = []
    with suppress(OSError), os.scandir(results / FOLDER) as entries:
        found += (f"{entry.name} {file_state(Path(entry.path))}" for entry in entries)
    return _digest(*sorted(found)) if found else ""


def _read(path: str, file: Path) -> Outcome:
    head = _head(file)
    if head is None:
        return Outcome(path=path, report=_unreadable(path))
    same_as = head.get("same_as")
    gone = head.get("gone") is True
    if isinstance(same_as, str) and same_as:
        return Outcome(path=path, same_as=same_as, gone=gone)
    try:
        return Outcome(path=path, report=parsed(_document(file), str(file)), gone=gone)
    except (OSError, ValueError, ConvsvError):
        return Outcome(path=path, report=_unreadable(path))


def _document(file: Path) -> bytes:
    with regular(file) as stream:
        stream.readline(LONGEST_HEAD)
        return stream.read(LARGEST)


def _is_gone(path: str, roots: Sequence[Path]) -> bool:
    """Whether it is in one of these folders, or one of these files, and not there."""
    below = any(Path(path).is_relative_to(root) for root in roots)
    return below and not is_remote(path) and not os.path.lexists(path)


def _root(name: str) -> Path:
    """Of a glob, the folder in which all of it is; a path as it is."""
    if os.path.lexists(name):
        return Path(name)
    parts = Path(name).parts
    return Path(*takewhile(lambda part: not glob.has_magic(part), parts))


def _unreadable(path: str) -> Report:
    failure = Failure(path=path, message="its outcome cannot be read: sweep it again", exit_code=INTERNAL)
    return Report(command="audit", audits=(), failures=(failure,))


def _head(file: Path) -> dict[str, Any] | None:
    """The first line; None where there is none that says of what the outcome is."""
    with suppress(OSError, ValueError, RecursionError), regular(file) as stream:
        head = json.loads(stream.readline(LONGEST_HEAD))
        if isinstance(head, dict) and isinstance(head.get("path"), str):
            return head
    return None


def _pairs(files: Sequence[Any]) -> Sequence[Sequence[Any]]:
    return [file for file in files if isinstance(file, list) and file]


def state_of_file(path: str, start: float = math.inf) -> list[Any]:
    """What says whether a file was changed, without reading it: as version control does.

    Of one that was written after the start, what its state never is again.
    """
    if is_remote(path):
        known = version_of(path)
        return [path, known.size, known.version] if known else [path, time.time_ns()]
    state = file_state(Path(path))
    if state and max(state[1:3]) > start:
        return [path, None]
    return [path, *state]


def _digest(*said: str) -> str:
    return hashlib.sha256("\0".join(said).encode("utf-8", "surrogatepass")).hexdigest()
