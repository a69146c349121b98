"""Layers of every geometry, for hypothesis."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from convsv_cli.model.layer import Geometry
from tests.support import oracles

MAX_SIDE = 400  # of the dense matrices
MAX_TAPS = {0: (), 1: (9,), 2: (4, 4), 3: (3, 3, 2)}
SCALES = (1.0, 1.0, 1.0, 1e30, 1e-30, 1e150, 1e-150)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A layer: float64 weight [c_out, c_in / groups, *k], its geometry and the size of its input."""

    weight: np.ndarray
    geometry: Geometry
    input_size: tuple[int, ...]

    def __repr__(self) -> str:
        """The case as code, so that hypothesis prints a failing example that can be pasted."""
        return (
            f"Case(weight=np.array({self.weight.tolist()!r}), "
            f"geometry={self.geometry!r}, input_size={self.input_size!r})"
        )

    @property
    def fine_size(self) -> tuple[int, ...]:
        """Size on the side of the layer that the stride does not make smaller."""
        if not self.geometry.transposed:
            return self.input_size
        return tuple(n * s for n, s in zip(self.input_size, self.geometry.stride, strict=True))

    def at(self, input_size: tuple[int, ...]) -> Case:
        """The same layer at another size."""
        return replace(self, input_size=input_size)

    def circular(self) -> np.ndarray:
        """The layer with circular padding as a dense matrix (the adjoint's, for a transposed layer)."""
        g = self.geometry
        return oracles.circular_matrix(
            self.weight, self.fine_size, stride=g.stride, dilation=g.dilation, groups=g.groups
        )

    def zero_padded(self, padding: tuple[int, ...]) -> np.ndarray:
        """The layer with zeros before each axis, then after each (the adjoint's, for a transposed layer).

        The padding grows at the end where the kernel would not fit.
        """
        g, axes = self.geometry, len(self.input_size)
        begin, end = padding[:axes], padding[axes:]
        reach = zip(self.fine_size, begin, end, g.dilation, self.weight.shape[2:], strict=True)
        end = tuple(max(e, d * (k - 1) + 1 - n - b) for n, b, e, d, k in reach)
        return oracles.zero_padded_matrix(
            self.weight,
            self.fine_size,
            stride=g.stride,
            dilation=g.dilation,
            groups=g.groups,
            begin=begin,
            end=end,
        )

    def own_padding(self) -> np.ndarray:
        """The layer with the padding of its geometry (the adjoint's, for a transposed layer).

        A transposed layer's output is cut by its padding, less the output padding at the end. Without entries
        where the kernel does not fit or nothing is left.
        """
        g, axes = self.geometry, len(self.input_size)
        further = g.output_padding or (0,) * axes
        begin, end = g.padding[:axes], tuple(map(operator.sub, g.padding[axes:], further))
        fine = oracles.padded_fine_size(
            self.weight.shape[2:],
            self.input_size,
            stride=g.stride,
            dilation=g.dilation,
            transposed=g.transposed,
            begin=begin,
            end=end,
        )
        if not fine:
            return np.zeros((0, 0))
        return oracles.zero_padded_matrix(
            self.weight,
            fine,
            stride=g.stride,
            dilation=g.dilation,
            groups=g.groups,
            begin=begin,
            end=end,
        )

    def supremum(self) -> float:
        """The norm on the infinite lattice, as far as an ascent finds it: never above, but for rounding."""
        g = self.geometry
        return max(
            oracles.supremum(
                oracles.reduced_kernel(block, stride=g.stride, dilation=g.dilation, transposed=g.transposed)
            )
            for block in np.split(self.weight, g.groups)
        )

    def unfoldings(self) -> dict[frozenset[int], float]:
        """The norm of each unfolding of the reduced kernel: the largest over the groups."""
        g = self.geometry
        matrices = oracles.unfoldings(
            self.weight, stride=g.stride, dilation=g.dilation, groups=g.groups, transposed=g.transposed
        )
        return {rows: max(map(oracles.spectral_norm, blocks)) for rows, blocks in matrices.items()}

    def taps_meet(self) -> bool:
        """Whether the circular layer is so small that taps wrap around onto each other."""
        return oracles.taps_meet(self.weight.shape[2:], self.fine_size, dilation=self.geometry.dilation)

    def divided(self) -> bool:
        """Whether the stride divides the circular size."""
        return not any(n % s for n, s in zip(self.fine_size, self.geometry.stride, strict=True))


@st.composite
def cases(draw: st.DrawFn, *, divided: bool = True) -> Case:
    """Layers whose dense matrices have sides of at most `MAX_SIDE`.

    Args:
        draw: hypothesis's.
        divided: the stride divides the circular size; else sizes are arbitrary and no layer is transposed.
    """
    axes = draw(st.sampled_from((2, 1, 3, 0, 2, 3)))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    c_out, c_in = (draw(st.integers(1, 3)) for _ in range(2))
    stride, dilation = (tuple(draw(st.integers(1, 3)) for _ in range(axes)) for _ in range(2))
    k = tuple(draw(st.integers(1, most)) for most in MAX_TAPS[axes])
    room = MAX_SIDE // (groups * max(c_out, c_in) * math.prod(stride))
    coarse = []
    for _ in range(axes):
        coarse.append(draw(st.integers(1, max(1, min(room, 8)))))
        room //= coarse[-1]
    transposed = divided and draw(st.booleans())
    size = coarse if transposed else [n * s for n, s in zip(coarse, stride, strict=True)]
    if not divided:
        size = [n - draw(st.integers(0, s - 1)) for n, s in zip(size, stride, strict=True)]
    padding = tuple(draw(st.integers(0, d * (most - 1))) for d, most in zip(dilation * 2, k * 2, strict=True))
    further = tuple(draw(st.integers(0, max(pair))) for pair in zip(stride, dilation, strict=True))
    return Case(
        weight=draw(weights((groups * c_out, c_in, *k))),
        geometry=Geometry(
            stride=stride,
            dilation=dilation,
            groups=groups,
            transposed=transposed,
            padding=padding,
            output_padding=further if transposed and any(further) else (),
        ),
        input_size=tuple(size),
    )


@st.composite
def weights(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """Random, degenerate and badly scaled weights [c_out, c_in, *k]."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(("normal", "normal", *KINDS)))
    return draw(st.sampled_from(SCALES)) * KINDS[kind](generator, shape)


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.standard_normal(shape)


def zero(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:  # noqa: ARG001
    return np.zeros(shape)


def rank_one(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A product of one vector an axis."""
    weight = np.ones(())
    for size in shape:
        weight = np.multiply.outer(weight, generator.standard_normal(size))
    return weight


def flat(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """An orthogonal matrix at one tap: at every frequency all singular values are 1."""
    side = max(shape[:2])
    orthogonal, _ = np.linalg.qr(generator.standard_normal((side, side)))
    weight = np.zeros(shape)
    tap = tuple(int(generator.integers(size)) for size in shape[2:])
    weight[(slice(None), slice(None), *tap)] = orthogonal[: shape[0], : shape[1]]
    return weight


def alternating(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:  # noqa: ARG001
    """[1, -1, ...] along each spatial axis: zero at frequency zero for even k, largest at Nyquist's."""
    signs = np.ones(shape)
    for axis, size in enumerate(shape[2:], start=2):
        along = [1] * len(shape)
        along[axis] = size
        signs = signs * (-1.0) ** np.arange(size).reshape(along)
    return signs


def duplicated(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One filter for each channel, the same for all: every singular value of the symbol is a top one."""
    weight = np.zeros(shape)
    taps = generator.standard_normal(shape[2:])
    for channel in range(min(shape[:2])):
        weight[channel, channel] = taps
    return weight


KINDS = {
    "normal": normal,
    "zero": zero,
    "rank one": rank_one,
    "flat": flat,
    "alternating": alternating,
    "duplicated": duplicated,
}
