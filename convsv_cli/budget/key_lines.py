"""The lines of the keys of a TOML document, which TOML readers do not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from convsv_cli.budget import toml

Keys = tuple[str | int, ...]
"""From the outermost table inwards; tables of an array by their number, from 0."""
ENDING = re.compile(r"""(?:[\]}]|\"{3}|'{3})[\]}\s]*(?:#.*)?$""")
"""The end of a line that may close a string or an array of several lines."""


def key_lines(text: str) -> dict[Keys, int]:
    """The line, from 1, on which each key or table header of a valid document begins.

    What is in an inline table or array has the line of the statement that it is part of.
    """
    found: dict[Keys, int] = {}
    counts: dict[Keys, int] = {}
    table: Keys = ()
    for line, statement in _statements(text):
        parsed = toml.loads(statement)
        if statement.lstrip().startswith("["):
            table = _header(parsed, counts)
            found.setdefault(table, line)
        else:
            _note(parsed, table, line, found)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement and its first line.

    A statement is a document of its own, and no beginning of one that ends between two lines is: a string or
    an array is open there. Only lines that may close one are tried, for the time that it takes.
    """
    first, pending = 1, ""
    for line, content in enumerate(text.split("\n"), 1):
        begun = bool(pending)
        pending = f"{pending}\n{content}" if begun else content
        if begun and not ENDING.search(content):
            continue
        try:
            toml.loads(pending)
        except toml.TOMLDecodeError:
            continue
        yield first, pending
        first, pending = line + 1, ""


def _header(parsed: Mapping[str, Any], counts: dict[Keys, int]) -> Keys:
    """The table that a header opens; `counts` are the arrays of tables so far."""
    keys: Keys = ()
    inner: Any = parsed
    while inner and isinstance(inner, dict):
        ((key, inner),) = inner.items()
        keys = (*keys, key)
        if isinstance(inner, list):
            counts[keys] = counts.get(keys, 0) + 1
        if keys in counts:
            keys = (*keys, counts[keys] - 1)
    return keys


def _note(value: object, keys: Keys, line: int, found: dict[Keys, int]) -> None:
    """The value's own line, and that of everything in it."""
    found.setdefault(keys, line)
    if isinstance(value, dict):
        for key, inner in value.items():
            _note(inner, (*keys, key), line, found)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _note(inner, (*keys, index), line, found)
