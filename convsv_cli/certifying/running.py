"""The logits of samples: by onnxruntime in a child process, or by torch where a file has weights only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convsv_cli.certifying.classifier import Classifier
from convsv_cli.confinement import Limits, StoppedError, confined
from convsv_cli.confinement.limits import MB
from convsv_cli.differentiable import UndifferentiableError, differentiable
from convsv_cli.empirical.function import Function
from convsv_cli.errors import UnsafeModelError, UsageError
from convsv_cli.spectral.cores import each_on_a_core, one_thread_each

ENTRIES = 2**23
"""Of samples that are sent to the child at once."""
ROUNDINGS = 64
"""Of the largest logit, that are taken off each of them: an allowance, no proof."""
SOME = 32
SINGLE = float(np.finfo(np.float32).eps)
Progress = Callable[[float], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Logits:
    """What the network computes.

    Attributes:
        values: float64 [n, classes].
        error: what rounding may have done to each, with much room.
    """

    values: torch.Tensor
    error: float


def logits_of(classifier: Classifier, x: NDArray[Any], progress: Progress) -> Logits:
    """Of samples [n, *shape].

    Raises:
        UsageError: the network cannot be run.
        UnsafeModelError: running it takes too long or too much memory, or crashes onnxruntime.
    """
    if classifier.network.format != "onnx":
        return _allowed(_by_torch(classifier, x), SINGLE)
    count = max(1, ENTRIES // max(1, x[0].size))
    parts, precision = [], SINGLE
    for start in range(0, len(x), count):
        some, own = _by_runtime(classifier, x[start : start + count])
        parts.append(some)
        precision = max(precision, own)
        progress(min(1.0, (start + count) / len(x)))
    return _allowed(np.concatenate(parts), precision)


def _allowed(values: NDArray[np.float64], precision: float) -> Logits:
    error = ROUNDINGS * precision * float(np.abs(values).max(initial=0.0))
    return Logits(values=torch.from_numpy(values), error=error)


def _by_torch(classifier: Classifier, x: NDArray[Any]) -> NDArray[np.float64]:
    try:
        function = differentiable(
            classifier.graph, source=classifier.source, nodes=classifier.nodes, output=classifier.output
        )
    except UndifferentiableError as error:
        raise UsageError(str(error), where=classifier.network.path, hint="certify an ONNX export") from error

    def some(start: int) -> NDArray[np.float64]:
        return function(torch.from_numpy(x[start : start + SOME]).float()).double().numpy()

    with torch.no_grad(), one_thread_each():
        return np.concatenate(each_on_a_core(some, range(0, len(x), SOME)))


def _by_runtime(classifier: Classifier, x: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """The logits, and the distance from 1 to the next number in the network's coarsest type."""
    path = Path(classifier.network.path)
    head = {
        "model": str(path),
        "input": classifier.source,
        "shape": classifier.shape,
        "dtype": x.dtype.str,
    }
    files = (path.parent / name for name in classifier.network.files)
    size = sum(each.stat().st_size for each in files if each.is_file())
    seconds = 600 + size // MB
    limits = Limits(
        seconds=seconds,
        processor=seconds * (os.cpu_count() or 1),
        memory=4096 * MB + 6 * size,
        answer=MB + 8 * len(x) * classifier.classes,
        reads=True,
    )
    try:
        answer = confined(f"{__name__}:run", json.dumps(head).encode() + b"\n" + x.tobytes(), limits)
    except StoppedError as error:
        raise UnsafeModelError(f"running it in onnxruntime was stopped: {error}", where=str(path)) from error
    precision, *_ = numbers = np.frombuffer(answer, dtype=np.float64)
    return numbers[1:].reshape(len(x), classifier.classes).copy(), float(precision)


def run(request: bytes, report: Progress) -> bytes:  # noqa: ARG001
    """In the child."""
    line, _, data = request.partition(b"\n")
    asked = json.loads(line)
    shape = tuple(asked["shape"])
    points = np.frombuffer(data, dtype=asked["dtype"]).reshape(-1, int(np.prod(shape)))
    function = Function.load(Path(asked["model"]), {asked["input"]: (1, *shape)})
    function.try_batches(points[:4].astype(np.float64))
    return np.append(function.precision, function(points.astype(np.float64))).tobytes()
