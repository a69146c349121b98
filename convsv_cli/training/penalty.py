"""The regulariser of Singla & Feizi (arXiv 1911.10258, equation 2): the sum of all layers' norms."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn

from convsv_cli.errors import UsageError
from convsv_cli.model.kernel import Kernel, reduce_kernel, reduced_weight
from convsv_cli.model.layer import Geometry
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.spectral.norms import PlaneWave, norms_of
from convsv_cli.training import power
from convsv_cli.training.layers import matching, stacked, stacks, surveyed
from convsv_cli.training.unfoldings import Unfoldings, UnfoldingsOfStacks, norms

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
    DataParallel too), once a step. With DistributedDataParallel and fully_shard, call it in all processes:
    the weights are put together, and the gradients are those of one process.

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
        UsageError: no layer is left, a glob matches none, a factor is negative, there is no such method, or
            FullyShardedDataParallel has the weights in pieces.
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
            raise UsageError(f"unknown penalty {method!r}", hint="singla-feizi, heuristic or certified")
        self.method, self._tolerance = method, tolerance
        found = surveyed(model, exclude=exclude)
        self._layers, self.left_out = found.layers, found.left_out
        self._factors = dict.fromkeys((layer.name for layer in self._layers), 1.0)
        for glob, factor in reversed(list((weights or {}).items())):
            if not factor >= 0:
                raise UsageError(f"the factor of {glob!r} must be 0 or more, not {factor}")
            self._factors.update((layer.name, factor) for layer in matching(self._layers, glob))
        self._stacks = () if method == "certified" else stacks(self._layers)
        if self.left_out:
            names = ", ".join(map(str, self.left_out))
            warnings.warn(
                f"the penalty leaves out {names}; exclude what is left out on purpose", stacklevel=2
            )
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
        values = norms(self.unfoldings, list(map(stacked, self._stacks)))
        return {
            layer.name: value
            for stack, some in zip(self._stacks, values, strict=True)
            for layer, value in zip(stack, some, strict=True)
        }


@torch.compiler.disable  # type: ignore[untyped-decorator]
def certified_norm(weight: torch.Tensor, geometry: Geometry, *, tolerance: float = 1e-3) -> torch.Tensor:
    """The supremum of a layer's norm over all input sizes and paddings, proven from above: float64 [].

    The gradient is that of Re u* G(theta) v with the frequency theta and the singular vectors u, v of the
    maximum: the derivative of the supremum where the maximum is attained once (Danskin), one of its
    subgradients elsewhere. It is as exact as theta, to about the root of `tolerance`.

    Args:
        weight: as of torch.nn, floating point.
        geometry: of the layer.
        tolerance: relative width of the enclosure whose upper end is the value.
    """
    with torch.no_grad(), one_thread_each():
        kernel = reduce_kernel(weight.detach(), geometry)
        norms = norms_of(kernel)
        upper = norms.supremum(tolerance=tolerance).upper
        flat = math.prod(kernel.spatial) == 1 or not upper
        wave = _still_wave(kernel) if flat else norms.wave(tolerance=tolerance)
        pattern = _pattern(wave.left, wave.right, wave.turns, kernel.spatial)
    value = (reduced_weight(weight.double(), geometry)[wave.block] * pattern).sum()
    return value + (upper - value.detach())


def _still_wave(kernel: Kernel) -> PlaneWave:
    """At frequency zero, where the symbol is the sum of all taps: singular vectors of the largest block."""
    symbols = kernel.weight.double().flatten(3).sum(-1) if kernel.spatial else kernel.weight.double()
    left, values, right = torch.linalg.svd(symbols, full_matrices=False)
    block = int(values[:, 0].argmax())
    turns = (0.0,) * len(kernel.spatial)
    return PlaneWave(block=block, turns=turns, left=left[block, :, 0] + 0j, right=right[block, 0] + 0j)


def _pattern(
    left: torch.Tensor, right: torch.Tensor, turns: tuple[float, ...], spatial: tuple[int, ...]
) -> torch.Tensor:
    """The kernel P [c_out, c_in, *k] for which <K, P> = Re u* G(theta) v for every kernel K."""
    phase = torch.zeros(spatial, dtype=torch.float64, device=left.device)
    for axis, (turn, k) in enumerate(zip(turns, spatial, strict=True)):
        steps = torch.arange(k, dtype=torch.float64, device=left.device) * turn
        phase = phase + steps.view(-1, *(1 for _ in spatial[axis + 1 :]))
    outer = torch.outer(left.conj() / left.norm(), right / right.norm())
    angle = -2 * math.pi * phase
    wave = torch.polar(torch.ones_like(angle), angle)
    return torch.tensordot(outer, wave, dims=0).real if spatial else outer.real
