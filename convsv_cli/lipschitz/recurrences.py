"""How a perturbation of a sequence spreads through a recurrent cell, step by step.

Let s_t bound the perturbation of the state after step t, for perturbations x_t of the sequence's entries.
One-step bounds s_t <= input_t x_t + growth_t s_(t-1) add up to s_t <= sum_r G_tr x_r with the T x T gain
matrix G_tr = input_r growth_(r+1) ... growth_t (r <= t), so that |(s_1, ..., s_T)| <= |G| |(x_1, ..., x_T)|;
the last state is bounded by the norm of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.numerics.rounding import up

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST = 1024
UP_STEPS = up(64 * LONGEST - 1)  # a few roundings in each step


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """One-step bounds, for each of T steps.

    Attributes:
        inputs: of the state by the sequence's entry, [T].
        growth: of the state by the state before it, [T].
        start: of the first state by each initial one.
    """

    inputs: NDArray[np.float64]
    growth: NDArray[np.float64]
    start: tuple[float, ...]

    def gains(self, *, whole: bool) -> tuple[float, ...]:
        """Upper bounds by the sequence, and by each initial state.

        Args:
            whole: of all states together; else of whichever is the last one.

        Raises:
            UnboundedError: they exceed the largest number.
        """
        if not len(self.inputs):
            return (0.0, *(1.0 for _ in self.start))
        with np.errstate(over="ignore"):
            onward = _products(self.growth)
            matrix = onward * self.inputs
            norm = _norm(matrix) if whole else float(np.sqrt(np.square(matrix).sum(1).max()))
            column = onward[:, 0]
            first = float(np.sqrt(np.square(column).sum())) if whole else float(column.max())
        by_start = [first * factor * UP_STEPS for factor in self.start]
        if not np.isfinite([norm, *by_start]).all():
            raise UnboundedError(f"its bound exceeds every number after {len(self.inputs)} steps")
        return (norm * UP_STEPS, *(max(1.0, gain) for gain in by_start))


def _products(growth: NDArray[np.float64]) -> NDArray[np.float64]:
    """growth_(r+1) ... growth_t where r <= t, else 0: [T, T]."""
    products = np.eye(len(growth))
    for t in range(1, len(growth)):
        products[t, :t] = products[t - 1, :t] * growth[t]
    return products


def _norm(matrix: NDArray[np.float64]) -> float:
    """The spectral norm, proven from above; infinite where the entries are too large."""
    if not np.isfinite(matrix).all():
        return float("inf")
    import torch

    from convsv_cli.spectral.matrix_norm import matrix_norm

    return matrix_norm(torch.from_numpy(matrix)[None]).upper
