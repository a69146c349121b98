"""Files of object stores and hubs, through fsspec and the package that speaks their protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.remote import PROTOCOLS
from convsv_cli.remote.server import Described, within

T = TypeVar("T")
MOST = 100_000
"""Entries of a folder that are looked at."""
VERSIONS = ("ETag", "etag", "generation", "blob_id", "md5Hash", "LastModified", "last_modified", "mtime")
"""What stores call that by which the versions of a file differ, the best first."""


def file_system(protocol: str) -> Any:  # noqa: ANN401
    """The file system of a protocol, as users have configured it for fsspec or its own package.

    Raises:
        UsageError: a package is missing.
        UnreadableModelError: it does not start, as without credentials.
    """
    try:
        import fsspec

        return asked(lambda: fsspec.filesystem(protocol))
    except ImportError as error:
        package = PROTOCOLS[protocol]
        what = f"reading {protocol}:// needs fsspec and {package}"
        raise UsageError(what, hint=f"pip install 'convsv[{protocol}]'") from error


def asked(function: Callable[[], T]) -> T:
    """What a file system answers; whatever else it raises as an error that is meant for users.

    Raises:
        UnreadableModelError: it does not answer in time, or with an error.
        FileNotFoundError, ImportError: as it is.
    """
    try:
        return within(function)
    except (ConvsvError, FileNotFoundError, ImportError, KeyboardInterrupt):
        raise
    except PermissionError as error:
        raise UnreadableModelError("may not be read", hint="check the credentials") from error
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise UnreadableModelError(f"cannot be read: {type(error).__name__}: {words}") from error


class StoreServer:
    """A folder of an object store.

    Args:
        system: of fsspec.
        folder: its path there, without the protocol and a slash at the end.

    Attributes:
        system, folder: as given.
    """

    watches = False

    def __init__(self, system: Any, folder: str) -> None:  # noqa: ANN401
        self.system, self.folder = system, folder

    def describe(self, name: str) -> Described | None:
        """As `Server.describe`."""
        try:
            return described(asked(lambda: self._info(name)))
        except FileNotFoundError:
            return None

    def read(self, name: str, start: int, end: int, known: Described) -> bytes:
        """As `Server.read`."""
        try:
            data: bytes = asked(lambda: self._range(self._path(name), start, end, known))
        except FileNotFoundError as error:
            raise UnreadableModelError("the file is there no longer") from error
        if len(data) != end - start:
            raise UnreadableModelError("the server sent another part than was asked for", hint="try again")
        return data

    def names(self) -> Iterator[tuple[str, Described]]:
        """As `Server.names`."""
        for entry in self.entries(self.folder):
            if (known := described(entry)) is not None:
                yield str(entry["name"]).rpartition("/")[2], known

    def entries(self, folder: str) -> list[dict[str, Any]]:
        """What is in a folder, as fsspec says it.

        Raises:
            UnreadableModelError: there is no such folder, or the server does not say.
            UsageError: there is too much in it.
        """
        try:
            entries: list[dict[str, Any]] = asked(lambda: self.system.ls(folder, detail=True))
        except FileNotFoundError as error:
            raise UnreadableModelError("no such file", hint="check the address") from error
        if len(entries) > MOST:
            raise UsageError(f"a folder with more than {MOST:,} files", hint="name the file")
        return entries

    def _range(self, path: str, start: int, end: int, known: Described) -> bytes:
        """In one request: file systems that read through files of their own would read ahead."""
        if self.system.async_impl:
            found: bytes = self.system.cat_file(path, start=start, end=end)
            return found
        with self.system.open(path, "rb", cache_type="none", size=known.size) as file:
            file.seek(start)
            data: bytes = file.read(end - start)
        return data

    def _info(self, name: str) -> Mapping[str, Any]:
        self.system.invalidate_cache()
        found: Mapping[str, Any] = self.system.info(self._path(name))
        return found

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}"


def described(info: Mapping[str, Any]) -> Described | None:
    """What fsspec says of a file; None for a folder, or what has no size."""
    size = info.get("size")
    if info.get("type") != "file" or type(size) is not int or size < 0:
        return None
    found = ((key, info.get(key)) for key in VERSIONS)
    version = next((f"{key} {value}" for key, value in found if value is not None), "")
    return Described(size=size, version=version)
