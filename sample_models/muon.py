"""Steepest descent in the spectral norm of each weight: Muon.

Jordan et al. (2024), https://kellerjordan.github.io/posts/muon. The entries of a step of Adam have one size,
so it can raise the norm of a wide layer by a hundred times the learning rate, and the bound of a residual
network, a product over its layers, by orders of magnitude. All singular values of a step of Muon are near the
learning rate, but for those that are next to nothing in the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)  # five times of it take singular values of 1e-3 .. 1 to 0.7 .. 1.2
ROUNDS = 5
SMALLEST = 1e-12


class Muon(torch.optim.Optimizer):
    """For weights [c_out, ..] as matrices with c_out rows, and for biases as matrices with one column.

    Args:
        parameters: dense.
        lr: how long a step is in the spectral norm.
        momentum: of the mean of gradients.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002
        """With Nesterov's momentum; a parameter without a gradient stays."""
        for group in self.param_groups:
            momentum = group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 1 - momentum)
                ahead = parameter.grad.lerp(mean, momentum).reshape(len(parameter), -1)
                parameter.sub_(group["lr"] * orthogonal(ahead).reshape(parameter.shape))


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T for U S V^T, without a decomposition: [rows, columns]; zero for zero."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    x = matrix / (matrix.norm() + SMALLEST)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
