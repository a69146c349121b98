"""JSON in model files, read within bounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convsv_cli.errors import UnreadableModelError, UnsafeModelError

MAX_BYTES = 24 * 2**20
"""Python makes up to 25 bytes of one."""


def parse_json(text: bytes, what: str, path: Path) -> Any:  # noqa: ANN401
    """The value of a JSON text in the file at `path`.

    Args:
        text: at most `MAX_BYTES` of it are looked at.
        what: what it is, for error messages.
        path: the file.

    Raises:
        UnsafeModelError: it is too long to read safely.
        UnreadableModelError: it is no JSON, or says one thing twice.
    """
    if len(text) > MAX_BYTES:
        raise UnsafeModelError(f"{what} is longer than {MAX_BYTES // 2**20} MiB", where=str(path))
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise UnreadableModelError(
            f"{what} is damaged: {reason}", where=str(path), hint="download or save it again"
        ) from error


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"{key!r} is named twice")
        result[key] = value
    return result
