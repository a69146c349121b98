"""The search in a child process, where a model that crashes onnxruntime, or never ends, harms nobody.

Its limits grow with the model: 10 minutes and a second for each MB of weights, the processor time of all
cores for as long, and 4 GB of memory and six times the weights. After half of the time, the search ends with
what it has found by then, so that only a single run that does not end comes to nothing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from convsv_cli.confinement import Limits, confined
from convsv_cli.confinement.limits import MB
from convsv_cli.empirical import TASK, Progress, lower_bound
from convsv_cli.report import Empirical


def confined_lower_bound(
    model: Path,
    *,
    weights: int,
    data: Path | None,
    input_shapes: Mapping[str, tuple[int, ...]],
    input_range: tuple[float, float] | None,
    limit: float,
    progress: Progress,
) -> Empirical:
    """What `lower_bound` finds of a model with so many bytes of weights.

    A ratio above `limit` is looked at closely; infinite for none.

    Raises:
        UsageError: as `lower_bound`.
        StoppedError: it reached a limit, or onnxruntime crashed.
    """
    limits = limits_of(weights)
    request = {
        "model": str(model),
        "data": None if data is None else str(data),
        "input_shapes": input_shapes,
        "input_range": input_range,
        "limit": limit if math.isfinite(limit) else None,
        "seconds": limits.seconds / 2,
    }
    answer = confined(
        f"{__name__}:search", json.dumps(request).encode(), limits, lambda share: progress(TASK, share)
    )
    return Empirical(**json.loads(answer))


def limits_of(weights: int) -> Limits:
    """As at the top of this module."""
    seconds = 600 + weights // MB
    return Limits(
        seconds=seconds,
        processor=seconds * (os.cpu_count() or 1),
        memory=4096 * MB + 6 * weights,
        reads=True,
    )


def search(request: bytes, report: Callable[[float], None]) -> bytes:
    """In the child."""
    asked = json.loads(request)
    found = lower_bound(
        Path(asked["model"]),
        data=None if asked["data"] is None else Path(asked["data"]),
        input_shapes={name: tuple(shape) for name, shape in asked["input_shapes"].items()},
        input_range=None if asked["input_range"] is None else tuple(asked["input_range"]),
        seconds=asked["seconds"],
        limit=math.inf if asked["limit"] is None else asked["limit"],
        progress=lambda _task, share: report(share),
    )
    return json.dumps(asdict(found)).encode()
