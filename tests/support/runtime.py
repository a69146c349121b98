"""Models in onnxruntime, the independent witness of what a graph computes."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from onnx import ModelProto


def session(model: ModelProto | Path, *, rewritten: bool = True) -> onnxruntime.InferenceSession:
    """On one thread: those of onnxruntime spin while they wait, and take the core of the next test.

    Args:
        model: in memory, or a file with what lies beside it.
        rewritten: let onnxruntime change the graph for speed.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not rewritten:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
