"""The regulariser of Singla & Feizi (arXiv 1911.10258, equation 2): the sum of all layers' norms."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Literal

import torch
from torch import nn

from convsv_cli.errors import UsageError
from convsv_cli.training import power
from convsv_cli.training.certified import certified_norm
from convsv_cli.training.layers import matching, stacked, stacks, surveyed
from convsv_cli.training.unfoldings import Unfoldings, UnfoldingsOfStacks

PenaltyMethod = Literal["singla-feizi", "heuristic", "certified"]


class LipschitzPenalty(nn.Module):
    """`loss + beta * penalty()`, where `penalty()` is the sum over all layers of how much each can amplify.

    This is equation 2 of Singla & Feizi (arXiv 1911.10258).

    The layers are Linear, Conv1d to Conv3d and ConvTranspose1d to ConvTranspose3d, with any stride, dilation
    and groups; `Conv1D` of the transformers library; and the matrices of MultiheadAttention, LSTM, GRU, RNN
    and their cells, each as torch stores it ("attention.in_proj", "lstm.weight_ih_l0"). What they multiply by
    is what counts, with parametrisations; what attention, a recurrence or the `forward` of a subclass makes
    of it does not. Anything else that has a matrix of weights is `left_out`, and named in a warning unless
    `exclude` names it.

    The model is not registered in the penalty; call the penalty on the model that the optimiser has (with
    DataParallel too), once a step.

    The methods are

    * "singla-feizi": sqrt(prod k) times the norm of the kernel's smallest unfolding (for images the least of
      R, S, T and U), the column `bound` of an audit. One step of an iteration a call, from where the last
      call ended; the gradient is sqrt(prod k) u v^T. The value approaches the bound from *below*: it is to
      train with, and proves nothing.
    * "heuristic": likewise the norm of T alone, without the factor (Miyato et al., ICLR 2018).
    * "certified": the supremum over all input sizes and paddings, proven, at each call: a search that takes
      some milliseconds a small layer and seconds for hundreds of channels. It has no state.

    In training mode a call moves the directions on; in evaluation mode it only reads them. They are in no
    `state_dict`: where weights were loaded since, the first call finds them anew (if it is not compiled), and
    `PowerState` keeps them for trainings that go on bit by bit. All of it is computed in float32 or float64,
    also under autocast. Gradients are of the first order: the singular vectors count as constants.

    Args:
        model: not copied.
        method: as above.
        exclude: globs on names of layers, or of the modules that hold them; these do not count.
        weights: factors of layers by such globs, of which the first that matches counts; 1 for all others.
        tolerance: of "certified": relative.

    Attributes:
        left_out: what has weights and does not count, though nothing excludes it.

    Raises:
        UsageError: no layer is left, a glob matches none, a factor is negative, or there is no such method.
    """

    def __init__(
        self,
        model: nn.Module,
        method: PenaltyMethod = "singla-feizi",
        *,
        exclude: Sequence[str] = (),
        weights: Mapping[str, float] | None = None,
        tolerance: float = 1e-3,
    ) -> None:
        super().__init__()
        if method not in {"singla-feizi", "heuristic", "certified"}:
            raise UsageError(f"there is no penalty {method!r}", hint="singla-feizi, heuristic or certified")
        self.method, self._tolerance = method, tolerance
        found = surveyed(model, exclude=exclude)
        self._layers, self.left_out = found.layers, found.left_out
        self._factors = dict.fromkeys((layer.name for layer in self._layers), 1.0)
        for glob, factor in reversed(list((weights or {}).items())):
            if not factor >= 0:
                raise UsageError(f"the factor of {glob!r} is {factor}, and not 0 or more")
            self._factors.update((layer.name, factor) for layer in matching(self._layers, glob))
        self._stacks = () if method == "certified" else stacks(self._layers)
        if self.left_out:
            names = ", ".join(map(str, self.left_out))
            warnings.warn(f"the penalty leaves out {names}; exclude what is meant to be", stacklevel=2)
        heuristic = method == "heuristic"
        self.unfoldings = UnfoldingsOfStacks(
            Unfoldings(stacked(stack), stack[0].geometry, layers=len(stack), heuristic=heuristic)
            for stack in self._stacks
        )

    def forward(self) -> torch.Tensor:
        """The sum, a scalar of the weights' type: float32 where that is shorter, float64 for "certified"."""
        total = [self._factors[name] * value for name, value in self.norms().items()]
        return torch.stack([each.to(total[0]) for each in total]).sum()

    def norms(self) -> dict[str, torch.Tensor]:
        """What a call adds up, before its factor, by the layer's name in the order of the model: scalars.

        For losses that combine them otherwise, as in a bound of the whole network. It is differentiable, and
        moves the directions on as a call does, so that a training step needs one of the two and not both.
        """
        device = self._layers[0].weight.device.type
        with torch.autocast(device, enabled=False), power.few_threads(device):
            found = self._certified() if self.method == "certified" else self._stepped()
        return {layer.name: found[layer.name] for layer in self._layers}

    @torch.no_grad()
    def layer_values(self) -> dict[str, float]:
        """What each layer adds, before its factor, by name; nothing is moved on."""
        training = self.training
        self.eval()
        try:
            return {name: float(value) for name, value in self.norms().items()}
        finally:
            self.train(training)

    def _certified(self) -> dict[str, torch.Tensor]:
        tolerance = self._tolerance
        return {
            layer.name: certified_norm(layer.weight, layer.geometry, tolerance=tolerance)
            for layer in self._layers
        }

    def _stepped(self) -> dict[str, torch.Tensor]:
        states = [each for each in self.unfoldings if isinstance(each, Unfoldings)]
        weights = [stacked(stack) for stack in self._stacks]
        matrices = [state.matrices(weight) for state, weight in zip(states, weights, strict=True)]
        directions = [state.directions(some) for state, some in zip(states, matrices, strict=True)]
        if self.training:
            moved = iter(power.step(list(chain(*matrices)), list(chain(*directions))))
            directions = [list(islice(moved, len(some))) for some in directions]
            for state, some in zip(states, directions, strict=True):
                state.keep(some)
        found: dict[str, torch.Tensor] = {}
        parts = zip(states, self._stacks, weights, matrices, directions, strict=True)
        for state, stack, weight, some, kept in parts:
            values = state.values(weight, some, kept)
            found.update((layer.name, value) for layer, value in zip(stack, values, strict=True))
        return found
