"""The logits of samples: by onnxruntime in a child process, or by torch where a file has weights only."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convsv_cli.certification.classifier import Classifier
from convsv_cli.confinement import MB, StoppedError, confined
from convsv_cli.differentiable import Function, UndifferentiableError, differentiable
from convsv_cli.empirical import limits_of
from convsv_cli.errors import UnsafeModelError, UsageError
from convsv_cli.spectral.cores import one_thread_each, parallel_map

ENTRIES = 2**23
"""Of samples that are sent to the child at once."""
ROUNDINGS = 64
"""Of the largest logit, that are taken off each of them: an allowance, no proof."""
PRECISIONS = {"double": 2.0**-52, "float": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
WORDS = {"double": "double", "float": "single", "float16": "half", "bfloat16": "bfloat16"}
TYPES = {"double": "float64", "float16": "float16"}
SOME = 32
AGREE = 1e-3
"""Of the largest logit: how far another reading of a network may be off the network as it runs."""
TASK = "convsv_cli.certification.task:run"
"""In a module of its own, so that the child does not import torch."""
Progress = Callable[[float], None]


def logits_of(
    classifier: Classifier, x: NDArray[Any], progress: Progress = lambda _share: None
) -> torch.Tensor:
    """Of samples [n, *shape]: float64 [n, classes].

    Raises:
        UsageError: the network cannot be run.
        UnsafeModelError: running it takes too long or too much memory, or crashes onnxruntime.
    """
    if classifier.network.format != "onnx":
        return torch.from_numpy(_by_torch(classifier, x))
    count = max(1, ENTRIES // max(1, x[0].size))
    parts = []
    for start in range(0, len(x), count):
        parts.append(_by_onnxruntime(classifier, x[start : start + count]))
        progress(min(1.0, (start + count) / len(x)))
    return torch.from_numpy(np.concatenate(parts))


def in_torch(classifier: Classifier) -> Function:
    """The classifier as convsv reads it, with gradients: float32 [n, *shape] -> [n, classes].

    Raises:
        UndifferentiableError: one of its operators has none.
    """
    return differentiable(
        classifier.graph, source=classifier.source, nodes=classifier.nodes, output=classifier.output
    )


def agree(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether logits of convsv's own reading are those of the network as it runs, but for their rounding."""
    return bool((ours - theirs).abs().max() <= AGREE * theirs.abs().max())


def rounding_allowance(logits: torch.Tensor, precision: float) -> torch.Tensor:
    """What rounding to a precision may have done to the logits of each sample, with much room: [n]."""
    return ROUNDINGS * precision * logits.abs().amax(1)


def precision_of(classifier: Classifier) -> tuple[float, str]:
    """The distance from 1 to the next number in the coarsest type that is computed in, and its name."""
    names = {name for node in classifier.nodes for name in (*node.inputs, *node.outputs) if name}
    types = {classifier.graph.dtypes.get(name, "float") for name in names}
    types |= {"float"} if classifier.network.format != "onnx" else set()
    coarsest = max(types & PRECISIONS.keys(), key=lambda name: PRECISIONS[name], default="float")
    return PRECISIONS[coarsest], WORDS[coarsest]


def input_rounding(classifier: Classifier, x: NDArray[Any]) -> NDArray[np.float64]:
    """How far each sample is from what the network is given, in the type of its input: [n]."""
    declared = classifier.graph.dtypes.get(classifier.source, "float")
    kind = TYPES.get(declared, "float32") if classifier.network.format == "onnx" else "float32"
    with np.errstate(over="ignore"):
        difference = x.astype(kind).astype(np.float64) - x
    distances: NDArray[np.float64] = np.linalg.norm(difference.reshape(len(x), -1), axis=1)
    return distances


def _by_torch(classifier: Classifier, x: NDArray[Any]) -> NDArray[np.float64]:
    try:
        function = in_torch(classifier)
    except UndifferentiableError as error:
        raise UsageError(str(error), where=classifier.network.path, hint="certify an ONNX export") from error

    chunks = torch.split(torch.from_numpy(x), function.at_once(SOME))
    with torch.no_grad(), one_thread_each():
        return torch.cat(parallel_map(lambda chunk: function(chunk.float()).double(), chunks)).numpy()


def _by_onnxruntime(classifier: Classifier, x: NDArray[Any]) -> NDArray[np.float64]:
    path = Path(classifier.network.path)
    head = {
        "model": str(path),
        "input": classifier.source,
        "output": classifier.output,
        "shape": classifier.shape,
        "dtype": x.dtype.str,
    }
    files = (path.parent / name for name in classifier.network.files)
    size = sum(each.stat().st_size for each in files if each.is_file())
    limits = replace(limits_of(size), answer=MB + 8 * len(x) * classifier.classes)
    try:
        answer = confined(TASK, json.dumps(head).encode() + b"\n" + x.tobytes(), limits)
    except StoppedError as error:
        raise UnsafeModelError(f"running it in onnxruntime was stopped: {error}", where=str(path)) from error
    logits: NDArray[np.float64] = np.frombuffer(answer, dtype=np.float64).copy()
    return logits.reshape(len(x), classifier.classes)
