"""How figures are computed, as one word, which other versions of convsv and its dependencies do not share."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMPUTING = ("numpy", "onnx", "torch")
"""Packages whose versions decide digits, shapes or what a file is read as."""


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
