"""Documents to stdout or to files."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from convsv_cli.cli.files import blaming, check_replaceable, is_file, replacement
from convsv_cli.cli.surroundings import folders, summarise
from convsv_cli.comparison import Trend
from convsv_cli.errors import UsageError
from convsv_cli.renderers import RENDERERS, github
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import Report


@dataclass(frozen=True, kw_only=True)
class Target:
    """A document to be written: to `path`, or to stdout where that is None."""

    renderer: Renderer
    path: Path | None


def prepare(outputs: Sequence[Path], format_name: str | None, models: Sequence[Path]) -> list[Target]:
    """Decide on the documents before any work is done, so that no long audit ends in a typing error.

    Raises:
        UsageError: a file that cannot be written, has no telling suffix, or is one of the models.
    """
    if not outputs:
        return [Target(renderer=_by_name(format_name or "table"), path=None)]
    return [_target(path, format_name, models) for path in outputs]


def write(
    report: Report, targets: list[Target], *, explain: bool = False, side_by_side: Trend | None = None
) -> None:
    """Render and write each document; with annotations for GitHub Actions goes its step summary.

    Where the audits are also there side by side, formats that can show that do.

    Raises:
        UsageError: a file cannot be written; what was there is untouched.
    """
    for target in targets:
        here, root = folders()
        shown = replace(Terminal() if target.path else terminal(), explain=explain, here=here, root=root)
        renderer = target.renderer
        if side_by_side and renderer.compare:
            text = renderer.compare(side_by_side, shown)
        else:
            text = renderer.render(report, shown)
        if target.path is None:
            echo(text)
            continue
        with replacement(target.path) as file, blaming(target.path):
            file.write(text.encode("utf-8"))
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
        return Terminal()
    return Terminal(width=shutil.get_terminal_size().columns, color=colored())


def colored() -> bool:
    """Whether nobody asked for no colours: neither `--no-color` nor NO_COLOR (https://no-color.org)."""
    context = click.get_current_context(silent=True)
    return not os.environ.get("NO_COLOR") and (context is None or context.color is not False)


def _target(path: Path, format_name: str | None, models: Sequence[Path]) -> Target:
    if not is_file(path):
        return Target(renderer=_by_name(format_name or "table"), path=None)
    check_replaceable(path, models)
    by_suffix = [r for r in RENDERERS if path.suffix.lower() in r.suffixes]
    if by_suffix:
        return Target(renderer=by_suffix[0], path=path)
    if format_name is None:
        known = " ".join(suffix for renderer in RENDERERS for suffix in renderer.suffixes)
        raise UsageError(
            "the suffix tells no format", where=str(path), hint=f"use one of {known}, or --format"
        )
    return Target(renderer=_by_name(format_name), path=path)


def _by_name(name: str) -> Renderer:
    return next(renderer for renderer in RENDERERS if renderer.name == name)
