"""The bound of a whole network, as the tests of whole graphs ask for it."""

from __future__ import annotations

import math
from pathlib import Path

from onnx import ModelProto

from convsv_cli.lipschitz.collapse import collapsed
from convsv_cli.lipschitz.composition import Composed, compose
from convsv_cli.lipschitz.ranges import ANYTHING, Range
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.loaders import load
from tests.sensitivity import layer_norms, network


def bounded(source: Path | ModelProto, input_range: Range = ANYTHING) -> Composed:
    """Segments and offences of the network of an ONNX file or model; its inputs are in the range."""
    read = network(source) if isinstance(source, ModelProto) else load(source)
    assert read.graph is not None
    return compose(collapsed(read.graph), RULES, layer_norms(read), input_range)


def product(composed: Composed) -> float:
    """The bound of the network; infinite where there is none."""
    return math.prod(segment.factor for segment in composed.segments)
