"""Documents to stdout, or to files that are replaced whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import click

from convsv_cli.errors import UsageError
from convsv_cli.loaders.files import may_be_model
from convsv_cli.renderers import github, markdown
from convsv_cli.renderers.renderer import BLOCKS, Picture, Renderer, Terminal, by_suffix
from convsv_cli.replacing import blaming, replacement
from convsv_cli.report import Report

T = TypeVar("T")
STDOUT = "-"
ELSEWHERE = "choose another file"


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
    targets = [_target(renderers, path, format_name, inputs) for path in outputs or [Path(STDOUT)]]
    if format_name is not None and all(target.renderer.name != format_name for target in targets):
        implied = targets[0].renderer.name
        what = f"the suffix implies the format {implied}, so that nothing would be in {format_name}"
        raise UsageError(what, where=str(targets[0].path), hint=_endings(renderers, format_name))
    return targets


def write(value: T, targets: Sequence[Target[T]], *, explain: bool = False, full: bool = True) -> None:
    """Render and write each document; `full` is about stdout, and files always are.

    Raises:
        UsageError: a file cannot be written; what was there is untouched.
    """
    for target in targets:
        here, root = folders()
        screen = Terminal() if target.path else replace(terminal(), full=full)
        shown = replace(screen, explain=explain, here=here, root=root)
        if target.path is None:
            echo(target.renderer.render(value, shown), colored=shown.color)
            continue
        content = _content(target.renderer, value, shown)
        with replacement(target.path) as file:
            file.write(content)


def _content(renderer: Renderer[T], value: T, shown: Terminal) -> bytes:
    if isinstance(renderer, Picture):
        return renderer.draw(value)
    return renderer.render(value, shown).encode("utf-8")


def write_report(
    report: Report, targets: Sequence[Target[Report]], *, explain: bool = False, full: bool = True
) -> None:
    """As `write`; with annotations for GitHub Actions goes its step summary.

    Raises:
        UsageError: a file cannot be written; what was there is untouched.
    """
    write(report, targets, explain=explain, full=full)
    if any(target.renderer is github.RENDERER for target in targets):
        summarise(report)


def echo(text: str, *, colored: bool = False) -> None:
    """A document to stdout, whose colours reach it only where it has some.

    Raises:
        UsageError: it cannot be written, other than because its reader has gone.
    """
    with blaming("stdout"):
        click.echo(text, nl=False, color=colored)


def terminal() -> Terminal:
    """What stdout is."""
    shown = sys.stdout is not None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if shown else None
    return Terminal(width=width, color=colored(terminal=shown), blocks=_shows_blocks())


def colored(*, terminal: bool) -> bool:
    """Whether a stream gets colours: a terminal does unless somebody minds, another one if somebody asks."""
    context = click.get_current_context(silent=True)
    asked = colour_asked_for() if context is None else context.color
    return terminal if asked is None else asked


def colour_asked_for() -> bool | None:
    """What the environment says of colours; None for nothing.

    NO_COLOR (https://no-color.org) comes first, then FORCE_COLOR (https://force-color.org), CLICOLOR_FORCE
    and CLICOLOR (https://bixense.com/clicolors), then terminals that have none.
    """
    said = os.environ.get
    if said("NO_COLOR"):
        return False
    if any(said(name, "0").lower() not in ("", "0", "false") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return False if said("CLICOLOR") == "0" or said("TERM") == "dumb" else None


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
    renderer = by_suffix(renderers, path.name) or named
    if renderer is None:
        known = " ".join(suffix for each in renderers for suffix in each.suffixes)
        raise UsageError(
            "the suffix implies no format", where=str(path), hint=f"use one of {known}, or --format"
        )
    return Target(renderer=renderer, path=path)


def _endings(renderers: Sequence[Renderer[T]], format_name: str) -> str:
    """How files of the format are called."""
    (endings,) = (each.suffixes for each in renderers if each.name == format_name)
    return f"call it {' or '.join(f'*{end}' for end in endings)}" if endings else "add -o -, or leave out -o"


def folders() -> tuple[str, str]:
    """The working directory and the root of its checkout; the working directory again where there is none."""
    try:
        here = Path.cwd()
    except OSError:  # which has been removed
        return "", ""
    found = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
    return str(here), os.environ.get("GITHUB_WORKSPACE") or str(found)


def summarise(report: Report) -> None:
    """The Markdown report, after what is in the step summary of GitHub Actions; nothing elsewhere.

    Raises:
        UsageError: it cannot be written.
    """
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    text = markdown.RENDERER.render(report, Terminal())
    with blaming(path), Path(path).open("a", encoding="utf-8") as file:
        file.write(text)


def is_file(path: Path) -> bool:
    """Whether a document to that path goes to a file: - is stdout."""
    return str(path) != STDOUT


def check_replaceable(path: Path, models: Sequence[Path]) -> None:
    """Complain before any work is done, so that no long computation ends in a typing error.

    Raises:
        UsageError: a file that cannot be written, or is one of the inputs itself.
    """
    try:
        _check(path)
        for model in models:
            _check_beside(path, model)
    except OSError as error:
        raise UsageError(f"invalid path: {error.strerror}", where=str(error.filename)) from error


def _check(path: Path) -> None:
    if not path.parent.is_dir():
        raise UsageError("no such folder", where=str(path.parent), hint="create it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError("the folder is not writable", where=str(path.parent))
    if path.exists() and not path.is_file():
        raise UsageError("a pipe or device cannot be replaced", where=str(path), hint="redirect stdout to it")


def _check_beside(path: Path, model: Path) -> None:
    if path.exists() and model.exists() and path.samefile(model):
        raise UsageError("the output would replace an input", where=str(path), hint=ELSEWHERE)
    if path.exists() and model.is_dir() and path.parent.samefile(model) and may_be_model(path.name):
        raise UsageError("the output would replace a model", where=str(path), hint=ELSEWHERE)
