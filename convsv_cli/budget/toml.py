"""TOML whose values know where they stand: the lines of keys, and checks that name file, line and key."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from convsv_cli.errors import ConfigurationError
from convsv_cli.report import Place

if sys.version_info >= (3, 11):
    from tomllib import TOMLDecodeError, loads
else:  # the same reader, as a package
    from tomli import TOMLDecodeError, loads

__all__ = ["Entry", "Keys", "TOMLDecodeError", "key_lines", "loads"]


Keys = tuple[str | int, ...]
"""From the outermost table inwards; tables of an array by their number, from 0."""
MARK = re.compile(
    r"""
    \"{3} (?: [^"\\]+ | \\[\s\S]? | "(?!"") )* (?: \"{3} "{0,2} | \Z )
    | '{3} (?: [^']+ | '(?!'') )* (?: '{3} '{0,2} | \Z )
    | " (?: [^"\\\n]+ | \\[^\n]? )* "?
    | ' [^'\n]* '?
    | \# [^\n]*
    | [][{}.,=\n]
    """,
    re.VERBOSE,
)
"""What tells where statements and keys end; what is not closed ends with its line, or with the document."""
LARGEST = 10**9
"""Of a size."""
MOST_PARTS = 64
"""Of a key: reading TOML takes their square."""


OPENING, CLOSING = ("[", "{"), ("]", "}")


def key_lines(text: str) -> dict[Keys, int]:
    """The line, from 1, on which each key or table header of a valid document begins.

    What is in an inline table or array has the line of the statement that it is part of.
    """
    found: dict[Keys, int] = {}
    counts: dict[Keys, int] = {}
    table: Keys = ()
    for line, statement in _statements(text):
        parsed = loads(statement)
        if statement.lstrip().startswith("["):
            table = _header(parsed, counts)
            found.setdefault(table, line)
        else:
            _note(parsed, table, line, found)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement of a valid document and its first line: it ends with a line, outside of all brackets."""
    begin, first, depth = 0, 1, 0
    for found in MARK.finditer(text):
        mark = found[0]
        depth += (mark in OPENING) - (mark in CLOSING)
        if mark == "\n" and not depth:
            statement = text[begin : found.start()]
            yield first, statement
            begin, first = found.end(), first + statement.count("\n") + 1
    yield first, text[begin:]


def overlong_key(text: str) -> int | None:
    """The line, from 1, of the first key of more than `MOST_PARTS` parts; None where there is none."""
    dots = 0
    for found in MARK.finditer(text):
        dots = dots + 1 if found[0] == "." else dots if found[0][0] in "\"'" else 0
        if dots >= MOST_PARTS:
            return text.count("\n", 0, found.start()) + 1
    return None


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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One value.

    Attributes:
        path: of the file, for messages.
        lines: of all keys of the file.
        keys: of this value, from the outermost table.
        value: as TOML has it.
    """

    path: str
    lines: Mapping[Keys, int] = field(repr=False)
    keys: Keys
    value: object

    @property
    def place(self) -> Place:
        """The line that the key stands on, or that of the nearest table around it."""
        known = (
            self.lines[self.keys[:n]] for n in range(len(self.keys), 0, -1) if self.keys[:n] in self.lines
        )
        return Place(path=self.path, line=next(known, 1))

    def error(self, what: str, hint: str = "") -> ConfigurationError:
        """An error about this value; `what` follows its key."""
        return ConfigurationError(f"{self._name()} {what}", where=f"{self.path}:{self.place.line}", hint=hint)

    def table(self, known: Collection[str], required: Collection[str] = ()) -> dict[str, Entry]:
        """The values of a table that has no other keys than these."""
        entries = self.mapping()
        for key, entry in entries.items():
            if key not in known:
                near = difflib.get_close_matches(key.lower(), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
                raise entry.error("is an unknown key", hint)
        for key in required:
            if key not in entries:
                raise self.error(f"lacks the required key {key!r}")
        return entries

    def mapping(self) -> dict[str, Entry]:
        """The values of a table with any keys."""
        if not isinstance(self.value, dict):
            raise self._must("a table")
        return {key: self._inner(key, value) for key, value in self.value.items()}

    def items(self) -> list[Entry]:
        """The values of an array."""
        if not isinstance(self.value, list):
            raise self._must("an array")
        return [self._inner(index, value) for index, value in enumerate(self.value)]

    def tables(self) -> list[Entry]:
        """The tables of an array of tables."""
        if not isinstance(self.value, list) or not all(isinstance(item, dict) for item in self.value):
            raise self._must(f"tables, each under a header [[{'.'.join(map(str, self.keys))}]]")
        return self.items()

    def string(self) -> str:
        """Any string."""
        if not isinstance(self.value, str):
            raise self._must("text")
        return self.value

    def text(self) -> str:
        """A string that is not blank."""
        if not self.string().strip():
            raise self._must("text that is not blank")
        return self.string()

    def choice(self, values: Collection[str]) -> str:
        """One of these strings."""
        if self.value not in values:
            raise self._must(f"one of {', '.join(values)}")
        return str(self.value)

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self._must("true or false")
        return self.value

    def number(self) -> float:
        """A finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self._must("a number")
        try:
            number = float(self.value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._must("a finite number")
        return number

    def positive(self) -> float:
        """A finite number above 0."""
        if self.number() <= 0:
            raise self._must("a number above 0")
        return self.number()

    def day(self) -> date:
        """A date without a time."""
        if type(self.value) is not date:
            raise self._must("a date such as 2027-01-31, without quotes")
        return self.value

    def sizes(self) -> tuple[int, ...]:
        """Positive whole numbers: 224, [224, 160] or "224x160"."""
        value = self.value
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*", value):
            value = [int(size) for size in value.split("x")]
        sizes = tuple(value) if isinstance(value, list) else (value,)
        if not sizes or not all(type(size) is int and 0 < size <= LARGEST for size in sizes):
            raise self._must('a size such as 224, [224, 160] or "224x160"')
        return sizes

    def _inner(self, key: str | int, value: object) -> Entry:
        return Entry(path=self.path, lines=self.lines, keys=(*self.keys, key), value=value)

    def _must(self, be: str) -> ConfigurationError:
        try:
            shown = repr(self.value)
        except (ValueError, RecursionError):  # a number of too many digits, or tables in tables
            shown = "this"
        return self.error(f"must be {be}, not {shown if len(shown) <= 40 else f'{shown[:37]}...'}")

    def _name(self) -> str:
        """As TOML writes it, but for the numbers of arrays, which count from 1."""
        parts = (f"[{key + 1}]" if isinstance(key, int) else f".{key}" for key in self.keys)
        return "".join(parts).removeprefix(".") or "the file"
