r"""Where the symbols of layers are largest, followed from step to step while the weights change.

A convolution amplifies by at most M = sup sigma_1(G(theta)), over all frequencies of its symbol
G(theta) = sum_t K[:, :, t] exp(-i <t, theta>): the value that `certified` encloses. Here it is approached
from below. Each layer has a few slots, each with a frequency theta and directions of its own. A call takes

* one step of `power.step` on G(theta), which gives unit vectors u and v = G(theta)* u / |G(theta)* u|,
* and one to where |u* G(theta) v| is largest among many candidates, theta itself among them. For given u and
  v that is a polynomial with one coefficient a tap, u* K_t v, so that many cost little.

With weights that stay as they are, neither makes |u* G(theta) v| smaller: the first chooses from a span that
u is in. No such number is above sigma_1(G(theta)) <= M, but for rounding. All this finds a local maximum: so
the first slot has the largest so far, and every few calls the others begin anew elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from convsv_cli.model.kernel import reduced_weight
from convsv_cli.training import power
from convsv_cli.training.layers import TrainedLayer, stacked, stacks

SLOTS = 6
ROUND = 12
"""Calls after which all slots but the first begin anew."""
CANDIDATES = 32
"""Frequencies from everywhere that are looked at in a call, and as many from nearby."""
NEAREST = 8
"""How often the distance of these is halved."""
TOGETHER = 2**20
"""Entries of symbols at all slots that are computed at once, where one layer has not more by itself."""
WARM_UP = 60


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is known of a layer without a proof.

    Attributes:
        norm: of the layer, over all input sizes and paddings: from below, but for rounding (1e-5, relative).
        stable_rank: |K|_F^2 / norm^2, from above: about how many directions matter; of a convolution by
            position of the output, or, of a transposed one, of the input. 0 for zero weights.
    """

    norm: float
    stable_rank: float


class Peaks:
    """The largest singular values of layers of one kind.

    Args:
        layers: of one shape, geometry, type and device.
    """

    def __init__(self, layers: Sequence[TrainedLayer]) -> None:
        self.layers = tuple(layers)
        geometry = layers[0].geometry
        self._geometry = replace(geometry, groups=geometry.groups * len(layers))
        self._calls = 0
        self._kind: object = None  # of the kernels of the last call
        self.directions = torch.empty(0)
        """Of all slots: [blocks * slots, p, 3]."""

    def kernels(self) -> torch.Tensor:
        """What the layers multiply by now, reduced, in float32 or float64: [blocks, p, q, *k]."""
        weight = stacked(self.layers)
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
        kernels = reduced_weight(wide, self._geometry)
        if self._kind != (kernels.shape, kernels.dtype, kernels.device):
            self._begin(kernels)
        return kernels

    def symbols(self, kernels: torch.Tensor) -> torch.Tensor:
        """The matrices of which norms are looked for: [blocks * slots, p, q]; real where there is one tap."""
        blocks, p, q = kernels.shape[:3]
        if self._slots == 1:
            return kernels.reshape(blocks, p, q)
        angles = 2 * math.pi * (self._turns @ self._places.mT)
        waves = torch.cat([angles.cos(), -angles.sin()], 1)
        parts = (waves @ kernels.reshape(blocks, p * q, -1).mT).view(blocks, 2, -1, p, q)
        return torch.complex(parts[:, 0], parts[:, 1]).flatten(0, 1)

    def move(self, kernels: torch.Tensor, matrices: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        """Go on with these directions, to better frequencies; the norms of the layers: [layers]."""
        self._calls += 1
        self.directions = directions
        norms, right = power.triple(matrices, directions[..., :1])
        if self._slots > 1:
            norms = self._climbed(kernels, directions[..., 0], right[..., 0])
        return norms.view(len(self.layers), -1).amax(1)

    def _begin(self, kernels: torch.Tensor) -> None:
        """Where the search begins: at frequency zero, and others."""
        blocks, p, q, *spatial = kernels.shape
        self._kind = (kernels.shape, kernels.dtype, kernels.device)
        self._slots = 1 if math.prod(spatial) == 1 else SLOTS
        places = torch.cartesian_prod(*(torch.arange(k) for k in spatial)) if spatial else torch.zeros(1)
        self._places = places.view(-1, len(spatial) or 1).to(kernels)  # [taps, axes]
        axes = self._places.shape[1]
        numbers = torch.arange(1 + 2 * CANDIDATES, dtype=torch.float64)
        self._spread = torch.frac(numbers[:, None] * _irrational(axes)).to(kernels)
        near = 0.5 ** (numbers[:CANDIDATES, None] % NEAREST) / torch.tensor(spatial or [1])
        self._reach = torch.cat([torch.zeros(1, axes), torch.ones(CANDIDATES, axes), near]).to(kernels)
        self._turns = self._starts().to(kernels).repeat(blocks, 1, 1)  # [blocks, slots, axes]
        self._turns[:, 0] = 0.0
        like = torch.complex(kernels, kernels).dtype if self._slots > 1 else kernels.dtype
        self.directions = power.start(kernels.new_empty(blocks * self._slots, p, q, dtype=like))

    def _climbed(self, kernels: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Take each slot to where it is largest, and the best to the front: the values [blocks, slots]."""
        blocks, slots = self._turns.shape[:2]
        outer = (left.conj()[:, :, None] * right[:, None, :]).view(blocks, slots, -1)
        parts = torch.cat([outer.real, outer.imag], 1) @ kernels.flatten(3).flatten(1, 2)
        terms = torch.complex(parts[:, :slots], parts[:, slots:]) * _wave(self._turns @ self._places.mT)
        shift = torch.frac(2 * CANDIDATES * self._calls * _irrational(self._places.shape[1])).to(kernels)
        steps = (torch.frac(self._spread + shift) - 0.5) * self._reach
        values, best = (terms @ _wave(steps @ self._places.mT).mT).abs().max(2)
        largest = values.argmax(1, keepdim=True)
        order = torch.arange(slots, device=largest.device).repeat(blocks, 1).scatter(1, largest, 0)
        order[:, :1] = largest
        self._turns = (self._turns + steps[best]).gather(1, order[..., None].expand_as(self._turns))
        kept = self.directions.view(blocks, slots, -1)
        kept = kept.gather(1, order[..., None].expand_as(kept))
        if self._calls % ROUND == 0:
            self._turns[:, 1:] = self._starts()[1:].to(kernels)
            kept[:, 1:] = power.start(self.directions).view_as(kept)[:, 1:]
        self.directions = kept.view_as(self.directions)
        return values

    def _starts(self) -> torch.Tensor:
        """Frequencies at which slots begin, others each time: [slots, axes], in turns.

        Those of the first axis are in [0, 1/2): a real kernel has the same norms at -theta.
        """
        numbers = self._calls // ROUND * self._slots + torch.arange(self._slots, dtype=torch.float64)
        turns = torch.frac(0.5 + numbers[:, None] * _irrational(self._places.shape[1]))
        turns[:, 0] /= 2
        return turns


def peaks_of(layers: Sequence[TrainedLayer]) -> list[Peaks]:
    """Those of all layers: few of them, and none that takes much memory at once."""
    found = []
    for stack in stacks(layers):
        size = SLOTS * math.prod(stack[0].weight.shape[:2])
        most = max(1, TOGETHER // size)
        found += [Peaks(stack[first : first + most]) for first in range(0, len(stack), most)]
    return found


@torch.no_grad()
def advance(peaks: Sequence[Peaks], rounds: int = 1) -> dict[str, Estimate]:
    """Go on by so many steps of the iteration: what is then known, by the names of the layers."""
    found: dict[str, Estimate] = {}
    for each in peaks:
        kernels = each.kernels()
        for _ in range(rounds):
            matrices = each.symbols(kernels)
            (directions,) = power.step([matrices], [each.directions])
            norms = each.move(kernels, matrices, directions)
        energies = kernels.square().reshape(len(each.layers), -1).sum(1)
        for layer, norm, energy in zip(each.layers, norms.tolist(), energies.tolist(), strict=True):
            found[layer.name] = Estimate(norm=norm, stable_rank=energy / norm**2 if norm else 0.0)
    return found


def _wave(turns: torch.Tensor) -> torch.Tensor:
    """exp(-i angle) of angles in turns."""
    return torch.polar(torch.ones_like(turns), -2 * math.pi * turns)


@cache
def _irrational(axes: int) -> torch.Tensor:
    """The step of a sequence that fills a torus evenly (Kronecker's, with roots of x^(axes + 1) = x + 1)."""
    root = 2.0
    for _ in range(40):
        root = (1 + root) ** (1 / (axes + 1))
    return torch.tensor([root**-number for number in range(1, axes + 1)], dtype=torch.float64)
