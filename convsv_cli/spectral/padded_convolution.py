"""A convolution with its zero padding: applied, its adjoint too, and its norm from below by Lanczos steps.

Rounding of A x, with c products a sum: |d(A x)| <= gamma_c |A| |x|, and | |A| | <= sum_t |K_t|_F.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from convsv_cli import limits
from convsv_cli.limits import LimitError
from convsv_cli.model.layer import Geometry
from convsv_cli.numerics.rounding import gamma
from convsv_cli.spectral.eigenpairs import eigh

FEWEST, STEPS = 4, 96
LARGE, COARSE = 1e7, 1e-6
"""Multiplications of a step from which on it is in single precision, and how close that comes."""
LEADING = 6
"""Vectors that are left of all steps."""
MOST = 2**26
"""Entries of the largest input or output that is worked with."""
SLOWER, UNFOLDED, PER_ENTRY = 3, 30, 20
"""Multiplications in the time of one in a convolution, of an entry of its unfolded input, and of one in a
Lanczos step."""
OTHERS = 6
"""Vectors beside those that steps hold."""
EXHAUSTED = 1e-12  # of a vector that lies in the span of those before it, what rounding leaves


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What Lanczos steps found of a norm.

    Attributes:
        lower: a proven lower end.
        missing: an estimate of what the square may be larger: of a Ritz value with residual r, r^2 / gap,
            with the distance to the next one (Parlett, The Symmetric Eigenvalue Problem, section 11.7).
        leading: vectors that are amplified most, [n, c_in, *size].
    """

    lower: float
    missing: float
    leading: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class PaddedConvolution:
    """A convolution with zero padding, x [1, c_in, *n] -> [1, c_out, *outputs].

    Attributes:
        weight: float64 [c_out, c_in / groups, *k], scaled to a norm of about 1.
        geometry: of the convolution; `transposed` is ignored.
        size: n.
    """

    weight: torch.Tensor
    geometry: Geometry
    size: tuple[int, ...]

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """A x."""
        convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[len(self.size) - 1]
        return convolve(torch.nn.functional.pad(x, self._pads), self.weight, **self._settings)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """A* y."""
        g = self.geometry
        transposed = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[
            len(self.size) - 1
        ]
        full = transposed(y, self.weight, **self._settings)
        axes = len(self.size)
        short = [
            n + begin + end - have
            for n, begin, end, have in zip(
                self.size, g.padding[:axes], g.padding[axes:], full.shape[2:], strict=True
            )
        ]
        room = [amount for missing in reversed(short) for amount in (0, missing)]
        return torch.nn.functional.pad(torch.nn.functional.pad(full, room), [-pad for pad in self._pads])

    @property
    def outputs(self) -> tuple[int, ...]:
        """Size of the output; below 1 on an axis on which the kernel does not fit."""
        g = self.geometry
        room = zip(self._padded, g.dilation, self.weight.shape[2:], g.stride, strict=True)
        return tuple((n - d * (k - 1) - 1) // s + 1 for n, d, k, s in room)

    @property
    def sides(self) -> tuple[int, int]:
        """Inputs and outputs of a group."""
        inputs, outputs = self.weight.shape[1], self.weight.shape[0] // self.geometry.groups
        return inputs * math.prod(self.size), outputs * math.prod(self.outputs)

    @property
    def seen(self) -> int:
        """How many numbers `places` are."""
        return sum(m * k for m, k in zip(self.outputs, self.weight.shape[2:], strict=True))

    @property
    def empty(self) -> bool:
        """Whether it has no inputs or no outputs."""
        return min(*self.size, *self.outputs) < 1

    def met(self) -> torch.Tensor:
        """The weight, with zeros for taps that only ever meet zeros: they are in none of its entries."""
        weight = self.weight
        axes = zip(self.size, self.outputs, self.stride, self.dilation, self.geometry.padding, strict=False)
        for axis, (n, m, s, d, begin) in enumerate(axes):
            met = [
                max(0, -((d * t - begin) // s)) <= min(m - 1, (n - 1 + begin - d * t) // s)
                for t in range(weight.shape[2 + axis])
            ]
            if not all(met):
                mask = torch.tensor(met, device=weight.device)
                weight = weight * mask.view(-1, *[1] * (len(self.size) - 1 - axis))
        return weight

    def places(self) -> list[torch.Tensor]:
        """On each axis, the input that each output sees by each tap, [outputs, k]; not all of them exist."""
        axes = zip(self.outputs, self.stride, self.weight.shape[2:], self.dilation, strict=True)
        return [
            torch.arange(m)[:, None] * s + torch.arange(k) * d - begin
            for (m, s, k, d), begin in zip(axes, self.geometry.padding, strict=False)
        ]

    @property
    def entries(self) -> int:
        """Of the padded input or of the output, whichever has more."""
        channels = self.weight.shape[1] * self.geometry.groups
        return max(channels * math.prod(self._padded), self.weight.shape[0] * math.prod(self.outputs))

    @property
    def fits(self) -> bool:
        """Whether the memory that there is holds a few Lanczos steps."""
        return self.entries <= MOST and limits.fits(self._bytes(FEWEST))

    @property
    def work(self) -> float:
        """Multiplications of a Lanczos step, with two convolutions."""
        columns = float(self.weight[0].numel()) * math.prod(self.outputs)
        return 2 * columns * (SLOWER * self.weight.shape[0] + UNFOLDED) + PER_ENTRY * STEPS * self.entries

    def _bytes(self, steps: int) -> int:
        """What so many Lanczos steps hold: a vector each, and what a convolution takes."""
        columns = self.weight[0].numel() * math.prod(self.outputs)
        return 8 * ((steps + OTHERS) * self.entries + columns)

    @property
    def _padded(self) -> tuple[int, ...]:
        """Size of the input with its padding."""
        padding, axes = self.geometry.padding, len(self.size)
        return tuple(n + padding[i] + padding[axes + i] for i, n in enumerate(self.size))

    @property
    def stride(self) -> tuple[int, ...]:
        """No longer than the padded input: beyond, there is one output anyway."""
        return tuple(map(min, self.geometry.stride, self._padded))

    @property
    def dilation(self) -> tuple[int, ...]:
        """1 where there is one tap."""
        taps = self.weight.shape[2:]
        return tuple(1 if k == 1 else d for d, k in zip(self.geometry.dilation, taps, strict=True))

    @property
    def _settings(self) -> dict[str, Any]:
        """Of torch's functions, which take no strides and dilations of more than 31 bits."""
        return {"stride": self.stride, "dilation": self.dilation, "groups": self.geometry.groups}

    @property
    def _pads(self) -> list[int]:
        """In the order of torch: the last axis first, beginning and end."""
        padding, axes = self.geometry.padding, len(self.size)
        return [pad for i in reversed(range(axes)) for pad in (padding[i], padding[axes + i])]

    def largest(self, start: torch.Tensor, tolerance: float, enough: float = math.inf) -> Found:
        """The norm by Lanczos steps on A* A, until its square is found up to `tolerance`, or it is `enough`.

        Raises:
            LimitError: the model may not take even one step.
        """
        layer = self
        if self.work > LARGE:  # the quotient of a vector off by e is off by e^2
            layer, start, tolerance = self.single, start.float(), max(tolerance, COARSE)
        leading, missing = layer.steps(start, tolerance, enough)
        leading = leading.double()
        return Found(lower=self._quotient(leading[-1:]), missing=missing, leading=leading)

    @property
    def single(self) -> PaddedConvolution:
        """In single precision, several times as fast."""
        return replace(self, weight=self.weight.float())

    def steps(
        self, start: torch.Tensor, tolerance: float, enough: float = math.inf
    ) -> tuple[torch.Tensor, float]:
        """The `leading` vectors and what is `missing`, as in `Found`."""
        x, missing, length = start, math.inf, float(torch.linalg.vector_norm(start))
        room = limits.room()
        most = max(step for step in range(1, STEPS + 1) if step <= FEWEST or self._bytes(step) <= room)
        bases = start.new_empty(most, start.numel())  # what is not written yet takes no memory
        projected = start.new_zeros(most, most)
        for step in range(most):
            if not self._goes_on(step):
                break
            bases[step] = x.flatten() / length
            known = bases[: step + 1]
            image = self.adjoint(self.apply(bases[step].view(start.shape))).flatten()
            projected[step, : step + 1] = known @ image  # of which `eigh` reads the lower triangle
            x = image - known.T @ projected[step, : step + 1]
            x = x - known.T @ (known @ x)
            length = float(torch.linalg.vector_norm(x))
            exhausted = length <= EXHAUSTED * float(torch.linalg.vector_norm(image))
            values, vectors = eigh(projected[: step + 1, : step + 1])
            top, residual = float(values[-1]), length * abs(float(vectors[-1, -1]))
            gap = top - float(values[-2]) if step else 0.0
            missing = min(residual, residual**2 / gap) if gap > 0 else residual
            if exhausted or (step + 1 >= FEWEST and (missing <= tolerance * top or top > enough**2)):
                break
        else:
            if most < STEPS:
                limits.refuse()  # further ones
        return (vectors[:, -LEADING:].mT @ known).view(-1, *start.shape[1:]), missing

    def _goes_on(self, step: int) -> bool:
        """Whether the model may take another step; at the first one, an error if not."""
        try:
            limits.multiply(self.work, "a step with the layer's own zero padding")
        except LimitError:
            if not step:
                raise
            return False
        return True

    def _quotient(self, x: torch.Tensor) -> float:
        """`|A x| / |x|` less its rounding."""
        y = self.apply(x)
        norm = float(torch.linalg.vector_norm(x))
        terms = self.weight[0].numel() + 4
        absolute = float(torch.linalg.vector_norm(self.weight.flatten(2), dim=(0, 1)).sum())
        sums = gamma(y.numel() + x.numel() + 16)
        return max(
            0.0, float(torch.linalg.vector_norm(y)) / norm * (1 - sums) - 1.001 * gamma(terms) * absolute
        )
