"""`convsv diff`: two models or saved reports, layer by layer."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convsv_cli.budget import Baseline, Budget, Judge, judged, with_unused
from convsv_cli.cli import options
from convsv_cli.cli.output import prepare, write
from convsv_cli.comparison import difference, with_effort
from convsv_cli.errors import UsageError
from convsv_cli.renderers.difference import RENDERERS
from convsv_cli.report import TOLERANCE, Audit, Report, Settings, exit_code

if TYPE_CHECKING:
    from convsv_cli.cli.several import Progress

NOBODY = Budget(path="")


@click.command()
@click.argument("old", metavar="OLD", type=click.Path(path_type=Path, allow_dash=True))
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--max-increase",
    "increase",
    metavar="5%",
    callback=options.share,
    help="Exit with 1 where a norm or the bound of the network grew by more.",
)
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.INPUT_RANGE
@options.AS_LAYER
@options.AS_TABLE
@options.DEVICE
@options.TOLERANCE_
@options.format_option(RENDERERS)
@options.OUTPUT
@options.QUIET
@options.NO_COLOR
def diff(
    *,
    old: Path,
    new: Path,
    increase: float | None,
    input_size: tuple[int, ...] | None,
    input_shapes: dict[str, tuple[int, ...]],
    input_range: tuple[float, float] | None,
    as_layer: tuple[str, ...],
    as_table: tuple[str, ...],
    device: str | None,
    tolerance: float | None,
    format_name: str | None,
    outputs: tuple[Path, ...],
    quiet: bool,
) -> int:
    """Compare the certified norms of OLD and NEW, each a model or a JSON report of convsv (- is stdin).

    Layers belong together by name (wrappers such as _orig_mod aside), else by weight, else by shape and
    order, which is said. "larger" and "smaller" are proven: what is known of both norms leaves no other
    choice; of the network, its bound is. A model beside an old report is audited as that was.

    Exits with 0 whatever the difference, unless --max-increase asks for more.

    \b
    Examples:
      convsv diff sample_models/resnet20.onnx sample_models/resnet20_regularised.onnx
      convsv diff old.onnx new.onnx
      convsv diff main.json new.onnx --max-increase 5%
      convsv diff epoch1.pt epoch9.pt --format markdown
    """  # noqa: D301  (click takes \b for "keep these lines")
    targets = prepare(RENDERERS, outputs, format_name, [old, new])
    from convsv_cli.cli.progress import progress_bar

    asked = Settings(
        input_size=input_size,
        input_shapes=tuple(input_shapes.items()),
        input_range=input_range,
        as_layer=as_layer,
        as_table=as_table,
        device=device or "auto",
        tolerance=TOLERANCE if tolerance is None else tolerance,
    )
    with progress_bar(hidden=quiet) as progress:
        before = _audit(old, asked, None, progress)
        if _is_saved(old):
            asked = _like(asked, before.settings, finer=tolerance)
        ratchet = None if increase is None else Baseline(path=str(old), audit=before, increase=increase)
        judge = None if ratchet is None else Judge(budget=NOBODY, today=date.max, baseline=ratchet)
        after = _audit(new, asked, judge, progress)
        report = with_unused(NOBODY, Report(command="diff", audits=(after,)))
    write(difference(before, report.audits[0]), targets)
    return exit_code(report) if judge else 0


def _audit(path: Path, asked: Settings, judge: Judge | None, progress: Progress) -> Audit:
    """The saved audit, or one that is made now; judged where it is to be."""
    if _is_saved(path):
        audit = _saved(path)
        return judged(judge, audit) if judge else audit
    from convsv_cli import api

    run = api.audit if judge is None else partial(api.check, judge=judge)
    return run(
        path,
        input_size=asked.input_size,
        input_shapes=dict(asked.input_shapes),
        input_range=asked.input_range,
        as_layer=asked.as_layer,
        as_table=asked.as_table,
        device=asked.device,
        exact=asked.exact,
        tolerance=asked.tolerance,
        work_limit=asked.work_limit,
        progress=progress,
    )


def _is_saved(path: Path) -> bool:
    """Whether it is a report, not a model: the index of a model in several files is JSON, too."""
    return str(path) == "-" or (path.suffix.lower() == ".json" and not path.name.endswith(".index.json"))


def _saved(path: Path) -> Audit:
    from convsv_cli.saved import read

    audits = read(path).audits
    if len(audits) != 1:
        raise UsageError(f"a report of {len(audits)} models", where=str(path), hint="diff wants one")
    return audits[0]


def _like(asked: Settings, known: Settings, *, finer: float | None) -> Settings:
    """What was asked for, and the input and the effort of the report where nothing was."""
    return replace(
        with_effort(asked, known),
        exact=known.exact,
        tolerance=known.tolerance if finer is None else finer,
        input_size=asked.input_size or known.input_size,
        input_shapes=asked.input_shapes or known.input_shapes,
        input_range=asked.input_range or known.input_range,
    )
