"""`convsv methods`: the calculators, and what their figures prove."""

from __future__ import annotations

from pathlib import Path

import click

from convsv_cli.calculators import CALCULATORS
from convsv_cli.cli import options
from convsv_cli.cli.helping import Command
from convsv_cli.cli.output import prepare, write
from convsv_cli.renderers.methods import RENDERERS
from convsv_cli.report import Methods
from convsv_cli.version import __version__


@click.command(
    cls=Command,
    short_help="List the methods: what each figure proves, and its cost.",
    see_also=["help columns"],
)
@options.format_option(RENDERERS)
@options.OUTPUT_
@options.NO_COLOR
def methods(*, format_name: str | None, outputs: tuple[Path, ...]) -> None:
    """List the calculators, what each figure proves, its cost and its reference.

    \b
    Examples:
      convsv methods
      convsv methods --format json
    """  # noqa: D301  (click takes \b for "keep these lines")
    found = Methods(version=__version__, methods=tuple(calculator.method for calculator in CALCULATORS))
    write(found, prepare(RENDERERS, outputs, format_name, []))
