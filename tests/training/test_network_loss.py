"""The bound of a network as a loss: against differences, the proof at the same multipliers, and audits."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from benchmarks import bound_loss
from convsv_cli import NetworkBoundLoss, PairBounds
from convsv_cli.certification.routes.margin import pair_bounds
from convsv_cli.errors import UsageError
from convsv_cli.lipschitz.density.levels import level
from convsv_cli.lipschitz.density.lowering import lowered
from convsv_cli.lipschitz.density.plan import planned
from convsv_cli.lipschitz.density.recursion import Recursion
from convsv_cli.lipschitz.density.search import chosen
from convsv_cli.lipschitz.dependencies import real_outputs, sources
from convsv_cli.lipschitz.fold import folded
from convsv_cli.loaders.live import network_in_memory
from convsv_cli.training import live_chains, network_loss
from sample_models.resnet import ResNet


class Block(nn.Module):
    """With a strided skip; BatchNorm before an addition, and before a convolution that pads."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.before = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, groups=2)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(self.before(x))))
        return torch.relu(self.bn2(self.conv2(y)) + self.skip(x))


def chain() -> nn.Module:
    """Strides, groups, kinds of activations, MaxPool, two maps in a row, an upward map."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.Conv2d(6, 4, 1),
        nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(4, 3, 2, stride=2),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 5),
        nn.BatchNorm1d(5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )


def residual() -> nn.Module:
    """To be bounded from pixels that are normalised first, to logits."""
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    tail = nn.ReLU(), Scaled(torch.full((1,), 0.7)), Block(4, 6), nn.AvgPool2d(2)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *tail, *head)


def trained(make, kind: torch.dtype = torch.float64) -> nn.Module:
    """With statistics and scales that are not those of the beginning."""
    torch.manual_seed(1)
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, -2.0, 2.0)
    return model.to(kind)


def example(kind: torch.dtype = torch.float64) -> Tensor:
    return torch.zeros(1, 2, 8, 8, dtype=kind)


def proven(model: nn.Module, loss: NetworkBoundLoss) -> float:
    """What the audit's own program gives, with all rounding, at the multipliers of a loss."""
    with network_in_memory(model, example(next(model.parameters()).dtype)) as network, torch.no_grad():
        graph = folded(network.graph).graph
        (program,) = lowered(graph, sources(graph), [(graph.main.nodes, real_outputs(graph))], {})
        run = Recursion(program, plan=planned(program), proof=True).run(chosen(loss._multipliers))
        return level(run, proof=True)


@pytest.mark.parametrize("make", [chain, residual])
def test_gradients_are_those_of_differences(make) -> None:
    model = trained(make)
    loss = NetworkBoundLoss(model, example(), torus=4)
    loss.log()
    loss.eval()().backward()
    step = 1e-5
    for name, weight in model.named_parameters():
        if weight.grad is None:
            assert name.endswith("bias")
            continue
        along = torch.randn_like(weight)
        ends = []
        with torch.no_grad():
            for sign in (1, -2):
                weight.add_(sign * step * along)
                ends.append(loss().item())
            weight.add_(step * along)
        expected = (ends[0] - ends[1]) / (2 * step)
        assert (weight.grad * along).sum().item() == pytest.approx(expected, rel=1e-5, abs=1e-8), name


@pytest.mark.parametrize("make", [chain, residual])
def test_the_value_is_what_the_proof_gives_at_the_same_multipliers(make) -> None:
    """In both precisions, after the weights and the statistics have changed; nearly on a small torus."""
    model = trained(make)
    loss = NetworkBoundLoss(model, example(), torus=None)
    loss()
    torch.manual_seed(2)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(torch.empty_like(tensor).uniform_(0.5, 1.5))
    loss.eval()
    value, bound = loss().item(), proven(model, loss)
    assert value <= bound <= value * (1 + 1e-6)
    single = NetworkBoundLoss(copy.deepcopy(model).float(), example(torch.float32), torus=None).eval()
    single._multipliers, single._adam = loss._multipliers, loss._adam
    assert single().item() == pytest.approx(value, rel=2e-5)
    assert single().dtype == torch.float32
    small = NetworkBoundLoss(model, example(), torus=4).eval()
    small._multipliers, small._adam = loss._multipliers, loss._adam
    assert small().item() == pytest.approx(value, rel=0.1)


def test_of_linear_networks_it_is_the_norm_of_the_product() -> None:
    """Also under autocast, of weights in bfloat16, and of what is compiled."""
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = NetworkBoundLoss(torch.compile(model), torch.zeros(1, 5, dtype=torch.bfloat16))
        loss().backward()
    exact = torch.linalg.matrix_norm(model[1].weight.double() @ model[0].weight.double(), 2)
    assert loss().item() == pytest.approx(exact.item(), rel=1e-6)
    assert model[0].weight.grad.dtype == torch.bfloat16
    (slope,) = torch.autograd.grad(exact, model[0].weight)
    torch.testing.assert_close(model[0].weight.grad, slope)


def test_calls_in_between_give_the_tangent() -> None:
    model = trained(residual)
    loss = NetworkBoundLoss(model, example(), every=3, torus=4)
    first = loss.log()
    first.backward()
    slopes = {
        name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
    }
    model.zero_grad()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 1e-3)
    second = loss.log()
    second.backward()
    names = dict(model.named_parameters())
    with torch.no_grad():
        slope = sum(float((each * names[name]).sum()) for name, each in slopes.items()) / (1 + 1e-3)
    assert second.item() - first.item() == pytest.approx(slope * 1e-3, rel=1e-9)
    assert all(torch.equal(names[name].grad, each) for name, each in slopes.items())
    third, before = loss.log().item(), loss._multipliers[min(loss._multipliers)].shape.clone()
    assert third == second.item()
    assert loss.log().item() != third
    assert not torch.equal(loss._multipliers[min(loss._multipliers)].shape, before)


def test_training_by_it_lowers_what_an_audit_certifies() -> None:
    model = trained(residual, torch.float32).train()
    loss = NetworkBoundLoss(model, example(torch.float32))
    before = loss.certified("quick").lipschitz
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(5):
        bound = loss.log()  # before a step that changes the statistics in place
        output = model(torch.rand(4, 2, 8, 8)).square().mean()
        optimiser.zero_grad()
        (bound + 0 * output).backward()
        optimiser.step()
    assert model.training
    assert loss.certified("quick").lipschitz < before * 0.8
    assert not loss.state_dict()
    assert not list(loss.parameters())


def test_multipliers_get_better_in_training_only() -> None:
    loss = NetworkBoundLoss(trained(chain), example(), torus=4)
    with torch.inference_mode():
        first = loss.eval()().item()
    with torch.no_grad():
        assert loss.train()().item() == first
    assert loss.eval()().item() == first
    loss.train()
    values = [loss().item() for _ in range(10)]
    assert values[0] == first
    assert values[-1] < 0.95 * first


class Shifted(nn.Module):
    """Swish with a weight inside."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x + self.shift)


class Scaled(nn.Module):
    """By a weight of any shape."""

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.factors = nn.Parameter(factors)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (
            nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4), nn.ReLU()),
            "'batch_norm' changes with the weights, and no",
        ),
        (nn.PReLU(), "'prelu.*' changes with the weights"),
        (nn.Sequential(nn.ReLU(), Scaled(torch.ones(4)), nn.ReLU()), "'mul.*' changes with the weights"),
        (nn.Sequential(nn.ReLU(), Scaled(torch.zeros(1)), nn.ReLU()), "'mul.*' changes with the weights"),
        (Shifted(), "changes with the weights"),
        (nn.LayerNorm(4), "does what LayerNormalization 'layer_norm' does"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "is computed from weights by ReduceL2"),
    ],
)
def test_what_it_cannot_follow_is_refused(part: nn.Module, reason: str) -> None:
    model = nn.Sequential(nn.Linear(6, 4), part, nn.Linear(4, 2))
    with pytest.raises(UsageError, match=reason):
        NetworkBoundLoss(model, torch.zeros(1, 6))


def test_weights_that_make_another_network_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_chains, "EPSILON", 1e-5)
    factors = live_chains._factors
    monkeypatch.setattr(live_chains, "_factors", lambda *args: factors(*args) * (1 + 1e-6))
    with pytest.raises(UsageError, match="is not the product of the weights"):
        NetworkBoundLoss(trained(residual), example())


def test_multipliers_that_have_become_infeasible_are_moved_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after thousands of steps in single precision, which a training must survive."""
    loss = NetworkBoundLoss(trained(residual, torch.float32), example(torch.float32), torus=4)
    before = loss.log().item()
    with torch.no_grad():
        for each in loss._multipliers.values():
            each.ratio.fill_(-60.0)
    loss.eval()
    with monkeypatch.context() as patch:
        patch.setattr(network_loss, "AWAY", ())
        with pytest.raises(UsageError, match="beyond what floats hold"):
            loss.log()
    assert before < loss.log().item() < before + 5
    assert all(math.log(1e-3) <= each.ratio.item() for each in loss._multipliers.values())


def test_weights_beyond_floats_are_told() -> None:
    model = trained(chain)
    loss = NetworkBoundLoss(model, example(), torus=4)
    nn.init.constant_(model[0].weight, torch.nan)
    with pytest.raises(UsageError, match="beyond what floats hold"):
        loss()
    nn.init.constant_(model[0].weight, 1e200)
    with pytest.raises(UsageError, match="beyond what floats hold"):
        loss()
    with pytest.raises(UsageError, match="must be 1 or more"):
        NetworkBoundLoss(model, example(), every=0)


def test_the_overhead_is_measured_against_plain_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound_loss, "KINDS", ((None, 1), (4, 1)))
    monkeypatch.setattr(bound_loss, "ResNet", lambda: ResNet(1, 4))
    plain, row = bound_loss.measure(1, 2).rows
    assert (plain["torus"], plain["cpu_x"]) == ("no bound", 1)
    assert row["cpu_x"] > 1
    assert math.isfinite(row["log10"])


def proven_pairs(model: nn.Module, bounds: PairBounds) -> Tensor:
    """As certificates have them: from the covariance that is proven at the multipliers of the bounds."""
    with network_in_memory(model, example()) as network, torch.no_grad():
        graph = folded(network.graph).graph
        (program,) = lowered(graph, sources(graph), [(graph.main.nodes, real_outputs(graph))], {})
        (end,) = Recursion(program, plan=planned(program), proof=True).run(chosen(bounds._multipliers))
        covariance = end.with_scale(1.0).blocks[program.outputs * 2][0].real
        every = torch.arange(len(covariance))
        return pair_bounds(every, len(covariance), covariance=covariance)


def test_pairs_are_bounded_as_in_certificates() -> None:
    """And, at the same multipliers, by no more than the root of 2 times the network's bound."""
    model = trained(residual)
    bounds, loss = (kind(model, example(), torus=None) for kind in (PairBounds, NetworkBoundLoss))
    bounds()
    found, proven = bounds.eval()().detach(), proven_pairs(model, bounds)
    torch.testing.assert_close(found, proven.fill_diagonal_(0.0), rtol=1e-5, atol=1e-12)
    assert (found.fill_diagonal_(math.inf) <= proven.fill_diagonal_(math.inf)).all()
    loss()
    bounds._multipliers = loss._multipliers
    assert bounds().max() <= math.sqrt(2) * loss.eval()()


def test_gradients_of_a_loss_by_pairs_are_those_of_differences() -> None:
    """Where the weights of pairs are those of the loss."""
    model = trained(residual)
    bounds = PairBounds(model, example(), torus=4)
    offsets = torch.tensor([[0.0, 1.0, 3.0], [0.0, 0.0, 2.0], [0.5, 0.0, 0.0]], dtype=torch.float64)
    bounds.eval()._weights = offsets / offsets.sum()
    (bounds() * offsets).sum().backward()
    step = 1e-5
    for weight in (model[0].weight, model[-1].weight):
        along, ends = torch.randn_like(weight), []
        with torch.no_grad():
            for sign in (1, -2):
                weight.add_(sign * step * along)
                ends.append((bounds() * offsets).sum().item())
            weight.add_(step * along)
        expected = (ends[0] - ends[1]) / (2 * step)
        assert (weight.grad * along).sum().item() == pytest.approx(expected, rel=1e-5)


def test_pairs_of_a_linear_network_and_calls_in_between() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    bounds = PairBounds(model, torch.zeros(1, 5), every=2)

    def exact() -> Tensor:
        rows = model[1].weight @ model[0].weight
        return (rows[:, None] - rows).norm(dim=2)

    first = bounds()
    torch.testing.assert_close(first, exact())
    for _ in range(60):
        bounds()[0, 1].backward()
    assert bounds._weights[0, 1] > 0.99
    with torch.no_grad():
        model[1].weight.mul_(1.01)
    between = bounds()
    torch.testing.assert_close(between, first * math.exp(0.01), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(bounds(), exact())
    with pytest.raises(UsageError, match="does not put out one vector"):
        PairBounds(nn.Conv2d(2, 2, 3), example(torch.float32))
