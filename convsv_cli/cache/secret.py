"""The secret that signs a user's entries: a file of theirs outside of every cache, or a variable.

Whoever has it can write entries that are believed; whoever can only write to the cache's folder cannot.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from convsv_cli.errors import UsageError

VARIABLE = "CONVSV_CACHE_KEY"
"""Signs for machines that share a cache, such as the runners of a CI server."""
FILE = "cache.key"
SHORTEST, LONGEST = 16, 4096
"""Bytes."""
HINT = f"set {VARIABLE} to {SHORTEST} characters or more"


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
