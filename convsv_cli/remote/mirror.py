"""The folder that stands for a remote one while a model is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.holding import scratch
from convsv_cli.remote import address, files, last_part, public
from convsv_cli.remote.ranges import RemoteFile
from convsv_cli.remote.server import Described, Server

T = TypeVar("T")
UNITS = ("B", "kB", "MB", "GB", "TB")
SHOWN = 3
"""Files that a note names."""
UNNAMED = "its server does not say which version"
HERE, KEPT = "model", "kept"
"""The folder with the names of the remote one, and that for ranges of its files."""


class Mirror:
    """A remote file or folder, on this machine.

    Args:
        url: of it.
        folder: where to keep what is fetched; resolved.

    Attributes:
        path: what stands for it.
        url: the address, without secrets.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._here, self._kept = public(url), folder / HERE, folder / KEPT
        self._here.mkdir()
        self._kept.mkdir()
        self._files: dict[str, RemoteFile] = {}
        self._server, name = server_of(url)
        if name:
            self.path, self._base = self._here / name, self.url.rpartition("/")[0]
            if not self._look(name):
                raise UnreadableModelError("no such file", hint="check the address")
        else:
            self.path, self._base = self._here, self.url.rstrip("/")
            for entry, known in self._server.names():
                if _is_name(entry):
                    self._add(entry, known)
        files.register_folder(self._here, self._look)

    def told(self, text: str) -> str:
        """A text with addresses in place of paths of this machine."""
        return text.replace(str(self._here), self._base).replace(f"{self._base}\\", f"{self._base}/")

    def note(self) -> str:
        """How much was read, and what says which files these were."""
        used = {name: file for name, file in self._files.items() if file.fetched}
        read, size = (
            sum(file.fetched for file in used.values()),
            sum(file.known.size for file in used.values()),
        )
        left = {name: file.known.version or UNNAMED for name, file in used.items() if not file.complete}
        parts = [f"{name}: {version}" for name, version in left.items()]
        shown = ", ".join(parts[:SHOWN]) + (f" and {len(parts) - SHOWN:,} more" if parts[SHOWN:] else "")
        digest = f"; no digest of what was read in part ({shown})" if parts else ""
        return f"read {_readable(read)} of {_readable(size)} from {self.url}{digest}"

    def check(self) -> None:
        """See that all files that were read came, and are what they were.

        Raises:
            ConvsvError: one is not.
        """
        for name, file in self._files.items():
            _about(f"{self._base}/{name}", file.check)

    def _look(self, name: str) -> bool:
        """Register a file, if there is one."""
        if name in self._files:
            return True
        if "://" in name or "::" in name or "\\" in name or any(map(_is_no_part, name.split("/"))):
            return False
        known = self._server.describe(name)
        if known is not None:
            self._add(name, known)
        return known is not None

    def _add(self, name: str, known: Described) -> None:
        path = self._here / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except (OSError, ValueError) as error:
            raise UnreadableModelError(f"no file here can have its name: {name[:100]!r}") from error
        kept = self._kept / str(len(self._files))
        self._files[name] = RemoteFile(self._server, name, known, path, kept)
        files.register(path, self._files[name])


@contextmanager
def mirrored(path: Path | str) -> Iterator[Mirror]:
    """A remote file or folder on this machine, for as long as that is needed.

    Args:
        path: what `is_remote` holds for.

    Raises:
        UsageError: a package is missing, or the address is none of a file or folder.
        UnreadableModelError: there is no such file, the server fails, or it was changed meanwhile.
        UnsafeModelError: as `files.opened`.
    """
    url = address(path)
    with scratch() as folder:
        try:
            mirror = _about(public(url), lambda: Mirror(url, folder))
            try:
                yield mirror
            except ConvsvError as error:
                error.where, error.what = mirror.told(error.where), mirror.told(error.what)
                raise
            mirror.check()
        finally:
            files.forget(folder / HERE)


def _about(where: str, function: Callable[[], T]) -> T:
    """What a function gives, whose errors are about a file unless they say about which."""
    try:
        return function()
    except ConvsvError as error:
        error.where = error.where or where
        raise


def server_of(url: str) -> tuple[Server, str]:
    """The server of a file's folder, and the file's name; no name for a folder."""
    return _of_web(url) if url.startswith("http") else _of_store(url)


def _of_web(url: str) -> tuple[Server, str]:
    from convsv_cli.remote.http import HttpServer

    name = unquote(last_part(url))
    if "@" in url.split("/")[2]:
        raise UsageError("a password in an address", hint="use an address with a signature instead")
    if not name:
        raise UsageError("web servers do not list folders", hint="name the file")
    return HttpServer(url, name), _checked(name)


def _of_store(url: str) -> tuple[Server, str]:
    from convsv_cli.remote.stores import StoreServer, asked, file_system

    system = file_system(url.partition(":")[0])
    place = str(system._strip_protocol(url)).rstrip("/")  # noqa: SLF001  (of fsspec's documented interface)
    folder, _, name = place.rpartition("/")
    try:
        is_file = bool(folder) and asked(lambda: system.info(place)).get("type") == "file"
    except FileNotFoundError as error:
        raise UnreadableModelError("no such file", hint="check the address") from error
    return (StoreServer(system, folder), _checked(name)) if is_file else (StoreServer(system, place), "")


def _checked(name: str) -> str:
    if not _is_name(name):
        raise UsageError(f"not the name of a file: {name!r}")
    return name


def _is_name(name: str) -> bool:
    """Whether it is that of a file in a folder itself."""
    return not _is_no_part(name) and not set(name) & set("/\\\0")


def _is_no_part(part: str) -> bool:
    return part in {"", ".", ".."} or "\0" in part


def _readable(size: int) -> str:
    scaled, units = float(size), iter(UNITS)
    unit = next(units)
    while scaled >= 1000 and unit != UNITS[-1]:
        scaled, unit = scaled / 1000, next(units)
    return f"{scaled:.3g} {unit}"
