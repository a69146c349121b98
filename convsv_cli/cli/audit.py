"""`convsv audit`: the per-layer table of one model."""

from __future__ import annotations

from pathlib import Path

import click

from convsv_cli.cli import options
from convsv_cli.cli.output import prepare, write
from convsv_cli.loaders import warm_up
from convsv_cli.renderers import RENDERERS
from convsv_cli.report import TOLERANCE, WORK_LIMIT, Report

INCOMPLETE = 3


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--exact", is_flag=True, help="Also compute exact norms at each layer's input size.")
@options.INPUT_SIZE
@options.INPUT_SHAPE
@click.option("--layers", metavar="GLOB", multiple=True, help="Audit only layers of that name. Repeatable.")
@options.AS_STRIDE_1
@options.DEVICE
@click.option(
    "--tolerance",
    type=float,
    default=TOLERANCE,
    show_default=True,
    help="Relative width of a certified interval that is good enough.",
)
@click.option(
    "--work-limit",
    type=float,
    default=WORK_LIMIT,
    show_default=True,
    help="Multiplications after which the search for a norm stops with the interval it has.",
)
@click.option(
    "--input-range",
    metavar="LO,HI",
    callback=options.input_range,
    help="What the network's inputs are in: makes products of activations finite.",
)
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
@click.option(
    "--graph",
    type=click.Path(path_type=Path),
    metavar="MODEL.onnx",
    help="The graph of a checkpoint, whose weights replace those of the same name.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice([renderer.name for renderer in RENDERERS]),
    help="Format of what goes to stdout, or to files without a telling suffix.  [default: table]",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help="Write to a file, in the format that its suffix tells. Repeatable.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 also where layers could not be audited.")
def audit(
    *,
    model: Path,
    exact: bool,
    input_size: tuple[int, ...] | None,
    input_shapes: dict[str, tuple[int, ...]],
    layers: tuple[str, ...],
    as_stride_1: bool,
    device: str,
    tolerance: float,
    work_limit: float,
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
    """Audit every layer with weights of MODEL: an ONNX graph, a PyTorch checkpoint, or safetensors.

    For a graph, the Lipschitz constant of the whole network is bounded too. Nothing in the file is executed
    (but for --empirical, which runs it in onnxruntime). Exits with 3 where a layer could not be audited.

    \b
    Examples:
      convsv audit resnet18.onnx --exact --input-size 224
      convsv audit speech.onnx --exact --input-shape audio:1x16000
      convsv audit efficientnet.onnx --input-range 0,1 --explain
      convsv audit checkpoint.pth --layers 'layer4.*' --format csv
      convsv audit model.safetensors -o audit.json -o audit.html
    """  # noqa: D301  (click takes \b for "keep these lines")
    targets = prepare(outputs, format_name, model)
    warm_up(graph or model)
    from convsv_cli import api
    from convsv_cli.cli.progress import progress_bar

    with progress_bar(hidden=quiet) as progress:
        result = api.audit(
            model,
            exact=exact,
            input_size=input_size,
            input_shapes=input_shapes,
            layers=layers,
            as_stride_1=as_stride_1,
            device=device,
            tolerance=tolerance,
            work_limit=work_limit,
            input_range=input_range,
            empirical=empirical,
            spectra=spectra,
            graph=graph,
            progress=progress,
        )
    write(Report(command="audit", audits=(result,)), targets, explain=explain)
    return 0 if exit_zero or result.audited == len(result.layers) else INCOMPLETE
