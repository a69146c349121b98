"""`convsv sweep`: many models, in workers, with a folder of results that a later run goes on from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsv_cli.cli import options
from convsv_cli.cli.caching import CACHE_MODE, CACHE_SIZE, OFF, cache_option, tell_of_cache
from convsv_cli.cli.helping import LIMITS, OUTPUT, Command, option
from convsv_cli.cli.running import note, progress_bar
from convsv_cli.cli.values import duration, memory
from convsv_cli.deadline import TIME_LIMIT, TIME_OPTION, WORDS
from convsv_cli.errors import ConvsvError, UsageError
from convsv_cli.report.verdict import LEFT_OPEN, OVER_BUDGET, PASS, worst

if TYPE_CHECKING:
    from convsv_cli.sweeping import Executor, Tally, Totals

OWN_CACHE = "cache"
"""In the folder of results."""
RESULTS = option(
    "-o",
    "--output",
    "results",
    section=OUTPUT,
    metavar="FOLDER",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results; what it has of an earlier run is not done again.",
)
WORKER_MEMORY = option(
    "--worker-memory",
    section=LIMITS,
    metavar="SIZE",
    callback=memory,
    help="Memory that each worker may have, such as 8G: a model that needs more fails alone.",
)


@click.command(
    cls=Command,
    short_help="Audit all models in folders into tables; can be resumed.",
    see_also=["audit", "report", "watch", "help exit-codes"],
)
@click.argument("models", metavar="FOLDER|FILE|GLOB...", nargs=-1, required=True)
@options.EXACT
@options.SPREAD
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.LAYERS
@options.DEVICE
@options.TOLERANCE_
@options.NETWORK_EFFORT
@options.INPUT_RANGE
@RESULTS
@option(
    "--prune",
    section=OUTPUT,
    is_flag=True,
    help="Forget models that are no longer there, instead of having their figures as gone.",
)
@options.QUIET
@options.NO_COLOR
@option("--exit-zero", section=OUTPUT, is_flag=True, help="Exit with 0 even if layers could not be audited.")
@option(
    "--jobs",
    section=LIMITS,
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="Models, or groups of layers of large models, at a time.  [default: the number of cores]",
)
@WORKER_MEMORY
@option(
    "--scheduler",
    section=LIMITS,
    metavar="URL",
    default="",
    help="Use the workers of a Dask cluster, whose scheduler is at tcp://HOST:PORT, instead of this machine;"
    " they must find the models at the same paths.",
)
@options.WORK_LIMIT_
@option(
    TIME_OPTION,
    section=LIMITS,
    metavar="DURATION",
    callback=duration,
    help="End after 90s, 10m or 1h30m, with the tables of what is done by then; the same command goes on."
    "  [default: none]",
)
@cache_option("the folder cache in that of the results")
@CACHE_MODE
@CACHE_SIZE
@options.limited
def sweep(
    *,
    models: tuple[str, ...],
    results: Path,
    prune: bool,
    jobs: int,
    worker_memory: float | None,
    scheduler: str,
    cache: str | None,
    cache_mode: str,
    cache_size: float | None,
    quiet: bool,
    exit_zero: bool,
    **asked: Any,  # noqa: ANN401  (options that are called like the fields of `Settings`)
) -> int:
    """Audit all models in folders, and write tables of files, networks and layers to a folder.

    Each model is audited in a process of its own: one that is broken, or hostile, is a row with the
    reason. A run that was interrupted goes on where it was, and models that have not changed are not read
    again. Each file, whatever links to it, is audited once. Folders may be remote, such as
    s3://bucket/runs/. The tables are JSON lines, and Parquet where pyarrow is installed
    (pip install 'convsv[parquet]').

    \b
    Examples:
      convsv sweep 'sample_models/*.pt' -o results/
      convsv sweep 'runs/**/*.safetensors' -o results/ --jobs 8
      convsv sweep ~/.cache/huggingface/hub -o results/ --worker-memory 16G
      convsv sweep /shared/runs -o results/ --scheduler tcp://10.0.0.1:8786
    """  # noqa: D301  (click takes \b for "keep these lines")
    from convsv_cli.cache import SIZE, open_cache
    from convsv_cli.sweeping import Outcomes, discover, update_tables
    from convsv_cli.sweeping import sweep as run

    if scheduler and (jobs or worker_memory is not None):
        raise UsageError("--jobs and --worker-memory are about this machine, not about a cluster")
    settings = options.settings(asked)
    outcomes = Outcomes(results, settings, memory=worker_memory)
    folder = "" if cache == OFF else cache or str(results / OWN_CACHE)
    if folder:
        open_cache(folder, mode=cache_mode)  # which says at once where it is none
    with outcomes.alone():
        found = list(discover(models))
        outcomes.settle([each.path for each in found], models, prune=prune)
        with ending(executor_of(scheduler, jobs, worker_memory, results), results) as executor:
            with _telling(hidden=quiet) as progress:
                tally = run(
                    found,
                    settings,
                    outcomes,
                    executor,
                    cache=folder,
                    cache_mode=cache_mode,
                    cache_size=SIZE if cache_size is None else cache_size,
                    progress=progress,
                )
            executor.close()
        totals = update_tables(results)
    note(summary_line(totals, results))
    tell_of_cache(tally, folder)
    code = worst((totals.exit_code, _left(tally)))
    return PASS if exit_zero and code in (OVER_BUDGET, LEFT_OPEN) else code


@contextmanager
def ending(executor: Executor, results: Path) -> Iterator[Executor]:
    """However a run ends, so do its workers; Ctrl-C and errors leave tables, if these can be written."""
    try:
        yield executor
    except BaseException:
        executor.close()
        with suppress(ConvsvError):
            from convsv_cli.sweeping import update_tables

            note(summary_line(update_tables(results), results))
        raise


def _left(tally: Tally) -> int:
    """The exit code of a run that has ended by the clock before all was done, which a line says."""
    left = tally.models - tally.done
    if left:
        note(f"{WORDS[TIME_LIMIT]}: {left:,} of {tally.models:,} models are left; the same command goes on")
    return LEFT_OPEN if left else PASS


def executor_of(scheduler: str, jobs: int, worker_memory: float | None, results: Path) -> Executor:
    """What runs the audits: the cluster of a scheduler, or this machine where none is named."""
    from convsv_cli.sweeping import ClusterExecutor, LocalExecutor

    return ClusterExecutor(scheduler, notes=results) if scheduler else LocalExecutor(jobs, worker_memory)


def summary_line(totals: Totals, results: Path) -> str:
    """What became of all files, in one line."""
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(totals.files.items()))
    kinds = "*.jsonl and *.parquet" if totals.parquet else "*.jsonl (and Parquet where pyarrow is installed)"
    return (
        f"{counts or 'no models audited'}; {totals.layers:,} layers with figures; tables: {results}/{kinds}"
    )


@contextmanager
def _telling(*, hidden: bool) -> Iterator[Callable[[Tally], None]]:
    """Gives what tells users how far a sweep is, and how fast."""
    start = time.monotonic()
    with progress_bar(hidden=hidden) as progress:

        def tell(tally: Tally) -> None:
            minutes = (time.monotonic() - start) / 60
            rate = f", {(tally.done - tally.before) / minutes:,.0f} a minute" if minutes > 0.05 else ""
            what = f"{tally.done:,} of {tally.models:,} models, {tally.layers:,} layers{rate}"
            progress(what, tally.done / max(1, tally.models))

        yield tell
