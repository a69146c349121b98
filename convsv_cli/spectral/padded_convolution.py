"""A convolution with its zero padding: applied, its adjoint too, and its norm from below by Lanczos steps.

Rounding of A x, with c products a sum: |d(A x)| <= gamma_c |A| |x|, and | |A| | <= sum_t |K_t|_F.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from convsv_cli import limits
from convsv_cli.limits import LimitError
from convsv_cli.model.layer import Geometry
from convsv_cli.numerics.rounding import gamma

FEWEST, STEPS = 6, 24
MOST = 2**26
"""Entries of the largest input or output that is worked with."""
SLOWER, UNFOLDED, PER_ENTRY = 3, 30, 20
"""Multiplications in the time of one in a convolution, of an entry of its unfolded input, and of one in a
Lanczos step."""
OTHERS = 6
"""Vectors beside those that steps hold."""
EXHAUSTED = 1e-12  # of a vector that lies in the span of those before it, what rounding leaves


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
    def empty(self) -> bool:
        """Whether it has no inputs or no outputs."""
        return min(*self.size, *self.outputs) < 1

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
        """What so many Lanczos steps hold: a vector on either side each, and what a convolution takes."""
        columns = self.weight[0].numel() * math.prod(self.outputs)
        return 8 * ((2 * steps + OTHERS) * self.entries + columns)

    @property
    def _padded(self) -> tuple[int, ...]:
        """Size of the input with its padding."""
        padding, axes = self.geometry.padding, len(self.size)
        return tuple(n + padding[i] + padding[axes + i] for i, n in enumerate(self.size))

    @property
    def _settings(self) -> dict[str, Any]:
        """Of torch's functions, which take no strides and dilations of more than 31 bits."""
        g, kernel = self.geometry, self.weight.shape[2:]
        return {
            "stride": tuple(map(min, g.stride, self._padded)),  # beyond, there is one output anyway
            "dilation": tuple(1 if k == 1 else d for d, k in zip(g.dilation, kernel, strict=True)),
            "groups": g.groups,
        }

    @property
    def _pads(self) -> list[int]:
        """In the order of torch: the last axis first, beginning and end."""
        padding, axes = self.geometry.padding, len(self.size)
        return [pad for i in reversed(range(axes)) for pad in (padding[i], padding[axes + i])]

    def lower(self, start: torch.Tensor, tolerance: float) -> float:
        """A proven lower end of the norm, by Lanczos steps until less than `tolerance` is gained.

        Raises:
            LimitError: the model may not take even one step.
        """
        x, quotient = start, 0.0
        steps = max(step for step in range(1, STEPS + 1) if step <= FEWEST or limits.fits(self._bytes(step)))
        bases = start.new_empty(steps, start.numel())  # what is not written yet takes no memory
        images = start.new_empty(steps, self.weight.shape[0] * math.prod(self.outputs))
        for step in range(steps):
            if not self._goes_on(step):
                break
            x = x / torch.linalg.vector_norm(x)
            bases[step] = x.flatten()
            y = self.apply(x)
            images[step] = y.flatten()
            known, projected = bases[: step + 1], images[: step + 1]
            values, vectors = torch.linalg.eigh(projected @ projected.T)
            before, quotient = quotient, math.sqrt(max(0.0, float(values[-1])))
            if step + 1 >= FEWEST and quotient <= before * (1 + tolerance):
                break
            x = self.adjoint(y).flatten()
            before_reduction = float(torch.linalg.vector_norm(x))
            for _ in range(2):
                x = x - known.T @ (known @ x)
            if float(torch.linalg.vector_norm(x)) <= EXHAUSTED * before_reduction:
                break
            x = x.view(start.shape)
        return self._quotient((vectors[:, -1] @ known).view(start.shape))

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
