"""Many globs on many names: each glob is compiled once, each set of names is looked up once."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache


@lru_cache(maxsize=16)
def globs_of(patterns: tuple[str, ...]) -> Globs:
    """The globs; the same object, and what it has found, for the same patterns."""
    return Globs(patterns)


class Globs:
    """Finds which of some globs match one of a layer's names."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._matchers = [re.compile(fnmatch.translate(pattern)).match for pattern in patterns]
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
        for index, matches in enumerate(self._matchers):
            for name in names:  # not any(): this is run for every glob and layer
                if matches(name):
                    yield index
                    break
