"""Curvature bounds against dense Hessians, and their radii against attacks and exhaustive search."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from convsv_cli.certification.curvature_bounds import curvature_bounds
from convsv_cli.certification.routes.curvature import Effort, Pairs, curvature_radii, proven_radii
from convsv_cli.errors import UsageError
from tests.support.attacks import nearest_exhaustively, nearest_found


def conv_net(seed: int, *, scale: float = 1.0, activation: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1), activation or nn.Softplus(), nn.Flatten(), nn.Linear(54, 4)
    ).double()
    return scaled(net, scale)


def dense_net(inputs: int, classes: int, seed: int, *, scale: float = 1.0) -> nn.Sequential:
    torch.manual_seed(seed)
    return scaled(nn.Sequential(nn.Linear(inputs, 10), nn.Tanh(), nn.Linear(10, classes)).double(), scale)


def deep_net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv1d(1, 3, 3, padding=1),
        nn.Sigmoid(),
        nn.Conv1d(3, 4, 3, stride=2),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(12, 5),
        nn.Sigmoid(),
        nn.Linear(5, 3),
    ).double()


def scaled(net: nn.Sequential, scale: float) -> nn.Sequential:
    with torch.no_grad():
        net[0].weight *= scale
    return net


def centred(net: nn.Sequential, x: torch.Tensor) -> nn.Sequential:
    """So that every class is predicted somewhere."""
    with torch.no_grad():
        net[-1].bias -= net(x).mean(0)
    return net


def inputs(shape: tuple[int, ...], n: int, seed: int = 5) -> torch.Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CASES = {
    "strided softplus": (lambda: conv_net(0, scale=0.6), (2, 6, 6)),
    "strided sigmoid": (lambda: conv_net(1, scale=2.0, activation=nn.Sigmoid()), (2, 6, 6)),
    "steep softplus": (lambda: conv_net(2, scale=0.5, activation=nn.Softplus(beta=4)), (2, 6, 6)),
    "dense tanh": (lambda: dense_net(7, 5, 3), (7,)),
    "deep": (lambda: deep_net(4), (1, 8)),
}


@pytest.mark.parametrize("name", CASES)
def test_bounds_enclose_all_hessians(name: str) -> None:
    make, shape = CASES[name]
    net = make()
    bounds = curvature_bounds(net, input_shape=shape)
    classes = len(bounds)
    worst = torch.zeros_like(bounds)
    for x in inputs(shape, 12) * 2:
        hessians = torch.stack(
            [torch.autograd.functional.hessian(lambda z, c=c: net(z[None])[0, c], x) for c in range(classes)]
        ).reshape(classes, x.numel(), x.numel())
        for y in range(classes):
            for t in range(classes):
                top = torch.linalg.eigvalsh(hessians[y] - hessians[t])[-1]
                worst[y, t] = torch.maximum(worst[y, t], top)
    assert (worst <= bounds * (1 + 1e-9)).all()
    assert (worst.sum() > 0.2 * bounds.sum()) or name == "deep"


def dense_bound(net: nn.Sequential, shape: tuple[int, ...], steepest: float, *, y: int, t: int) -> float:
    """lambda_max(J^T diag(steepest |w|) J) of one hidden layer, whose Jacobian J is written out."""
    size = math.prod(shape)
    basis = torch.eye(size, dtype=torch.float64).view(size, *shape)
    with torch.no_grad():
        jacobian = (net[0](basis) - net[0](torch.zeros_like(basis))).flatten(1)
    w = net[3].weight.detach()[y] - net[3].weight.detach()[t]
    return float(torch.linalg.eigvalsh((jacobian * (steepest * w.abs())) @ jacobian.T)[-1])


def test_the_bound_of_one_hidden_layer_is_the_dense_eigenvalue() -> None:
    net = conv_net(3, activation=nn.Tanh())
    bounds = curvature_bounds(net, input_shape=(2, 6, 6))
    for y in range(4):
        for t in range(4):
            expected = dense_bound(net, (2, 6, 6), 4 / (3 * math.sqrt(3)), y=y, t=t)
            assert float(bounds[y, t]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
            assert bounds[y, t] >= expected


def test_without_an_input_shape_it_is_the_papers_equation() -> None:
    net = dense_net(4, 3, 0)
    bounds = curvature_bounds(net)
    w = net[2].weight.detach()
    norm = torch.linalg.matrix_norm(net[0].weight.detach(), 2)
    expected = 4 / (3 * math.sqrt(3)) * norm**2 * (w[:, None] - w).abs().amax(2)
    assert torch.allclose(bounds, expected, rtol=1e-9)
    assert (bounds >= expected).all()
    assert (curvature_bounds(net, input_shape=(4,)) <= bounds).all()


@pytest.mark.parametrize(
    ("make", "sharp"),
    [
        (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1, dilation=2), True),
        (lambda: nn.Conv1d(2, 3, 3, padding="valid"), True),
        (lambda: nn.Conv2d(1, 3, (2, 3), stride=(1, 2), padding=(1, 0)), True),
        (lambda: nn.Conv1d(2, 3, 3, padding="same"), False),
        (lambda: nn.Conv2d(2, 4, 3, groups=2), False),
        (lambda: nn.ConvTranspose1d(2, 3, 3, stride=2), False),
    ],
)
def test_every_geometry_is_enclosed(make: Callable[[], nn.Module], *, sharp: bool) -> None:
    torch.manual_seed(0)
    layer = make()
    shape = (layer.in_channels, 5, 6)[: layer.weight.ndim - 1]
    hidden = layer(torch.zeros(1, *shape)).numel()
    net = nn.Sequential(layer, nn.Sigmoid(), nn.Flatten(), nn.Linear(hidden, 2)).double()
    bounds = curvature_bounds(net, input_shape=shape)
    for x in inputs(shape, 3):
        hessian = torch.autograd.functional.hessian(lambda z: net(z[None])[0].diff()[0], x)
        values = torch.linalg.eigvalsh(hessian.reshape(x.numel(), -1))
        assert values[-1] <= bounds[1, 0]
        assert -values[0] <= bounds[0, 1]
    expected = dense_bound(net, shape, 1 / (6 * math.sqrt(3)), y=1, t=0)
    assert bounds[1, 0] >= expected
    if sharp:
        assert float(bounds[1, 0]) == pytest.approx(expected, rel=1e-9)
    else:
        assert torch.equal(bounds, curvature_bounds(net))


@pytest.mark.parametrize("name", CASES)
def test_no_attack_succeeds_inside(name: str) -> None:
    make, shape = CASES[name]
    x = inputs(shape, 120)
    net = centred(make(), x)
    radii = curvature_radii(net, x, curvature_bounds(net, input_shape=shape))
    assert (radii > 0).all()
    found = nearest_found(net, x, radii)
    assert found.isfinite().float().mean() > 0.8
    assert (found > radii).all()
    assert (radii > 0.3 * found).float().mean() > (0.05 if name == "deep" else 0.3)


@pytest.mark.parametrize("seed", range(3))
def test_exhaustive_search_finds_nothing_inside(seed: int) -> None:
    x = inputs((2,), 15, seed)
    net = centred(dense_net(2, 3, seed, scale=2.0), x)
    radii = curvature_radii(net, x, curvature_bounds(net, input_shape=(2,)))
    found = nearest_exhaustively(net, x, reach=3 * float(radii.max()))
    assert (found > radii).all()
    assert found.isfinite().any()


def test_nearly_linear_nets_have_their_whole_radius() -> None:
    x = inputs((6,), 40)
    net = centred(scaled(dense_net(6, 4, 1), 1e-4), x)
    radii = curvature_radii(net, x, curvature_bounds(net, input_shape=(6,)))
    w = (net[2].weight * (1 - net[1](net[0].bias) ** 2)) @ net[0].weight
    logits = net(x).detach()
    y = logits.argmax(1)
    margins = logits.gather(1, y[:, None]) - logits
    distances = margins / (w[y][:, None] - w).detach().norm(dim=2)
    truth = distances.scatter(1, y[:, None], math.inf).amin(1)
    near = truth < 3
    assert near.sum() >= 3
    assert torch.allclose(radii[near], truth[near], rtol=1e-2)


def runner_up_radii(net: nn.Sequential, x: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    y, t = net(x).detach().topk(2).indices.T
    pairs = Pairs(
        start=x, y=y, t=t, lower=bounds[t, y], upper=bounds[y, t], error=torch.zeros(len(y)).double()
    )
    return proven_radii(net, pairs, Effort(rounds=20, steps=20))


def test_the_runner_up_alone_claims_too_much() -> None:
    """For some inputs an attack gets another class within what is true of the runner-up."""
    fooled = 0
    for seed in range(6):
        x = inputs((3,), 60, seed)
        net = centred(dense_net(3, 5, seed), x)
        bounds = curvature_bounds(net, input_shape=(3,))
        radii, claimed = curvature_radii(net, x, bounds), runner_up_radii(net, x, bounds)
        found = nearest_found(net, x, radii)
        assert (radii <= claimed * (1 + 1e-6)).all()
        assert (found > radii).all()
        fooled += int((found < claimed).sum())
    assert fooled >= 3


def test_bounds_that_are_too_small_are_found_out() -> None:
    """The attacks see a curvature that is not one."""
    x = inputs((2, 6, 6), 60)
    net = centred(conv_net(0, scale=3.0, activation=nn.Sigmoid()), x)
    bounds = curvature_bounds(net, input_shape=(2, 6, 6))
    assert (nearest_found(net, x, curvature_radii(net, x, bounds)) > curvature_radii(net, x, bounds)).all()
    claimed = curvature_radii(net, x, bounds * 0.0)
    assert (nearest_found(net, x, claimed) < claimed).any()


def test_unfinished_problems_are_paid_for() -> None:
    """One step for each eta proves less, never more than is true."""
    x = inputs((7,), 60)
    net = centred(dense_net(7, 5, 3), x)
    bounds = curvature_bounds(net, input_shape=(7,))
    hasty = curvature_radii(net, x, bounds, rounds=1, steps=1)
    thorough = curvature_radii(net, x, bounds, rounds=40, steps=60)
    assert (hasty <= thorough * (1 + 1e-6)).all()
    assert (curvature_radii(net, x, bounds) > 0.98 * thorough).all()


def test_ties_and_errors_give_zero() -> None:
    net = dense_net(3, 4, 0)
    with torch.no_grad():
        net[2].weight[1] = net[2].weight[0]
        net[2].bias[1] = net[2].bias[0]
        net[2].bias[:2] += 5
    x = inputs((3,), 5)
    bounds = curvature_bounds(net, input_shape=(3,))
    assert curvature_radii(net, x, bounds).tolist() == [0] * 5
    other = dense_net(3, 4, 0)
    bounds = curvature_bounds(other, input_shape=(3,))
    plain, less = (curvature_radii(other, x, bounds, logit_error=error) for error in (0.0, 0.02))
    assert (less < plain).all()
    assert curvature_radii(other, x, bounds, logit_error=100.0).tolist() == [0] * 5


@pytest.mark.parametrize(
    "net",
    [
        nn.Linear(2, 2),
        nn.Sequential(nn.Linear(2, 2)),
        nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.Sigmoid(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)),
        nn.Sequential(nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"), nn.Tanh(), nn.Linear(3, 2)),
    ],
)
def test_other_networks_are_refused(net: nn.Module) -> None:
    with pytest.raises(UsageError):
        curvature_bounds(net, input_shape=(2,))


def test_bounds_that_do_not_fit_are_refused() -> None:
    net, x = dense_net(3, 4, 0), inputs((3,), 2)
    for bounds in (torch.zeros(3, 3), -torch.ones(4, 4), torch.full((4, 4), math.nan)):
        with pytest.raises(UsageError, match="bounds"):
            curvature_radii(net, x, bounds)
    for pair_error in (-1.0, math.nan, torch.zeros(4), torch.zeros(2, 1), torch.zeros(1, 2, 4)):
        with pytest.raises(UsageError, match="error"):
            curvature_radii(net, x, torch.zeros(4, 4), pair_error=pair_error)
    with pytest.raises(UsageError, match="error"):
        curvature_radii(net, x, torch.zeros(4, 4), logit_error=-1.0, pair_error=3.0)
    with pytest.raises(UsageError, match="shape of its input"):
        curvature_bounds(deep_net(0))
    with pytest.raises(UsageError, match="does not take inputs"):
        curvature_bounds(net, input_shape=(5,))
