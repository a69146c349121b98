"""`convsv certify`: certified accuracy and radii at real inputs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from convsv_cli.cli import options
from convsv_cli.cli.helping import FIGURES, NETWORK, SAMPLES, Command, option
from convsv_cli.cli.output import prepare, write
from convsv_cli.cli.running import importing, progress_bar
from convsv_cli.cli.values import input_range, radii
from convsv_cli.errors import UsageError
from convsv_cli.loaders import warm_up
from convsv_cli.renderers.certification import RENDERERS
from convsv_cli.report import (
    ARITHMETICS,
    EUCLIDEAN,
    LOCAL_EFFORTS,
    NORMAL,
    NORMS,
    TOLERANCE,
    Certification,
)

DEFAULT_EPS = 0.5


@click.command(
    cls=Command,
    short_help="Certify a classifier at samples: accuracy and radii.",
    see_also=["audit", "help formats"],
)
@click.argument("model", type=click.Path(path_type=Path))
@option(
    "--data",
    section=SAMPLES,
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.npz",
    help="Samples (x) and true classes (y); bytes are divided by 255 unless other options go up to that.",
)
@option(
    "--eps",
    section=FIGURES,
    metavar="RADIUS",
    multiple=True,
    callback=radii,
    help="Radius, such as 0.5 or 36/255, at which accuracy is certified, without looking for the radius of"
    f" each sample (faster). Repeatable.  [default: {DEFAULT_EPS}, with --radii]",
)
@option(
    "--radii",
    "wants_radii",
    section=FIGURES,
    is_flag=True,
    help="Look for the radius of each sample although --eps is given.",
)
@option("--limit", section=SAMPLES, metavar="N", type=click.IntRange(min=1), help="Only the first N samples.")
@option(
    "--attack",
    section=FIGURES,
    is_flag=True,
    help="Also attack the samples (PGD), which bounds the accuracy from above.",
)
@options.INPUT_MEAN
@options.INPUT_STD
@options.NORMALIZED
@option(
    "--pixel-range",
    section=SAMPLES,
    metavar="LO,HI",
    callback=input_range,
    help="Range of all samples before the normalization, such as 0,1: radii hold for inputs that stay there.",
)
@options.INPUT_RANGE
@option(
    "--arithmetic",
    section=FIGURES,
    metavar="TYPE",
    type=click.Choice(ARITHMETICS),
    help=f"Certify the network as runtimes execute it in {', '.join(ARITHMETICS[1:])}, in any order of"
    f" summation; {ARITHMETICS[0]}: as if nothing were rounded."
    "  [default: the type that the network computes in]",
)
@option(
    "--effort",
    section=FIGURES,
    metavar="EFFORT",
    type=click.Choice(LOCAL_EFFORTS),
    default=NORMAL,
    show_default=True,
    help=f"How hard to look for local certificates: {', '.join(LOCAL_EFFORTS)}. More never proves less, and"
    " none leaves them out.",
)
@option(
    "--norm",
    section=FIGURES,
    type=click.Choice(NORMS),
    default=EUCLIDEAN,
    show_default=True,
    help="How distances are measured: in the Euclidean norm (2), or by the largest change of an entry (inf).",
)
@option(
    "--from",
    "source",
    section=NETWORK,
    metavar="INPUT",
    default="",
    help="The input that takes the samples, of several; the others are held at 0.",
)
@option(
    "--to",
    "target",
    section=NETWORK,
    metavar="OUTPUT",
    default="",
    help="The output that holds the logits, of several.",
)
@options.GRAPH
@options.DEVICE
@options.TOLERANCE_
@options.NETWORK_EFFORT
@options.TIME_LIMIT
@options.format_option(RENDERERS)
@options.OUTPUT_
@options.QUIET
@options.NO_COLOR
@options.limited
def certify(
    *,
    model: Path,
    data: Path,
    eps: tuple[str, ...],
    wants_radii: bool,
    limit: int | None,
    attack: bool,
    input_mean: tuple[float, ...],
    input_std: tuple[float, ...],
    normalized: bool,
    pixel_range: tuple[float, float] | None,
    input_range: tuple[float, float] | None,
    arithmetic: str | None,
    effort: str,
    norm: str,
    source: str,
    target: str,
    graph: Path | None,
    device: str | None,
    tolerance: float | None,
    network_effort: str | None,
    format_name: str | None,
    outputs: tuple[Path, ...],
    quiet: bool,
) -> None:
    """Certify the classifier MODEL at samples: how far each may move and provably keep its class.

    Local certificates bound the network backwards from each sample, with a box and a ball at each activation:
    no special training is needed. Radii also come from the margins of the logits divided by the certified
    Lipschitz bound of the network, and from the curvature of chains with one smooth activation. The largest
    counts. They are in the units of the data, before any normalization. onnxruntime runs the network, in a
    child process with limits on time and memory.

    Ctrl-C ends the search with a report of what is proven by then; a second one ends it without. Output files
    show what is known on the way, every ten seconds, marked as incomplete.

    \b
    Examples:
      convsv certify sample_models/digits.onnx --data sample_models/digits.npz --limit 5 --eps 0.1
      convsv certify resnet20_regularised.onnx --data test.npz --eps 36/255
      convsv certify mnist.onnx --data mnist.npz --attack -o certificate.html
      convsv certify mnist.onnx --data mnist.npz --effort thorough --pixel-range 0,1
      convsv certify mnist.onnx --data mnist.npz --eps 0.5 --eps 1 --radii -o radii.csv
      convsv certify mnist.onnx --data mnist.npz --eps 0.5 --arithmetic bfloat16
      convsv certify mnist.onnx --data mnist.npz --norm inf --eps 2/255 --attack
      convsv certify resnet50.onnx --data val.npz --limit 200 --input-mean 0.485,0.456,0.406 \\
                     --input-std 0.229,0.224,0.225
      convsv certify detector.onnx --data test.npz --to scores
      convsv certify classifier.onnx --data test.npz --format csv
    """  # noqa: D301  (click takes \b for "keep these lines")
    inputs = [model, data, *([graph] if graph else [])]
    targets = prepare(RENDERERS, outputs, format_name, inputs)
    warm_up(graph or model)
    with importing():
        from convsv_cli import api

    files = [target for target in targets if target.path is not None]

    def so_far(found: Certification) -> None:
        with suppress(UsageError):  # what cannot be written now may be later, and the end says if not
            write(found, files)

    with progress_bar(hidden=quiet) as progress:
        certification = api.certify(
            model,
            data,
            eps=eps or None,
            radii=wants_radii or None,
            input_mean=input_mean,
            input_std=input_std,
            normalized=normalized,
            limit=limit,
            attack=attack,
            pixel_range=pixel_range,
            input_range=input_range,
            arithmetic=arithmetic,
            effort=effort,
            norm=norm,
            source=source,
            target=target,
            device=device or "auto",
            tolerance=TOLERANCE if tolerance is None else tolerance,
            network_effort=network_effort or NORMAL,
            graph=graph,
            progress=progress,
            so_far=so_far,
        )
    write(certification, targets)
    if certification.interrupted:
        raise click.Abort
