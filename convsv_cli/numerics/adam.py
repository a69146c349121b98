"""Gradient descent by Adam (Kingma & Ba, 2015).

Not that of torch.optim, which imports a compiler at its first use: a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

SMALL = 1e-8


class Adam:
    """Moves tensors against their gradients, each entry by about as much as the rate.

    Args:
        parameters: tensors that require gradients; changed in place.
        betas: how much of the mean gradient, and of its mean square, is kept at each step.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self._parameters, self._betas = list(parameters), betas
        self._means = [torch.zeros_like(each) for each in self._parameters]
        self._squares = [torch.zeros_like(each) for each in self._parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self, rates: float | Sequence[float]) -> None:
        """One step, after which there are no gradients; parameters without one stay as they are.

        Args:
            rates: one for all parameters, or one for each.
        """
        self._steps += 1
        first, second = (1 - beta**self._steps for beta in self._betas)
        each = [rates] * len(self._parameters) if isinstance(rates, float) else rates
        states = zip(self._parameters, self._means, self._squares, each, strict=True)
        for parameter, mean, square, rate in states:
            if parameter.grad is None:
                continue
            mean.lerp_(parameter.grad, 1 - self._betas[0])
            square.lerp_(parameter.grad.square(), 1 - self._betas[1])
            parameter.addcdiv_(mean, (square / second).sqrt_().add_(SMALL), value=-rate / first)
            parameter.grad = None
