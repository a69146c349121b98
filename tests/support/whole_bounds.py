"""The bound of a whole network, as the tests of whole graphs ask for it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from onnx import ModelProto

from convsv_cli.lipschitz.bound import network_bound
from convsv_cli.lipschitz.norms import kernel_norm
from convsv_cli.loaders import load
from convsv_cli.report import NetworkBound
from tests.support.sensitivity import network, norms_of_rows

TOLERANCE = 1e-3
"""Relative width of the norms of kernels."""


def bounded(source: Path | ModelProto, input_range: tuple[float, float] | None = None) -> NetworkBound:
    """Of an ONNX file or model, as it is audited."""
    read = network(source) if isinstance(source, ModelProto) else load(source)
    assert read.graph is not None
    norms = norms_of_rows(read, partial(kernel_norm, tolerance=TOLERANCE))
    return network_bound(read.graph, norms, input_range)
