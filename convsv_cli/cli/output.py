"""Documents to stdout or to files, which are replaced whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from convsv_cli.errors import UsageError
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import Audit


@dataclass(frozen=True, kw_only=True)
class Target:
    """A document to be written: to `path`, or to stdout where that is None."""

    renderer: Renderer
    path: Path | None


def prepare(outputs: tuple[Path, ...], format_name: str | None, model: Path) -> list[Target]:
    """Decide on the documents before any work is done, so that no long audit ends in a typing error.

    Raises:
        UsageError: a file that cannot be written, has no telling suffix, or is the model itself.
    """
    if not outputs:
        return [Target(renderer=_by_name(format_name or "table"), path=None)]
    try:
        return [_target(path, format_name, model) for path in outputs]
    except OSError as error:
        raise UsageError(f"no path: {error.strerror}", where=str(error.filename)) from error


def write(audit: Audit, targets: list[Target]) -> None:
    """Render and write each document.

    Raises:
        UsageError: a file cannot be written; what was there is untouched.
    """
    for target in targets:
        text = target.renderer.render(audit, Terminal() if target.path else _terminal())
        try:
            if target.path is None:
                click.echo(text, nl=False)
            else:
                _replace(target.path, text)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = str(target.path or "stdout")
            raise UsageError(f"cannot write: {error.strerror or error}", where=where) from error


def _target(path: Path, format_name: str | None, model: Path) -> Target:
    if str(path) == "-":
        return Target(renderer=_by_name(format_name or "table"), path=None)
    if not path.parent.is_dir():
        raise UsageError("no such folder", where=str(path.parent), hint="create it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError("the folder is not writable", where=str(path.parent))
    if path.exists() and not path.is_file():
        raise UsageError("a pipe or device cannot be replaced", where=str(path), hint="redirect stdout to it")
    if path.exists() and model.exists() and path.samefile(model):
        raise UsageError("the output would replace the model", where=str(path), hint="choose another file")
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


def _terminal() -> Terminal:
    if sys.stdout is None or not sys.stdout.isatty():
        return Terminal()
    return Terminal(width=shutil.get_terminal_size().columns, color="NO_COLOR" not in os.environ)


def _replace(path: Path, text: str) -> None:
    """Write beside the file, then rename: readers see the old document or the new one, whole."""
    path = Path(os.path.realpath(path))  # which takes a circle of links for a file
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        beside.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
