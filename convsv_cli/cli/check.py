"""`convsv check`: models against a budget; the gate of a CI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from convsv_cli.budget import with_unused
from convsv_cli.cli import options
from convsv_cli.cli.beginnings import begin, check_beginning
from convsv_cli.cli.budgets import audit_options, check_limits, configuration, judges
from convsv_cli.cli.changed import concerned
from convsv_cli.cli.output import prepare, write_report
from convsv_cli.cli.pipes import complain
from convsv_cli.cli.several import Progress, report_of
from convsv_cli.errors import UsageError
from convsv_cli.loaders import warm_up
from convsv_cli.renderers import RENDERERS
from convsv_cli.report import ERROR, UNUSED, Audit, Report, exit_code

EXAMPLE = """\b
A budget, in convsv.toml:
  models = ["model.onnx"]
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


@click.command(epilog=EXAMPLE)
@click.argument("models", metavar="[MODEL]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The budget.  [default: convsv.toml, or pyproject.toml with [tool.convsv], here or above]",
)
@click.option(
    "--baseline",
    metavar="AUDIT.json",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A saved JSON report; no norm or bound may be larger than there.",
)
@click.option(
    "--max-increase",
    "increase",
    metavar="5%",
    callback=options.share,
    help="By how much they may be.  [default: 0%]",
)
@click.option(
    "--baseline-strict",
    "strict",
    is_flag=True,
    help="Layers that the baseline does not have, or only the baseline has, fail.",
)
@click.option(
    "--changed",
    is_flag=True,
    help="The MODELs are any files that have changed: parts of models, or the budget, stand for the models.",
)
@click.option("--init", is_flag=True, help="Write a budget to begin with: to stdout, or to -o convsv.toml.")
@click.option("--force", is_flag=True, help="With --init: replace a file that is there.")
@options.EXACT
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.AS_LAYER
@options.AS_TABLE
@options.DEVICE
@options.TOLERANCE_
@options.WORK_LIMIT_
@options.INPUT_RANGE
@options.GRAPH
@options.FORMAT
@options.OUTPUT
@options.QUIET
@options.NO_COLOR
@click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever the gates say; errors remain errors.")
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
    format_name: str | None,
    outputs: tuple[Path, ...],
    quiet: bool,
    exit_zero: bool,
    **asked: Any,  # noqa: ANN401  (what the options of an audit say)
) -> int:
    """Hold the certified norms of each MODEL, or of the models that the budget names, against a budget.

    A gate passes only where an upper bound that is proven keeps its limit. Where a limit lies within what is
    proven of a layer, its norm is measured more closely first. Beside a --baseline, a model is audited with
    the tolerance and the work limit of that, unless others are given.

    Exits with 0 where all gates pass, 1 where a budget is exceeded, 2 for usage errors and unreadable files,
    3 where something is left open, 4 where a file is refused; of several, the first in 4, 2, 1, 3.

    \b
    Examples:
      convsv check --init sample_models/resnet20.onnx
      convsv check --init model.onnx -o convsv.toml
      convsv check
      convsv check model.onnx --config convsv.toml
      convsv check a.onnx b.onnx --format json -o check.json -o check.txt
      convsv check model.onnx --baseline main.json --max-increase 5%
      convsv check model.onnx --baseline main.json --baseline-strict
    """  # noqa: D301  (click takes \b for "keep these lines")
    if init:
        check_beginning(models, outputs, force=force, others=(config, baseline, format_name))
    found = configuration(config, optional=init or baseline is not None, look=not init)
    shared = (baseline, asked["graph"], Path(found.budget.path) if found.budget.path else None)
    chosen = concerned(models, found.models, shared) if changed else models or found.models
    if changed and not chosen:
        return 0
    if not chosen:
        raise UsageError("no models", where=found.budget.path, hint='name some, or add models = ["..."]')
    targets = [] if init else prepare(RENDERERS, outputs, format_name, [*chosen, *filter(None, shared)])
    if not init and baseline is None:
        check_limits(found.budget)
    judge_of = judges(found.budget, baseline, increase, chosen, strict=strict)
    warm_up(asked["graph"] or chosen[0])
    from convsv_cli import api
    from convsv_cli.cli.progress import progress_bar

    def run(model: Path, progress: Progress) -> Audit:
        judge = judge_of(model)
        return api.check(model, judge, progress=progress, **audit_options(asked, found, judge.baseline))

    with progress_bar(hidden=quiet) as progress:
        if init:
            begun = run(chosen[0], progress)
        else:
            report = report_of("check", chosen, run, progress)
    if init:
        begin(begun, chosen[0], outputs)
        return 0
    checked = {model.resolve() for model in chosen}
    whole = checked.issuperset(model.resolve() for model in found.models)
    report = with_unused(found.budget, report, whole=whole)
    _complain_of_mistakes(report)
    write_report(report, targets)
    return exit_code(report, exit_zero=exit_zero)


def _complain_of_mistakes(report: Report) -> None:
    """Also on stderr, as of every budget that is wrong."""
    for finding in (finding for audit in report.audits for finding in audit.findings):
        if finding.rule == UNUSED and finding.severity == ERROR and finding.place is not None:
            complain(f"{finding.place.path}:{finding.place.line}: {finding.message}")
