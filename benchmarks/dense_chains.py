"""Random chains of dense layers with ReLU between them: all that LipSDP and ECLipsE can read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.graph_builder import IMAGE, GraphBuilder

Weights = Sequence[np.ndarray]
"""Of a chain: float64 [features out, features in] each, the first layer first."""


def random_chain(widths: Sequence[int], seed: int) -> list[np.ndarray]:
    """Normal weights of variance 1 / fan-in, rounded to single precision as a file holds them.

    Args:
        widths: of the input, of each hidden layer, and of the output.
        seed: of the weights.
    """
    generator = np.random.default_rng(seed)
    shapes = [(after, before) for before, after in pairwise(widths)]
    draws = [generator.standard_normal(shape) / np.sqrt(shape[1]) for shape in shapes]
    return [draw.astype(np.float32).astype(np.float64) for draw in draws]


def save_chain(path: Path, weights: Weights) -> Path:
    """Write the chain as an ONNX file.

    Args:
        path: of the file.
        weights: of its layers.
    """
    graph, x = GraphBuilder(weights[0].shape[1]), IMAGE
    for index, weight in enumerate(weights):
        x = x if index == 0 else graph.relu(x)
        x = graph.dense(f"fc{index}", x, len(weight), {"weight": weight})
    return graph.save(path, x)
