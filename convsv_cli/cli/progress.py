"""A live progress bar on stderr, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convsv_cli.cli.output import colored
from convsv_cli.sanitize import printable


@contextmanager
def progress_bar(*, hidden: bool) -> Iterator[Callable[[str, float], None]]:
    """Gives a listener that shows the layer being worked on, the share done and the time left."""
    if hidden or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _layer, _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, no_color=not colored()), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda layer, share: bar.update(task, description=printable(layer), completed=share)
