"""`convsv check`: models against a budget; the gate of a CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsv_cli import deadline
from convsv_cli.budget import (
    BUDGETS,
    Budget,
    Configuration,
    Judge,
    judges,
    starting_budget,
    the_configuration,
    with_unused,
)
from convsv_cli.cli import options
from convsv_cli.cli.caching import caching
from convsv_cli.cli.clip import suggest_clipping
from convsv_cli.cli.helping import BUDGET, OUTPUT, Command, option
from convsv_cli.cli.output import check_replaceable, echo, is_file, prepare, write_report
from convsv_cli.cli.running import (
    Progress,
    audited,
    complain_of_mistakes,
    ended,
    note,
    progress_bar,
    report_of,
    whole,
)
from convsv_cli.cli.stdin import check_once, is_stdin, with_file
from convsv_cli.cli.values import share
from convsv_cli.comparison import with_effort
from convsv_cli.errors import UsageError
from convsv_cli.loaders import recognised, warm_up
from convsv_cli.loaders.owners import owners
from convsv_cli.remote import is_remote
from convsv_cli.renderers import RENDERERS
from convsv_cli.replacing import replacement
from convsv_cli.report import Audit, exit_code

if TYPE_CHECKING:
    from convsv_cli.cache import Store

EXAMPLE = """\b
A budget, in convsv.toml:
  models = ["model.onnx", "models/*.onnx"]
  max-lipschitz = 1e6
  max-layer = 12.0
  [[layer]]
  match = "layer4.*"
  max = 20.0
  [[ignore]]
  match = "fc"
  reason = "calibrated after training"
  expires = 2027-01-31
"""


@click.command(
    cls=Command,
    epilog=EXAMPLE,
    short_help="Hold models against a budget or a saved audit, as a gate of CI.",
    see_also=["audit", "diff", "help formats", "help exit-codes"],
)
@click.argument("models", metavar="[MODEL]...", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@option(
    "--config",
    section=BUDGET,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The budget.  [default: convsv.toml, or pyproject.toml with [tool.convsv], here or above]",
)
@option(
    "--baseline",
    section=BUDGET,
    metavar="AUDIT.json",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A saved JSON report; no norm or bound may be larger than it was there.",
)
@option(
    "--max-increase",
    "increase",
    section=BUDGET,
    metavar="PERCENT",
    callback=share,
    help="How much larger they may be, such as 5%.  [default: 0%]",
)
@option(
    "--baseline-strict",
    "strict",
    section=BUDGET,
    is_flag=True,
    help="Fail if the model has layers that the baseline lacks, or lacks layers that it has.",
)
@option(
    "--changed",
    section=BUDGET,
    is_flag=True,
    help="The MODELs are changed files of any kind: parts of models, or the budget, stand for the models.",
)
@option("--init", section=BUDGET, is_flag=True, help="Write a first budget: to stdout, or to -o convsv.toml.")
@option("--force", section=BUDGET, is_flag=True, help="With --init: replace an existing file.")
@options.EXACT
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.AS_LAYER
@options.AS_TABLE
@options.DEVICE
@options.TOLERANCE_
@options.WORK_LIMIT_
@options.TIME_LIMIT
@options.NETWORK_EFFORT
@options.INPUT_RANGE
@options.FROM
@options.TO
@options.GRAPH
@options.FORMAT
@options.OUTPUT_
@options.verbose_option("Show every layer, not only what does not pass.")
@options.QUIET
@options.NO_COLOR
@option(
    "--exit-zero",
    section=OUTPUT,
    is_flag=True,
    help="Exit with 0 whatever the gates say; errors remain errors.",
)
@caching
@options.limited
def check(
    *,
    models: tuple[Path, ...],
    config: Path | None,
    baseline: Path | None,
    increase: float | None,
    strict: bool,
    changed: bool,
    init: bool,
    force: bool,
    graph: Path | None,
    cache: Store | None,
    format_name: str | None,
    outputs: tuple[Path, ...],
    verbose: bool,
    quiet: bool,
    exit_zero: bool,
    **asked: Any,  # noqa: ANN401  (options that are called like the fields of `Settings`)
) -> int:
    """Hold the certified norms of each MODEL, or of the models that the budget names, against a budget.

    A gate passes only if a proven upper bound keeps its limit. If a limit lies within what is proven of a
    layer, its norm is first measured more closely. With --baseline, a model is audited with the tolerance,
    the work limit and the effort for the network of the baseline, unless others are given. A MODEL of - is
    read from stdin.

    Exits with 0 if all gates pass, 1 if a budget is exceeded, 2 for usage errors and unreadable files, 3 if
    something is left open, 4 if a file is refused; if several apply, with the first of 4, 2, 1, 3.

    \b
    Examples:
      convsv check --init sample_models/mnist_curvature.onnx
      convsv check --init model.onnx -o convsv.toml
      convsv check
      convsv check model.onnx --config convsv.toml
      convsv check model.onnx --verbose
      convsv check model.onnx --network-effort thorough
      convsv check detector.onnx --to scores
      convsv check a.onnx b.onnx --format json -o check.json -o check.txt
      convsv check model.onnx --baseline main.json --max-increase 5%
      convsv check model.onnx --baseline main.json --baseline-strict
    """  # noqa: D301  (click takes \b for "keep these lines")
    if init:
        _check_init(models, outputs, force=force, others=(config, baseline, format_name, changed or None))
        found = Configuration(budget=Budget(path=""))
        run = _run(found, judges(found.budget, None, increase, models, strict=strict), (graph, cache), asked)
        with progress_bar(hidden=quiet) as progress:
            _write_budget(whole(audited(run, models[0], progress)), models[0], outputs)
        return 0
    found = the_configuration(config, optional=baseline is not None)
    own = Path(found.budget.path) if found.budget.path else None
    shared = [path for path in (baseline, graph, own) if path]
    chosen = _concerned(models, found.models, shared) if changed else _named(models, found)
    if not chosen:
        return 0
    check_once([*chosen, *shared])
    targets = prepare(RENDERERS, outputs, format_name, [*chosen, *shared])
    if baseline is None:
        found.budget.check_limited()
    run = _run(found, judges(found.budget, baseline, increase, chosen, strict=strict), (graph, cache), asked)
    with progress_bar(hidden=quiet) as progress:
        report = report_of("check", chosen, run, progress)
    every = {path.resolve() for path in chosen}.issuperset(path.resolve() for path in found.models)
    report = with_unused(found.budget, report, whole=every and not deadline.interrupted())
    complain_of_mistakes(report)
    write_report(report, targets, full=verbose)
    suggest_clipping(report)
    return ended(exit_code(report, exit_zero=exit_zero))


def _named(models: Sequence[Path], found: Configuration) -> Sequence[Path]:
    if not models and not found.models:
        raise UsageError("no models", where=found.budget.path, hint='name some, or add models = ["..."]')
    return models or found.models


def _run(
    found: Configuration,
    judge_of: Callable[[Path], Judge],
    beside: tuple[Path | None, Store | None],
    asked: Mapping[str, Any],
) -> Callable[[Path, Progress], Audit]:
    """What is done with each model: audited and judged, with a baseline's effort unless more is asked for."""
    graph, cache = beside

    def run(model: Path, progress: Progress) -> Audit:
        warm_up(graph or model)
        from convsv_cli.auditing.checking import check_file

        judge, known = judge_of(model), options.DEFAULTS
        if judge.baseline is not None:
            known = with_effort(known, judge.baseline.audit.settings)
        settings = found.settings(asked, known)
        judged = partial(check_file, judge=judge, settings=settings, graph=graph, cache=cache)
        return with_file(model, partial(judged, progress=progress))

    return run


def _check_init(
    models: Sequence[Path], outputs: Sequence[Path], *, force: bool, others: Sequence[object]
) -> None:
    """Complain before any work is done."""
    if len(models) != 1:
        raise UsageError("--init takes exactly one MODEL")
    if is_stdin(models[0]):
        raise UsageError("--init writes the name of a file, and stdin has none", hint="save the model first")
    if is_remote(models[0]):
        raise UsageError("--init writes the name of a file, and this is an address", hint="download it first")
    if any(other is not None for other in others):
        raise UsageError("--init cannot be combined with --config, --baseline, --changed or --format")
    if len(outputs) > 1:
        raise UsageError("--init writes only one file")
    for path in filter(is_file, outputs):
        check_replaceable(path, models)
        if path.exists() and not force:
            raise UsageError("already exists", where=str(path), hint="--force replaces it")


def _write_budget(audit: Audit, model: Path, outputs: Sequence[Path]) -> None:
    """A first budget, in which the model's path is relative to the file's folder."""
    if not any(map(is_file, outputs)):
        echo(starting_budget(audit, model.as_posix()))
        return
    (path,) = outputs
    relative = Path(os.path.relpath(model.absolute(), path.absolute().parent)).as_posix()
    with replacement(path) as file:
        file.write(starting_budget(audit, relative).encode())


def _concerned(files: Sequence[Path], models: Sequence[Path], shared: Iterable[Path]) -> tuple[Path, ...]:
    """The models that a commit concerns, each once; a line on stderr for each file that concerns none.

    Args:
        files: those that have changed.
        models: those that the budget names.
        shared: what all of these depend on: the budget itself, a baseline, a graph.
    """
    common = [path for path in shared if path.exists()]
    once: dict[Path, Path] = {}
    for model in (model for file in files for model in _concerned_by(file, models, common)):
        once.setdefault(model.resolve(), model)
    return tuple(once.values())


def _concerned_by(file: Path, models: Sequence[Path], common: Sequence[Path]) -> Iterator[Path]:
    if file.exists() and any(file.samefile(path) for path in common):
        if not models:
            note(f"{file}: the budget names no models to check")
        yield from models
    elif file.name in BUDGETS:
        note(f"{file}: not the budget in use, skipped")
    elif not file.is_file():
        yield file
    elif owning := owners(file, models):
        yield from owning
    elif recognised(file):
        yield file
    else:
        note(f"{file}: neither a model nor part of one next to it, skipped")
