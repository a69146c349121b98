"""`convsv report`: saved reports in other formats, and several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from convsv_cli.cli import options
from convsv_cli.cli.helping import OUTPUT, Command
from convsv_cli.cli.output import prepare, write, write_report
from convsv_cli.cli.running import complain_of
from convsv_cli.comparison import side_by_side
from convsv_cli.errors import UsageError
from convsv_cli.renderers import RENDERERS, pixels
from convsv_cli.renderers.renderer import Renderer, by_suffix
from convsv_cli.renderers.sweep import SWEEPS
from convsv_cli.renderers.trends import TRENDS
from convsv_cli.saved import read

TOGETHER: tuple[Renderer[Any], ...] = (*TRENDS, pixels.PICTURE)
"""Formats that show several reports side by side."""
SEVERAL: tuple[Renderer[Any], ...] = (
    *TOGETHER,
    *(renderer for renderer in RENDERERS if renderer.name not in {trend.name for trend in TRENDS}),
)
"""Formats of several reports: side by side where there is such a one, one after the other elsewhere."""


@click.command(
    cls=Command,
    short_help="Show saved audits in other formats, or side by side.",
    see_also=["audit", "diff", "help formats"],
)
@click.argument(
    "files",
    metavar="REPORT.json...|FOLDER",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
)
@options.globs("--layers", "Of several reports, show only matching layers.", OUTPUT)
@options.EXPLAIN
@options.format_option(SEVERAL)
@options.OUTPUT_
@options.verbose_option("Of a check, show every layer, not only what does not pass.")
@options.QUIET
@options.NO_COLOR
def report(
    *,
    files: tuple[Path, ...],
    layers: tuple[str, ...],
    explain: bool,
    format_name: str | None,
    outputs: tuple[Path, ...],
    verbose: bool,
    quiet: bool,
) -> None:
    """Show REPORT.json, the saved JSON of an audit or a check, in any format (- is stdin).

    As a table, Markdown, CSV, JSON, HTML or a picture (.svg, .png), several reports are shown side by side,
    for instance those of a training run: the certified norm of each layer in each, and the bound of the
    network, in charts with the limits of a check. Names that differ in numbers alone are put in the order of
    these. The other formats show reports one after the other.

    Of a folder that `convsv sweep` has filled, as a table, Markdown, CSV, JSON or HTML: what became of each
    file, which of them are far above the others, and what becomes of files with numbers, such as epochs.

    Exits with 0 whatever the reports say.

    \b
    Examples:
      convsv audit sample_models/mnist_curvature.onnx --format json | convsv report -
      convsv audit model.onnx --format json | convsv report - -o report.html
      convsv report check.json -o check.sarif -o check.xml
      convsv report epoch1.json epoch2.json epoch3.json -o training.csv
      convsv report epoch*.json --layers 'layer4.*' -o trend.html -o trend.png
      convsv report results/ -o sweep.html
    """  # noqa: D301  (click takes \b for "keep these lines")
    if len(files) == 1 and layers:
        raise UsageError("--layers chooses layers of several reports, and this is one", where=str(files[0]))
    if len(files) == 1 and files[0].is_dir():
        _of_sweep(files[0], outputs, format_name)
        return
    if len(files) == 1:
        _check_no_picture(files[0], outputs, format_name)
    formats: tuple[Renderer[Any], ...] = RENDERERS if len(files) == 1 else SEVERAL
    targets = prepare(formats, outputs, format_name, files)
    found = [("stdin" if str(file) == "-" else str(file), read(file)) for file in files]
    if len(found) == 1:
        write_report(found[0][1], targets, explain=explain, full=verbose)
        return
    together, figures = side_by_side(found, layers)
    if not quiet:
        complain_of([failure.message for failure in together.failures])
    trends = {renderer.name for renderer in TOGETHER}
    for target in targets:
        if target.renderer.name in trends:
            write(figures, [target])
        else:
            write_report(together, [target], explain=explain, full=verbose)


def _check_no_picture(file: Path, outputs: tuple[Path, ...], format_name: str | None) -> None:
    """Of one report, there is no trend to be drawn.

    Raises:
        UsageError: a picture of one is asked for.
    """
    alone = {renderer.name for renderer in RENDERERS}
    named = [each for each in SEVERAL if each.name == format_name]
    for wanted in (*named, *(by_suffix(SEVERAL, path.name) for path in outputs)):
        if wanted is not None and wanted.name not in alone:
            what = f"{wanted.name} is a picture of how several reports differ, and this is one"
            hint = "name all of them; -o FILE.html has charts of one"
            raise UsageError(what, where="stdin" if str(file) == "-" else str(file), hint=hint)


def _of_sweep(results: Path, outputs: tuple[Path, ...], format_name: str | None) -> None:
    """Show the results of a sweep."""
    from convsv_cli.sweeping import summary_of

    if format_name not in (None, *(renderer.name for renderer in SWEEPS)):
        known = ", ".join(renderer.name for renderer in SWEEPS)
        raise UsageError(f"the results of a sweep have no format {format_name}", hint=f"they have {known}")
    targets = prepare(SWEEPS, outputs, format_name, ())
    write(summary_of(results), targets)
