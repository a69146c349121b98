"""A small convolutional network of the plainest kind for CIFAR-10, and what it is trained with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from convsv_cli import LipschitzPenalty
from convsv_cli.training.unfoldings import PowerState
from sample_models import cifar10
from sample_models.certified_loss import certified_loss
from sample_models.muon import Muon

SMALLEST = 1e-12
FIRST_SHARE = 0.01  # of the radius of the bound: features are learned before they are made robust
GROWTH = 0.5  # share of the steps in which that radius grows, each time by the same factor


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides a training.

    Attributes:
        epochs: how many there are.
        seed: of the weights, and of the order, the crops and the flips of images.
        batch: images a step.
        rate: the highest learning rate.
        attacked: how far images are moved against the network, in pixels of [0, 1].
        bounded: how far the Lipschitz bound has to reach beyond that.
    """

    epochs: int = 70
    seed: int = 0
    batch: int = 256
    rate: float = 0.02
    attacked: float = 0.2
    bounded: float = 0.03


def network() -> nn.Sequential:
    """Images [batch, 3, 32, 32] in [0, 1] -> logits [batch, 10]: two convolutions and two matrices.

    As cifar10_cnn_a, on which L2 verifiers are compared (Chiu et al., arXiv 2506.06665), but for twice the
    filters in its first layer.
    """
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def attacked(model: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Images at the distance `radius` (L2), in the direction in which the cross entropy grows.

    One step is enough to train with at radii at which the network is almost linear. Pixels may leave [0, 1],
    as they may in the ball of a certificate.

    Args:
        model: a classifier.
        x: [n, ...].
        y: int64 [n].
        radius: in the units of x.
    """
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(cross_entropy(model(x).float(), y, reduction="sum"), x)
    lengths = slope.flatten(1).norm(dim=1).clamp_min(SMALLEST).reshape(-1, *(1 for _ in x.shape[1:]))
    return (x + radius * slope / lengths).detach()


class Fit:
    """A training by Muon on attacked images with a Lipschitz margin, that may stop after any epoch.

    Attacks make the network robust. The margin keeps the norms of its layers small, and Muon their singular
    values alike, so that bounds are close enough to what attacks find to prove it. In bfloat16 but for
    weights, norms and the loss.

    Args:
        recipe: of the training.
        images: uint8 [n, 3, 32, 32].
        labels: int64 [n].
    """

    def __init__(self, recipe: Recipe, images: Tensor, labels: Tensor) -> None:
        torch.manual_seed(recipe.seed)
        model = network()
        for layer in model:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.model = model.to(memory_format=torch.channels_last)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self._recipe, self._images, self._labels = recipe, images, labels
        self._penalty = LipschitzPenalty(self.model)
        self._optimiser = Muon(self.model.parameters(), recipe.rate)
        self._steps = recipe.epochs * (len(images) // recipe.batch)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, recipe.rate, self._steps, pct_start=0.2, cycle_momentum=False
        )

    @property
    def parts(self) -> Mapping[str, Any]:
        """What, with `generator`, has to be kept in order to go on after an epoch."""
        return {
            "model": self.model,
            "penalty": PowerState(self._penalty),
            "optimiser": self._optimiser,
            "schedule": self._schedule,
        }

    def epoch(self) -> float:
        """Train on all images once; the mean loss."""
        losses = [self._step(x, y) for x, y in self._batches()]
        return sum(losses) / len(losses)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in cifar10.augmented_batches(self._images, self._labels, self._recipe.batch, self.generator):
            yield x.to(memory_format=torch.channels_last), y

    def _step(self, x: Tensor, y: Tensor) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(attacked(self.model, x, y, self._recipe.attacked)).float()
        loss = certified_loss(logits, y, self._bound_before_head(), self.model[-1].weight, self._radius())
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._schedule.step()
        return loss.item()

    def _bound_before_head(self) -> Tensor:
        """Lipschitz bound of all layers but the last: ReLU has the constant 1."""
        *before, _head = self._penalty.norms().values()
        return torch.stack(before).prod()

    def _radius(self) -> float:
        progress = self._schedule.last_epoch / self._steps
        return self._recipe.bounded * FIRST_SHARE ** max(0.0, 1 - progress / GROWTH)
