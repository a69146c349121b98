"""Linear maps of batches, each with its adjoint, and the absolute values and the squares of its entries.

A map W takes tensors [n, *shape] to tensors [n, *result], n samples at once; the shapes are those of the
graph, with the axis of length 1 that stands for its batch. |W| bounds rounding and intervals, and W^2 has the
squared lengths of rows: both are the same map by other weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from convsv_cli.differentiable.windows import ADJOINTS, CONVOLUTIONS
from convsv_cli.model.layer import Geometry

Shape = tuple[int, ...]
GATHERED = 20
"""Multiplications in the time in which an entry is looked up, or added to another."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Map:
    """A linear map.

    Attributes:
        taken, given: shapes of one sample, before and after.
        roundings: an upper bound of how many roundings in a row each entry of a result of `forward` or
            `adjoint` has been through, with those of the weights themselves.
    """

    taken: Shape
    given: Shape
    roundings: int

    def forward(self, x: Tensor) -> Tensor:
        """W x: [n, *taken] -> [n, *given]."""
        raise NotImplementedError

    def adjoint(self, v: Tensor) -> Tensor:
        """W' v: [n, *given] -> [n, *taken]."""
        raise NotImplementedError

    def weighted(self, change: Callable[[Tensor], Tensor]) -> Map:
        """The map by other weights; where these are all 1, such as at copies, the map itself.

        Args:
            change: of the weights, entry by entry, that leaves 0 and 1 as they are.
        """
        raise NotImplementedError

    @property
    def work(self) -> int:
        """Multiplications of `forward` or `adjoint` at one sample, or as many as take as long."""
        return math.prod(self.given)

    @cached_property
    def absolute(self) -> Map:
        """|W|, entry by entry."""
        return self.weighted(torch.abs)

    @cached_property
    def support(self) -> Map:
        """1 where W is not 0."""
        return self.weighted(lambda weight: (weight != 0).to(weight))

    @cached_property
    def squared(self) -> Map:
        """The square of each entry of W."""
        return self.weighted(torch.square)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling(Map):
    """Each entry times a factor of its own; the factors fit into the shape by broadcasting."""

    weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """See `Map.forward`."""
        return x * self.weight

    def adjoint(self, v: Tensor) -> Tensor:
        """See `Map.adjoint`."""
        return v * self.weight

    def weighted(self, change: Callable[[Tensor], Tensor]) -> Map:
        """See `Map.weighted`."""
        return replace(self, weight=change(self.weight))


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection(Map):
    """Sums of entries, so that every weight is 0 or 1: copies, permutations, zero padding, sums over windows.

    Attributes:
        index: int64 [terms, entries of the result]: the entries, in order, that are summed; -1 for none.
    """

    index: Tensor

    @property
    def work(self) -> int:
        """See `Map.work`."""
        return GATHERED * self.index.numel()

    @cached_property
    def _moves_nothing(self) -> bool:
        count = math.prod(self.taken)
        return self.index.shape == (1, count) and torch.equal(self.index[0], torch.arange(count))

    @cached_property
    def _valid(self) -> Tensor | None:
        valid = self.index >= 0
        return None if bool(valid.all()) else valid

    @cached_property
    def _inverse(self) -> Tensor | None:
        """Of a permutation."""
        count = math.prod(self.taken)
        if self.index.shape != (1, count) or not torch.equal(
            self.index[0].sort().values, torch.arange(count)
        ):
            return None
        return self.index[0].argsort()

    @cached_property
    def most(self) -> tuple[int, int]:
        """The most terms of a result, and the most results of a term."""
        valid = self.index >= 0
        uses = torch.bincount(self.index[valid], minlength=1)
        return int(valid.sum(0).max()), int(uses.max())

    def forward(self, x: Tensor) -> Tensor:
        """See `Map.forward`."""
        flat = x.flatten(1)
        if self._moves_nothing:
            return flat.reshape(-1, *self.given)
        if self._inverse is not None:
            return flat[:, self.index[0]].reshape(-1, *self.given)
        found = flat[:, self.index.clamp_min(0)]
        if self._valid is not None:
            found = torch.where(self._valid, found, 0.0)
        return found.sum(1).reshape(-1, *self.given)

    def adjoint(self, v: Tensor) -> Tensor:
        """See `Map.adjoint`."""
        flat = v.flatten(1)
        if self._moves_nothing:
            return flat.reshape(-1, *self.taken)
        if self._inverse is not None:
            return flat[:, self._inverse].reshape(-1, *self.taken)
        result = flat.new_zeros(len(v), math.prod(self.taken))
        for row in self.index:
            used = row >= 0
            result = result.index_add(1, row[used], flat[:, used])
        return result.reshape(-1, *self.taken)

    def weighted(self, change: Callable[[Tensor], Tensor]) -> Map:
        """See `Map.weighted`."""
        del change
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class Product(Map):
    """The product by a matrix, or one for each entry of a batch: x W, or W x where it stands on the left."""

    weight: Tensor
    left: bool

    @property
    def work(self) -> int:
        """See `Map.work`."""
        return math.prod(self.given) * self.weight.shape[-1 if self.left else -2]

    def forward(self, x: Tensor) -> Tensor:
        """See `Map.forward`."""
        return self.weight @ x if self.left else x @ self.weight

    def adjoint(self, v: Tensor) -> Tensor:
        """See `Map.adjoint`."""
        return self.weight.mT @ v if self.left else v @ self.weight.mT

    def weighted(self, change: Callable[[Tensor], Tensor]) -> Map:
        """See `Map.weighted`."""
        return replace(self, weight=change(self.weight))


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(Map):
    """A convolution with zero padding, or the adjoint of one.

    Attributes:
        weight: [c_out, c_in / groups, *k]; [c_in, c_out / groups, *k] where transposed.
        geometry: with known padding.
    """

    weight: Tensor
    geometry: Geometry

    @property
    def work(self) -> int:
        """See `Map.work`."""
        return math.prod(self.taken if self.geometry.transposed else self.given) * self.weight[0].numel()

    def forward(self, x: Tensor) -> Tensor:
        """See `Map.forward`."""
        images = x.flatten(0, 1)
        result = self._spread(images, self.given) if self.geometry.transposed else self._convolved(images)
        return result.reshape(-1, *self.given)

    def adjoint(self, v: Tensor) -> Tensor:
        """See `Map.adjoint`."""
        images = v.flatten(0, 1)
        result = self._convolved(images) if self.geometry.transposed else self._spread(images, self.taken)
        return result.reshape(-1, *self.taken)

    def weighted(self, change: Callable[[Tensor], Tensor]) -> Map:
        """See `Map.weighted`."""
        return replace(self, weight=change(self.weight))

    def _ends(self) -> tuple[tuple[int, int], ...]:
        """The padding of each axis, before and after; what a transposed one leaves out."""
        margins = self.geometry.margins
        axes = len(margins) // 2
        return tuple(zip(margins[:axes], margins[axes:], strict=True))

    def _convolved(self, images: Tensor) -> Tensor:
        g, ends = self.geometry, self._ends()
        padding = tuple(small for small, _ in ends)
        if any(small != large or small < 0 for small, large in ends):
            images = functional.pad(images, [end for pair in reversed(ends) for end in pair])
            padding = (0,) * len(ends)
        convolve = CONVOLUTIONS[len(ends)]
        return convolve(images, self.weight, None, g.stride, padding, g.dilation, g.groups)

    def _spread(self, images: Tensor, shape: Shape) -> Tensor:
        """The adjoint of `_convolved`: all that the kernel reaches, and then as much of it as there is."""
        g, ends, sizes, kernel = self.geometry, self._ends(), shape[2:], self.weight.shape[2:]
        reached = [
            (n - 1) * s + d * (k - 1) + 1
            for n, s, d, k in zip(images.shape[2:], g.stride, g.dilation, kernel, strict=True)
        ]
        missing = [n + a - r for n, (a, _), r in zip(sizes, ends, reached, strict=True)]
        same = all(a >= 0 and 0 <= m + a < s for m, (a, _), s in zip(missing, ends, g.stride, strict=True))
        spread = ADJOINTS[len(ends)]
        if same:  # in one go; what is at the end beyond the kernel's reach is 0
            padding = tuple(a for a, _ in ends)
            further = tuple(m + a for m, a in zip(missing, padding, strict=True))
            return spread(images, self.weight, None, g.stride, padding, further, g.groups, g.dilation)
        whole = spread(images, self.weight, None, g.stride, 0, 0, g.groups, g.dilation)
        cut = [end for (a, _), m in zip(reversed(ends), reversed(missing), strict=True) for end in (-a, m)]
        return functional.pad(whole, cut)


@dataclass(frozen=True, kw_only=True, eq=False)
class Contraction(Map):
    """Products by factors, summed over axes, in the notation of Einstein's convention.

    Each entry of the argument goes into each of the result by one product of weights at most, so that the
    absolute values, squares and so on of all of these are such a map by those of the factors.

    Attributes:
        axes: a letter for each axis of the argument, and for each of the result.
        factors: each with a letter for each axis; the letters are all in `axes`.
    """

    axes: tuple[str, str]
    factors: tuple[tuple[str, Tensor], ...]

    @property
    def work(self) -> int:
        """See `Map.work`."""
        before, after = self.axes
        sizes = dict(zip(before, self.taken, strict=True)) | dict(zip(after, self.given, strict=True))
        return math.prod(sizes.values())

    def forward(self, x: Tensor) -> Tensor:
        """See `Map.forward`."""
        return self._contracted(x, *self.axes)

    def adjoint(self, v: Tensor) -> Tensor:
        """See `Map.adjoint`."""
        return self._contracted(v, *reversed(self.axes))

    def weighted(self, change: Callable[[Tensor], Tensor]) -> Map:
        """See `Map.weighted`."""
        return replace(self, factors=tuple((letters, change(factor)) for letters, factor in self.factors))

    def _contracted(self, x: Tensor, before: str, after: str) -> Tensor:
        terms = ",".join([f"...{before}", *(letters for letters, _ in self.factors)])
        return torch.einsum(f"{terms}->...{after}", x, *(factor for _, factor in self.factors))
