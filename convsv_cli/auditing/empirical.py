"""The network run in onnxruntime, where the user asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from convsv_cli.confinement import StoppedError
from convsv_cli.empirical import RANDOM, confined_lower_bound
from convsv_cli.errors import UnsafeModelError, UsageError
from convsv_cli.model.network import Network
from convsv_cli.report import BOUNDED, Empirical, NetworkBound, Settings

BROKEN = "{path} amplifies by {ratio}, as --empirical found, but is certified to amplify by at most {limit}"


def check_empirical(network: Network, source: str) -> None:
    """Check, before hours of work, that the network can be run.

    Args:
        network: what is to be run.
        source: "random", or a file of inputs.

    Raises:
        UsageError: it is no ONNX file, or the data file is missing.
    """
    if network.format != "onnx":
        hint = "export the model to ONNX"
        raise UsageError("--empirical runs ONNX files only", where=network.path, hint=hint)
    if source != RANDOM and not Path(source).is_file():
        hint = "--empirical takes random, or an .npz file of inputs"
        raise UsageError("no such file", where=source, hint=hint)


class BrokenBoundError(Exception):
    """A network amplifies more than is proven: convsv has a fault."""


def empirical_of(
    network: Network, bound: NetworkBound, settings: Settings, progress: Callable[[str, float], None] | None
) -> Empirical:
    """The largest ratio seen.

    Raises:
        BrokenBoundError: it is above the certified bound, and not for the model's own rounding.
        UsageError: onnxruntime is missing or cannot run the model; the data do not fit.
        UnsafeModelError: running the model takes too long or too much memory, or crashes onnxruntime.
    """
    shapes = {
        name: tuple(size for size in dims if isinstance(size, int))
        for name, dims in network.inputs
        if all(isinstance(size, int) for size in dims)
    }
    limit = bound.lipschitz if bound.status == BOUNDED else math.inf
    try:
        found = confined_lower_bound(
            Path(network.path),
            weights=sum(path.stat().st_size for path in _files(network)),
            data=None if settings.empirical == RANDOM else Path(settings.empirical),
            input_shapes=shapes,
            input_range=settings.input_range,
            limit=limit,
            progress=progress or (lambda _task, _share: None),
        )
    except StoppedError as error:
        raise UnsafeModelError(
            f"running it in onnxruntime was stopped: {error}",
            where=network.path,
            hint="run without --empirical",
        ) from error
    if found.ratio > limit:
        raise BrokenBoundError(BROKEN.format(path=network.path, ratio=found.ratio, limit=limit))
    return found


def _files(network: Network) -> Iterator[Path]:
    """Each file of the model once."""
    folder = Path(network.path).parent
    yield from (path for name in network.files if (path := folder / name).is_file())
