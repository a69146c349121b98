"""LSTM and GRU cells with other activations than ONNX's own: what one step amplifies by, at most.

Gates are between 0 and 1 and no steeper than s, what they let in is between -1 and 1, no steeper than k <= 1.
Perturbations b of what goes into activations add up, entry by entry, to coefficients times them:
Cauchy-Schwarz bounds that by the root of the sum of the coefficients' squares, times |b|.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.numerics.intervals import Range
from convsv_cli.numerics.rounding import UP_MANY

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLOPES = {"relu": 1.0, "tanh": 1.0, "sigmoid": 0.25, "hardsigmoid": 0.2, "softsign": 1.0}
"""With the parameters that ONNX gives them."""
VALUES = {
    "relu": Range(lower=0.0),
    "tanh": Range(lower=-1.0, upper=1.0),
    "sigmoid": Range(lower=0.0, upper=1.0),
    "hardsigmoid": Range(lower=0.0, upper=1.0),
    "softsign": Range(lower=-1.0, upper=1.0),
}
GATES = frozenset(("sigmoid", "hardsigmoid"))
INNER = GATES | {"tanh", "softsign"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The steepest of the activations of all directions.

    Attributes:
        gate: s, of the gates.
        inner: k, of what they let in, and of what an LSTM makes of its cell state.
    """

    gate: float
    inner: float

    def lstm_opening(self, before: NDArray[np.float64]) -> NDArray[np.float64]:
        """A_t in |dc'|, |dh'| <= |(dh, dc)| + A_t |b|, for cell states of at most `before`.

        dc' = f dc + c s b_f + g s b_i + i k b_g, and dh' = o k dc' + h(c') s b_o, where no state and no value
        of an activation is above its bound: A^2 = (s C)^2 + s^2 + k^2 + s^2.
        """
        squares = np.square(self.gate * before) + 2 * self.gate**2 + self.inner**2
        opening: NDArray[np.float64] = np.sqrt(squares) * UP_MANY
        return opening

    def gru(self, w: float, p: float, h: float, q: float | None) -> tuple[float, float]:
        """What a new state moves by, for each unit of an input and of a state of at most `h`.

        z dh + (1 - z) dn + (h - n) s b_z with |h - n| <= m = h + 1 and |dn| <= k |da|, where da is

        * b_n + r R_n dh + (R_n h + c) s b_r, |R_n h + c| <= q, if the reset comes after the product,
        * b_n + R_n (r dh + h s b_r), |R_n| <= p, else (`q` is None).
        """
        update = (h + 1) * self.gate
        reset = self.inner * self.gate * (p * h if q is None else q)
        entering = np.sqrt(update**2 + self.inner**2 + reset**2)
        if q is not None:
            return w * float(entering) * UP_MANY, (1 + float(entering) * p) * UP_MANY
        gates = np.sqrt(update**2 + reset**2)
        return w * float(entering) * UP_MANY, (1 + self.inner * p + float(gates) * p) * UP_MANY


def cell_of(names: Sequence[str], each: int) -> Cell | None:
    """The cell of activations in lower case, `each` for every direction; None where they are no gates.

    Args:
        names: gates first in each direction, then what these let in.
        each: how many of these a direction has.
    """
    gates, inner = names[::each], [name for i, name in enumerate(names) if i % each]
    if len(names) not in (each, 2 * each) or not GATES.issuperset(gates) or not INNER.issuperset(inner):
        return None
    return Cell(gate=max(SLOPES[name] for name in gates), inner=max(SLOPES[name] for name in inner))
