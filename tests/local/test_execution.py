"""Activations of runtimes stay within the errors that are claimed for all of them."""

from __future__ import annotations

import math

import pytest
import torch

from convsv_cli.lipschitz.scalar.expressions import Expression, X
from convsv_cli.lipschitz.scalar.operators import expressed
from convsv_cli.local import execution
from convsv_cli.local.arithmetic import ARITHMETICS, BFLOAT16, FLOAT16, FLOAT32, REAL
from convsv_cli.local.execution import execution_error
from convsv_cli.model.graph import Node
from tests.support.one_node import one_node

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
F = torch.nn.functional
ACTIVATIONS = {
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Erf": torch.erf,
    "Softsign": F.softsign,
    "Gelu": F.gelu,
    "Swish": F.silu,
    "Mish": F.mish,
    "HardSwish": F.hardswish,
    "HardSigmoid": lambda t: (t * 0.25 + 0.5).clamp(0, 1),
    "Softplus": lambda t: torch.logaddexp(t, torch.zeros_like(t)),
    "Elu": F.elu,
    "Celu": F.celu,
    "Selu": F.selu,
}
UNKNOWN_TO_ONNXRUNTIME = ("Swish",)
ATTRIBUTES = {
    "Selu": {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805},
    "HardSigmoid": {"alpha": 0.25},
}


POINTS = torch.cat((torch.linspace(-60, 60, 40001), torch.randn(20000), torch.randn(20000) * 1e-3))


def expression(op: str, **attributes: object) -> Expression:
    node = Node(
        op=op, name="f", inputs=("x",), outputs=("y",), attributes=ATTRIBUTES.get(op, {}) | attributes
    )
    return expressed(node, [X])


def allowed(f: Expression, x: torch.Tensor, name: str) -> torch.Tensor:
    """At points, which are boxes without width."""
    return execution_error(f, x.double(), x.double(), ARITHMETICS[name])


@pytest.mark.parametrize("op", ACTIVATIONS)
@pytest.mark.parametrize("name", DTYPES)
def test_activations_of_torch(op, name):
    function = F.softplus if op == "Softplus" else ACTIVATIONS[op]
    x = POINTS.to(DTYPES[name])
    off = (function(x).double() - ACTIVATIONS[op](x.double())).abs()
    assert (off <= allowed(expression(op), x, name)).all()


@pytest.mark.parametrize("op", [op for op in ACTIVATIONS if op not in UNKNOWN_TO_ONNXRUNTIME])
def test_activations_of_onnxruntime(op):
    found = torch.from_numpy(one_node(op, POINTS.numpy(), **ATTRIBUTES.get(op, {})))
    off = (found.double() - ACTIVATIONS[op](POINTS.double())).abs()
    assert (off <= allowed(expression(op), POINTS, "float32")).all()


def test_an_activation_in_steps():
    """Each step stored, as exporters spell them out."""
    for name, dtype in DTYPES.items():
        x = POINTS.to(dtype).clamp(-8, 8)
        gate = torch.erf(x / math.sqrt(2)) + 1
        off = ((x * 0.5 * gate).double() - F.gelu(x.double())).abs()
        assert (off <= allowed(expression("Gelu"), x, name)).all()
        gate = 1 / (1 + torch.exp(-x))
        off = ((x * gate).double() - F.silu(x.double())).abs()
        assert (off <= allowed(expression("Swish"), x, name)).all()


@pytest.mark.parametrize("op", ["Gelu", "Swish", "Mish", "Sigmoid", "Selu"])
def test_it_is_of_the_order_of_the_unit(op):
    x = torch.linspace(-20, 20, 401, dtype=torch.float64)
    for format_ in (FLOAT32, FLOAT16, BFLOAT16):
        found = execution_error(expression(op), x, x, format_)
        assert (found <= 100 * format_.unit * (1 + x.abs())).all()


def test_a_box_has_the_largest_error_of_its_points():
    f = expression("Mish")
    ends = torch.sort(torch.randn(200, 2, dtype=torch.float64) * 5, dim=1).values
    found = execution_error(f, ends[:, 0], ends[:, 1], FLOAT32)
    for share in torch.linspace(0, 1, 11):
        inside = ends[:, 0] + share * (ends[:, 1] - ends[:, 0])
        assert (allowed(f, inside, "float32") <= found).all()
    assert execution_error(f, ends[:, 0].reshape(4, 50), ends[:, 1].reshape(4, 50), FLOAT32).shape == (4, 50)


def test_nothing_is_claimed_of_what_overflows():
    far = torch.tensor([6e4], dtype=torch.float64)
    for f, format_ in ((expression("Swish"), FLOAT32), (expression("Swish"), FLOAT16)):
        assert execution_error(f, far, far + 1e4, format_).isinf().all() == (format_ is FLOAT16)
        assert execution_error(f, far, far + math.inf, format_).isinf().all()
    assert execution_error(expression("Sigmoid"), -far - math.inf, far + math.inf, FLOAT32) < 1e-5


def test_real_arithmetic_is_exact():
    assert not execution_error(expression("Gelu"), -POINTS.abs(), POINTS.abs(), REAL).any()


def test_a_missing_error_is_noticed(monkeypatch):
    """Planted: primitives without errors of their own."""
    monkeypatch.setattr(execution, "ULPS", 0)
    execution._table.cache_clear()
    try:
        with pytest.raises(AssertionError):
            test_activations_of_onnxruntime("Tanh")
    finally:
        execution._table.cache_clear()
