"""`convsv report`: saved reports in other formats, and several beside each other."""

from __future__ import annotations

from pathlib import Path

import click

from convsv_cli.cli import options
from convsv_cli.cli.output import Target, prepare, write, write_report
from convsv_cli.cli.pipes import complain
from convsv_cli.comparison import trend
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers import trend as trends
from convsv_cli.report import Report


@click.command()
@click.argument(
    "files",
    metavar="REPORT.json...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
)
@click.option("--explain", is_flag=True, help="Show where the bound of the network comes from.")
@options.FORMAT
@options.OUTPUT
@options.NO_COLOR
def report(
    *, files: tuple[Path, ...], explain: bool, format_name: str | None, outputs: tuple[Path, ...]
) -> None:
    """Show REPORT.json, which `--format json` of audit or check wrote, in any format (- is stdin).

    Several reports are shown side by side as table, Markdown, CSV and JSON: the certified norm of each layer
    in each, and the bound of the network, over a training run for instance. The other formats have all of
    them one after the other.

    Exits with 0 whatever the reports say.

    \b
    Examples:
      convsv audit sample_models/resnet20.onnx --format json | convsv report -
      convsv audit model.onnx --format json | convsv report - -o report.html
      convsv report check.json -o check.sarif -o check.xml
      convsv report epoch1.json epoch2.json epoch3.json -o training.csv
    """  # noqa: D301  (click takes \b for "keep these lines")
    targets = prepare(RENDERERS, outputs, format_name, files)
    from convsv_cli.saved import read

    found = [(("stdin" if str(file) == "-" else str(file)), read(file)) for file in files]
    if len(found) == 1:
        write_report(found[0][1], targets, explain=explain)
        return
    named = [
        (name if len(one.audits) == 1 else f"{name}: {audit.model.path}", audit)
        for name, one in found
        for audit in one.audits
    ]
    commands = {one.command for _, one in found}
    together = Report(
        command=commands.pop() if len(commands) == 1 else "report",
        audits=tuple(audit for _, audit in named),
        failures=tuple(failure for _, one in found for failure in one.failures),
    )
    for failure in together.failures:
        complain(failure.message)
    beside = {renderer.name: renderer for renderer in trends.RENDERERS}
    figures = trend(named)
    for target in targets:
        if target.renderer.name in beside:
            write(figures, [Target(renderer=beside[target.renderer.name], path=target.path)])
        else:
            write_report(together, [target], explain=explain)
