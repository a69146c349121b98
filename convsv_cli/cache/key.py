"""What an entry is found by: everything that decides what is in it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

COMPUTING = ("numpy", "onnx", "torch")
"""Packages whose versions decide digits, shapes or what a file is read as."""


def key_of(kind: str, depends: Mapping[str, Any]) -> str:
    """The name of an entry: SHA-256, hexadecimal, of its kind, what it depends on, and how it was computed.

    Args:
        kind: what the entry is, such as "layer".
        depends: JSON values; floats count to their last bit.
    """
    said = [fingerprint(), kind, depends]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def fingerprint() -> str:
    """SHA-256, hexadecimal, of the package's source and of the versions that compute with it.

    The source, because a version number says nothing of a checkout that is being worked on.
    """
    found = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root).as_posix()}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    found.update("\0".join(map(_version, COMPUTING)).encode())
    found.update(f"{platform.machine()}\0{platform.python_version()}".encode())
    return found.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
