"""Training for certificates by curvature (Singla & Feizi, arXiv 1911.10258, equation 5; arXiv 2006.00731)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from convsv_cli.errors import UsageError
from convsv_cli.torch_modules.chain import chain_of
from convsv_cli.torch_modules.modules import geometry_of, weight_of
from convsv_cli.training.unfoldings import Unfoldings, UnfoldingsOfStacks, norms

WIDEST = 1000.0  # times the curvature, or 1: multipliers beyond it hold the attack at its start


class CurvatureBound(nn.Module):
    """How much the gradient of z_y - z_t can change: a bound of its Hessian's norm at every input.

    Equation 5 of Singla & Feizi (arXiv 1911.10258), on the curvature of their arXiv 2006.00731.

    For one hidden layer, with any stride, it is max |phi''| |W_1|^2 max_j |W_2[y, j] - W_2[t, j]| with
    sqrt(prod k) times the norm of the smallest unfolding for |W_1|; `torch_modules/chain` has the bound for
    several. The norms come from one step of an iteration a call, as in `LipschitzPenalty`: to train with,
    and no proof.

    Args:
        model: a Sequential of Linear and convolution layers, zero-padded, with one smooth activation
            (Softplus, Sigmoid or Tanh) between them, and Linear as the last. It is not registered here.
        input_shape: of one input; only needed with several hidden layers.

    Raises:
        UsageError: the model is something else.
    """

    def __init__(self, model: nn.Module, *, input_shape: Sequence[int] | None = None) -> None:
        super().__init__()
        self._chain, self._input_shape = chain_of(model), input_shape
        self.unfoldings = UnfoldingsOfStacks(
            Unfoldings(weight_of(layer), geometry_of(layer)) for layer in self._chain.hidden
        )

    def forward(self, y: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The bound for each pair of classes: [n], differentiable in the model's weights.

        Args:
            y, t: classes, int64 [n].
        """
        head = weight_of(self._chain.head)
        hidden = [value for (value,) in norms(self.unfoldings, list(map(weight_of, self._chain.hidden)))]
        return self._chain.curvature(head[y] - head[t], hidden, self._input_shape)


class CurvatureLoss(nn.Module):
    """Cross entropy at attacked inputs plus gamma times the curvature of z_y - z_t, t the runner-up.

    The runner-up of an input is the class with the largest logit but its own. The attack looks for the
    least z_y - z_t within `epsilon`, by the dual problem that the certificate solves too: it is the better
    the smaller the curvature is (Singla & Feizi, arXiv 2006.00731).

    Args:
        model: as of `CurvatureBound`.
        gamma: weight of the curvature.
        epsilon: radius of the attack in the Euclidean norm; 0 for cross entropy at the inputs themselves.
        rounds, steps: of the attack: multipliers that are tried, and steps for each of them.
        input_shape: as of `CurvatureBound`.

    Raises:
        UsageError: gamma or epsilon is negative, or the model is none of those of `CurvatureBound`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        gamma: float,
        epsilon: float = 0.5,
        rounds: int = 30,
        steps: int = 10,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not (gamma >= 0 and epsilon >= 0):
            raise UsageError("gamma and epsilon must be 0 or more")
        self._model = (model,)  # in a tuple, so that its parameters stay the model's own
        self.gamma, self.epsilon, self._rounds, self._steps = gamma, epsilon, rounds, steps
        self.bound = CurvatureBound(model, input_shape=input_shape)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The mean over the inputs: a scalar.

        Args:
            x: inputs [n, ..].
            y: their true classes, int64 [n].
        """
        (model,) = self._model
        t = runner_up(model(x).detach(), y)
        curvature = self.bound(y, t)
        if self.epsilon:
            x = self.pgd(x, y, t, curvature.detach())
        loss: torch.Tensor = functional.cross_entropy(model(x), y) + self.gamma * curvature.mean()
        return loss

    def pgd(self, x: torch.Tensor, y: torch.Tensor, t: torch.Tensor, curvature: torch.Tensor) -> torch.Tensor:
        """The inputs moved by at most `epsilon` to where z_y - z_t is small: [n, ..].

        For a multiplier eta >= K, f + eta / 2 |x - x0|^2 is convex, and the steps are its descent; the larger
        eta, the nearer to x0 it ends.

        Args:
            x: inputs [n, ..].
            y: their true classes, int64 [n].
            t: the classes to move to, int64 [n].
            curvature: K, [n], of z_y - z_t.
        """
        size = (-1, *(1 for _ in x.shape[1:]))
        low, high = curvature, curvature + WIDEST * curvature.clamp_min(1.0)
        moved = x
        for _ in range(self._rounds):
            eta = (low + high) / 2
            for _ in range(self._steps):
                gradient = self._slope(moved, y, t) + eta.view(size) * (moved - x)
                moved = moved - gradient / (curvature + eta).clamp_min(1e-12).view(size)
            far = (moved - x).flatten(1).norm(dim=1) > self.epsilon
            low, high = torch.where(far, eta, low), torch.where(far, high, eta)
        length = (moved - x).flatten(1).norm(dim=1).clamp_min(1e-12).view(size)
        within: torch.Tensor = x + (moved - x) * (self.epsilon / length).clamp_max(1.0)
        return within

    def _slope(self, x: torch.Tensor, y: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        (model,) = self._model
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = model(x)
            f = logits.gather(1, y[:, None]) - logits.gather(1, t[:, None])
            (gradient,) = torch.autograd.grad(f.sum(), x)
        slope: torch.Tensor = gradient
        return slope


def runner_up(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The class with the largest logit but y: [n, classes], int64 [n] -> int64 [n]."""
    return logits.scatter(1, y[:, None], -torch.inf).argmax(1)
