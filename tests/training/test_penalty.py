"""The regulariser: its value and gradient against dense matrices, and its place in a training loop."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from convsv_cli.errors import UsageError
from convsv_cli.training.penalty import LipschitzPenalty
from convsv_cli.training.unfoldings import PowerState
from sample_models.resnet import ResNet
from tests.support import trained

TRUTHS = {
    "singla-feizi": trained.true_bound,
    "heuristic": trained.true_heuristic,
    "certified": trained.true_supremum,
}


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3)
    )


def randomise(model: nn.Module, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def after(penalty: LipschitzPenalty, steps: int) -> float:
    values = [penalty().item() for _ in range(steps)]
    return values[-1]


@pytest.mark.parametrize("kind", trained.LAYERS)
@pytest.mark.parametrize("method", ["singla-feizi", "heuristic"])
def test_fifty_steps_from_anywhere_find_the_true_norm(kind: str, method: str) -> None:
    layer = trained.layer(kind, seed=3)
    penalty = LipschitzPenalty(nn.Sequential(layer), method)
    randomise(layer)
    assert after(penalty, 50) == pytest.approx(TRUTHS[method](layer), rel=1e-6)


def test_fifty_steps_on_trained_layers(root: Path) -> None:
    """Of which some have close singular values: plain power steps leave 1e-2."""
    model = ResNet().double()
    penalty = LipschitzPenalty(model, exclude=["fc", "*.skip.*", "layer[23].*"])
    model.load_state_dict(torch.load(root / "sample_models" / "resnet20.pt"))
    after(penalty, 50)
    for name, value in penalty.layer_values().items():
        assert value == pytest.approx(trained.true_bound(model.get_submodule(name)), rel=1e-6), name


@pytest.mark.parametrize("kind", trained.LAYERS)
@pytest.mark.parametrize("method", TRUTHS)
def test_gradients_are_finite_differences(kind: str, method: str) -> None:
    layer = trained.layer(kind, seed=5)
    penalty = LipschitzPenalty(nn.Sequential(layer), method, tolerance=1e-12)
    if method != "certified":
        after(penalty, 20)
    penalty().backward()
    gradient = layer.weight.grad.numpy()
    generator = np.random.default_rng(0)
    for _ in range(3):
        direction = generator.standard_normal(gradient.shape)
        direction /= np.linalg.norm(direction)
        slope = trained.finite_difference(TRUTHS[method], layer, direction)
        assert float((gradient * direction).sum()) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_that_of_a_dense_svd(seed: int) -> None:
    """Of the smallest of R, S, T and U."""
    layer = trained.layer("wide 2-D", seed=seed)
    weight = layer.weight.detach().clone().requires_grad_()
    parts = {
        rows: torch.linalg.svdvals(weight.permute(order).flatten(0, cut).flatten(1))[0]
        for rows, order, cut in (
            ((0,), (0, 2, 1, 3), 1),
            ((1,), (0, 3, 1, 2), 1),
            ((), (0, 1, 2, 3), 0),
            ((0, 1), (0, 2, 3, 1), 2),
        )
    }
    smallest = min(parts, key=parts.__getitem__)
    (10**0.5 * parts[smallest]).backward()
    penalty = LipschitzPenalty(nn.Sequential(layer))
    after(penalty, 20)
    penalty().backward()
    assert torch.allclose(layer.weight.grad, weight.grad, rtol=0, atol=1e-6)
    assert layer.weight.grad.norm().item() == pytest.approx(10**0.5)


@pytest.mark.parametrize("kind", ["linear", "2-D", "grouped", "transposed"])
@pytest.mark.parametrize("method", ["singla-feizi", "heuristic"])
def test_gradcheck(kind: str, method: str) -> None:
    layer = trained.layer(kind, seed=4)
    penalty = LipschitzPenalty(nn.Sequential(layer), method)
    after(penalty, 20)

    def value(weight: torch.Tensor) -> torch.Tensor:
        holder = nn.Module()
        del layer._parameters["weight"]
        layer.weight = holder.weight = weight
        try:
            return penalty()
        finally:
            del layer.weight
            layer.register_parameter("weight", original)

    original = layer.weight
    weight = original.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(value, (weight,), nondet_tol=1e-9)


def test_the_sum_has_factors_and_exclusions() -> None:
    model = small_net()
    values = LipschitzPenalty(model).layer_values()
    assert list(values) == ["0", "2", "3", "5"]
    penalty = LipschitzPenalty(model, exclude=["0"], weights={"5": 0.5, "[25]": 2.0})
    expected = 2 * values["2"] + values["3"] + 0.5 * values["5"]
    assert penalty().item() == pytest.approx(expected, rel=1e-5)
    assert set(penalty.layer_values()) == {"2", "3", "5"}


@pytest.mark.parametrize("method", TRUTHS)
def test_norms_are_what_a_call_adds_up(method: str) -> None:
    """Also in what they do to the state, and one at a time for the gradient."""
    model = small_net()
    called, asked = (LipschitzPenalty(model, method) for _ in range(2))
    for _ in range(3):
        norms = asked.norms()
        assert called().item() == pytest.approx(sum(norms.values()).item(), rel=1e-6)
    assert list(norms) == ["0", "2", "3", "5"]
    for one, other in zip(called.buffers(), asked.buffers(), strict=True):
        assert torch.equal(one, other)
    (alone,) = torch.autograd.grad(norms["2"], model[2].weight, retain_graph=True)
    (product,) = torch.autograd.grad(norms["2"] * norms["3"], model[2].weight)
    assert alone.any()
    torch.testing.assert_close(product, (norms["3"] * alone).to(product))


def test_methods_are_ordered() -> None:
    model = small_net()
    heuristic, certified, bound = (
        LipschitzPenalty(model, method).layer_values()
        for method in ("heuristic", "certified", "singla-feizi")
    )
    for name in bound:
        assert heuristic[name] <= certified[name] * (1 + 1e-6)
        assert certified[name] <= bound[name] * (1 + 2e-3)
    assert heuristic["2"] < 0.9 * certified["2"] < 0.9 * bound["2"]


def test_certified_values_are_upper_bounds() -> None:
    for kind in trained.LAYERS:
        layer = trained.layer(kind)
        truth = trained.true_supremum(layer)
        value = LipschitzPenalty(nn.Sequential(layer), "certified")().item()
        assert truth * (1 - 1e-12) <= value <= truth * (1 + 3e-3)


def test_it_makes_norms_smaller() -> None:
    model = small_net()
    penalty = LipschitzPenalty(model)
    before = penalty().item()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(30):
        optimiser.zero_grad()
        penalty().backward()
        optimiser.step()
    assert penalty().item() < 0.5 * before
    truths = [trained.true_bound(model[i]) for i in (0, 2, 3, 5)]
    assert penalty().item() == pytest.approx(sum(truths), rel=5e-2)
    assert after(penalty, 50) == pytest.approx(sum(truths), rel=1e-5)


def test_two_calls_before_one_backward() -> None:
    """As gradients are accumulated."""
    model = small_net()
    penalty = LipschitzPenalty(model)
    (penalty() + penalty()).backward()
    twice = model[2].weight.grad.clone()
    model.zero_grad()
    penalty().backward()
    assert torch.allclose(twice, 2 * model[2].weight.grad, atol=1e-4)


def test_evaluation_mode_moves_nothing() -> None:
    model = small_net()
    penalty = LipschitzPenalty(model)
    randomise(model)
    first = penalty.eval()().item()
    before = {name: value.clone() for name, value in penalty.named_buffers()}
    assert penalty().item() == first
    penalty.train().layer_values()
    assert penalty.training
    for name, value in penalty.named_buffers():
        assert torch.equal(value, before[name])
    penalty()
    assert any(not torch.equal(value, before[name]) for name, value in penalty.named_buffers())


def test_random_numbers_are_left_alone() -> None:
    model = small_net()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    LipschitzPenalty(model)()
    assert torch.equal(torch.rand(1), expected)


def test_compiled() -> None:
    model = small_net()
    penalty = LipschitzPenalty(model)
    compiled = torch.compile(penalty, backend="aot_eager", fullgraph=True)
    randomise(model)
    twin = copy.deepcopy(PowerState(penalty).state_dict())
    values = [compiled().item() for _ in range(3)]
    PowerState(penalty).load_state_dict(twin)
    assert values == pytest.approx([penalty().item() for _ in range(3)], rel=1e-5)
    assert values[0] < values[1] < values[2]
    compiled().backward()
    assert float(model[2].weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_costs_no_digits(dtype: torch.dtype) -> None:
    model = small_net()
    penalty = LipschitzPenalty(model)
    with torch.autocast("cpu", dtype=dtype):
        value = penalty()
        model(torch.zeros(1, 1, 8, 8))
    assert value.dtype == torch.float32
    truths = [trained.true_bound(model[i]) for i in (0, 2, 3, 5)]
    assert value.item() == pytest.approx(sum(truths), rel=1e-5)


def test_models_in_half_precision() -> None:
    model = small_net().bfloat16()
    value = LipschitzPenalty(model)()
    assert value.dtype == torch.float32
    value.backward()
    assert model[2].weight.grad.dtype == torch.bfloat16


def test_wrappers_are_taken_off() -> None:
    model = small_net()
    names = set(LipschitzPenalty(model).layer_values())
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        penalty = LipschitzPenalty(wrapped)
        assert set(penalty.layer_values()) == names
        model.zero_grad()
        penalty().backward()
        assert model[2].weight.grad is not None


def test_parametrised_weights_are_the_effective_ones() -> None:
    layer = parametrizations.weight_norm(trained.layer("2-D"))
    penalty = LipschitzPenalty(nn.Sequential(layer))
    after(penalty, 20)
    assert penalty().item() == pytest.approx(trained.true_bound(layer), rel=1e-9)
    penalty().backward()
    assert layer.parametrizations.weight.original0.grad is not None


def test_zero_and_broken_weights_do_no_lasting_harm() -> None:
    layer = trained.layer("2-D")
    good = layer.weight.detach().clone()
    for broken in (0.0, float("nan"), float("inf"), 1e-200):
        penalty = LipschitzPenalty(nn.Sequential(layer))
        with torch.no_grad():
            layer.weight.fill_(broken)
        penalty().backward()
        assert broken != 0 or not layer.weight.grad.any()
        after(penalty, 3)
        with torch.no_grad():
            layer.weight.copy_(good)
        assert after(penalty, 50) == pytest.approx(trained.true_bound(layer), rel=1e-6)
    with torch.no_grad():
        layer.weight.zero_()
    certified = LipschitzPenalty(nn.Sequential(layer), "certified")()
    certified.backward()
    assert certified.item() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exclude": ["conv*"]}, "no layer matches 'conv\\*' \\(there are 0, 2, 3, 5\\)"),
        ({"weights": {"9": 1.0}}, "no layer matches '9'"),
        ({"weights": {"0": -1.0}}, "must be 0 or more"),
        ({"exclude": ["*"]}, "no Linear or convolution layer"),
        ({"method": "exact"}, "unknown penalty 'exact'"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LipschitzPenalty(small_net(), **arguments)


def test_the_benchmark_prints_ratios(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    script = [sys.executable, "benchmarks/penalty_overhead.py"]
    arguments = ["--steps", "1", "--batch", "2", "--device", "cpu", "--json", str(path)]
    process = subprocess.run([*script, *arguments], cwd=root, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [row["penalty"] for row in rows] == ["none", "heuristic", "singla-feizi"]
    assert rows[0]["wall_x"] == rows[0]["cpu_x"] == 1
    assert all(row["cpu_x"] > 0 and row["penalty"] in process.stdout for row in rows)


def test_lazy_layers_need_a_batch() -> None:
    with pytest.raises(UsageError, match="run the model on a batch first"):
        LipschitzPenalty(nn.Sequential(nn.LazyLinear(3)))
