"""Names from untrusted files, made harmless where they meet a terminal or a spreadsheet."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")
MAX_LINE = 1000
"""Characters of an error message."""
_FORMULA = re.compile(r"(?:^|(?<=[;,|]))(?=\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|[\t\r\n])")
"""Where a spreadsheet may begin to read a formula, whichever sign it takes for the end of a cell."""


def printable(text: str) -> str:
    """The text with controls, bidirectional overrides, surrogates and odd spaces spelled out as escapes."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def inert(value: T) -> T:
    """The same value with every text in it printable, however deep in tuples and dataclasses."""
    return _inert(value)  # type: ignore[no-any-return]


def one_line(text: str) -> str:
    """The printable text without line breaks, and without its middle where it is long."""
    line = printable(" ".join(text.split()))
    half = MAX_LINE // 2
    return line if len(line) <= MAX_LINE else f"{line[:half]} ... {line[-half:]}"


def spreadsheet_cell(text: str) -> str:
    """The printable text, with a quote wherever a spreadsheet could take what follows for a formula."""
    return printable(_FORMULA.sub("'", text))


def _inert(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, tuple):
        return tuple(map(_inert, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _inert(getattr(value, item.name)) for item in fields(value)})
    return value
