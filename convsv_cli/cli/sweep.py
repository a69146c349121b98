"""`convsv sweep`: many models, in workers, with a folder of results that a later run goes on from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsv_cli.cli import options
from convsv_cli.cli.running import complain, progress_bar

if TYPE_CHECKING:
    from convsv_cli.sweeping.driver import Tally

OWN_CACHE = "cache"
"""In the results' folder."""


@click.command()
@click.argument("models", metavar="PATH|GLOB...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "results",
    metavar="FOLDER",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results. One that has results of the same models is completed.",
)
@options.EXACT
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.TOLERANCE_
@options.WORK_LIMIT_
@options.NETWORK_EFFORT
@options.INPUT_RANGE
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=0,
    help="Models, or layers of large models, that are worked on at once.  [default: the number of cores]",
)
@click.option(
    "--worker-memory",
    metavar="SIZE",
    callback=options.memory,
    help="Memory that each worker may take, such as 8G; a model that needs more fails alone.",
)
@options.QUIET
@options.NO_COLOR
@click.option("--exit-zero", is_flag=True, help="Exit with 0 even if models could not be audited.")
def sweep(
    *,
    models: tuple[str, ...],
    results: Path,
    jobs: int,
    worker_memory: float | None,
    quiet: bool,
    exit_zero: bool,
    **asked: Any,  # noqa: ANN401  (options that are called like the fields of `Settings`)
) -> int:
    """Audit all models in folders, and keep tables of files, networks and layers in a folder of results.

    Each model is audited in a process of its own: one that is broken is a row with the reason. A run that
    was interrupted, or killed, goes on where it was; models that have not changed are not read again.
    The tables are JSON lines, and Parquet where pyarrow is installed (pip install 'convsv[sweep]').

    \b
    Examples:
      convsv sweep checkpoints/ -o results/
      convsv sweep 'runs/**/*.safetensors' -o results/ --jobs 8
      convsv sweep ~/.cache/huggingface/hub -o results/ --network-effort quick
    """  # noqa: D301  (click takes \b for "keep these lines")
    from convsv_cli.sweeping import LocalExecutor, Outcomes, discover, write_tables
    from convsv_cli.sweeping import sweep as run
    from convsv_cli.sweeping.outcomes import outcomes_in

    settings = options.settings(asked)
    outcomes = Outcomes(results, settings)
    found = list(discover(models))
    executor = LocalExecutor(jobs, worker_memory)
    try:
        with _telling(hidden=quiet) as progress:
            run(
                found,
                settings,
                outcomes,
                executor,
                cache=str(results / OWN_CACHE),
                cache_mode="write",
                progress=progress,
            )
    finally:
        executor.close()
        totals = write_tables(outcomes_in(results), results)
    return totals.exit_code * (not exit_zero)


@contextmanager
def _telling(*, hidden: bool) -> Iterator[Callable[[Tally], None]]:
    """Gives what tells users how far a sweep is: a bar on a terminal, a line now and then elsewhere."""
    start = time.monotonic()
    with progress_bar(hidden=hidden) as progress:

        def tell(tally: Tally) -> None:
            progress(f"{tally.done} of {tally.models} models", tally.done / max(1, tally.models))

        yield tell
    complain(f"{time.monotonic() - start:.1f} s")
