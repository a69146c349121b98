"""Radii from Lipschitz bounds against attacks, exhaustive search and plain arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from convsv_cli import spectral_norm
from convsv_cli.certification.routes.margin import margin_radii, pair_bounds
from convsv_cli.errors import UsageError
from tests.support.attacks import nearest_exhaustively, nearest_found


def mlp(inputs: int, hidden: int, classes: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    ).double()


def convolutional(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    ).double()


def norm_before_head(net: nn.Sequential) -> float:
    layers = [layer for layer in net[:-1] if hasattr(layer, "weight")]
    strides = [getattr(layer, "stride", (1,))[0] for layer in layers]
    uppers = [
        spectral_norm(layer.weight, stride=stride if layer.weight.ndim > 2 else ()).upper
        if layer.weight.ndim > 2
        else float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) * (1 + 1e-12)
        for layer, stride in zip(layers, strides, strict=True)
    ]
    return math.prod(uppers)


NETS = {
    "narrow": (lambda: mlp(3, 8, 3, 0), (3,)),
    "wide": (lambda: mlp(20, 30, 6, 1), (20,)),
    "two classes": (lambda: mlp(5, 6, 2, 2), (5,)),
    "convolutional": (lambda: convolutional(3), (1, 8, 8)),
}


@pytest.mark.parametrize("name", NETS)
def test_no_attack_succeeds_inside(name: str) -> None:
    make, shape = NETS[name]
    net = make()
    x = torch.randn(150, *shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    before = norm_before_head(net)
    head = net[-1].weight
    with torch.no_grad():
        net[-1].bias -= net(x).mean(0)
        logits = net(x)
    radii = margin_radii(logits, before_head=before, head=head)
    assert (radii > 0).all()
    found = nearest_found(net, x, radii)
    assert found.isfinite().float().mean() > 0.9
    assert (found > radii).all()
    whole = before * float(torch.linalg.matrix_norm(head.detach(), 2)) * (1 + 1e-12)
    assert (radii >= margin_radii(logits, lipschitz=whole) * (1 - 1e-9)).all()


def test_the_radius_of_a_linear_net_is_attained() -> None:
    """Which shows that the attacks are strong, and that nothing is given away."""
    torch.manual_seed(0)
    net = nn.Linear(6, 4).double()
    x = torch.randn(60, 6, dtype=torch.float64)
    radii = margin_radii(net(x).detach(), before_head=1.0, head=net.weight)
    found = nearest_found(net, x, radii)
    assert torch.allclose(found, radii, rtol=1e-6, atol=1e-12)
    assert (found >= radii).all()


@pytest.mark.parametrize("seed", range(4))
def test_exhaustive_search_finds_nothing_inside(seed: int) -> None:
    net = mlp(2, 6, 3, seed)
    x = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    radii = margin_radii(net(x).detach(), before_head=norm_before_head(net), head=net[-1].weight)
    assert (nearest_exhaustively(net, x, reach=2 * float(radii.max())) > radii).all()


def test_the_runner_up_alone_claims_too_much() -> None:
    """The class with the second largest logit is not always the nearest."""
    head = torch.tensor([[1.0, 0.0], [0.9, 0.0], [-5.0, 5.0]]).double()
    x = torch.tensor([[1.0, 0.6]]).double()
    logits = x @ head.T + torch.tensor([0.0, 0.0, 2.0]).double()
    assert logits.argsort(descending=True).tolist() == [[0, 1, 2]]
    runner_up = (logits[0, 0] - logits[0, 1]) / (head[0] - head[1]).norm()
    radius = margin_radii(logits, before_head=1.0, head=head)
    found = nearest_found(lambda z: z @ head.T + torch.tensor([0.0, 0.0, 2.0]).double(), x, radius)
    assert found < runner_up
    assert radius <= found <= radius * (1 + 1e-6)


def test_ties_give_zero() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [3.0, 1.0, 3.0]])
    assert margin_radii(logits, lipschitz=1.0).tolist() == [0, 0, 0]
    assert margin_radii(logits, lipschitz=0.0).tolist() == [0, 0, 0]
    assert margin_radii(logits, before_head=1.0, head=torch.ones(3, 2)).tolist() == [0, 0, 0]


def test_only_the_predicted_index_is_left_out() -> None:
    logits = torch.tensor([[5.0, 1.0, 1.0]])
    assert margin_radii(logits, lipschitz=1.0).item() == pytest.approx(4 / math.sqrt(2))


def test_a_net_that_nothing_moves_has_no_radius() -> None:
    assert margin_radii(torch.tensor([[1.0, 2.0]]), lipschitz=0.0).item() == math.inf


def test_scales_and_errors() -> None:
    logits = torch.tensor([[1.0, 2.0], [1.0, 1.001]])
    plain = margin_radii(logits, lipschitz=2.0)
    assert torch.allclose(margin_radii(logits, lipschitz=2.0, input_scale=4.0), plain / 4, rtol=1e-12)
    less = margin_radii(logits, lipschitz=2.0, logit_error=0.01)
    assert less.tolist() == pytest.approx([0.98 / math.sqrt(8), 0])
    assert (plain <= (logits.double().diff() / math.sqrt(8))[:, 0]).all()


def test_tiny_and_huge_heads_keep_their_differences() -> None:
    for scale in (1e-250, 1.0, 1e250):
        head = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64) * scale
        bounds = pair_bounds(torch.arange(2), 2, before_head=1.0, head=head)
        assert bounds[0, 1] >= 5 * scale
        assert float(bounds[0, 1]) == pytest.approx(5 * scale, rel=1e-12)


def test_the_radius_of_a_linear_net_is_attained_by_its_covariance() -> None:
    torch.manual_seed(0)
    net = nn.Linear(6, 4).double()
    x = torch.randn(60, 6, dtype=torch.float64)
    covariance = (net.weight @ net.weight.T).detach()
    radii = margin_radii(net(x).detach(), covariance=covariance)
    found = nearest_found(net, x, radii)
    assert torch.allclose(found, radii, rtol=1e-6, atol=1e-12)
    assert (found >= radii).all()


def test_the_smallest_of_all_constants_counts() -> None:
    covariance = torch.tensor([[5.0, 1.0, 0.0], [1.0, 2.0, 2.0], [0.0, 2.0, 2.0]], dtype=torch.float64)
    rows, head = torch.arange(3), torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    own = pair_bounds(rows, 3, covariance=covariance)
    expected = torch.tensor([[0, 5, 7], [5, 0, 0], [7, 0, 0]]).double().sqrt()
    assert (own >= expected).all()
    assert torch.allclose(own, expected, rtol=1e-12, atol=1e-6)
    heads = pair_bounds(rows, 3, before_head=1.0, head=head)
    both = pair_bounds(rows, 3, before_head=1.0, head=head, covariance=covariance)
    assert both.tolist() == torch.minimum(own, heads).tolist()
    assert pair_bounds(rows[1:], 3, covariance=covariance).tolist() == own[1:].tolist()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"covariance": torch.eye(2, dtype=torch.float64)},
        {"covariance": torch.full((3, 3), math.inf, dtype=torch.float64)},
        {"covariance": torch.eye(3, dtype=torch.float64), "lipschitz": -1.0},
        {"lipschitz": math.inf},
        {"lipschitz": math.nan},
        {"lipschitz": -1.0},
        {"head": torch.ones(3, 2)},
        {"before_head": 1.0},
        {"before_head": 1.0, "head": torch.ones(2, 2)},
        {"lipschitz": 1.0, "input_scale": 0.0},
        {"lipschitz": 1.0, "logit_error": math.nan},
        {"lipschitz": 1.0, "logit_error": -1.0, "pair_error": 3.0},
        {"lipschitz": 1.0, "pair_error": -torch.ones(1, 3)},
        {"lipschitz": 1.0, "pair_error": torch.ones(3)},
        {"lipschitz": 1.0, "pair_error": torch.ones(1, 1)},
        {"lipschitz": 1.0, "pair_error": torch.ones(2, 1, 3)},
    ],
)
def test_what_proves_nothing_is_refused(arguments: dict) -> None:
    with pytest.raises(UsageError):
        margin_radii(torch.zeros(1, 3), **arguments)
    for logits in (torch.zeros(3), torch.zeros(2, 1), torch.tensor([[math.nan, 0.0]])):
        with pytest.raises(UsageError, match="logits"):
            margin_radii(logits, lipschitz=1.0)
