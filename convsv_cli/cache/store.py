"""Entries in a folder: bytes by a key, each signed, replaced whole or not at all.

The folder is flat, so that no link in it leads anywhere, and an entry is one file: its mark, the signature of
key and content, and the content, compressed. Entries that several processes write at once are equal.

The secret that signs a user's entries is in a file of theirs outside of every cache, or a variable. Whoever
has it can write entries that are believed; whoever can only write to the cache's folder cannot.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from convsv_cli.errors import UsageError
from convsv_cli.machine import regular

READ, WRITE = MODES = ("read", "write")
SIZE = 1e9
"""Bytes of all entries, unless another size is asked for."""
MARK = b"convsv-cache 1\n"
SIGNED = hashlib.sha256().digest_size
LARGEST = 64 * 2**20
"""Bytes of one entry, compressed and not."""
NAME = re.compile(r"[0-9a-f]{64}\.entry")
AFTER_TRIMMING = 0.9
"""The share of the size that is left once it was exceeded, so that not every run has to look."""
VARIABLE = "CONVSV_CACHE_KEY"
"""Signs for machines that share a cache, such as the runners of a CI server."""
FILE = "cache.key"
SHORTEST, LONGEST = 16, 4096
"""Bytes."""
HINT = f"set {VARIABLE} to {SHORTEST} characters or more"


class Entries(Protocol):
    """What has entries: a cache, or part of one that somebody carries."""

    def get(self, key: str) -> bytes | None:
        """The content of an entry; None where there is none that is to be believed."""

    def put(self, key: str, content: bytes) -> None:
        """Keep an entry."""


class Store:
    """A cache that is open: what it has is read, and what is new is kept.

    Attributes:
        hits: how many entries were used.
        rejected: how many were there, but not signed by this user for this key, or damaged.
        unkept: why new ones could not be written; empty where they could.
    """

    def __init__(self, folder: str | Path, secret: bytes, *, mode: str = WRITE, most: float = SIZE) -> None:
        self._folder, self._secret, self._most = Path(folder), secret, most
        self._writes = mode == WRITE
        self._grown = 0
        self.hits = self.rejected = 0
        self.unkept = ""
        try:
            if self._writes:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._folder.is_dir():
                raise UsageError("no such folder", where=str(folder), hint="--cache-mode write makes it")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"cannot be a cache: {reason}", where=str(folder)) from error

    def get(self, key: str) -> bytes | None:
        """The content of an entry; None where there is none that is to be believed."""
        path = self._path(key)
        try:
            data = _bytes(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            data = b""
        content = self._verified(key, data)
        if content is None:
            self.rejected += 1
            return None
        self.hits += 1
        if self._writes:
            with suppress(OSError):  # it counts as used now
                os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep an entry; where it cannot be written, on a full disk say, `unkept` says why."""
        if not self._writes or len(content) > LARGEST:
            return
        packed = zlib.compress(content, 1)
        data = b"".join((MARK, self._signature(key, packed), packed))
        try:
            self._write(self._path(key), data)
        except OSError as error:
            self.unkept = error.strerror or str(error)
        else:
            self._grown += len(data)

    def _write(self, path: Path, data: bytes) -> None:
        handle, name = tempfile.mkstemp(prefix=".new.", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Remove what was not used for longest, where all entries take more than they may."""
        if not self._grown:
            return
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        if total <= self._most:
            return
        for _, size, path in entries:
            if total <= AFTER_TRIMMING * self._most:
                break
            with suppress(OSError):  # which another process removed
                path.unlink()
            total -= size

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """When each was used last, its bytes, and its file."""
        with suppress(OSError), os.scandir(self._folder) as found:
            for entry in found:
                if not NAME.fullmatch(entry.name):
                    continue
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    yield status.st_mtime, status.st_size, Path(entry.path)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.entry"

    def _signature(self, key: str, packed: bytes) -> bytes:
        return hmac.digest(self._secret, MARK + key.encode() + b"\n" + packed, "sha256")

    def _verified(self, key: str, data: bytes) -> bytes | None:
        start = len(MARK) + SIGNED
        packed = data[start:]
        if not data.startswith(MARK) or not hmac.compare_digest(
            data[len(MARK) : start], self._signature(key, packed)
        ):
            return None
        return _unpacked(packed)


def _unpacked(packed: bytes) -> bytes | None:
    """The content; None where it is none, or longer than any that is kept."""
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(packed, LARGEST)
    except zlib.error:
        return None
    return content if unpacking.eof else None


def _bytes(path: Path) -> bytes:
    """All of an entry.

    Raises:
        OSError, ValueError: it is no regular file, or too long.
    """
    with regular(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise ValueError("no entry")
        return file.read(LARGEST)


def secret() -> bytes:
    """The user's secret, made at random where there is none yet.

    Raises:
        UsageError: it is too short, or cannot be kept anywhere.
    """
    given = os.environ.get(VARIABLE)
    if given:  # which is empty where a CI server keeps the secret from a fork
        return _checked(given.encode("utf-8", "surrogateescape"), VARIABLE)
    try:
        return _own(_home() / FILE)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"no place for the key that signs a cache: {reason}", hint=HINT) from error


def _home() -> Path:
    """The folder of the user's settings for convsv."""
    if os.name == "nt":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "convsv"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "convsv"


def _own(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        return _checked(path.read_bytes()[: LONGEST + 1], str(path))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)  # only its owner may read it
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(32).encode())
        with suppress(FileExistsError):  # another process was first, and its secret counts
            os.link(name, path)
    finally:
        Path(name).unlink()
    return _checked(path.read_bytes()[: LONGEST + 1], str(path))


def _checked(value: bytes, where: str) -> bytes:
    if not SHORTEST <= len(value) <= LONGEST:
        what = f"a key that signs a cache has {SHORTEST} to {LONGEST:,} bytes, this one has {len(value):,}"
        raise UsageError(what, where=where)
    return value
