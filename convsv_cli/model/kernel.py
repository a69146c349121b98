"""Exact reductions: every geometry becomes a batch of ungrouped, stride-1, undilated kernels.

With circular padding a layer's singular values are, over all reduced kernels and all frequencies of
an equispaced grid, those of the symbol `G(theta) = sum_t K[:, :, t] exp(-i <t, theta>)` (Sedghi,
Gupta & Long, ICLR 2019). The reductions keep them:

* groups: the layer is block diagonal; its singular values are the union over the blocks.
* transposed: the adjoint of the convolution with the same weights has the same singular values.
* stride s: one kernel on the coarse lattice, of which each residue of the fine lattice modulo s is
  an input channel (polyphase). Exact where s divides the circular size.
* dilation d: with g = gcd(s, d), residues modulo g that no tap reaches contribute zeros, so s and d
  may be divided by g. Coprime s and d: a residue's taps t = r + s m stand at coarse distances d m, up
  to a shift, which is unitary. What is left of d maps the n coarse frequencies j to d j modulo n: the
  equispaced grid of n / gcd(d, n) frequencies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from convsv_cli.model.layer import Geometry

AS_STORED = (torch.bfloat16, torch.float16, torch.float32)
"""Types of matrices that are not converted as a whole: that would take two to four times their memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kernel:
    """A layer reduced to plain kernels.

    Attributes:
        weight: [blocks, c_out, c_in, *k]; polyphase components count as channels. It is float64, but for a
            matrix in a type of `AS_STORED`, which has that: a large one is converted piece by piece.
        original: the layer's weight in that type, as `reduce_kernel` was given it.
        geometry: of the layer; a transposed one maps the coarse lattice to the fine one.
    """

    weight: torch.Tensor
    original: torch.Tensor
    geometry: Geometry

    @property
    def spatial(self) -> tuple[int, ...]:
        """Size of the reduced kernel on each axis."""
        return tuple(self.weight.shape[3:])

    def circular_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """The smallest circular input size >= `input_size` at which the layer has a symbol.

        It differs from `input_size` only where a stride does not divide that: the strided circular
        convolution is then no convolution on any coarse lattice.
        """
        if self.geometry.transposed:
            return input_size
        return tuple(-(-n // s) * s for n, s in zip(input_size, self.geometry.stride, strict=True))

    def coarse_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """Size of the side that the stride makes smaller, at `circular_size(input_size)`."""
        size = self.circular_size(input_size)
        if self.geometry.transposed:
            return size
        return tuple(n // s for n, s in zip(size, self.geometry.stride, strict=True))

    def grid(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """Number of equispaced frequencies on each axis at `circular_size(input_size)`.

        An axis on which the reduced kernel has one tap needs only frequency zero.
        """
        g = self.geometry
        axes = zip(self.coarse_size(input_size), g.stride, g.dilation, self.spatial, strict=True)
        return tuple(1 if k == 1 else n // math.gcd(d // math.gcd(s, d), n) for n, s, d, k in axes)


def unfolded(weight: torch.Tensor, rows: tuple[int, ...]) -> torch.Tensor:
    """The matrices [blocks, c_out * prod(k[rows]), c_in * prod(other k)] of [blocks, c_out, c_in, *k].

    `rows` names the spatial axes that go with the output channels: () is T, every axis is U, and for images
    (0,) and (1,) are Singla & Feizi's R and S.
    """
    spatial = weight.shape[3:]
    columns = tuple(axis for axis in range(len(spatial)) if axis not in rows)
    order = (0, 1, *(3 + axis for axis in rows), 2, *(3 + axis for axis in columns))
    height = weight.shape[1] * math.prod([spatial[axis] for axis in rows])
    return weight.permute(order).reshape(weight.shape[0], height, -1)


def unfolding_work(kernel: Kernel, rows: tuple[int, ...]) -> int:
    """Multiplications for the Gram matrices of `unfolded` and their factorizations."""
    blocks, c_out, c_in = kernel.weight.shape[:3]
    height = c_out * math.prod(kernel.spatial[axis] for axis in rows)
    width = c_out * c_in * math.prod(kernel.spatial) // height
    return blocks * min(height, width) ** 2 * (height + width)


def as_stored(weight: torch.Tensor) -> torch.Tensor:
    """A weight in the type that it has in a kernel: float64, unless it is a matrix of type `AS_STORED`."""
    return weight if weight.dtype in AS_STORED and not weight.shape[2:] else weight.to(torch.float64)


def reduce_kernel(weight: torch.Tensor, geometry: Geometry) -> Kernel:
    """Reduce a layer's weight (see the module's text).

    Args:
        weight: real floating point [c_out, c_in / groups, *k], or [c_in, c_out / groups, *k] for
            a transposed layer; converted to float64, which is exact, unless it is one matrix, which is
            kept `as_stored`.
        geometry: with one stride and dilation a spatial axis of `weight`.

    Raises:
        ValueError: the channels do not split into `groups`, or an axis lacks a stride or dilation.
    """
    original = as_stored(weight) if geometry.groups == 1 else weight.to(torch.float64)
    return Kernel(weight=reduced_weight(original, geometry), original=original, geometry=geometry)


def reduced_weight(weight: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """The `weight` of the reduced kernel, in the type of what is given, and differentiable in it.

    Arguments and errors: as of `reduce_kernel`.
    """
    groups, axes = geometry.groups, weight.ndim - 2
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"{weight.shape[0]} channels do not split into {groups} groups")
    if len(geometry.stride) != axes or len(geometry.dilation) != axes:
        raise ValueError(f"a kernel with {axes} spatial axes needs as many strides and dilations")
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    for axis, (s, d) in enumerate(zip(geometry.stride, geometry.dilation, strict=True)):
        blocks = _polyphase(blocks, axis, s // math.gcd(s, d))
    return blocks.transpose(1, 2) if geometry.transposed else blocks


def _polyphase(blocks: torch.Tensor, axis: int, stride: int) -> torch.Tensor:
    """Turn the residues modulo `stride` of one spatial axis into input channels.

    [blocks, c_out, c_in, .., k, ..] -> [blocks, c_out, c_in * phases, .., ceil(k / stride), ..]; no
    tap has a residue of k or more, so there are min(stride, k) phases.
    """
    if stride == 1 or not blocks.shape[3 + axis]:
        return blocks
    last = blocks.movedim(3 + axis, -1)
    k = last.shape[-1]
    phases = min(stride, k)  # of a longer stride, nothing is stored
    taps = -(-k // phases)
    padded = torch.nn.functional.pad(last, (0, taps * phases - k))
    split = padded.reshape(*last.shape[:-1], taps, phases)
    return split.movedim(-1, 3).flatten(2, 3).movedim(-1, 3 + axis)
