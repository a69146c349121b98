"""`convsv diff`: two models or saved reports, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsv_cli.budget import Judge, growth_judge, judged, with_unused
from convsv_cli.cli import options
from convsv_cli.cli.caching import caching
from convsv_cli.cli.helping import BUDGET, FIGURES, Command, option
from convsv_cli.cli.output import prepare, write
from convsv_cli.cli.running import Progress, progress_bar, whole
from convsv_cli.cli.stdin import is_stdin
from convsv_cli.cli.values import share
from convsv_cli.comparison import audited_like, difference
from convsv_cli.errors import UsageError
from convsv_cli.renderers.comparison import DIFFERENCES
from convsv_cli.report import Audit, Difference, Report, Settings, exit_code
from convsv_cli.saved import is_report, read_one

if TYPE_CHECKING:
    from convsv_cli.cache import Store


@click.command(
    cls=Command,
    short_help="Compare two models or saved audits, layer by layer.",
    see_also=["check", "report", "help formats"],
)
@click.argument("old", metavar="OLD", type=click.Path(path_type=Path, allow_dash=True))
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path, allow_dash=True))
@option(
    "--max-increase",
    "increase",
    section=BUDGET,
    metavar="PERCENT",
    callback=share,
    help="Exit with 1 if a norm or the bound of the network grew by more, such as 5%.",
)
@option(
    "--distance/--no-distance",
    "measured",
    section=FIGURES,
    default=None,
    help="Certify the norm of the difference of each layer's weights; by default if one model is quantised.",
)
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.INPUT_RANGE
@options.FROM
@options.TO
@options.AS_LAYER
@options.AS_TABLE
@options.DEVICE
@options.TOLERANCE_
@options.NETWORK_EFFORT
@options.format_option(DIFFERENCES)
@options.OUTPUT_
@options.verbose_option("Show every layer, not only what has changed.")
@options.QUIET
@options.NO_COLOR
@caching
@options.limited
def diff(
    *,
    old: Path,
    new: Path,
    increase: float | None,
    measured: bool | None,
    format_name: str | None,
    outputs: tuple[Path, ...],
    verbose: bool,
    quiet: bool,
    cache: Store | None,
    **asked: Any,  # noqa: ANN401  (options that are called like the fields of `Settings`)
) -> int:
    """Compare the certified norms of OLD and NEW, each a model or a JSON report of convsv (- is stdin).

    Layers are matched by name (ignoring wrappers such as _orig_mod), else by weight, else by shape and order,
    and the last is marked as a guess. "larger" and "smaller" are proven: the intervals of both norms do not
    overlap; of a network, its bound is larger or smaller. A model that is compared with a saved report is
    audited as that was.

    Where one of the models is quantised, or --distance asks for it, the norm of W - W' is certified for each
    layer that is in both, and what share it is of the norm of W. Then both must be models, not reports.

    Exits with 0 whatever the difference, unless --max-increase is given.

    \b
    Examples:
      convsv diff sample_models/resnet20.onnx sample_models/resnet20_regularised.onnx \\
                  --network-effort quick
      convsv diff old.onnx new.onnx
      convsv diff main.json new.onnx --max-increase 5%
      convsv diff old.onnx new.onnx --to logits
      convsv diff model.safetensors model-Q4_K_M.gguf
      convsv diff epoch1.pt epoch9.pt --format markdown
    """  # noqa: D301  (click takes \b for "keep these lines")
    targets = prepare(DIFFERENCES, outputs, format_name, [old, new])
    saved = [read_one(path) if is_report(path) else None for path in (old, new)]
    settings = _settings(asked, next(filter(None, saved), None))
    models = not any(saved) and not any(map(is_stdin, (old, new)))
    if measured and not models:
        hint = "pass the files that were audited"
        raise UsageError("--distance needs two models, not reports or stdin", hint=hint)
    with progress_bar(hidden=quiet) as progress:
        before = saved[0] or _audit(old, settings, progress, cache)
        judge = None if increase is None else growth_judge(str(old), before, increase)
        after = saved[1] or _audit(new, settings, progress, cache, judge)
        found = difference(before, after)
        if models and measured is not False:
            found = _measured(found, (old, new), settings, progress, always=measured is True)
    if saved[1] and judge is not None:
        after = judged(judge, after)
    report = Report(command="diff", audits=(after,))
    if judge is not None:
        report = with_unused(judge.budget, report)
    write(replace(found, new=report.audits[0]), targets, full=verbose)
    return 0 if judge is None else exit_code(report)


def _measured(
    found: Difference, paths: tuple[Path, Path], settings: Settings, progress: Progress, *, always: bool
) -> Difference:
    """The difference of two models with the distances of their layers; if not always, of quantised ones."""
    from convsv_cli.auditing.distances import is_quantised, with_distances

    if not always and not any(map(is_quantised, (found.old, found.new))):
        return found
    return with_distances(found, *paths, settings, progress)


def _settings(asked: Mapping[str, Any], known: Audit | None) -> Settings:
    """What to audit a model with: as the saved audit that it is compared with was made, if there is one."""
    settings = options.settings(asked)
    if known is None:
        return settings
    given = {name: asked[name] for name in ("tolerance", "network_effort")}
    return audited_like(known.settings, settings, **given)


def _audit(
    path: Path, settings: Settings, progress: Progress, cache: Store | None, judge: Judge | None = None
) -> Audit:
    """The audit of a model; judged where there is a judge."""
    from convsv_cli.auditing import audit_file
    from convsv_cli.auditing.checking import check_file

    if judge is None:
        return whole(audit_file(path, settings, progress=progress, cache=cache))
    return whole(check_file(path, judge, settings, progress=progress, cache=cache))
