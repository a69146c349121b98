"""How much a network is seen to amplify: its Lipschitz constant from below, never a certificate."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from convsv_cli.empirical.function import Function
from convsv_cli.empirical.points import from_file, random_points
from convsv_cli.empirical.search import MARGIN, Search, secant, without_jumps
from convsv_cli.errors import UsageError
from convsv_cli.report import Empirical

Progress = Callable[[str, float], None]
RANDOM = "random"
TASK = "empirical lower bound"
DOUBLE = float(np.finfo(np.float64).eps)


def lower_bound(
    model: Path,
    *,
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
        model: the file; external data lie beside it.
        data: a .npz file, its arrays named as the inputs, or a single one; without it, points are random.
        input_shapes: full shapes of inputs, by name.
        input_range: what all points are inside; random ones are uniform in it, else standard normal.
        seed: the same one gives the same estimate.
        pairs: of points, at most.
        steps: how often directions are improved.
        seconds: after which no further step begins.
        limit: what no ratio can be above but for rounding. One that is, is taken again in double precision,
            or without all jumps where the model cannot be run in that, or is in it.
        progress: told what is done, and the share.

    Raises:
        UsageError: onnxruntime is missing or cannot run the model; shapes or DATA do not fit.
    """
    start = time.perf_counter()
    function = Function.load(model, input_shapes or {}, data)
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
        ratio=search.ratio if search.ratio <= limit else _closer(model, function, search),
        pairs=search.pairs,
        directions=search.directions,
        source=RANDOM if data is None else str(data),
        seconds=time.perf_counter() - start,
    )


def _closer(model: Path, function: Function, search: Search) -> float:
    """The best ratio again, without what the model's own rounding has done to it."""
    from convsv_cli.empirical.double import in_double

    points = np.stack(search.best)
    if function.precision > DOUBLE:
        with contextlib.suppress(UsageError):
            precise = in_double(model, function)
            signs = np.random.default_rng(0).choice([-1.0, 1.0], points.shape)
            return secant(precise, points, points * (1 + 2 * precise.precision * signs), margin=MARGIN)
    return without_jumps(function, points)
