"""Documents to stdout or to files."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import click

from convsv_cli.cli.files import blaming, check_replaceable, is_file, replacement
from convsv_cli.cli.surroundings import folders, summarise
from convsv_cli.errors import UsageError
from convsv_cli.renderers import github
from convsv_cli.renderers.renderer import BLOCKS, Renderer, Terminal
from convsv_cli.report import Report

T = TypeVar("T")
STDOUT = "-"


@dataclass(frozen=True, kw_only=True)
class Target(Generic[T]):
    """A document to be written: to `path`, or to stdout where that is None."""

    renderer: Renderer[T]
    path: Path | None


def prepare(
    renderers: Sequence[Renderer[T]], outputs: Sequence[Path], format_name: str | None, inputs: Sequence[Path]
) -> list[Target[T]]:
    """Decide on the documents before any work is done, so that no long audit ends in a typing error.

    Args:
        renderers: the formats that there are, the one for stdout first.
        outputs: files; none for stdout.
        format_name: of stdout, and of files without a telling suffix; None for the first.
        inputs: what no output may replace.

    Raises:
        UsageError: a file that cannot be written, has no telling suffix, or is one of the inputs.
    """
    return [_target(renderers, path, format_name, inputs) for path in outputs or [Path(STDOUT)]]


def write(value: T, targets: Sequence[Target[T]], *, explain: bool = False) -> None:
    """Render and write each document.

    Raises:
        UsageError: a file cannot be written; what was there is untouched.
    """
    for target in targets:
        here, root = folders()
        shown = replace(Terminal() if target.path else terminal(), explain=explain, here=here, root=root)
        text = target.renderer.render(value, shown)
        if target.path is None:
            echo(text)
            continue
        with replacement(target.path) as file, blaming(target.path):
            file.write(text.encode("utf-8"))


def write_report(report: Report, targets: Sequence[Target[Report]], *, explain: bool = False) -> None:
    """Render and write each document; with annotations for GitHub Actions goes its step summary.

    Raises:
        UsageError: a file cannot be written; what was there is untouched.
    """
    write(report, targets, explain=explain)
    if any(target.renderer is github.RENDERER for target in targets):
        summarise(report)


def echo(text: str) -> None:
    """A document to stdout.

    Raises:
        UsageError: it cannot be written, other than because its reader has gone.
    """
    with blaming("stdout"):
        click.echo(text, nl=False)


def terminal() -> Terminal:
    """What stdout is."""
    if sys.stdout is None or not sys.stdout.isatty():
        return Terminal(blocks=_shows_blocks())
    return Terminal(width=shutil.get_terminal_size().columns, color=colored(), blocks=_shows_blocks())


def colored() -> bool:
    """Whether nobody asked for no colours: neither `--no-color` nor NO_COLOR (https://no-color.org)."""
    context = click.get_current_context(silent=True)
    return not os.environ.get("NO_COLOR") and (context is None or context.color is not False)


def _shows_blocks() -> bool:
    """Whether the encoding of stdout has block characters."""
    try:
        BLOCKS.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _target(
    renderers: Sequence[Renderer[T]], path: Path, format_name: str | None, inputs: Sequence[Path]
) -> Target[T]:
    named = next((renderer for renderer in renderers if renderer.name == format_name), None)
    if not is_file(path):
        return Target(renderer=named or renderers[0], path=None)
    check_replaceable(path, inputs)
    renderer = next((each for each in renderers if path.suffix.lower() in each.suffixes), named)
    if renderer is None:
        known = " ".join(suffix for each in renderers for suffix in each.suffixes)
        raise UsageError(
            "the suffix tells no format", where=str(path), hint=f"use one of {known}, or --format"
        )
    return Target(renderer=renderer, path=path)
