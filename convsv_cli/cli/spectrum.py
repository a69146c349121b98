"""`convsv spectrum`: all singular values of chosen layers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from convsv_cli.cli import options
from convsv_cli.cli.helping import AUDITED, FIGURES, Command, option
from convsv_cli.cli.output import check_replaceable, prepare, write
from convsv_cli.cli.running import progress_bar
from convsv_cli.errors import UsageError
from convsv_cli.limits import allowing
from convsv_cli.loaders import warm_up
from convsv_cli.remote import is_remote
from convsv_cli.remote.mirror import mirrored
from convsv_cli.renderers.spectrum import KEEPERS, RENDERERS
from convsv_cli.replacing import replacement
from convsv_cli.report import NOT_APPLICABLE
from convsv_cli.report.verdict import LEFT_OPEN, PASS

BINS = 12


@click.command(
    cls=Command,
    short_help="Compute all singular values of chosen layers.",
    see_also=["audit", "help formats"],
)
@click.argument("model", type=click.Path(path_type=Path))
@option(
    "--layer",
    "layers",
    section=AUDITED,
    metavar="GLOB",
    multiple=True,
    help="Only matching layers. Repeatable.",
)
@options.INPUT_SIZE
@options.INPUT_SHAPE
@options.AS_LAYER
@options.AS_TABLE
@options.AS_STRIDE_1
@options.DEVICE
@option(
    "--bins",
    section=FIGURES,
    metavar="N",
    type=click.IntRange(1, 1000),
    default=BINS,
    show_default=True,
    help="Bars of each histogram.",
)
@options.output_option("Also write all values to a .npz (one array per layer, descending) or .csv file.")
@options.format_option(RENDERERS)
@options.QUIET
@options.NO_COLOR
@options.limited
def spectrum(
    *,
    model: Path,
    bins: int,
    outputs: tuple[Path, ...],
    format_name: str | None,
    quiet: bool,
    **asked: Any,  # noqa: ANN401  (options that are called like the fields of `Settings`)
) -> int:
    """All singular values of the layers of MODEL, with circular padding at each layer's input size.

    Prints their number, their distribution and a histogram per layer. The values are accurate to about 1e-13
    of the largest one, but not certified: `convsv audit --exact` certifies the largest. The time grows with
    the number of pixels; the memory does not, except for .npz, which holds one layer's values. Exits with 3
    if a layer's values could not be computed.

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
    _check_outputs(outputs, model)
    targets = prepare(RENDERERS, (), format_name, [])
    warm_up(model)
    from convsv_cli.auditing import loaded
    from convsv_cli.auditing.spectra import layer_spectra

    settings = options.settings(asked)
    with progress_bar(hidden=quiet) as progress, ExitStack() as stack:
        files = [(path, stack.enter_context(replacement(path))) for path in outputs]
        keepers = [stack.enter_context(KEEPERS[path.suffix.lower()](path, file)) for path, file in files]
        mirror = stack.enter_context(mirrored(model)) if is_remote(model) else None
        stack.enter_context(allowing())
        network = loaded(mirror.path if mirror else model, settings)
        spectra = layer_spectra(network, settings, bins=bins, keepers=keepers, progress=progress)
        if mirror:
            spectra = replace(spectra, path=mirror.told(spectra.path))
    write(spectra, targets)
    complete = (layer.distribution or layer.row.status == NOT_APPLICABLE for layer in spectra.layers)
    return PASS if all(complete) else LEFT_OPEN


def _check_outputs(outputs: tuple[Path, ...], model: Path) -> None:
    """Complain before any work is done."""
    for path in outputs:
        if path.suffix.lower() not in KEEPERS:
            raise UsageError("the suffix implies no format", where=str(path), hint="use .npz or .csv")
        check_replaceable(path, [model])
