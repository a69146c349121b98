"""The training half of the curvature bounds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from convsv_cli.certification.curvature_bounds import curvature_bounds
from convsv_cli.certification.routes.curvature import curvature_radii
from convsv_cli.errors import UsageError
from convsv_cli.training.curvature import CurvatureBound, CurvatureLoss, runner_up
from tests.support import trained


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(36, 3)
    ).double()


def deep(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)
    ).double()


def data(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(3, (n,), generator=generator)
    x = torch.randn(n, 1, 6, 6, generator=generator, dtype=torch.float64) / 3
    x[torch.arange(n), 0, y, y + 1] += 2.0
    return x, y


def test_one_hidden_layer_is_the_papers_equation() -> None:
    model = net()
    bound = CurvatureBound(model)
    y, t = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    w = model[3].weight.detach()
    expected = 0.25 * trained.true_bound(model[0]) ** 2 * (w[y] - w[t]).abs().amax(1)
    for _ in range(10):
        value = bound(y, t)
    assert torch.allclose(value.detach(), expected, rtol=1e-9)


@pytest.mark.parametrize("make", [net, deep])
def test_it_is_above_what_is_certified(make) -> None:
    """Of an unfolding's norm the certified supremum is a part."""
    model = make()
    shape = (1, 6, 6) if make is net else (4,)
    bound = CurvatureBound(model, input_shape=shape)
    certified = curvature_bounds(model, input_shape=shape)
    pairs = [(y, t) for y in range(3) for t in range(3) if y != t]
    y, t = torch.tensor(pairs).T
    for _ in range(10):
        value = bound(y, t).detach()
    assert (value >= certified[y, t] * (1 - 2e-3)).all()


@pytest.mark.parametrize("make", [net, deep])
def test_gradients(make) -> None:
    model = make()
    bound = CurvatureBound(model, input_shape=(4,) if make is deep else None)
    y, t = torch.tensor([0, 2]), torch.tensor([1, 0])
    for _ in range(20):
        bound(y, t)
    bound.eval()
    bound(y, t).sum().backward()
    generator = torch.Generator().manual_seed(0)
    for layer in (model[0], model[2 if make is deep else 3], model[-1]):
        direction = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
        slope = float((layer.weight.grad * direction).sum())

        def moved(step: float, layer=layer, direction=direction) -> float:
            with torch.no_grad():
                layer.weight += step * direction
                value = float(bound.train()(y, t).sum())
                value = float(bound(y, t).sum())
                layer.weight -= step * direction
            return value

        assert slope == pytest.approx((moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-5, abs=1e-8)


def test_the_deep_bound_by_hand() -> None:
    """Two hidden layers, from the formula with plain matrices."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3)
    ).double()
    bounds = curvature_bounds(model, input_shape=(3,))
    first, second, head = (model[i].weight.detach() for i in (0, 2, 4))
    norm = [float(torch.linalg.matrix_norm(w, 2)) for w in (first, second)]
    w = (head[0] - head[1]).abs()
    expected = (w @ second.abs()).max() * 0.25 * norm[0] ** 2 + w.max() * (0.25 * norm[0] * norm[1]) ** 2
    assert float(bounds[0, 1]) == pytest.approx(float(expected) / (6 * math.sqrt(3)), rel=1e-9)


def test_attacks_stay_within_epsilon_and_come_near_the_best() -> None:
    model, (x, y) = net(), data()
    loss = CurvatureLoss(model, gamma=0.1, epsilon=0.3)
    with torch.no_grad():
        t = runner_up(model(x), y)
        curvature = loss.bound(y, t)
    moved = loss.pgd(x, y, t, curvature)
    lengths = (moved - x).flatten(1).norm(dim=1)
    assert (lengths <= 0.3 * (1 + 1e-9)).all()
    assert (lengths > 0.29).float().mean() > 0.9

    def gap(z: torch.Tensor) -> torch.Tensor:
        logits = model(z)
        return (logits.gather(1, y[:, None]) - logits.gather(1, t[:, None]))[:, 0]

    best = x.clone()
    for _ in range(200):
        best.requires_grad_()
        (slope,) = torch.autograd.grad(gap(best).sum(), best)
        step = best.detach() - x - 0.02 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        best = x + step * (0.3 / step.flatten(1).norm(dim=1)).clamp_max(1).view(-1, 1, 1, 1)
    assert torch.allclose(gap(moved), gap(best), atol=1e-3)
    assert (gap(moved) < gap(x)).all()


def test_without_attack_and_curvature_it_is_cross_entropy() -> None:
    model, (x, y) = net(), data()
    loss = CurvatureLoss(model, gamma=0.0, epsilon=0.0)
    assert loss(x, y).item() == pytest.approx(functional.cross_entropy(model(x), y).item())
    assert not list(loss.parameters())
    assert not loss.state_dict()
    assert list(loss.buffers())


def test_training_with_curvature_certifies_more() -> None:
    """Table 4 in small: gamma = 0 certifies less than gamma > 0, at the same accuracy."""
    x, y = data(120)
    radii, bounds = {}, {}
    for gamma in (0.0, 0.1):
        model = net()
        loss = CurvatureLoss(model, gamma=gamma, epsilon=0.3, rounds=4, steps=3)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(60):
            optimiser.zero_grad()
            loss(x, y).backward()
            optimiser.step()
        assert (model(x).argmax(1) == y).float().mean() > 0.95
        bounds[gamma] = curvature_bounds(model, input_shape=(1, 6, 6))
        radii[gamma] = curvature_radii(model, x, bounds[gamma]).mean()
    assert bounds[0.1].max() < 0.5 * bounds[0.0].max()
    assert radii[0.1] > 1.05 * radii[0.0]


def test_runner_up_is_the_largest_other() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]])
    assert runner_up(logits, torch.tensor([1, 0])).tolist() == [2, 1]


def test_what_cannot_be_bounded_is_refused() -> None:
    with pytest.raises(UsageError, match="not ReLU"):
        CurvatureBound(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    with pytest.raises(UsageError, match="gamma"):
        CurvatureLoss(net(), gamma=-1.0)
    with pytest.raises(UsageError, match="shape of its input"):
        CurvatureBound(deep())(torch.tensor([0]), torch.tensor([1]))


def test_curvature_takes_conv1d_and_names_what_it_does_not_take() -> None:
    layer, head = trained.Conv1D(4, 3), nn.Linear(4, 2)
    same = nn.Linear(3, 4)
    same.weight = nn.Parameter(layer.weight.detach().T.clone())
    y, t = torch.tensor([0]), torch.tensor([1])
    found, expected = (
        CurvatureBound(nn.Sequential(each, nn.Tanh(), head))(y, t).item() for each in (layer, same)
    )
    assert found == pytest.approx(expected, rel=1e-6)
    with pytest.raises(UsageError, match="curvature is not bounded for MultiheadAttention"):
        CurvatureBound(nn.Sequential(nn.MultiheadAttention(4, 2), nn.Tanh(), head))
