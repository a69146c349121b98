"""The example of an optimiser's hook: what its steps do, by Fourier transforms and dense matrices."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch
from torch import nn


def norm(layer: nn.Module, weight: torch.Tensor) -> float:
    """Of a matrix, or at 32 x 32 frequencies; with a stride, of what it is without, which is no less."""
    if isinstance(layer, nn.Linear):
        return torch.linalg.matrix_norm(weight, 2).item()
    symbols = torch.fft.fft2(weight.double(), (32, 32)).permute(2, 3, 0, 1)
    return torch.linalg.matrix_norm(symbols, 2).max().item()


def test_no_step_is_longer_than_the_learning_rate(root: Path) -> None:
    example = runpy.run_path(str(root / "docs" / "examples" / "spectral_step.py"))
    before, (after, losses) = example["network"](), example["main"](steps=8, rate=0.15)
    assert losses[-1] < 0.9 * losses[0]
    moved = {}
    for name, old in before.named_children():
        if isinstance(old, nn.Conv2d | nn.Linear):
            moved[name] = norm(old, after.get_submodule(name).weight.detach() - old.weight.detach())
    assert moved["0"] <= 8 * 0.15 * (1 + 1e-5)
    assert moved["5"] <= 8 * 0.15 * (1 + 1e-5)
    assert min(moved.values()) > 0.1


def test_gradients_are_as_long_as_is_said(root: Path) -> None:
    """Of a stride, nothing is lost by taking what the layer does with it."""
    example = runpy.run_path(str(root / "docs" / "examples" / "spectral_step.py"))
    model = example["network"]()
    model(torch.rand(4, 1, 8, 8)).square().sum().backward()
    example["SpectralGradients"](model)()
    for layer in (model[0], model[5]):
        assert 0.95 <= norm(layer, layer.weight.grad) <= 1 + 1e-5
    assert norm(model[2], model[2].weight.grad) > 1
