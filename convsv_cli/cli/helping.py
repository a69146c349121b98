"""Commands whose help is ordered: options by what they are about, then where to read on."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from convsv_cli.loaders import LOADERS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
BUDGET, SAMPLES, AUDITED, FIGURES = "Budget", "Samples", "What to audit", "Figures"
NETWORK, OUTPUT, LIMITS, OTHER = "Network", "Output", "Limits", "Other options"
SECTIONS = (BUDGET, SAMPLES, AUDITED, FIGURES, NETWORK, OUTPUT, LIMITS, OTHER)
"""What options are about, in the order of the help."""
NAMES, SPACE = 28, 2
"""Columns that the names of options take at most, and those between them and what they do."""
MEANT = {
    "budget": "check",
    "compare": "diff",
    "convert": "report",
    "gate": "check",
    "scan": "audit",
    "show": "report",
    "verify": "certify",
}
"""What other tools call what these commands do."""
OPTIONS_MEANT = {"epsilon": "eps", "radius": "eps", "shape": "input-shape", "size": "input-size"}
"""The same of options."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Option(click.Option):
    """An option that knows its section of the help."""

    def __init__(self, *names: Any, section: str = OTHER, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(*names, **settings)
        self.section = section


def option(*names: str, section: str, **settings: Any) -> Decorator:  # noqa: ANN401
    """As `click.option`, in one of the `SECTIONS` of the help."""
    return click.option(*names, cls=Option, section=section, **settings)


class Command(click.Command):
    """A command with options in sections.

    Args:
        see_also: what its help names at the end.
        settings: as click has them.
    """

    def __init__(self, *args: Any, see_also: Sequence[str] = (), **settings: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **{"context_settings": CONTEXT, **settings})
        self.see_also = see_also

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; of an option that there is none of, it also knows what other tools call it."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            meant = f"--{OPTIONS_MEANT.get(error.option_name.lstrip('-'), '')}"
            if any(meant in own.opts for own in self.params):
                what = f"No such option {error.option_name!r}. Did you mean {meant!r}?"
                raise click.NoSuchOption(error.option_name, message=what, ctx=ctx) from None
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One list per section, all of them as wide."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = None if isinstance(param, click.Argument) else param.get_help_record(ctx)
            if record is not None:
                rows.setdefault(getattr(param, "section", OTHER), []).append(record)
        width = max(len(names) for each in rows.values() for names, _ in each)
        for title in SECTIONS:
            if title in rows:
                padded = [(names.ljust(min(NAMES, width)), about) for names, about in rows[title]]
                with formatter.section(title):
                    formatter.write_dl(padded, col_max=NAMES, col_spacing=SPACE)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own, then what to read next."""
        super().format_epilog(ctx, formatter)
        if self.see_also:
            formatter.write(f"\nSee also: convsv {', '.join(self.see_also)}\n")  # no name of them is cut


class Group(Command, click.Group):
    """Commands by name, with a guess at what was meant by others."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """After the commands."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click has it."""
        name = args[0]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        guess = self._guess(name)
        hint = f": did you mean convsv {guess}?" if guess else ""
        raise click.UsageError(f"no such command {name!r}{hint}", ctx)

    def _guess(self, name: str) -> str:
        """What to write in place of a name that is none of the commands; empty where nothing is like it."""
        path = Path(name)
        suffixes = {suffix for loader in LOADERS for suffix in loader.suffixes}
        if path.suffix.lower() in suffixes - {".json"} or path.is_file():
            return f"{'report' if path.suffix.lower() == '.json' else 'audit'} {name}"
        known = MEANT.get(name.lower())
        near = [known] if known else difflib.get_close_matches(name.lower(), self.commands, n=1)
        return near[0] if near else ""
