"""How fast each two outputs of a network can come together, as a function of its weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from convsv_cli.errors import UsageError
from convsv_cli.lipschitz.density.recursion import Recursion
from convsv_cli.lipschitz.density.search import chosen
from convsv_cli.lipschitz.density.sizes import InfeasibleError
from convsv_cli.loaders.live import Example
from convsv_cli.training.network_loss import TORUS, NetworkBoundLoss

SHARE = 0.1
"""Of the newest gradient in what the weights of pairs are."""
LEAST = 1e-100
NO_VECTOR = "the network does not put out one vector"


class PairBounds(NetworkBoundLoss):
    """Bounds of the differences of a network's outputs, one for each pair, to train what `certify` proves.

    `cross_entropy(logits + radius * bounds()[labels], labels)` raises each other class by as much as it can
    gain on the label within the radius (Lipschitz-margin training, Tsuzuku et al., NeurIPS 2018). The bound
    of z_i - z_j is sqrt(v' S v) with v = e_i - e_j and the covariance S of the outputs: what margins are
    divided by in a certificate. It is at most sqrt(2) times the bound of the network, and mostly far less.

    What is said of values, multipliers, refusals and `certified` at `NetworkBoundLoss` holds here, too. But
    what is minimised over multipliers, and what `log` gives, is the logarithm of a mean of the bounds. Their
    weights in it are the gradients that came back from the losses of late, so that it is what the loss sees
    of the bounds; at first they are equal. Calls in between passes follow it by its tangent, and keep the
    ratios of the bounds.

    Args:
        model: as of `NetworkBoundLoss`, from one image or vector each to a vector.
        example_input: inputs of the shapes that the network is bounded for.
        every: how many calls in training mode share one pass.
        torus: positions along each axis of the image that the passes are for, at most.

    Raises:
        UsageError: as of `NetworkBoundLoss`, or the output is no vector of two or more entries.
    """

    def __init__(
        self,
        model: nn.Module,
        example_input: Example,
        *,
        every: int = 1,
        torus: int | None = TORUS,
    ) -> None:
        super().__init__(model, example_input, every=every, torus=torus)
        program = self._live.program
        fields = [program.fields[name] for name in program.outputs]
        if len(fields) != 1 or math.prod(fields[0].window) != 1 or fields[0].channels < 2:
            raise UsageError(NO_VECTOR, hint="NetworkBoundLoss bounds what puts out anything else")
        count = fields[0].channels
        self._weights = (1 - torch.eye(count, dtype=torch.float64)) / (count * (count - 1))
        self._pairs = torch.zeros_like(self._weights)
        self._at = 0.0

    def forward(self) -> torch.Tensor:
        """The bounds, symmetric and zero on the diagonal: [outputs, outputs], of the type of the weights."""
        log = self.log()
        found = self._like_weights(self._pairs * (log - self._at).exp())
        if found.requires_grad:
            found.register_hook(self._weigh)  # type: ignore[no-untyped-call]
        return found

    def _value(self, recursion: Recursion) -> torch.Tensor:
        """The logarithm of the weighted mean; the bounds are kept.

        Raises:
            InfeasibleError: they are beyond what floats hold.
        """
        (covariance,) = recursion.run(chosen(self._multipliers))
        (name,) = covariance.fields
        block = covariance.with_scale(1.0).blocks[name, name][0].real.double()
        own = block.diagonal()
        pairs = (own[:, None] + own - 2 * block).clamp_min(LEAST).sqrt()
        value = (self._weights * pairs).sum().log()
        self._pairs, self._at = pairs.detach().clone().fill_diagonal_(0.0), float(value.detach())
        if not math.isfinite(self._at):
            raise InfeasibleError
        return value

    @torch.no_grad()
    def _weigh(self, gradient: torch.Tensor) -> None:
        """Take up what a loss makes of each bound: nothing where they do not matter to it."""
        share = gradient.detach().to("cpu", torch.float64).clamp_min(0.0).fill_diagonal_(0.0)
        total = float(share.sum())
        if 0 < total < math.inf:
            self._weights = self._weights.lerp(share / total, SHARE)
