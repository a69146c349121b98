"""`convsv spectrum`: all singular values of chosen layers."""

from __future__ import annotations

from pathlib import Path

import click

from convsv_cli.cli import options
from convsv_cli.cli.output import prepare, write
from convsv_cli.cli.spectrum_files import check_outputs, keepers
from convsv_cli.loaders import warm_up
from convsv_cli.renderers.spectrum import RENDERERS
from convsv_cli.report import NOT_APPLICABLE, Settings

BINS = 12
INCOMPLETE = 3


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--layer", "layers", metavar="GLOB", multiple=True, help="Only layers of that name. Repeatable."
)
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.AS_LAYER
@options.AS_TABLE
@options.AS_STRIDE_1
@options.DEVICE
@click.option(
    "--bins",
    type=click.IntRange(1, 1000),
    default=BINS,
    show_default=True,
    help="Bars of each histogram.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help="Also write all values to a .npz (an array a layer, descending) or .csv file. Repeatable.",
)
@options.format_option(RENDERERS)
@options.QUIET
@options.NO_COLOR
def spectrum(
    *,
    model: Path,
    layers: tuple[str, ...],
    input_size: tuple[int, ...] | None,
    input_shapes: dict[str, tuple[int, ...]],
    as_layer: tuple[str, ...],
    as_table: tuple[str, ...],
    as_stride_1: bool,
    device: str | None,
    bins: int,
    outputs: tuple[Path, ...],
    format_name: str | None,
    quiet: bool,
) -> int:
    """All singular values of the layers of MODEL, with circular padding at each layer's input size.

    Prints how many there are, how they are distributed, and a histogram a layer. The values are accurate to
    about 1e-13 of the largest one, but not certified: `convsv audit --exact` certifies the largest. The time
    grows with the number of pixels; the memory does not, except for .npz, which holds one layer's values.
    Exits with 3 where a layer could not be computed.

    \b
    Examples:
      convsv spectrum sample_models/resnet20.onnx --layer conv1
      convsv spectrum resnet18.onnx --layer conv1 --input-size 224
      convsv spectrum resnet18.onnx --layer 'layer4.*' --bins 40
      convsv spectrum checkpoint.pth --input-size 32 -o spectra.npz
      convsv spectrum model.safetensors --layer fc -o fc.csv

    \b
    In Python, with a file from -o spectra.npz:
      values = numpy.load("spectra.npz")["conv1"]
    """  # noqa: D301  (click takes \b for "keep these lines")
    check_outputs(outputs, model)
    targets = prepare(RENDERERS, (), format_name, [])
    warm_up(model)
    from convsv_cli import api
    from convsv_cli.auditing.spectra import layer_spectra
    from convsv_cli.cli.progress import progress_bar

    settings = Settings(
        input_size=input_size,
        input_shapes=tuple(input_shapes.items()),
        layers=layers,
        as_layer=as_layer,
        as_table=as_table,
        as_stride_1=as_stride_1,
        device=device or "auto",
    )
    with progress_bar(hidden=quiet) as progress, keepers(outputs) as kept:
        network = api.load(model, input_size=input_size, input_shapes=input_shapes)
        spectra = layer_spectra(network, settings, bins=bins, keepers=kept, progress=progress)
    write(spectra, targets)
    told = (layer.distribution or layer.row.status == NOT_APPLICABLE for layer in spectra.layers)
    return 0 if all(told) else INCOMPLETE
