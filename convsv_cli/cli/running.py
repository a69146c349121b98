"""What every command does around its work: streams, signals, progress, several models in turn."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from convsv_cli import deadline
from convsv_cli.cli.output import colored
from convsv_cli.cli.stdin import shown
from convsv_cli.cli.streams import give_up
from convsv_cli.errors import ConvsvError
from convsv_cli.machine import keep_freed
from convsv_cli.names import one_line, printable
from convsv_cli.renderers.numbers import whole_percent
from convsv_cli.report import ERROR, INTERRUPTED, NOT_REACHED, UNUSED, Audit, Failure, Report
from convsv_cli.report.verdict import CTRL_C, INTERNAL

Progress = Callable[[str, float], None]
READING = "reading"
"""What is done before it is known how much work there is."""
EVERY = 30.0
"""Seconds between two signs of life, where stderr is no terminal."""
LINES = 10
"""Complaints of one kind that stderr gets: a report has them all."""
_interrupted = threading.Event()


@contextmanager
def importing() -> Iterator[None]:
    """Within it, Python looks for no garbage, and afterwards never among what has been imported.

    From then on, memory that is freed is kept for what comes next.
    """
    keep_freed()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def complain(message: str) -> None:
    """One line on stderr; where nobody reads that, the exit code says enough."""
    try:
        click.echo(f"convsv: {one_line(message)}", err=True)
    except OSError:
        give_up(sys.stderr)


def note(message: str) -> None:
    """One line on stderr about what is no error, unless `--quiet` was given."""
    context = click.get_current_context(silent=True)
    if context is None or not context.params.get("quiet"):
        complain(message)


def complain_of(messages: Sequence[str]) -> None:
    """One line on stderr for each of the first few, and one with the number of the others."""
    for message in messages[:LINES]:
        complain(message)
    _complain_of_more(len(messages))


def remember_interrupts() -> None:
    """Remember Ctrl-C from now on, unless the caller handles it in its own way."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def end_deaf() -> None:
    """Take no further Ctrl-C: all is done, and what libraries do at the end would only complain of it."""
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def interrupted() -> bool:
    """Whether there was one: some libraries make another error of it while they are imported."""
    return _interrupted.is_set()


def forget_interrupts() -> None:
    """What was to be done is done: whoever was interrupted before, as a search is, has made do with less."""
    _interrupted.clear()


def complain_of_mistakes(report: Report) -> None:
    """Also on stderr, as of every budget that is wrong."""
    found = (finding for audit in report.audits for finding in audit.findings)
    complain_of(
        [
            f"{finding.place.path}:{finding.place.line}: {finding.message}"
            for finding in found
            if finding.rule == UNUSED and finding.severity == ERROR and finding.place is not None
        ]
    )


@contextmanager
def progress_bar(*, hidden: bool) -> Iterator[Progress]:
    """Gives a listener that shows the layer being worked on, the share done and the time left.

    Where stderr is no terminal, a line says so every now and then. Interrupts that did not end the work are
    forgotten.
    """
    with _bar(hidden=hidden) as progress:
        yield progress
    forget_interrupts()


@contextmanager
def _bar(*, hidden: bool) -> Iterator[Progress]:
    if hidden or sys.stderr is None:
        yield lambda _layer, _share: None
        return
    if not sys.stderr.isatty():
        with heartbeat() as progress:
            yield progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[share]}", markup=False),
        TimeRemainingColumn(),
    )
    with Bar(
        *columns, console=Console(stderr=True, no_color=not colored(terminal=True)), transient=True
    ) as bar:
        task = bar.add_task(READING, total=None, share="")
        yield lambda layer, share: bar.update(
            task, description=printable(layer), total=1.0, completed=share, share=f"{whole_percent(share):>5}"
        )


@contextmanager
def heartbeat(every: float = EVERY) -> Iterator[Progress]:
    """Gives a listener, and has a line on stderr every so many seconds: what is worked on, and how far it is.

    A thread writes it, also while one step takes long.
    """
    start, over = time.monotonic(), threading.Event()
    latest: tuple[str, float] = (READING, 0.0)

    def beat() -> None:
        while not over.wait(every):
            layer, share = latest
            done = "" if layer == READING else f", {whole_percent(share)} of the work"
            complain(f"{layer}{done}, {_duration(time.monotonic() - start)}")

    def progress(layer: str, share: float) -> None:
        nonlocal latest
        latest = (layer, share)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        over.set()
        thread.join()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def report_of(
    command: str, models: Sequence[Path], run: Callable[[Path, Progress], Audit], progress: Progress
) -> Report:
    """What `run` says of each model, and the errors of the others, the first of which stderr gets too.

    After Ctrl-C, whatever there is by then; the models that come after it are not reached.

    Raises:
        KeyboardInterrupt: there is nothing, or it is not the first one.
    """
    audits: list[Audit] = []
    failures: list[Failure] = []
    for index, model in enumerate(models):
        try:
            found = _outcome(model, run, _part(progress, models, index))
        except KeyboardInterrupt:
            if not (audits and deadline.interrupt()):
                raise
        else:
            if isinstance(found, Audit):
                audits.append(found)
            else:
                failures.append(found)
                if len(failures) <= LINES:
                    complain(found.message)
        if deadline.interrupted():
            failures += [
                _failure(left, NOT_REACHED, CTRL_C) for left in models[len(audits) + len(failures) :]
            ]
            break
    _complain_of_more(sum(failure.exit_code != CTRL_C for failure in failures))
    return Report(command=command, audits=tuple(audits), failures=tuple(failures))


def audited(run: Callable[[Path, Progress], Audit], model: Path, progress: Progress) -> Audit:
    """What `run` says of a model; interrupted where Ctrl-C was lost on the way, as in a library's callback.

    Raises:
        KeyboardInterrupt: that is what became of an error, or of the work.
    """
    try:
        found = run(model, progress)
    except Exception as error:
        if interrupted():
            raise KeyboardInterrupt from error
        raise
    if interrupted():
        deadline.interrupt()
        found = replace(found, status=INTERRUPTED)
    forget_interrupts()
    return found


def whole(audit: Audit) -> Audit:
    """An audit of which a part is of no use.

    Raises:
        KeyboardInterrupt: it is one.
    """
    if audit.status == INTERRUPTED:
        raise KeyboardInterrupt
    return audit


def ended(code: int) -> int:
    """The exit code of a command that has reported, with a line on stderr where Ctrl-C had ended its work."""
    if code == CTRL_C:
        complain("interrupted")
    return code


def internal(error: Exception) -> str:
    """An error that is convsv's own fault, in words."""
    line = f"internal error: {type(error).__name__}: {error}"
    return f"{line} (please report it; CONVSV_TRACEBACK=1 shows where)"


def _interrupt(number: int, frame: FrameType | None) -> None:
    _interrupted.set()
    signal.default_int_handler(number, frame)


def _outcome(model: Path, run: Callable[[Path, Progress], Audit], progress: Progress) -> Audit | Failure:
    try:
        return audited(run, model, progress)
    except ConvsvError as error:
        return _failure(model, str(error), error.exit_code)
    except Exception as error:
        if os.environ.get("CONVSV_TRACEBACK"):
            raise
        return _failure(model, internal(error), INTERNAL)


def _complain_of_more(count: int) -> None:
    """How many of so many complaints are left out, if any are."""
    if count > LINES:
        complain(f"and {count - LINES:,} more like these, which the report names")


def _failure(model: Path, message: str, code: int) -> Failure:
    return Failure(path=shown(model), message=" ".join(message.split()), exit_code=code)


def _part(progress: Progress, models: Sequence[Path], index: int) -> Progress:
    """The progress of one model as that of all."""
    if len(models) == 1:
        return progress
    name, count = models[index].name, len(models)
    return lambda layer, share: progress(f"{name}: {layer}", (index + share) / count)
