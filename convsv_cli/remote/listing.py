"""Which models there are in remote folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.remote import address, public
from convsv_cli.remote.mirror import server_of
from convsv_cli.remote.server import Described
from convsv_cli.remote.stores import StoreServer, described

MOST = 1_000_000
"""Entries of folders that are looked at."""


def version_of(url: str) -> Described | None:
    """The size and the version of a remote file; None where its server says neither.

    Args:
        url: what `is_remote` holds for.
    """
    try:
        server, name = server_of(address(url))
        known = server.describe(name) if name else None
    except ConvsvError:
        return None
    return known if known is not None and known.version else None


def folders(url: str, passed_over: Callable[[str], bool]) -> Iterator[tuple[str, list[str]]]:
    """A remote folder and those below, by address, with the names of their files; a file itself in no folder.

    Args:
        url: what `is_remote` holds for.
        passed_over: says of a folder's name that it is not looked at.

    Raises:
        UsageError: there is too much to look at, or the address has a query, which results would keep.
        UnreadableModelError: there is nothing, or the server does not say.
    """
    whole = address(url)
    if public(whole) != whole:
        raise UsageError("results would keep what may be secret in this address", where=public(whole))
    server, name = server_of(whole)
    if name:
        yield "", [whole]
        return
    if not isinstance(server, StoreServer):  # which web servers are not
        raise UnreadableModelError("not a folder", where=whole)
    protocol, todo, left = whole.partition(":")[0], [server.folder], MOST
    while todo:
        folder = todo.pop()
        entries = _entries(server, folder)
        left -= len(entries)
        if left < 0:
            what = f"more than {MOST:,} files and folders to look at"
            raise UsageError(what, where=whole, hint="sweep its folders one by one")
        files, below = [], []
        for path, entry in entries:
            each = path.rpartition("/")[2]
            if described(entry) is not None:
                files.append(each)
            elif entry.get("type") == "directory" and not passed_over(each):
                below.append(path)
        yield f"{protocol}://{folder}", files
        todo += reversed(below)


def _entries(server: StoreServer, folder: str) -> list[tuple[str, dict[str, Any]]]:
    """What is in a folder itself, by its path; what says that it is elsewhere is left out."""
    paths = [(str(entry["name"]).rstrip("/"), entry) for entry in server.entries(folder)]
    inside = [(path, entry) for path, entry in paths if path.rpartition("/")[0] == folder]
    return sorted(inside, key=lambda each: each[0])
