"""`convsv watch`: checkpoints of a training, audited as they appear, into the results of a sweep."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsv_cli.budget import Budget, Configuration, judged, judges, the_configuration
from convsv_cli.cli import options
from convsv_cli.cli.caching import CACHE_MODE, CACHE_SIZE, OFF, cache_option
from convsv_cli.cli.helping import BUDGET, LIMITS, OUTPUT, Command, option
from convsv_cli.cli.output import Target, check_replaceable, echo, write
from convsv_cli.cli.running import note
from convsv_cli.cli.sweep import OWN_CACHE, RESULTS, WORKER_MEMORY, ending, executor_of, summary_line
from convsv_cli.cli.values import duration
from convsv_cli.comparison import in_order, trend
from convsv_cli.digits import short
from convsv_cli.errors import UsageError
from convsv_cli.remote import is_remote
from convsv_cli.renderers.sweep import checkpoint_line
from convsv_cli.renderers.trends import PAGE
from convsv_cli.report import Audit, Report, exit_code
from convsv_cli.report.verdict import LEFT_OPEN, OVER_BUDGET, PASS, PRECEDENCE, worst

if TYPE_CHECKING:
    from convsv_cli.sweeping import Outcome, Outcomes

EXCEEDED, OPEN, ERROR = "exceeded", "open", "error"
ENDS: Mapping[str | None, Sequence[int]] = {
    EXCEEDED: (OVER_BUDGET,),
    OPEN: (OVER_BUDGET, LEFT_OPEN),
    ERROR: tuple(code for code in PRECEDENCE if code != PASS),
    None: (),
}
"""The exit codes of a checkpoint with which a watch ends at once."""


@click.command(
    cls=Command,
    short_help="Audit checkpoints as they appear: a line, tables and a trend.",
    see_also=["sweep", "report", "check", "help exit-codes"],
)
@click.argument("models", metavar="FOLDER|FILE|GLOB...", nargs=-1, required=True)
@option(
    "--config",
    section=BUDGET,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Hold each checkpoint against this budget, as convsv check does.",
)
@option(
    "--fail-on",
    section=BUDGET,
    type=click.Choice([EXCEEDED, OPEN, ERROR]),
    help="End with the exit code of the first checkpoint that exceeds the budget; open: or leaves a limit or"
    " a layer open; error: or cannot be read.  [default: go on, and end with the worst exit code]",
)
@options.EXACT
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.GRAPH
@options.DEVICE
@options.TOLERANCE_
@options.NETWORK_EFFORT
@options.INPUT_RANGE
@RESULTS
@option(
    "--html",
    section=OUTPUT,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep a page with the trend of all layers here, written anew when there is a new checkpoint.",
)
@options.QUIET
@options.NO_COLOR
@option(
    "--every",
    section=LIMITS,
    default="10s",
    callback=duration,
    metavar="DURATION",
    help="Time from look to look.  [default: 10s]",
)
@option(
    "--until-idle",
    section=LIMITS,
    callback=duration,
    metavar="DURATION",
    help="End when nothing was new for so long, such as 10m.  [default: none]",
)
@option("--once", section=LIMITS, is_flag=True, help="End when nothing is left to be audited.")
@option(
    "--jobs",
    section=LIMITS,
    metavar="N",
    type=click.IntRange(min=0),
    default=1,
    help="Checkpoints at a time; 0: as many as there are cores.  [default: 1]",
)
@WORKER_MEMORY
@options.WORK_LIMIT_
@cache_option("the folder cache in that of the results")
@CACHE_MODE
@CACHE_SIZE
@options.limited
def watch(
    *,
    models: tuple[str, ...],
    config: Path | None,
    fail_on: str | None,
    graph: Path | None,
    results: Path,
    html: Path | None,
    every: float,
    until_idle: float | None,
    once: bool,
    jobs: int,
    worker_memory: float | None,
    cache: str | None,
    cache_mode: str,
    cache_size: float | None,
    quiet: bool,  # noqa: ARG001  (which `note` asks for)
    **asked: Any,  # noqa: ANN401  (options that are called like the fields of `Settings`)
) -> int:
    """Audit the checkpoints of a training as they appear, and keep the results as convsv sweep does.

    Prints a line for each: its layers, the largest norm, the bound of the network (or, of checkpoints
    without --graph, the product of the norms, which is none), and what a budget says of it. A file is read
    once it has stopped changing; one that is half-written is looked at again. What is in the results already
    is not told again, nor a file that was only renamed or copied. Ctrl-C ends it, with the tables written;
    the same command goes on. Folders may be remote, such as s3://bucket/run/.

    \b
    Examples:
      convsv watch 'sample_models/*.pt' -o results/ --once --every 1s
      convsv watch runs/ -o results/ --html trend.html
      convsv watch 'runs/*/epoch*.pt' -o results/ --graph model.onnx --every 1m --until-idle 2h
      convsv watch runs/ -o results/ --config convsv.toml --fail-on exceeded
    """  # noqa: D301  (click takes \b for "keep these lines")
    from convsv_cli.cache import SIZE, open_cache
    from convsv_cli.sweeping import Outcomes, Watch, sweep, update_tables

    _check(models, html)
    found = _configuration(config, needed=fail_on in (EXCEEDED, OPEN))
    settings = found.settings(asked, options.DEFAULTS)
    outcomes = Outcomes(results, settings, memory=worker_memory, graph=str(graph or ""))
    folder = "" if cache == OFF else cache or str(results / OWN_CACHE)
    if folder:
        open_cache(folder, mode=cache_mode)  # which says at once where it is none
    with outcomes.alone():
        story = _Story(outcomes, found.budget, html, ENDS[fail_on])
        with ending(executor_of("", jobs, worker_memory, results), results) as executor:
            work = partial(
                sweep,
                settings=settings,
                outcomes=outcomes,
                executor=executor,
                cache=folder,
                cache_mode=cache_mode,
                cache_size=SIZE if cache_size is None else cache_size,
                graph=str(graph or ""),
            )
            looking = Watch(models, outcomes, work, story.tell, story.move, every=every, now=time.time)
            note(f"looking every {short(every)} s; Ctrl-C ends, and the same command goes on")
            with suppress(_EndedError):
                looking.until_idle(0.0 if once else until_idle, time.sleep, story.after(results))
            executor.close()
        totals = update_tables(results)
    note(summary_line(totals, results))
    return story.failed or worst((totals.exit_code, *story.codes.values()))


def _configuration(path: Path | None, *, needed: bool) -> Configuration:
    """The budget that is asked for; one without limits where none is.

    Raises:
        ConvsvError: there is none, it cannot be read, or nothing could exceed it.
    """
    if path is None and not needed:
        return Configuration(budget=Budget(path=""))
    found = the_configuration(path, optional=False)
    found.budget.check_limited()
    return found


def _check(models: Sequence[str], page: Path | None) -> None:
    """A folder has to be there, as a typing error would be waited for in vain; of a glob, nothing has to.

    Raises:
        UsageError: one is not, or the page cannot be written.
    """
    if page is not None:
        check_replaceable(page, [])
    for name in models:
        if not (is_remote(name) or glob.has_magic(name) or os.path.lexists(name)):
            raise UsageError("no such file or folder", where=name, hint="make the folder first")


class _EndedError(Exception):
    """A checkpoint is what the user wanted to end with."""


class _Story:
    """What is told of checkpoints: the line of each, the page, and what is exited with.

    Args:
        outcomes: those of earlier runs are part of it, but have been told.
        budget: what they are held against, if it has a path.
        page: file of the trend; None for none.
        ends: exit codes of checkpoints with which the command ends.
    """

    def __init__(self, outcomes: Outcomes, budget: Budget, page: Path | None, ends: Sequence[int]) -> None:
        self._judge = judges(budget, None, None, (), strict=False)(Path())
        self._page, self._ends = page, ends
        self._audits: dict[str, Audit] = {}
        self._new = page is not None
        self.codes: dict[str, int] = {}
        self.failed = PASS
        for outcome in outcomes.kept():
            self._add(outcome)

    def _add(self, outcome: Outcome) -> Report:
        """The report on a checkpoint, with the verdict."""
        report = outcome.report or Report(command="audit", audits=())
        if self._judge.budget.path:
            report = replace(report, audits=tuple(judged(self._judge, audit) for audit in report.audits))
        self.codes[outcome.path] = PASS if outcome.gone else exit_code(report)
        if self._page is not None:
            self._audits |= ((outcome.path, audit) for audit in report.audits)
        return report

    def tell(self, outcome: Outcome) -> None:
        """See `Watch`.

        Raises:
            _EndedError: this one ends the command.
        """
        report, self._new = self._add(outcome), True
        echo(f"{checkpoint_line(outcome.path, report)}\n")
        if self.codes[outcome.path] in self._ends:
            self.failed = self.codes[outcome.path]
            raise _EndedError

    def move(self, old: str, new: str) -> None:
        """See `Watch`."""
        self.codes[new] = self.codes.pop(old, PASS)
        if old in self._audits:
            self._audits[new] = self._audits.pop(old)
            self._new = True

    def after(self, results: Path) -> Callable[[], None]:
        """What is done after each look: the tables are brought up to date, and the page."""
        from convsv_cli.sweeping import update_tables

        def update() -> None:
            update_tables(results)
            if self._new and self._page is not None and self._audits:
                write(trend(in_order(list(self._audits.items()))), [Target(renderer=PAGE, path=self._page)])
            self._new = False

        return update
