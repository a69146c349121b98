"""The parametrisation that rescales a layer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from convsv_cli.errors import UsageError
from convsv_cli.spectral import limited as module
from convsv_cli.spectral.limited import proven_bound
from convsv_cli.torch_modules.modules import geometry_of
from convsv_cli.training.limit import limit_norm
from tests.support import oracles, trained


@pytest.mark.parametrize("kind", trained.LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_in_evaluation_the_norm_is_proven(kind: str, dtype: torch.dtype) -> None:
    layer = limit_norm(trained.layer(kind).to(dtype), 0.7).eval()
    weight = layer.weight
    assert weight.dtype == dtype
    assert proven_bound(weight, geometry_of(layer)) <= 0.7
    truth = trained.true_supremum(layer, weight.detach().double().numpy())
    assert truth <= 0.7
    slack = 0.02 if dtype == torch.bfloat16 else 1e-6
    assert trained.true_bound(layer) == pytest.approx(0.7, rel=slack)


def test_training_and_evaluation_agree() -> None:
    layer = limit_norm(trained.layer("strided"), 0.5)
    for _ in range(20):
        trained_weight = layer.weight
    assert torch.allclose(trained_weight, layer.eval().weight, rtol=1e-6)


def test_a_small_weight_is_left_alone() -> None:
    layer = trained.layer("2-D")
    before = layer.weight.detach().clone()
    limit_norm(layer, 1e3)
    assert torch.equal(layer.weight, before)
    assert torch.equal(layer.eval().weight, before)


def test_the_gradient_is_that_of_the_quotient() -> None:
    layer = limit_norm(trained.layer("grouped"), 0.5)
    for _ in range(20):
        _ = layer.weight
    original = layer.parametrizations.weight.original
    generator = np.random.default_rng(0)
    target, direction = (torch.tensor(generator.standard_normal(original.shape)) for _ in range(2))
    (layer.weight * target).sum().backward()
    slope = float((original.grad * direction).sum())

    def value(step: float) -> float:
        weight = original.detach() + step * direction
        return 0.5 * float((weight * target).sum()) / trained.true_bound(layer, weight.numpy())

    assert slope == pytest.approx((value(1e-5) - value(-1e-5)) / 2e-5, rel=1e-6)


def test_a_proof_is_made_once_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = limit_norm(trained.layer("2-D"), 1.0).eval()
    calls = []
    true = module.proven_bound
    monkeypatch.setattr(module, "proven_bound", lambda *a: calls.append(a) or true(*a))
    first = layer.weight
    made = len(calls)
    assert torch.equal(layer.weight, first)
    assert len(calls) == made >= 1
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(2)
    assert proven_bound(layer.weight, geometry_of(layer)) <= 1.0
    assert len(calls) > made
    assert torch.allclose(copy.deepcopy(layer).weight, first)


def test_it_can_be_made_permanent() -> None:
    layer = limit_norm(trained.layer("2-D"), 1.0).eval()
    weight = layer.weight.detach().clone()
    parametrize.remove_parametrizations(layer, "weight")
    assert torch.equal(layer.weight, weight)
    assert isinstance(layer.weight, nn.Parameter)


@pytest.mark.parametrize(
    ("layer", "limit", "message"),
    [
        (nn.Linear(2, 2), 0.0, "positive"),
        (nn.Linear(2, 2), float("nan"), "positive"),
        (nn.BatchNorm2d(2), 1.0, "BatchNorm2d is not a Linear"),
        (nn.Bilinear(2, 2, 2), 1.0, "Bilinear is not a Linear"),
        (nn.LSTM(2, 2), 1.0, "LSTM is not a linear map: it consists of several"),
        (nn.GRUCell(2, 2), 1.0, "GRUCell is not a linear map"),
        (nn.MultiheadAttention(2, 1), 1.0, "MultiheadAttention is not a linear map"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), 1.0, "reflect padding amplifies"),
        (nn.Conv2d(1, 1, 3, padding=2, padding_mode="circular"), 1.0, "beyond the kernel's extent"),
    ],
)
def test_what_cannot_be_limited_is_refused(layer: nn.Module, limit: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        limit_norm(layer, limit)
    limit_norm(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"))


def test_conv1d_can_be_limited() -> None:
    weight = limit_norm(trained.Conv1D(4, 3), 0.5).eval().weight.detach().double()
    assert 0.5 * (1 - 1e-5) <= oracles.spectral_norm(weight.numpy()) <= 0.5


@pytest.mark.parametrize("kind", ["strided", "linear"])
def test_clipping_in_training_projects_the_parameter_after_each_step(kind: str) -> None:
    layer = limit_norm(trained.layer(kind), 0.7, method="clip")
    plain = trained.layer(kind)
    optimiser = torch.optim.SGD(layer.parameters(), lr=1e-4)
    for _ in range(8):
        optimiser.zero_grad()
        weight = layer.weight
        assert layer.weight is not None  # a second use in one step leaves it as it is
        weight.sum().backward()
        optimiser.step()
    original = layer.parametrizations.weight.original
    assert torch.equal(original.grad, torch.ones_like(original))  # straight through
    assert torch.equal(layer.weight, original)
    before, after = (trained.true_supremum(plain, each.detach().numpy()) for each in (plain.weight, original))
    assert before > 0.8
    assert after < 0.8 < before
    weight = layer.eval().weight
    assert 0.6 < trained.true_supremum(layer, weight.detach().numpy()) <= 0.7
    assert torch.allclose(weight / weight.abs().max(), original / original.abs().max())  # a factor is left


def test_there_is_no_third_method() -> None:
    with pytest.raises(UsageError, match="one of clip, scale, not 'round'"):
        limit_norm(nn.Linear(2, 2), method="round")
