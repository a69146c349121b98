"""Networks with one hidden layer, of convolutions and softplus, and their training for certificates.

Those of Table 4 of Singla & Feizi (arXiv 1911.10258): 64 filters, stride 2. They take pixels in [0, 1] as
they are, so that a certified radius is one in units of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convsv_cli.training.curvature import CurvatureLoss
from convsv_cli.training.unfoldings import PowerState

FILTERS = 64
STRIDE = 2
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides a training.

    Attributes:
        gamma: weight of the curvature.
        epochs: how many there are.
        seed: of the weights, and of the order of images.
        kernel: size of the filters.
        batch: images a step.
        rate: the highest learning rate.
        spread: of the first filters, as a multiple of what torch starts from.
        epsilon: radius of the attacks.
        rounds, steps: of each attack: multipliers that are tried, and steps for each; CRT's authors: 30, 10.
    """

    gamma: float
    epochs: int
    seed: int = 0
    kernel: int = 7
    batch: int = 64
    rate: float = 0.01
    spread: float = 1.0
    epsilon: float = 0.5
    rounds: int = 14
    steps: int = 1


def prepare(threads: int) -> None:
    """For speed: few threads, and no oneDNN, whose gradient for one channel takes twice the time."""
    torch.set_num_threads(threads)
    torch.backends.mkldnn.enabled = False


def network(channels: int, size: int, kernel: int) -> nn.Sequential:
    """Images [batch, channels, size, size] in [0, 1] -> logits [batch, 10]; nothing is padded."""
    side = (size - kernel) // STRIDE + 1
    return nn.Sequential(
        nn.Conv2d(channels, FILTERS, kernel, stride=STRIDE),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(FILTERS * side**2, CLASSES),
    )


class Fit:
    """A training by CRT with Adam and a one-cycle learning rate, that may stop after any epoch.

    Args:
        recipe: of the training.
        images: uint8 [n, channels, size, size].
        labels: int64 [n].
    """

    def __init__(self, recipe: Recipe, images: Tensor, labels: Tensor) -> None:
        torch.manual_seed(recipe.seed)
        self.model = network(images.shape[1], images.shape[2], recipe.kernel)
        with torch.no_grad():
            self.model[0].weight.mul_(recipe.spread)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self._loss = CurvatureLoss(
            self.model,
            gamma=recipe.gamma,
            epsilon=recipe.epsilon,
            rounds=recipe.rounds,
            steps=recipe.steps,
        )
        self._batch, self._images, self._labels = recipe.batch, images, labels
        self._optimiser = torch.optim.Adam(self.model.parameters())
        steps = recipe.epochs * -(-len(images) // recipe.batch)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimiser, recipe.rate, steps)

    @property
    def parts(self) -> Mapping[str, Any]:
        """What, with `generator`, has to be kept in order to go on after an epoch."""
        return {
            "model": self.model,
            "loss": PowerState(self._loss),
            "optimiser": self._optimiser,
            "schedule": self._schedule,
        }

    def epoch(self) -> float:
        """Train on all images once; the mean loss."""
        losses = []
        for index in torch.randperm(len(self._images), generator=self.generator).split(self._batch):
            loss = self._loss(self._images[index].float() / 255, self._labels[index])
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            self._schedule.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)
