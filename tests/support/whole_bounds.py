"""The bound of a whole network, as the tests of whole graphs ask for it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from onnx import ModelProto

from convsv_cli.lipschitz.bound import Composition, composition_of, network_bound
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.lipschitz.ends import WHOLE, Ends, between
from convsv_cli.lipschitz.norms import Norms, kernel_norm
from convsv_cli.loaders import load
from convsv_cli.model.graph import Graph
from convsv_cli.report import QUICK, NetworkBound
from tests.support.sensitivity import network, norms_of_rows

TOLERANCE = 1e-3
"""Relative width of the norms of kernels."""


def bounded(
    source: Path | ModelProto,
    input_range: tuple[float, float] | None = None,
    level: str = QUICK,
    ends: Ends = WHOLE,
) -> NetworkBound:
    """Of an ONNX file or model, as it is audited; unless another effort is asked for, without a search."""
    return network_bound(*_graph_and_norms(source), input_range, Effort(level=level), ends)


def by_rules(
    source: Path | ModelProto, input_range: tuple[float, float] | None = None, ends: Ends = WHOLE
) -> NetworkBound:
    """What one number per tensor proves, by the rules of operators alone."""
    graph, norms = _graph_and_norms(source)
    return ruled(composition_of(between(graph, ends), norms, input_range, Effort(level=QUICK))).bound()


def ruled(composition: Composition) -> Composition:
    """The same without what covariance propagation gives."""
    return replace(composition, together=composition.folded.segments, output=None)


def _graph_and_norms(source: Path | ModelProto) -> tuple[Graph, Norms]:
    read = network(source) if isinstance(source, ModelProto) else load(source)
    assert read.graph is not None
    return read.graph, norms_of_rows(read, partial(kernel_norm, tolerance=TOLERANCE))
