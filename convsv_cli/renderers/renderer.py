"""The descriptor of an output format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convsv_cli.report import Report


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """How text is going to be shown; the defaults are those of a file: wide and plain.

    Attributes:
        width: columns; None for as many as it takes.
        color: whether colours may stress what matters.
        explain: also show where the bound of the network comes from.
    """

    width: int | None = None
    color: bool = False
    explain: bool = False


@dataclass(frozen=True, kw_only=True)
class Renderer:
    """An output format.

    Attributes:
        name: what `--format` calls it.
        suffixes: endings of output files that choose it.
        render: the document, which ends with a line break; only text for a terminal looks at the latter.
    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[Report, Terminal], str]
