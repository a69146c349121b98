"""Names of layers and tensors: what wrappers put into them, and which of two files' names mean the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_WRAPPER = re.compile(r"module|_(?:orig_mod|module|forward_module|fpw_module|\w*wrapped_module)")
"""Attributes in which torch.compile, DataParallel, FSDP, activation checkpointing, averaged models and
trainers keep what they wrap."""
_MAY_WRAP = re.compile(r"module|_orig_mod")
_SEPARATOR = re.compile(r"([./])")
_ANONYMOUS = re.compile(
    r"^$|::|^(?:val|node|mul|div|t|transpose|constant|initializer|const)_?\d*$", re.IGNORECASE
)
LONGEST = 2000
"""Characters; longer names are no network's."""
ROUNDS = 8
"""Names that still clash then stay as they are."""
AVERAGED = "n_averaged"
"""The counter that an averaged model has next to what it wraps."""
OUTER = 3
"""How many modules around a whole network two files may differ in."""


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Each name without the wrappers in its path, wherever they stand, however many.

    Where two names would become one, "module" and the like are the network's own there, and stay in all names
    that begin alike. No name becomes empty.
    """
    known = list(dict.fromkeys(names))
    own: set[str] = set()
    for _ in range(ROUNDS):
        plain = {name: _plain(name, own) for name in known}
        first: dict[str, str] = {}
        clashing = {name for name in known if first.setdefault(plain[name], name) != name}
        if not clashing:
            return plain
        clashing |= {first[plain[name]] for name in clashing}
        own.update(path for name in clashing for _, part, path in _parts(name) if _WRAPPER.fullmatch(part))
    return {name: name for name in known}


def without_trainer(names: Iterable[str]) -> dict[str, str]:
    """Plain names, without the "model." that a trainer puts before all of them, where it has."""
    plain = plain_names(names)
    inner = {name: form.removeprefix("model.") for name, form in plain.items()}
    wrapped = all(inner[name] != form for name, form in plain.items() if form != AVERAGED)
    return inner if wrapped and len(set(inner.values())) == len(inner) else plain


def says_nothing(name: str, op: str) -> bool:
    """Whether an exporter has made up the name: another export of the same network may give it to another."""
    return _ANONYMOUS.search(name) is not None or re.fullmatch(rf"{re.escape(op)}_?\d*", name) is not None


def counterparts(old: Iterable[str], new: Iterable[str]) -> dict[str, str]:
    """For each of the new names the old one that means the same; none for those of which names do not tell.

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
    """The names without their first modules, so many of them; none where not all have these in common."""
    parts = {name: form.split(".") for name, form in plain.items()}
    outer = {tuple(part[:depth]) for part in parts.values() if len(part) > depth}
    if len(outer) != 1 or any(len(part) <= depth for part in parts.values()):
        return {}
    return {name: ".".join(part[depth:]) for name, part in parts.items()}


def _plain(name: str, own: set[str]) -> str:
    if len(name) > LONGEST or not _MAY_WRAP.search(name):
        return name
    plain = ""
    for separator, part, path in _parts(name):
        if not _WRAPPER.fullmatch(part) or (own and path in own):
            plain = f"{plain}{separator}{part}" if plain else part
    return plain or name


def _parts(name: str) -> Iterable[tuple[str, str, str]]:
    """Each part of the path, the separator before it, and the path up to it."""
    tokens = ["", *_SEPARATOR.split(name)]
    for index in range(0, len(tokens), 2):
        yield tokens[index], tokens[index + 1], "".join(tokens[: index + 2])
