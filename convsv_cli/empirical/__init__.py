"""How much a network is seen to amplify: its Lipschitz constant from below, never a certificate.

The search runs in a child process, where a model that crashes onnxruntime, or never ends, harms nobody. Its
limits grow with the model: 10 minutes and a second for each MB of weights, the processor time of all cores
for as long, and 4 GB of memory and six times the weights. After half of the time, the search ends with what
it has found by then, so that only a single run that does not end comes to nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.confinement import MB, Limits, StoppedError, confined
from convsv_cli.empirical.function import Function
from convsv_cli.empirical.npz import shapes_of
from convsv_cli.empirical.points import EXPLAIN, from_file, random_points
from convsv_cli.empirical.search import MARGIN, Search, secant, without_jumps
from convsv_cli.errors import UnsafeModelError, UsageError
from convsv_cli.missing import nothing_at
from convsv_cli.remote.files import whole
from convsv_cli.report import BOUNDED, Empirical, NetworkBound, Settings

if TYPE_CHECKING:  # the child process runs without torch
    from convsv_cli.model.network import Network

Progress = Callable[[str, float], None]
RANDOM = "random"
TASK = "empirical lower bound"
BROKEN = "{path} amplifies by {ratio}, as --empirical found, but is certified to amplify by at most {limit}"
DOUBLE = float(np.finfo(np.float64).eps)


class BrokenBoundError(Exception):
    """A network amplifies more than is proven: convsv has a fault."""


def lower_bound(
    model: Path,
    *,
    content: bytes = b"",
    data: Path | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    input_range: tuple[float, float] | None = None,
    seed: int = 0,
    pairs: int = 300,
    steps: int = 24,
    seconds: float = math.inf,
    limit: float = math.inf,
    progress: Progress = lambda _task, _share: None,
) -> Empirical:
    """Look for the largest ratio |f(x) - f(y)| / |x - y| of an ONNX model, run by onnxruntime.

    f maps all real inputs together to all real outputs together; other inputs are held fixed, at zero or at
    the first of DATA. Each ratio is one of a secant, so that it is not above the Lipschitz constant but for
    rounding, whatever the step. An estimate: the true constant may be much larger.

    Args:
        model: the file; external data lie next to it.
        content: the ONNX model, where the file is no such, but holds its constants.
        data: a .npz file, its arrays named as the inputs, or a single one; without it, points are random.
        input_shapes: full shapes of inputs, by name.
        input_range: what all points are inside; random ones are uniform in it, else standard normal.
        seed: the same one gives the same estimate.
        pairs: of points, at most.
        steps: how often directions are improved.
        seconds: after which no further step begins.
        limit: what no ratio can be above but for rounding. One that is, is taken again in double precision,
            or without all jumps where the model cannot be run in that, or is in it.
        progress: called with what is being done, and the share.

    Raises:
        UsageError: onnxruntime is missing or cannot run the model; shapes or DATA do not fit.
    """
    start = time.perf_counter()
    function = Function.load(model, input_shapes or {}, data, content)
    if data is None:
        points = random_points(function, input_range, seed)
    else:
        points = from_file(function, data, input_range, seed)
    search = Search(function, points, input_range, seed)
    search.compare(pairs)
    for step in range(steps):
        if time.perf_counter() - start > seconds:
            break
        progress(TASK, step / steps)
        search.improve()
    progress(TASK, 1.0)
    return Empirical(
        ratio=search.ratio if search.ratio <= limit else _closer(model, content, function, search),
        pairs=search.pairs,
        directions=search.directions,
        source=RANDOM if data is None else str(data),
        seconds=time.perf_counter() - start,
    )


def _closer(model: Path, content: bytes, function: Function, search: Search) -> float:
    """The best ratio again, without what the model's own rounding has done to it."""
    from convsv_cli.empirical.double import in_double

    points = np.stack(search.best)
    if function.precision > DOUBLE:
        with contextlib.suppress(UsageError):
            precise = in_double(model, function, content)
            signs = np.random.default_rng(0).choice([-1.0, 1.0], points.shape)
            return secant(precise, points, points * (1 + 2 * precise.precision * signs), margin=MARGIN)
    return without_jumps(function, points)


def check_empirical(network: Network, source: str) -> None:
    """Check, before hours of work, that the network can be run.

    Args:
        network: what is to be run.
        source: "random", or a file of inputs.

    Raises:
        UsageError: it has no graph that onnxruntime runs, or the data file is missing or no .npz file.
        LimitError: the data would take more memory than the files in use may.
    """
    if network.format != "onnx" and network.executable is None:
        hint = "export the model to ONNX"
        raise UsageError(
            "--empirical runs ONNX graphs, and what has one: programs of torch.export, TorchScript at a size",
            where=network.path,
            hint=hint,
        )
    if source != RANDOM and not Path(source).is_file():
        raise nothing_at(UsageError, source, "--empirical takes random, or an .npz file of inputs")
    if source != RANDOM:
        shapes_of(Path(source), EXPLAIN)


def empirical_of(
    network: Network, bound: NetworkBound, settings: Settings, progress: Progress | None
) -> Empirical:
    """What `lower_bound` finds of a network in a child process; a ratio above the bound is looked at closely.

    Args:
        network: with a graph that onnxruntime runs.
        bound: its certified bound.
        settings: the inputs to run it on.
        progress: as in `lower_bound`.

    Raises:
        BrokenBoundError: it is above the certified bound, and not for the model's own rounding.
        UsageError: onnxruntime is missing or cannot run the model; the data do not fit.
        UnsafeModelError: running the model takes too long or too much memory, or crashes onnxruntime.
    """
    limit = bound.lipschitz if bound.status == BOUNDED else math.inf
    folder = Path(network.path).parent
    files = [whole(folder / name) for name in network.files]  # onnxruntime opens them itself
    limits = limits_of(sum(file.stat().st_size for file in files if file.is_file()))
    request = {
        "model": network.path,
        "data": None if settings.empirical == RANDOM else settings.empirical,
        "input_shapes": {
            name: dims for name, dims in network.inputs if all(isinstance(size, int) for size in dims)
        },
        "input_range": settings.input_range,
        "limit": limit if math.isfinite(limit) else None,
        "seconds": limits.seconds / 2,
    }
    listener = progress or (lambda _task, _share: None)
    try:
        answer = confined(
            f"{__name__}:search_confined",
            json.dumps(request).encode() + b"\n" + (network.executable() if network.executable else b""),
            limits,
            lambda share: listener(TASK, share),
        )
    except StoppedError as error:
        raise UnsafeModelError(
            f"running it in onnxruntime was stopped: {error}",
            where=network.path,
            hint="run without --empirical",
        ) from error
    found = Empirical(**json.loads(answer))
    if found.ratio > limit:
        raise BrokenBoundError(BROKEN.format(path=network.path, ratio=found.ratio, limit=limit))
    return found


def limits_of(weights: int) -> Limits:
    """As at the top of this module."""
    seconds = 600 + weights // MB
    return Limits(
        seconds=seconds,
        processor=seconds * (os.cpu_count() or 1),
        memory=4096 * MB + 6 * weights,
        reads=True,
    )


def search_confined(request: bytes, report: Callable[[float], None]) -> bytes:
    """In the child."""
    head, _, content = request.partition(b"\n")
    asked = json.loads(head)
    found = lower_bound(
        Path(asked["model"]),
        content=content,
        data=None if asked["data"] is None else Path(asked["data"]),
        input_shapes={name: tuple(shape) for name, shape in asked["input_shapes"].items()},
        input_range=None if asked["input_range"] is None else tuple(asked["input_range"]),
        seconds=asked["seconds"],
        limit=math.inf if asked["limit"] is None else asked["limit"],
        progress=lambda _task, share: report(share),
    )
    return json.dumps(asdict(found)).encode()
