"""`convsv audit`: the per-layer table of models."""

from __future__ import annotations

from pathlib import Path

import click

from convsv_cli.cli import options
from convsv_cli.cli.output import prepare, write_report
from convsv_cli.cli.several import Progress, report_of
from convsv_cli.loaders import warm_up
from convsv_cli.renderers import RENDERERS
from convsv_cli.report import TOLERANCE, WORK_LIMIT, Audit, Report, exit_code


@click.command()
@options.MODELS
@options.EXACT
@options.INPUT_SIZE
@options.INPUT_SHAPE
@click.option("--layers", metavar="GLOB", multiple=True, help="Audit only layers of that name. Repeatable.")
@options.AS_LAYER
@options.AS_TABLE
@options.AS_STRIDE_1
@options.DEVICE
@options.TOLERANCE_
@options.WORK_LIMIT_
@options.INPUT_RANGE
@click.option("--explain", is_flag=True, help="Show where the bound of the network comes from.")
@click.option(
    "--empirical",
    metavar="random|DATA.npz",
    help="Also look for large ratios |f(x)-f(y)|/|x-y|, with onnxruntime: an estimate from below.",
)
@click.option(
    "--spectra",
    metavar="GLOB",
    multiple=True,
    help="Also count all singular values of layers of that name, for HTML and JSON. Repeatable.",
)
@options.GRAPH
@options.FORMAT
@options.OUTPUT
@options.QUIET
@options.NO_COLOR
@click.option("--exit-zero", is_flag=True, help="Exit with 0 also where layers could not be audited.")
def audit(
    *,
    models: tuple[Path, ...],
    exact: bool,
    input_size: tuple[int, ...] | None,
    input_shapes: dict[str, tuple[int, ...]],
    layers: tuple[str, ...],
    as_layer: tuple[str, ...],
    as_table: tuple[str, ...],
    as_stride_1: bool,
    device: str | None,
    tolerance: float | None,
    work_limit: float | None,
    input_range: tuple[float, float] | None,
    explain: bool,
    empirical: str | None,
    spectra: tuple[str, ...],
    graph: Path | None,
    format_name: str | None,
    outputs: tuple[Path, ...],
    quiet: bool,
    exit_zero: bool,
) -> int:
    """Audit every layer with weights of each MODEL: an ONNX graph, a PyTorch checkpoint, or safetensors.

    For a graph, the Lipschitz constant of the whole network is bounded too. Nothing in the file is executed
    (but for --empirical, which runs it in onnxruntime). Exits with 3 where a layer could not be audited.

    \b
    Examples:
      convsv audit sample_models/resnet20.onnx --exact
      convsv audit resnet18.onnx --exact --input-size 224
      convsv audit speech.onnx --exact --input-shape audio:1x16000
      convsv audit efficientnet.onnx --input-range 0,1 --explain
      convsv audit checkpoint.pth --layers 'layer4.*' --format csv
      convsv audit model.safetensors -o audit.json -o audit.html
      convsv audit epoch1.pt epoch2.pt --format csv
    """  # noqa: D301  (click takes \b for "keep these lines")
    targets = prepare(RENDERERS, outputs, format_name, [*models, *([graph] if graph else [])])
    warm_up(graph or models[0])
    from convsv_cli import api
    from convsv_cli.cli.progress import progress_bar

    def run(model: Path, progress: Progress) -> Audit:
        return api.audit(
            model,
            exact=exact,
            input_size=input_size,
            input_shapes=input_shapes,
            layers=layers,
            as_layer=as_layer,
            as_table=as_table,
            as_stride_1=as_stride_1,
            device=device or "auto",
            tolerance=TOLERANCE if tolerance is None else tolerance,
            work_limit=WORK_LIMIT if work_limit is None else work_limit,
            input_range=input_range,
            empirical=empirical,
            spectra=spectra,
            graph=graph,
            progress=progress,
        )

    with progress_bar(hidden=quiet) as progress:
        if len(models) == 1:
            report = Report(command="audit", audits=(run(models[0], progress),))
        else:
            report = report_of("audit", models, run, progress)
    write_report(report, targets, explain=explain)
    return exit_code(report, exit_zero=exit_zero)
