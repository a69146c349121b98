"""Models one after the other: how far they are, and errors that stop no other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convsv_cli.cli import process
from convsv_cli.cli.output import colored
from convsv_cli.cli.process import complain
from convsv_cli.errors import ConvsvError
from convsv_cli.names import printable
from convsv_cli.report import Audit, Failure, Report
from convsv_cli.report.verdict import INTERNAL

Progress = Callable[[str, float], None]


@contextmanager
def progress_bar(*, hidden: bool) -> Iterator[Progress]:
    """Gives a listener that shows the layer being worked on, the share done and the time left."""
    if hidden or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _layer, _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True, no_color=not colored()), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda layer, share: bar.update(task, description=printable(layer), completed=share)


def report_of(
    command: str, models: Sequence[Path], run: Callable[[Path, Progress], Audit], progress: Progress
) -> Report:
    """What `run` says of each model, and the errors of the others, which stderr gets too."""
    audits: list[Audit] = []
    failures: list[Failure] = []
    for index, model in enumerate(models):
        found = _outcome(model, run, _part(progress, models, index))
        if isinstance(found, Audit):
            audits.append(found)
        else:
            failures.append(found)
    return Report(command=command, audits=tuple(audits), failures=tuple(failures))


def internal(error: Exception) -> str:
    """An error that is convsv's own fault, in words."""
    line = f"internal error: {type(error).__name__}: {error}"
    return f"{line} (please report it; CONVSV_TRACEBACK=1 shows where)"


def _outcome(model: Path, run: Callable[[Path, Progress], Audit], progress: Progress) -> Audit | Failure:
    try:
        return run(model, progress)
    except ConvsvError as error:
        return _failure(model, str(error), error.exit_code)
    except Exception as error:
        if process.interrupted():
            raise KeyboardInterrupt from error
        if os.environ.get("CONVSV_TRACEBACK"):
            raise
        return _failure(model, internal(error), INTERNAL)


def _failure(model: Path, message: str, code: int) -> Failure:
    complain(message)
    return Failure(path=str(model), message=" ".join(message.split()), exit_code=code)


def _part(progress: Progress, models: Sequence[Path], index: int) -> Progress:
    """The progress of one model as that of all."""
    if len(models) == 1:
        return progress
    name, count = models[index].name, len(models)
    return lambda layer, share: progress(f"{name}: {layer}", (index + share) / count)
