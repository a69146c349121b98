"""A budget, as users write it: limits, the lines that they stand on, and the globs that they are for."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cached_property
from heapq import merge
from pathlib import Path

from convsv_cli import limits
from convsv_cli.errors import UsageError
from convsv_cli.names import glob_forms
from convsv_cli.report import LayerAudit, Place, Settings


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a certified upper end must not exceed, and where that is written.

    Attributes:
        value: of a baseline, which knows its norms only within intervals, the largest that it may be.
        lower: the least that it may be, likewise; None where `value` is all there is to know.
    """

    value: float
    place: Place
    lower: float | None = None


@dataclass(frozen=True, kw_only=True)
class LayerBudget:
    """The limit of all layers that a glob matches and no glob before it."""

    match: str
    limit: Limit


@dataclass(frozen=True, kw_only=True)
class PairBudget:
    """The limit on the certified Lipschitz bound from one tensor to another, with all else held fixed."""

    start: str
    end: str
    limit: Limit


@dataclass(frozen=True, kw_only=True)
class Ignore:
    """Layers that may exceed their budget, or be unsupported, and why; `expires` is the last such day."""

    match: str
    reason: str
    expires: date | None
    place: Place


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of one configuration.

    Attributes:
        path: of its file, as users know it.
        network: on the certified Lipschitz bound of the whole network; None for no limit.
        quantised, steps: on both terms of what is proven of a network that rounds; None likewise.
        layer: on the certified norm of each layer that no glob matches; None likewise.
        layers: globs, of which the first match counts.
        pairs: of tensors, each for the models that have both.
    """

    path: str
    network: Limit | None = None
    quantised: Limit | None = None
    steps: Limit | None = None
    layer: Limit | None = None
    layers: tuple[LayerBudget, ...] = ()
    pairs: tuple[PairBudget, ...] = ()
    ignores: tuple[Ignore, ...] = ()

    def check_limited(self) -> None:
        """Complain of a budget that nothing could exceed.

        Raises:
            UsageError: it has neither limits nor ignores.
        """
        if not (self.limited or self.ignores):
            hint = "add max-lipschitz, max-layer, [[layer]] or [[pair]], or give a --baseline"
            raise UsageError("no limits", where=self.path, hint=hint)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        whole = self.network or self.quantised or self.steps
        return bool(whole or self.layer or self.layers or self.pairs)

    @cached_property
    def globs(self) -> Globs:
        """Those of the layers' limits."""
        return Globs([layer.match for layer in self.layers])

    @cached_property
    def ignoring(self) -> Globs:
        """Those of the ignores."""
        return Globs([ignore.match for ignore in self.ignores])


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A budget, and what to audit it on; None where the file does not say.

    Attributes:
        models: relative to the current folder.
        as_layer, as_table, sources, targets: as in `Settings`.
    """

    budget: Budget
    models: tuple[Path, ...] = ()
    input_size: tuple[int, ...] | None = None
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    input_range: tuple[float, float] | None = None
    exact: bool | None = None
    device: str | None = None
    tolerance: float | None = None
    network_effort: str | None = None
    as_layer: tuple[str, ...] = ()
    as_table: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def settings(self, asked: Mapping[str, object], known: Settings) -> Settings:
        """What to audit with.

        Args:
            asked: settings by name that come first where they say something, as those of a command line do.
            known: settings for whatever is left open.
        """
        names = {field.name for field in fields(self)} & {field.name for field in fields(Settings)}
        every = [*((name, getattr(self, name)) for name in names), *asked.items()]
        said = {name: value for name, value in every if not (value is None or value is False or value == ())}
        return replace(known, **said)


SPECIAL = frozenset("*?[")
SHOWN = 100
"""Characters of a name or glob that messages show."""
GLOB, BRACKET = 250, 50
"""Steps to try a glob, and for each character behind a bracket, where its end is looked for."""


def names_of(row: LayerAudit) -> tuple[str, ...]:
    """All names that a glob may mean the layer by."""
    return row.name, row.weight, *row.aliases


class Globs:
    """Finds which of some globs match one of a layer's names; each layer is looked up once."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._plain: dict[str, list[int]] = {}
        self._special: list[tuple[int, Callable[[str], object]]] = []
        self._characters = 0
        for index, pattern in enumerate(patterns):
            if SPECIAL.isdisjoint(pattern):
                self._plain.setdefault(pattern, []).append(index)
            else:
                limits.spend(
                    2 * BRACKET * pattern.count("[") * len(pattern), f"reading the glob {pattern[:SHOWN]!r}"
                )
                forms = glob_forms(pattern)
                self._special.append((index, re.compile("|".join(map(fnmatch.translate, forms))).match))
                self._characters += sum(map(len, forms))
        self._first: dict[tuple[str, ...], int | None] = {}
        self._all: dict[tuple[str, ...], tuple[int, ...]] = {}

    def first(self, names: tuple[str, ...]) -> int | None:
        """Number of the first glob that matches one of the names, from 0; None where none does."""
        if names not in self._first:
            self._first[names] = next(self._matching(names), None)
            if self._first[names] is None:
                self._all[names] = ()
        return self._first[names]

    def all(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Numbers of all globs that match one of the names."""
        if names not in self._all:
            self._all[names] = tuple(self._matching(names))
        return self._all[names]

    def _matching(self, names: tuple[str, ...]) -> Iterator[int]:
        """Numbers of the globs that do, in order; each may try all of its characters at every place."""
        plain = sorted({index for name in names for index in self._plain.get(name, ())})
        cost = len(names) * len(self._special) * GLOB + sum(map(len, names)) * self._characters
        limits.spend(cost, lambda: f"finding the globs that match {names[0][:SHOWN]!r}")
        return merge(plain, (index for index, matches in self._special if any(map(matches, names))))
