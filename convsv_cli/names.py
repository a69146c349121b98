"""Names from files: made harmless where they meet a terminal or a spreadsheet, and told apart from wrappers.

A name may be written to attack whatever shows it, and may hold what torch.compile, DataParallel and the like
put into it: comparisons of two files look through that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

T = TypeVar("T")
STDIN = "<stdin>"
"""What reports call a model that came from there."""
MAX_LINE = 1000
"""Characters of an error message."""
_FORMULA = re.compile(r"(?:^|(?<=[;,|]))(?=\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|[\t\r\n])")
"""Where a spreadsheet may begin to read a formula, whichever sign it takes for the end of a cell."""
_WRAPPER = re.compile(r"module|_(?:orig_mod|module|forward_module|fpw_module|\w*wrapped_module)")
"""Attributes in which torch.compile, DataParallel, FSDP, activation checkpointing, averaged models and
trainers keep what they wrap."""
_MAY_WRAP = re.compile(r"module|_orig_mod")
_SEPARATOR = re.compile(r"([./])")
_ANONYMOUS = re.compile(
    r"^$|::|^(?:val|node|mul|div|t|transpose|constant|initializer|const)_?\d*$", re.IGNORECASE
)
_NUMBER = re.compile(r"_?\d*")
LONGEST_NAME = 2000
"""Characters; no network has longer names."""
ROUNDS = 8
"""After that many rounds, names that still clash stay as they are."""
AVERAGED = "n_averaged"
"""The counter that an averaged model has next to what it wraps."""
Part = tuple[int, str, str]
"""The number of the path before it, the separator and its name."""
OUTER = 3
"""How many modules around a whole network two files may differ in."""


def glob_forms(glob: str) -> tuple[str, ...]:
    """The globs that a user may mean by one: itself, and the one whose brackets are those of names.

    Exporters write `blocks[0].conv`, where `[0]` is no set of characters. What matches either is meant.
    """
    return (glob, glob.replace("[", "[[]")) if "[" in glob else (glob,)


def printable(text: str) -> str:
    """The text with controls, bidirectional overrides, surrogates and odd spaces spelled out as escapes."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def inert(value: T) -> T:
    """The same value with every text in it printable, however deep in tuples and dataclasses."""
    made: Any = value
    if isinstance(value, str):
        made = printable(value)
    elif isinstance(value, tuple):
        made = tuple(map(inert, value))
    elif is_dataclass(value) and not isinstance(value, type):
        made = replace(value, **{item.name: inert(getattr(value, item.name)) for item in fields(value)})
    return cast("T", made)


def one_line(text: str) -> str:
    """The printable text without line breaks, and without its middle where it is long."""
    line = printable(" ".join(text.split()))
    half = MAX_LINE // 2
    return line if len(line) <= MAX_LINE else f"{line[:half]} ... {line[-half:]}"


def spreadsheet_cell(text: str) -> str:
    """The printable text, with a quote wherever a spreadsheet could take what follows for a formula."""
    return printable(_FORMULA.sub("'", text))


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Each name without the wrappers in its path, wherever they stand, however many.

    Where two names would become one, "module" and the like are the network's own there, and stay in all names
    that begin alike. No name becomes empty.
    """
    known = list(dict.fromkeys(names))
    own: set[int] = set()
    paths: dict[Part, int] = {}
    for _ in range(ROUNDS):
        plain = {name: _plain(name, own, paths) for name in known}
        first: dict[str, str] = {}
        clashing = {name for name in known if first.setdefault(plain[name], name) != name}
        if not clashing:
            return plain
        clashing |= {first[plain[name]] for name in clashing}
        own.update(
            path for name in clashing for _, part, path in _parts(name, paths) if _WRAPPER.fullmatch(part)
        )
    return {name: name for name in known}


def without_trainer(names: Iterable[str]) -> dict[str, str]:
    """Plain names, without the "model." that a trainer puts before all of them, where it has."""
    plain = plain_names(names)
    inner = {name: form.removeprefix("model.") for name, form in plain.items()}
    wrapped = all(inner[name] != form for name, form in plain.items() if form != AVERAGED)
    return inner if wrapped and len(set(inner.values())) == len(inner) else plain


def says_nothing(name: str, op: str) -> bool:
    """Whether an exporter has made up the name: another export of the same network may give it to another."""
    is_numbered = name.startswith(op) and _NUMBER.fullmatch(name, len(op)) is not None
    return is_numbered or _ANONYMOUS.search(name) is not None


def counterparts(old: Iterable[str], new: Iterable[str]) -> dict[str, str]:
    """For each of the new names the old one that means the same; none where names alone cannot tell.

    Equal names come first, then those that differ in wrappers, then those that also differ in up to `OUTER`
    modules around one of the whole networks, such as the "model." of a trainer.
    """
    before, after = plain_names(old), plain_names(new)
    forms = [
        ({name: name for name in before}, {name: name for name in after}),
        (before, after),
        *((_within(before, depth), after) for depth in range(1, OUTER + 1)),
        *((before, _within(after, depth)) for depth in range(1, OUTER + 1)),
    ]
    found: dict[str, str] = {}
    for olds, news in forms:
        met = set(found.values())
        homes = {form: name for name, form in olds.items() if name not in met}
        found |= {name: homes[form] for name, form in news.items() if name not in found and form in homes}
    return found


def _within(plain: Mapping[str, str], depth: int) -> dict[str, str]:
    """The names without their first `depth` modules; none where not all have these in common."""
    parts = {name: form.split(".") for name, form in plain.items()}
    outer = {tuple(part[:depth]) for part in parts.values() if len(part) > depth}
    if len(outer) != 1 or any(len(part) <= depth for part in parts.values()):
        return {}
    return {name: ".".join(part[depth:]) for name, part in parts.items()}


def _plain(name: str, own: set[int], paths: dict[Part, int]) -> str:
    if len(name) > LONGEST_NAME or not _MAY_WRAP.search(name):
        return name
    plain = ""
    for separator, part, path in _parts(name, paths):
        if not _WRAPPER.fullmatch(part) or path in own:
            plain = f"{plain}{separator}{part}" if plain else part
    return plain or name


def _parts(name: str, paths: dict[Part, int]) -> Iterator[tuple[str, str, int]]:
    """Each part of the path, the separator before it, and the number of the path up to it, from 1.

    Paths are numbered as they come: written out, those of one long name would take its length squared.
    """
    tokens, path = ["", *_SEPARATOR.split(name)], 0
    for separator, part in zip(tokens[::2], tokens[1::2], strict=True):
        path = paths.setdefault((path, separator, part), len(paths) + 1)
        yield separator, part, path
