"""Estimates of the largest singular values, followed from step to step, against dense symbols and proofs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convsv_cli import spectral_norm
from convsv_cli.training.layers import surveyed
from convsv_cli.training.peaks import WARM_UP, Estimate, Peaks, advance, peaks_of
from tests.support import oracles, trained


def truth(module: nn.Module) -> float:
    """The largest singular value of the symbols over all frequencies, by numpy alone."""
    if isinstance(module, nn.Linear):
        return oracles.spectral_norm(module.weight.detach().numpy())
    how = {"stride": module.stride, "dilation": module.dilation, "transposed": module.transposed}
    blocks = np.split(module.weight.detach().double().numpy(), module.groups)
    return max(oracles.supremum(oracles.reduced_kernel(block, **how)) for block in blocks)


def after(model: nn.Module, steps: int) -> dict[str, Estimate]:
    """What is known after the warm-up and so many steps."""
    peaks = peaks_of(surveyed(model).layers)
    advance(peaks, WARM_UP)
    return [advance(peaks) for _ in range(steps)][-1]


@pytest.mark.parametrize("kind", trained.LAYERS)
def test_fifty_steps_find_the_norm_to_a_percent(kind: str) -> None:
    module = trained.layer(kind)
    expected, found = truth(module), after(module, 50)[""]
    assert 0.99 * expected <= found.norm <= expected * (1 + 1e-6)
    squares = float(module.weight.detach().square().sum())
    assert found.stable_rank == pytest.approx(squares / found.norm**2)


def test_the_stable_rank_is_that_of_the_spectrum_by_position() -> None:
    layer, n = nn.Conv2d(3, 4, 3, bias=False).double(), (6, 6)
    dense = oracles.circular_matrix(
        layer.weight.detach().numpy(), n, stride=(1, 1), dilation=(1, 1), groups=1
    )
    norm = truth(layer)
    positions = np.linalg.norm(dense) ** 2 / norm**2 / np.prod(n)
    assert after(layer, 50)[""].stable_rank == pytest.approx(positions, rel=0.02)


def random_kernels() -> nn.ModuleDict:
    """As layers begin, where the norms at many frequencies are nearly the same."""
    return nn.ModuleDict(
        {
            "many": nn.Sequential(*(nn.Conv2d(16, 16, 3) for _ in range(3))),
            "wide": nn.Conv2d(8, 12, 5),
            "strided": nn.Conv2d(6, 12, 7, stride=2),
            "long": nn.Conv1d(8, 8, 9),
            "matrices": nn.Linear(64, 48),
        }
    )


def check_proven(model: nn.Module) -> None:
    """No estimate is above what is proven, nor more than a percent below it."""
    found = after(model, 50)
    for layer in surveyed(model).layers:
        how = layer.geometry
        many = {"stride": how.stride, "dilation": how.dilation} if how.stride else {}
        proven = spectral_norm(layer.weight, **many, groups=how.groups, tolerance=1e-3)
        norm = found[layer.name].norm
        assert norm <= proven.upper * (1 + 1e-5), layer.name
        assert norm >= 0.99 * proven.lower, layer.name


def test_layers_as_they_begin() -> None:
    check_proven(random_kernels())


@pytest.mark.exhaustive
def test_networks_as_they_begin() -> None:
    from sample_models.resnet import ResNet

    check_proven(ResNet())


def test_weights_that_move_are_followed() -> None:
    layer = nn.Conv2d(4, 4, 3).double()
    peaks, target = peaks_of(surveyed(layer).layers), torch.randn_like(layer.weight)
    advance(peaks, WARM_UP)
    for step in range(100):
        with torch.no_grad():
            layer.weight.lerp_(target, 0.05)
        found = advance(peaks)[""].norm
        if step % 25 == 24:
            assert 0.97 * truth(layer) <= found <= truth(layer) * (1 + 1e-6)
    assert found >= 0.99 * truth(layer)


def test_overflow_does_no_lasting_harm() -> None:
    layer = nn.Conv2d(4, 4, 3)
    peaks, before = peaks_of(surveyed(layer).layers), layer.weight.detach().clone()
    expected = advance(peaks, WARM_UP)[""].norm
    layer.weight.data.fill_(float("nan"))
    assert not advance(peaks)[""].norm <= 1e30
    layer.weight.data.copy_(before)
    assert advance(peaks)[""].norm == pytest.approx(expected, rel=0.01)


def test_zero_weights_have_no_norm() -> None:
    layer = nn.Conv2d(2, 2, 3)
    layer.weight.data.zero_()
    assert after(layer, 2)[""] == Estimate(norm=0.0, stable_rank=0.0)


def test_a_model_may_change_its_type() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Linear(4, 4))
    peaks = peaks_of(surveyed(layer).layers)
    first = advance(peaks, WARM_UP)
    layer.double()
    again = advance(peaks, WARM_UP)
    assert again["0"].norm == pytest.approx(first["0"].norm, rel=0.01)
    layer.bfloat16()
    assert advance(peaks, WARM_UP)["1"].norm == pytest.approx(first["1"].norm, rel=0.02)


def test_large_layers_are_computed_one_by_one() -> None:
    """Or the symbols of all of them would be in memory at once."""
    small = surveyed(nn.Sequential(*(nn.Conv2d(8, 8, 3) for _ in range(5)))).layers
    large = surveyed(nn.Sequential(*(nn.Conv2d(512, 512, 1) for _ in range(3)))).layers
    assert [len(each.layers) for each in peaks_of(small)] == [5]
    assert [len(each.layers) for each in peaks_of(large)] == [1, 1, 1]
    assert all(isinstance(each, Peaks) for each in peaks_of(large))
