"""What an entry is found by: everything that decides what is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from convsv_cli.cache.fingerprint import fingerprint


def key_of(kind: str, depends: Mapping[str, Any]) -> str:
    """The name of an entry: SHA-256, hexadecimal, of its kind, what it depends on, and how it was computed.

    Args:
        kind: what the entry is, such as "layer".
        depends: JSON values; floats count to their last bit.
    """
    said = [fingerprint(), kind, depends]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
