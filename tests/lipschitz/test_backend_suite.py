"""Some models of ONNX's backend suite; `benchmarks/backend_suite.py` looks at all of them."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from onnx import TensorProto, helper

from convsv_cli.report import BOUNDED
from tests.support.backend_functions import Function
from tests.support.backend_models import Shipped, shipped
from tests.support.backend_pairs import STEEP, confirmed, exceeded, steepest
from tests.support.whole_bounds import bounded


def one_node(op: str, **attributes: object) -> Function:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], **attributes)],
        "g",
        [value("x", TensorProto.FLOAT, (2, 2))],
        [value("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    x = np.array([[1, -2], [0.5, 3]], np.float32)
    return Function(Shipped(name=op, model=model, fed={"x": x}))


@pytest.mark.parametrize("op", ["Exp", "Sqrt", "Log", "Acos", "Reciprocal", "Sign", "Det", "LpNormalization"])
def test_steep_functions_are_found(op: str) -> None:
    function = one_node(op)
    steep = steepest(function, seconds=20.0)
    assert steep is not None
    with np.errstate(all="ignore"):
        apart = np.linalg.norm(function(steep.first) - function(steep.second))
    assert apart > STEEP * np.linalg.norm(steep.first - steep.second)
    assert confirmed(function, steep)
    assert not confirmed(one_node("Identity"), steep)


@pytest.mark.parametrize("op", ["Tanh", "Softmax", "Identity", "Softplus"])
def test_what_has_a_bound_is_not_called_steep(op: str) -> None:
    assert steepest(one_node(op), trials=60, seconds=20.0) is None


def test_a_bound_that_is_too_small_is_seen() -> None:
    """Planted: half of the slope."""
    assert exceeded(one_node("Neg"), 0.5, points=20, seconds=20.0)[1] == pytest.approx(2.0)


def test_the_first_input_alone_may_vary() -> None:
    suite = {case.name: case for case in shipped(["simple"])}
    case = suite["test_expand_shape_model1 (simple)"]
    assert case.stored() is None or list(case.stored().fed) == [next(iter(case.fed))]


def test_bounds_of_the_suite_hold() -> None:
    pairs = 0
    drawn = np.random.default_rng(0).permutation(2000)[:80].tolist()
    for number, case in enumerate(shipped(["node"])):
        if number not in drawn:
            continue
        bound = bounded(case.model)
        if bound.status != BOUNDED:
            continue
        with suppress(LookupError):  # no runtime has it
            seen, ratio = exceeded(Function(case), bound.lipschitz, points=16, seconds=1.0)
            assert ratio <= 1 + 1e-6, case.name
            pairs += seen
    assert pairs > 2000
