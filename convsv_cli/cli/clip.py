"""`convsv clip`: a model like another one that keeps limits."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from convsv_cli.cli import options
from convsv_cli.cli.helping import BUDGET, FIGURES, OUTPUT, SAMPLES, Command, option
from convsv_cli.cli.output import check_replaceable, prepare, write
from convsv_cli.cli.running import note, progress_bar
from convsv_cli.digits import short
from convsv_cli.errors import UsageError
from convsv_cli.loaders import warm_up
from convsv_cli.remote import is_remote
from convsv_cli.renderers.clipping import RENDERERS
from convsv_cli.report import CLIP, CLIP_METHODS, EXCEEDED, WRITTEN, ClipSettings, Report
from convsv_cli.report.verdict import OVER_BUDGET, PASS


@click.command(
    cls=Command,
    short_help="Bring a model under limits: a copy with smaller norms, proven.",
    see_also=["check", "audit", "help formats"],
)
@click.argument("model", type=click.Path(path_type=Path))
@option(
    "--max-layer",
    section=BUDGET,
    metavar="LIMIT",
    type=float,
    help="What the certified norm of each layer must not exceed.",
)
@option(
    "--max-lipschitz",
    section=BUDGET,
    metavar="LIMIT",
    type=float,
    help="What the certified bound of the network must not exceed: all chosen layers are brought down"
    " together until it does not.",
)
@option(
    "--method",
    section=FIGURES,
    type=click.Choice(CLIP_METHODS),
    default=CLIP,
    show_default=True,
    help="clip: lower the singular values above the limit, and hardly any other; scale: multiply the weight.",
)
@options.globs("--layers", "Only change matching layers.")
@option(
    "--data",
    section=SAMPLES,
    metavar="FILE.npz",
    type=click.Path(dir_okay=False),
    default="",
    help="Samples (x) and true classes (y): the accuracy before and after.",
)
@option(
    "--batchnorm",
    section=SAMPLES,
    metavar="FILE.npz",
    type=click.Path(dir_okay=False),
    default="",
    help="Samples of the training data (x, y), all of which go through the network at once: estimate the"
    " statistics of BatchNorm anew.",
)
@option("--limit", section=SAMPLES, metavar="N", type=click.IntRange(min=2), help="Only the first N samples.")
@options.INPUT_MEAN
@options.INPUT_STD
@options.NORMALIZED
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.AS_LAYER
@options.AS_TABLE
@options.DEVICE
@options.TOLERANCE_
@options.WORK_LIMIT_
@options.NETWORK_EFFORT
@options.INPUT_RANGE
@options.GRAPH
@option(
    "-o",
    "--output",
    "output",
    section=OUTPUT,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The new model, in the format of MODEL.",
)
@option("--force", section=OUTPUT, is_flag=True, help="Replace it where it exists.")
@option(
    "--report",
    "reports",
    section=OUTPUT,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help="Write what was done to a file, in the format that its suffix implies. Repeatable.",
)
@options.format_option(RENDERERS)
@options.QUIET
@options.NO_COLOR
@options.limited
def clip(
    *,
    model: Path,
    max_layer: float | None,
    max_lipschitz: float | None,
    method: str,
    layers: tuple[str, ...],
    data: str,
    batchnorm: str,
    limit: int | None,
    input_mean: tuple[float, ...],
    input_std: tuple[float, ...],
    normalized: bool,
    graph: Path | None,
    output: Path,
    force: bool,
    reports: tuple[Path, ...],
    format_name: str | None,
    quiet: bool,
    **asked: Any,  # noqa: ANN401  (options that are called like the fields of `Settings`)
) -> int:
    """Write a copy of MODEL whose layers, or whose network, keep a limit, and prove it of what was written.

    The singular values of a layer above the limit are lowered to it (Sedghi et al., ICLR 2019), at the
    frequencies of a torus and within the support of the kernel in turn; a factor just below 1 makes sure of
    what the type of the weights rounds and frequencies between those of the torus add. The limit is the
    figure of `convsv audit`, the norm of the layer itself: what BatchNorm behind it multiplies by counts for
    the network (--max-lipschitz), and its statistics no longer fit the new weights (--batchnorm).

    Only the bytes of weights are replaced, in the type in which they are stored: all else in the file, such
    as the state of an optimiser, is as it was. Nothing of it is executed.

    Exits with 0 if all limits are proven to be kept, 1 if not.

    \b
    Examples:
      convsv clip sample_models/digits.onnx --max-layer 3 -o clipped.onnx
      convsv clip model.onnx --max-layer 4 --data test.npz --batchnorm train.npz -o clipped.onnx
      convsv clip checkpoint.pth --max-layer 4 --graph model.onnx -o clipped.pth
      convsv clip model.safetensors --max-layer 4 --layers 'encoder.*' -o clipped.safetensors
      convsv clip model.onnx --max-lipschitz 1e4 --method scale -o scaled.onnx --report scaled.json
    """  # noqa: D301  (click takes \b for "keep these lines")
    inputs = [model, *map(Path, filter(None, (data, batchnorm))), *([graph] if graph else [])]
    if any(map(is_remote, inputs)):
        raise UsageError("clip changes copies of files, and this is an address", hint="download it first")
    targets = prepare(RENDERERS, reports, format_name, [*inputs, output])
    check_replaceable(output, inputs)
    warm_up(graph or model)
    from convsv_cli.clipping import clip_file

    wanted = ClipSettings(
        max_layer=max_layer,
        max_lipschitz=max_lipschitz,
        method=method,
        layers=layers,
        data=data,
        batchnorm=batchnorm,
        input_mean=input_mean,
        input_std=input_std,
        normalized=normalized,
        limit=limit,
    )
    with progress_bar(hidden=quiet) as progress:
        found = clip_file(
            model, output, wanted, options.settings(asked), graph=graph, force=force, progress=progress
        )
    write(found, targets)
    return PASS if found.kept else OVER_BUDGET


def suggest_clipping(report: Report) -> None:
    """A line on stderr for each file that exceeds limits: what brings its layers, and its network, down."""
    for audit in report.audits:
        gates = audit.verdict.gates if audit.verdict else ()
        whole = not (audit.settings.sources or audit.settings.targets)  # clip has no bound of parts
        exceeded = [gate for gate in gates if gate.outcome == EXCEEDED and gate.limit > 0]
        limits = {
            "--max-layer": [gate.limit for gate in exceeded if gate.node],
            "--max-lipschitz": [gate.limit for gate in exceeded if not gate.node and whole],
        }
        asked = [word for name, found in limits.items() if found for word in (name, short(min(found), 10))]
        path = Path(audit.model.path)
        if asked and path.is_file() and audit.model.format in WRITTEN:
            output = path.with_name(f"{path.stem}-clipped{path.suffix}")
            command = ["convsv", "clip", str(path), *asked, "-o", str(output)]
            note(f"{shlex.join(command)} writes a copy that keeps the limit{'s' if len(asked) > 2 else ''}")
