"""Steps whose length in the spectral norm is certified, as Muon's roughly are, by a hook on any optimiser.

    python docs/examples/spectral_step.py

Muon (Jordan et al., 2024) replaces the gradient G = U S V' of a matrix by U V', whose singular values are 1.
The matrix of a kernel is not what the convolution does, which may amplify by up to sqrt(prod k) times as
much. Here what the layer would do with U V' has the norm 1, or provably less: so no layer's norm grows by
more than the learning rates of all steps together.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from convsv_cli import spectral_norm

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits.npz"


class SpectralGradients:
    """Before each step of an optimiser: gradients that amplify by 1 at most, as their layers apply them.

    So SGD makes steps of the length of its learning rate, or less with momentum and as much dampening, whose
    mean of gradients is no longer than these.

    Args:
        model: of which Linear and Conv2d layers are changed; biases are not.
        tolerance: relative, of the norms that are divided by; they are bounds whatever it is.
    """

    def __init__(self, model: nn.Module, tolerance: float = 1e-2) -> None:
        self.layers = [each for each in model.modules() if isinstance(each, nn.Linear | nn.Conv2d)]
        self.tolerance = tolerance

    @torch.no_grad()
    def __call__(self, *_: object) -> None:
        """A hook, as of `register_step_pre_hook`."""
        for layer in self.layers:
            gradient = layer.weight.grad
            if gradient is None or not gradient.any():
                continue
            u, _, v = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
            direction = (u @ v).reshape(gradient.shape)
            applied = {}
            if isinstance(layer, nn.Conv2d):
                applied = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
            norm = spectral_norm(direction, tolerance=self.tolerance, **applied)
            gradient.copy_(direction / norm.upper)


def network() -> nn.Sequential:
    """A small classifier of 1x8x8 images."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))


def main(steps: int = 100, rate: float = 0.03) -> tuple[nn.Sequential, list[float]]:
    """Train on drawn digits; the model and the losses."""
    with np.load(DIGITS) as data:
        images = torch.from_numpy(data["x_train"]).float().reshape(-1, 1, 8, 8) / 255
        labels = torch.from_numpy(data["y_train"]).long()
    model, losses = network(), []
    optimiser = torch.optim.SGD(model.parameters(), rate, momentum=0.9, dampening=0.9)
    optimiser.register_step_pre_hook(SpectralGradients(model))
    for step in range(steps):
        batch = torch.arange(64) + 64 * step
        loss = nn.functional.cross_entropy(model(images[batch % len(images)]), labels[batch % len(labels)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model, losses


if __name__ == "__main__":
    trained, values = main()
    sys.stdout.write(f"loss {values[0]:.3f} -> {values[-1]:.3f}\n")
    for name, layer in trained.named_children():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            sys.stdout.write(f"{name}: norm <= {spectral_norm(layer).upper:.3f}\n")
