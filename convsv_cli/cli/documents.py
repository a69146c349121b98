"""Documents that are not of audits: their formats by name, and by the suffixes of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from convsv_cli.cli.files import blaming, check_replaceable, is_file, replacement
from convsv_cli.cli.output import echo, terminal
from convsv_cli.errors import UsageError
from convsv_cli.renderers.renderer import Terminal

Destinations = Sequence[tuple[Path | None, str]]
"""Each output, None for stdout, and its format."""


def destinations(
    outputs: Sequence[Path], format_name: str | None, suffixes: Mapping[str, str], inputs: Sequence[Path]
) -> Destinations:
    """Decided before any work is done.

    Raises:
        UsageError: a file that cannot be written, has no telling suffix, or is one of the inputs.
    """
    if not outputs:
        return [(None, format_name or "table")]
    return [_destination(path, format_name, suffixes, inputs) for path in outputs]


def deliver(where: Destinations, render: Callable[[str, Terminal], str]) -> None:
    """Render each format and write it.

    Raises:
        UsageError: a file cannot be written; what was there is untouched.
    """
    for path, name in where:
        if path is None:
            echo(render(name, terminal()))
            continue
        text = render(name, Terminal())
        with replacement(path) as file, blaming(path):
            file.write(text.encode())


def _destination(
    path: Path, format_name: str | None, suffixes: Mapping[str, str], inputs: Sequence[Path]
) -> tuple[Path | None, str]:
    if not is_file(path):
        return None, format_name or "table"
    check_replaceable(path, inputs)
    name = suffixes.get(path.suffix.lower(), format_name)
    if name is None:
        hint = f"use one of {' '.join(suffixes)}, or --format"
        raise UsageError("the suffix tells no format", where=str(path), hint=hint)
    return path, name
