"""Budget files to `Configuration`: where they are, which keys there are, and what each may hold."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, TypeVar

from convsv_cli.budget import toml
from convsv_cli.budget.configuration import (
    SPECIAL,
    Budget,
    Configuration,
    Ignore,
    LayerBudget,
    Limit,
    PairBudget,
)
from convsv_cli.budget.toml import Entry, Keys, key_lines
from convsv_cli.errors import ConfigurationError, UsageError, expecting
from convsv_cli.missing import is_url, nothing_at
from convsv_cli.names import LONGEST_NAME
from convsv_cli.report import EFFORTS

MOST_PAIRS = 64
T = TypeVar("T")
KEYS = (
    "models",
    "input-size",
    "input-shape",
    "input-range",
    "exact",
    "device",
    "tolerance",
    "network-effort",
    "as-layer",
    "as-table",
    "from",
    "to",
    "max-lipschitz",
    "max-quantised-lipschitz",
    "max-quantised-step",
    "max-layer",
    "layer",
    "pair",
    "ignore",
)
DEVICES = ("auto", "cpu", "cuda", "mps")
OWN, PYPROJECT = BUDGETS = "convsv.toml", "pyproject.toml"
"""Names of files that may be a budget."""
SECTION = ("tool", "convsv")
MOST = 5000
"""Models, and globs of what is a layer or a table."""


def the_configuration(path: Path | None, *, optional: bool) -> Configuration:
    """The configuration in a file, or else in the nearest one; an empty one where there may be none.

    Raises:
        ConfigurationError: it cannot be read.
        UsageError: there is none, and it is not optional.
    """
    if path is None:
        path = nearest_configuration(Path.cwd())
    if path is not None:
        return read_configuration(path)
    if optional:
        return Configuration(budget=Budget(path=""))
    missing = "no budget: neither convsv.toml nor a pyproject.toml with [tool.convsv], here or above"
    raise UsageError(missing, hint="convsv check --init MODEL > convsv.toml writes one")


def nearest_configuration(start: Path) -> Path | None:
    """`convsv.toml`, or `pyproject.toml` with a table `[tool.convsv]`, of a folder or the nearest above.

    Relative to the current folder; in one folder the former wins; None where there is none.

    Raises:
        ConfigurationError: a pyproject.toml on the way cannot be read.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        own, project = folder / OWN, folder / PYPROJECT
        if own.is_file():
            return Path(os.path.relpath(own))
        if project.is_file() and has_section(Path(os.path.relpath(project))):
            return Path(os.path.relpath(project))
    return None


def read_configuration(path: Path) -> Configuration:
    """The configuration in `convsv.toml`, or in the table `[tool.convsv]` of a file called pyproject.toml.

    Raises:
        ConfigurationError: the file is missing, invalid TOML, or has unknown keys or invalid values.
    """
    with expecting(ConfigurationError, "invalid TOML", where=str(path)):
        return _read(path)


def _read(path: Path) -> Configuration:
    text = _text(path)
    document = parse_toml(path, text)
    keys: Keys = SECTION if path.name == PYPROJECT else ()
    value = section(document) if keys else document
    if value is None:
        raise ConfigurationError("no table [tool.convsv]", where=str(path))
    lines = _shallow(path, lambda: key_lines(text))
    return _configuration(Entry(path=str(path), lines=lines, keys=keys, value=value), path.parent)


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """The document.

    Raises:
        ConfigurationError: it is not TOML; the line is named.
    """
    overlong = toml.overlong_key(text)
    if overlong is not None:
        what = f"invalid TOML: nested too deeply, by a key of more than {toml.MOST_PARTS} parts"
        raise ConfigurationError(what, where=f"{path}:{overlong}")
    try:
        document: dict[str, Any] = _shallow(path, lambda: toml.loads(text))
    except toml.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column \d+\)| \(at end of document\)", str(error))
        line = at.group(1) if at and at.group(1) else str(text.count("\n") + 1)
        message = str(error).replace(at.group() if at else "", "")
        raise ConfigurationError(f"invalid TOML: {message}", where=f"{path}:{line}") from error
    return document


def _shallow(path: Path, read: Callable[[], T]) -> T:
    """What was read, or a complaint that the document is nested too deeply for that."""
    try:
        return read()
    except RecursionError as error:
        raise ConfigurationError("invalid TOML: nested too deeply", where=str(path)) from error


def section(document: dict[str, Any]) -> object:
    """`[tool.convsv]`; None where there is none."""
    tool = document.get(SECTION[0])
    return tool.get(SECTION[1]) if isinstance(tool, dict) else None


def has_section(path: Path) -> bool:
    """Whether a pyproject.toml has a table `[tool.convsv]`.

    Raises:
        ConfigurationError: as `read_configuration`.
    """
    with expecting(ConfigurationError, "invalid TOML", where=str(path)):
        return section(parse_toml(path, _text(path))) is not None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        if isinstance(error, FileNotFoundError) or is_url(path):
            raise nothing_at(ConfigurationError, path, "--config takes a TOML file") from error
        raise ConfigurationError(
            f"cannot be read: {error.strerror or error}", where=str(path), hint="--config takes a TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("invalid TOML: it is not UTF-8", where=str(path)) from error


def _configuration(top: Entry, folder: Path) -> Configuration:
    table = top.table(KEYS)
    models, shapes = table.get("models"), table.get("input-shape")
    return Configuration(
        budget=Budget(
            path=top.path,
            network=_limit(table.get("max-lipschitz")),
            quantised=_limit(table.get("max-quantised-lipschitz")),
            steps=_limit(table.get("max-quantised-step")),
            layer=_limit(table.get("max-layer")),
            layers=tuple(map(_layer, table["layer"].tables())) if "layer" in table else (),
            pairs=_pairs(table["pair"]) if "pair" in table else (),
            ignores=tuple(map(_ignore, table["ignore"].tables())) if "ignore" in table else (),
        ),
        models=_models(models, folder) if models else (),
        input_size=table["input-size"].sizes() if "input-size" in table else None,
        input_shapes=tuple((name, e.sizes()) for name, e in shapes.mapping().items()) if shapes else (),
        input_range=_range(table["input-range"]) if "input-range" in table else None,
        exact=table["exact"].flag() if "exact" in table else None,
        device=table["device"].choice(DEVICES) if "device" in table else None,
        tolerance=table["tolerance"].positive() if "tolerance" in table else None,
        network_effort=table["network-effort"].choice(EFFORTS) if "network-effort" in table else None,
        as_layer=_texts(table.get("as-layer")),
        as_table=_texts(table.get("as-table")),
        sources=_texts(table.get("from")),
        targets=_texts(table.get("to")),
    )


def _models(entry: Entry, folder: Path) -> tuple[Path, ...]:
    """The models at these paths, in this order; those that a glob matches by their names, each once.

    What is there by the very name that looks like a glob is meant by it.
    """
    found: dict[Path, None] = {}
    for each in _some(entry):
        name = each.text()
        literal = SPECIAL.isdisjoint(name) or (folder / name).exists()
        found.update(dict.fromkeys([folder / name] if literal else _matching(each, name, folder)))
    return tuple(found)


def _matching(entry: Entry, pattern: str, folder: Path) -> list[Path]:
    """What a glob matches in the folder, in the order of names; nothing that is hidden, unless it says so."""
    if PurePath(pattern).is_absolute() or ".." in PurePath(pattern).parts:
        raise entry.error(f"leaves the folder of the budget, which a glob must not: {pattern!r}")
    hidden = any(part.startswith(".") for part in PurePath(pattern).parts)
    try:
        every = (path.relative_to(folder) for path in folder.glob(re.sub(r"(\*\*/)+", "**/", pattern)))
        shown = (path for path in every if hidden or not any(part.startswith(".") for part in path.parts))
        names = sorted(path.as_posix() for path in itertools.islice(shown, MOST + 1))
    except (OSError, ValueError) as error:
        raise entry.error(f"is no glob: {pattern!r}: {error}") from error
    if not names:
        raise entry.error(f"matches no file: {pattern!r}")
    if len(names) > MOST:
        raise entry.error(f"matches more than {MOST:,} files: {pattern!r}")
    return [folder / name for name in names]


def _texts(entry: Entry | None) -> tuple[str, ...]:
    return () if entry is None else tuple(map(_glob, _some(entry)))


def _some(entry: Entry) -> list[Entry]:
    """The values of an array that is not longer than anybody writes it: there is work to do for each."""
    if len(entry.items()) > MOST:
        raise entry.error(f"has more than {MOST:,} entries")
    return entry.items()


def _glob(entry: Entry) -> str:
    """A glob or a name, as long as names are."""
    if len(entry.text()) > LONGEST_NAME:
        raise entry.error(f"is longer than {LONGEST_NAME} characters")
    return entry.text()


def _limit(entry: Entry | None) -> Limit | None:
    return None if entry is None else Limit(value=entry.positive(), place=entry.place)


def _layer(entry: Entry) -> LayerBudget:
    table = entry.table(("match", "max"), required=("match", "max"))
    limit = Limit(value=table["max"].positive(), place=table["max"].place)
    return LayerBudget(match=_glob(table["match"]), limit=limit)


def _pairs(entry: Entry) -> tuple[PairBudget, ...]:
    """Few enough, for each is a bound of a network; no two are of the same tensors."""
    if len(entry.tables()) > MOST_PAIRS:
        raise entry.error(f"has more than {MOST_PAIRS} entries")
    found: dict[tuple[str, str], PairBudget] = {}
    for each in entry.tables():
        keys = ("from", "to", "max-lipschitz")
        table = each.table(keys, required=keys)
        start, end = _glob(table["from"]), _glob(table["to"])
        if (start, end) in found:
            line = found[start, end].limit.place.line
            raise each.error(f"is from {start!r} to {end!r}, as is that in line {line}")
        limit = Limit(value=table["max-lipschitz"].positive(), place=each.place)
        found[start, end] = PairBudget(start=start, end=end, limit=limit)
    return tuple(found.values())


def _ignore(entry: Entry) -> Ignore:
    table = entry.table(("match", "reason", "expires"), required=("match", "reason"))
    return Ignore(
        match=_glob(table["match"]),
        reason=table["reason"].text(),
        expires=table["expires"].day() if "expires" in table else None,
        place=entry.place,
    )


def _range(entry: Entry) -> tuple[float, float]:
    ends = [end.number() for end in entry.items()]
    if len(ends) != 2 or ends[0] > ends[1]:
        raise entry.error("must be two numbers, the smaller one first, such as [0, 1]")
    return ends[0], ends[1]
