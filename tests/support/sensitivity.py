"""How much a graph amplifies perturbations, measured: what bounds of networks must not fall below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convsv_cli.lipschitz.composition import compose
from convsv_cli.lipschitz.norms import Norm, Norms, no_row, rows_by_key
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.lipschitz.segments import Composed
from convsv_cli.loaders.onnx.reading import network_of
from convsv_cli.model.kernel import reduce_kernel
from convsv_cli.model.layer import Layer
from convsv_cli.model.network import InputSize, Network
from convsv_cli.numerics.intervals import ANYTHING, Range
from convsv_cli.spectral.norms import norms_of
from tests.support import runtime

Shapes = Mapping[str, Sequence[int]]
Flat = Callable[[np.ndarray], np.ndarray]


def double_model(
    nodes: Sequence[NodeProto],
    inputs: Shapes,
    weights: Mapping[str, np.ndarray],
    outputs: Sequence[str] = ("y",),
    opset: int = 20,
) -> ModelProto:
    """A model that computes in double precision."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("custom", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def runner(model: ModelProto) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """By onnxruntime where it has kernels in double precision, else by the reference implementation."""
    try:
        session = runtime.session(model)
    except Exception:  # noqa: BLE001
        evaluator = ReferenceEvaluator(model)
        return lambda feeds: list(evaluator.run(None, dict(feeds)))
    return lambda feeds: list(session.run(None, dict(feeds)))


def flat(model: ModelProto, inputs: Shapes) -> Flat:
    """The model as a function of one vector, all inputs one after the other, and so the outputs."""
    run = runner(model)

    def function(x: np.ndarray) -> np.ndarray:
        parts = np.split(x, np.cumsum([int(np.prod(shape)) for shape in inputs.values()])[:-1])
        feeds = {name: part.reshape(shape) for (name, shape), part in zip(inputs.items(), parts, strict=True)}
        return np.concatenate([np.ravel(output) for output in run(feeds)])

    return function


def jacobian(function: Flat, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """By central differences."""
    steps = np.eye(x.size) * step
    return np.stack([(function(x + d) - function(x - d)) / (2 * step) for d in steps], 1)


def amplification(function: Flat, size: int, seed: int = 0, points: int = 6, scale: float = 1.0) -> float:
    """The largest Jacobian norm at some random points."""
    generator = np.random.default_rng(seed)
    found = [jacobian(function, scale * generator.standard_normal(size)) for _ in range(points)]
    return max(float(np.linalg.norm(each, 2)) for each in found)


def network(model: ModelProto) -> Network:
    return network_of(model, Path("model.onnx"), InputSize())


def norms_of_rows(found: Network, of_kernel: Norm = no_row) -> Norms:
    """Certified norms of the rows, each computed once, and of other linear maps as `of_kernel` has them."""
    rows = {layer.name: layer for layer in found.layers}

    @cache
    def norm(name: str) -> float:
        layer = rows[name]
        if not isinstance(layer, Layer):
            raise UnboundedError(layer.reason)
        return norms_of(reduce_kernel(layer.read().double(), layer.geometry)).supremum().upper

    return Norms(rows=rows_by_key(found.layers), of_row=norm, of_kernel=of_kernel)


def composed(model: ModelProto, input_range: Range = ANYTHING) -> Composed:
    found = network(model)
    assert found.graph is not None
    return compose(found.graph, RULES, norms_of_rows(found), input_range)


def bound(model: ModelProto, input_range: Range = ANYTHING) -> float:
    """The product of the segments' factors."""
    return float(np.prod([segment.factor for segment in composed(model, input_range).segments]))
