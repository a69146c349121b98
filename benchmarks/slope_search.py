"""The floor of all bounds that know only the slopes of activations: an estimate of it, from below."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.jacobian_search import lengths, unit
from benchmarks.torch_graph import Slope, TorchGraph, Window

HOT, COLD = 10.0, 5e-3  # temperatures between which the slopes are annealed
ANNEALED = 0.75  # of the steps


class _Chosen(torch.autograd.Function):
    """What `Choices` choose; on the way back they choose again, for the cotangent that comes."""

    @staticmethod
    def forward(ctx, z, choices, name, piece):  # noqa: ANN001, ANN205
        ctx.save_for_backward(z)
        ctx.parts = choices, name, piece
        return _applied(piece, choices.chosen[name], z)

    @staticmethod
    def backward(ctx, cotangent):  # noqa: ANN001, ANN205
        (z,), (choices, name, piece) = ctx.saved_tensors, ctx.parts
        choices.cotangents[name] = cotangent
        choices.choose(name, piece, z)
        return _transposed(piece, choices.chosen[name], z, cotangent), None, None, None


class Choices:
    """A slope for every neuron, and an entry for every window of a max pool.

    u* J v for fixed u and v is affine in the slopes of each activation while all others are held. In a pass
    forward with v and one back with u, each activation in turn takes the slopes at which u* J v is largest;
    so it never falls, and neither does |J v|, where each pass also replaces u or v. At a positive temperature
    the slopes are sigmoids of what they contribute instead, which leaves poor local maxima.

    Attributes:
        temperature: 0 for the slopes that are best.
        chosen: by the name of a node's output: slopes, or indices in flattened planes.
        cotangents: of the last pass back, by the same names.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.temperature = 0.0
        self.chosen: dict[str, Tensor] = {}
        self.cotangents: dict[str, Tensor] = {}
        self._generator = generator

    def __call__(self, name: str, piece: Slope | Window, z: Tensor) -> Tensor:
        """In a pass forward: as `Choose` of a linearised graph."""
        if name not in self.cotangents:
            self.cotangents[name] = torch.randn(_applied_shape(piece, z), generator=self._generator)
        self.choose(name, piece, z.detach())
        return _Chosen.apply(z, self, name, piece)

    def choose(self, name: str, piece: Slope | Window, z: Tensor) -> None:
        """What is best for tangents and cotangents at a node."""
        cotangent = self.cotangents[name]
        if isinstance(piece, Window):
            self.chosen[name] = torch.where(cotangent > 0, piece.largest(z), piece.largest(-z))
            return
        gain = cotangent * z
        if self.temperature:
            mean = gain.abs().mean(tuple(range(1, gain.ndim)), keepdim=True).clamp_min(1e-30)
            share = torch.sigmoid(gain / mean / self.temperature)
        else:
            share = (gain > 0).to(z.dtype)
        self.chosen[name] = piece.lower + (piece.upper - piece.lower) * share


def floor(graph: TorchGraph, *, starts: int = 4, steps: int = 200, seed: int = 0) -> float:
    """The largest norm that was found of linearisations: no bound that knows only slopes is below it.

    Args:
        graph: the network.
        starts: searches side by side.
        steps: passes forward and back; annealed for most of them.
        seed: of the first directions.
    """
    generator = torch.Generator().manual_seed(seed)
    choices, best = Choices(generator), 0.0
    v = unit(torch.randn(starts, *graph.shape, generator=generator))
    annealed = ANNEALED * steps
    for step in range(steps):
        choices.temperature = HOT * (COLD / HOT) ** (step / annealed) if step < annealed else 0.0
        v = v.detach().requires_grad_()
        y = graph.linear(v, choices)
        best = max(best, float(lengths(y.detach()).max()))
        y.backward(unit(y.detach()))
        v = unit(v.grad)
    return best


def _applied(piece: Slope | Window, chosen: Tensor, z: Tensor) -> Tensor:
    if isinstance(piece, Slope):
        return chosen * z
    return z.flatten(2).gather(2, chosen.flatten(2)).view(chosen.shape)


def _transposed(piece: Slope | Window, chosen: Tensor, z: Tensor, cotangent: Tensor) -> Tensor:
    if isinstance(piece, Slope):
        return chosen * cotangent
    planes = torch.zeros_like(z).flatten(2)
    return planes.scatter_add(2, chosen.flatten(2), cotangent.flatten(2)).view(z.shape)


def _applied_shape(piece: Slope | Window, z: Tensor) -> torch.Size:
    return z.shape if isinstance(piece, Slope) else piece.largest(z).shape
