"""The descriptor of an output format."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import PurePath
from typing import Generic, TypeVar

from convsv_cli.errors import UsageError

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
BLOCKS = " ▏▎▍▌▋▊▉█"
"""Eighths of a character."""
UNNAMED = "model"


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """Where text is going to be shown; the defaults are those of a file: wide and plain.

    Attributes:
        width: columns; None for as many as it takes.
        blocks: whether the encoding has `BLOCKS`.
        color: whether colours may stress what matters.
        full: every row, not only what did not pass or has changed.
        explain: also show where the bound of the network comes from.
        here: the folder that relative paths start from.
        root: the checkout that it is in; empty where paths are to stay as they are.
    """

    width: int | None = None
    blocks: bool = True
    color: bool = False
    full: bool = True
    explain: bool = False
    here: str = ""
    root: str = ""

    def relative(self, path: str) -> str:
        """The path from the root of the checkout, with slashes; for a file outside, only its name.

        Code hosts show findings at such paths, and no report reveals where on a machine a file was, or points
        out of the checkout.

        Args:
            path: absolute, or from `here`.
        """
        place = PurePath(os.path.normpath(PurePath(self.here) / path))
        if self.root and place.is_relative_to(self.root):
            place = place.relative_to(self.root)
        inside = not place.is_absolute() and ".." not in place.parts
        return (place.as_posix() if inside and place.name else place.name) or UNNAMED


@dataclass(frozen=True, kw_only=True)
class Renderer(Generic[T_contra]):
    """An output format of a result: of a `Report`, a `Trend`, a `Difference`, `Spectra` or a `Certification`.

    Attributes:
        name: what `--format` calls it.
        suffixes: endings of output files that choose it.
        render: the document, which ends with a line break; the terminal decides how, never what.
    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[T_contra, Terminal], str]


def _no_text(value: object, terminal: Terminal) -> str:  # noqa: ARG001
    raise UsageError("a picture in pixels is for files", hint="add -o FILE.png")


@dataclass(frozen=True, kw_only=True)
class Picture(Renderer[T_contra]):
    """A format that is no text, and for files alone.

    Attributes:
        draw: the file's content.
    """

    render: Callable[[T_contra, Terminal], str] = _no_text
    draw: Callable[[T_contra], bytes]


def by_suffix(renderers: Sequence[Renderer[T]], name: str) -> Renderer[T] | None:
    """The format that a file's name implies by the longest suffix that fits; None for no format."""
    lower = name.lower()
    fitting = [(len(end), each) for each in renderers for end in each.suffixes if lower.endswith(end)]
    return max(fitting, key=itemgetter(0), default=(0, None))[1]
