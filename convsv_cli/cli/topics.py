"""`convsv help`: what is about all commands, and the help of each."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping

import click
from click.shell_completion import CompletionItem

from convsv_cli.calculators import CALCULATORS
from convsv_cli.cli.helping import Command
from convsv_cli.loaders import LOADERS
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.columns import SPREAD
from convsv_cli.renderers.csv import COLUMNS as IN_CSV
from convsv_cli.report.verdict import (
    CTRL_C,
    INTERNAL,
    LEFT_OPEN,
    OVER_BUDGET,
    PASS,
    PRECEDENCE,
    UNSAFE,
    USAGE,
)

READER_GONE = 141
"""What shells say of what a closed pipe has ended."""
WRITTEN = {
    "table": "for people; a narrow terminal goes without some columns, a file never does",
    "json": "for programs and for convsv report; a schema describes it",
    "csv": "for spreadsheets: a row per layer, and one for the network",
    "markdown": "for pull requests: the verdict, the worst layers, then all of them folded away",
    "html": "for a browser or a printer: one file that loads nothing",
    "sarif": "for code scanning: findings at the line of the budget",
    "junit": "for CI servers: a suite per model, a case per layer",
    "gitlab": "for the code quality of merge requests in GitLab",
    "github": "for annotations of GitHub Actions, with a step summary",
}
"""What each format of an audit is for."""
CODES = {
    PASS: "success: all limits are kept, or none were asked for",
    OVER_BUDGET: "a budget or a baseline is exceeded",
    USAGE: "an error: usage, the budget, or a file that cannot be read",
    LEFT_OPEN: "incomplete: a layer could not be audited, or a limit not be decided",
    UNSAFE: "a file is refused as unsafe; nothing of it was executed",
    INTERNAL: "an internal error, which is convsv's own fault",
    CTRL_C: "interrupted by Ctrl-C",
    READER_GONE: "whoever read stdout has gone",
}
COLUMNS = {
    "layer": "the name of the layer in the file",
    "op": "its ONNX operator, or the nearest to it",
    "kernel": "the shape of its weight: outputs × inputs × window, with groups and dilation",
    "stride": "one number where all axes are alike",
    "n": "the size of its input",
}
"""What each column of a table says beside the figures."""


Parts = Iterator[tuple[str, Mapping[str, str] | str]]
"""Lists with headings, and remarks without."""


def _formats(group: click.Group) -> Parts:
    """What is read, and what each command writes."""
    read = {" ".join(each.suffixes): each.description.partition(" (")[0] for each in LOADERS}
    stdin = {"-": "stdin: a model for audit and check, a saved report for report and diff"}
    yield (
        "What convsv reads, whatever the name of the file",
        {**read, "a folder": "with one of these", **stdin},
    )
    known = {
        f"{each.name} {' '.join(each.suffixes)}".strip(): WRITTEN.get(each.name, "") for each in RENDERERS
    }
    yield "What --format and the suffix of -o choose", known
    yield (
        "Which of them a command writes",
        {
            name: " ".join(param.type.choices)
            for name, command in group.commands.items()
            for param in command.params
            if param.name == "format_name" and isinstance(param.type, click.Choice)
        },
    )


def _exit_codes(group: click.Group) -> Parts:  # noqa: ARG001
    """What they mean, whatever the format."""
    yield (
        "What every command exits with, whatever the format",
        {str(code): why for code, why in CODES.items()},
    )
    order = ", ".join(map(str, PRECEDENCE))
    yield "", f"If several apply, it is the first of {order}; --exit-zero turns 1 and 3 into 0."


def _columns(group: click.Group) -> Parts:  # noqa: ARG001
    """What a row of the table says, and what it proves."""
    methods = [each.method for each in CALCULATORS if each.method.column]
    ratio = {"bound/exact": "how far the bound is above the exact norm"}
    proven = {each.column: each.proves for each in methods}
    yield "The columns of an audit, and what each figure proves", COLUMNS | proven | ratio | SPREAD
    yield "", "Upper bounds are rounded up when they are printed, lower ones down."
    plain = {name: what.replace("`", "") for name, what in IN_CSV.items()}
    yield "The columns of its CSV, which are always all there, in full precision", plain


TOPICS: Mapping[str, Callable[[click.Group], Parts]] = {
    "formats": _formats,
    "exit-codes": _exit_codes,
    "columns": _columns,
}


def _explained(ctx: click.Context, parts: Parts) -> str:
    """As wide as other help."""
    formatter = ctx.make_formatter()
    for index, (title, rows) in enumerate(parts):
        if isinstance(rows, str):
            formatter.write_paragraph()
            formatter.write_text(rows)
            continue
        if index:
            formatter.write_paragraph()
        formatter.write_heading(title)
        formatter.indent()
        formatter.write_dl(list(rows.items()), col_max=32)
        formatter.dedent()
    return formatter.getvalue().rstrip("\n")


def _known(ctx: click.Context) -> list[str]:
    """Topics and commands."""
    group = ctx.find_root().command
    return [*TOPICS, *(group.commands if isinstance(group, click.Group) else ())]


def _completed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    return [CompletionItem(name) for name in _known(ctx) if name.startswith(incomplete)]


@click.command(
    "help",
    cls=Command,
    short_help=f"Explain {', '.join(TOPICS)}, or a command.",
)
@click.argument("topic", metavar="[TOPIC]", required=False, shell_complete=_completed)
@click.pass_context
def help_(ctx: click.Context, topic: str | None) -> None:
    """Explain a TOPIC (formats, exit-codes, columns), or show the help of a command.

    \b
    Examples:
      convsv help exit-codes
      convsv help formats
      convsv help check
    """  # noqa: D301  (click takes \b for "keep these lines")
    root = ctx.find_root()
    group = root.command
    if not isinstance(group, click.Group):
        raise TypeError("topics are about all commands of a group")
    if topic is None:
        click.echo(root.get_help())
    elif topic in TOPICS:
        click.echo(_explained(root, TOPICS[topic](group)))
    elif topic in group.commands:
        command = group.commands[topic]
        with click.Context(command, info_name=topic, parent=root) as inner:
            click.echo(command.get_help(inner))
    else:
        near = difflib.get_close_matches(topic.lower(), _known(ctx), n=1)
        hint = f": did you mean {near[0]}?" if near else f": there are {', '.join(_known(ctx))}"
        raise click.UsageError(f"no such topic {topic!r}{hint}", ctx)
