"""The descriptor of an output format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convsv_cli.comparison import Trend
from convsv_cli.report import Report


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """How text is going to be shown; the defaults are those of a file: wide and plain.

    Attributes:
        width: columns; None for as many as it takes.
        color: whether colours may stress what matters.
        explain: also show where the bound of the network comes from.
        here: the folder that relative paths start from.
        root: the checkout that it is in; empty where paths are to stay as they are.
    """

    width: int | None = None
    color: bool = False
    explain: bool = False
    here: str = ""
    root: str = ""


@dataclass(frozen=True, kw_only=True)
class Renderer:
    """An output format.

    Attributes:
        name: what `--format` calls it.
        suffixes: endings of output files that choose it.
        render: the document, which ends with a line break; what the latter says decides how, never what.
        compare: several audits side by side; None where they are rendered one after the other.
    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[Report, Terminal], str]
    compare: Callable[[Trend, Terminal], str] | None = None
