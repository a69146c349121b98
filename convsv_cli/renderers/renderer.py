"""The descriptor of an output format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
BLOCKS = " ▏▎▍▌▋▊▉█"
"""Eighths of a character."""


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """How text is going to be shown; the defaults are those of a file: wide and plain.

    Attributes:
        width: columns; None for as many as it takes.
        blocks: whether the encoding has `BLOCKS`.
        color: whether colours may stress what matters.
        explain: also show where the bound of the network comes from.
        here: the folder that relative paths start from.
        root: the checkout that it is in; empty where paths are to stay as they are.
    """

    width: int | None = None
    blocks: bool = True
    color: bool = False
    explain: bool = False
    here: str = ""
    root: str = ""


@dataclass(frozen=True, kw_only=True)
class Renderer(Generic[T]):
    """An output format of a result: of a `Report`, a `Trend`, a `Difference`, `Spectra` or a `Certification`.

    Attributes:
        name: what `--format` calls it.
        suffixes: endings of output files that choose it.
        render: the document, which ends with a line break; what the latter says decides how, never what.
    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[T, Terminal], str]
