"""What a child process does for certificates: the network run at samples. Nothing here needs torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from convsv_cli.empirical.function import Function


def run(request: bytes, report: Callable[[float], None]) -> bytes:  # noqa: ARG001
    """The logits of samples: float64 [n, classes], as bytes.

    Args:
        request: a line of JSON with the model's path, the names of its input and output, the shape and the
            type of the samples, and then the samples.
        report: is not told of anything.
    """
    line, _, data = request.partition(b"\n")
    asked = json.loads(line)
    shape = tuple(asked["shape"])
    points = np.frombuffer(data, dtype=asked["dtype"]).reshape(-1, int(np.prod(shape)))
    function = Function.classifier(Path(asked["model"]), asked["input"], (1, *shape), asked["output"])
    # one at a time, for samples of a batch may meet, such as in a mean
    return function.alone(points.astype(np.float64)).tobytes()
