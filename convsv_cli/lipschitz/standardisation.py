r"""What subtracting the mean and scaling do to a perturbation.

*Layer, group and instance normalization.* Let P = I - 11^T/n, D = Px, v = |D|^2/n and s = sqrt(v + eps) for
the n entries x that are normalized together. The Jacobian of D/s is

    P/s - D D^T/(n s^3) = (I - t u u^T) P / s,    u = D/|D|,  t = |D|^2/(n s^2) = v/(v + eps) in [0, 1).

I - t u u^T commutes with P, as Pu = u, and has the eigenvalues 1 and 1 - t. So that of diag(g) D/s has at
most the norm |diag(g) P| |I - t u u^T| / s <= |diag(g) P| / sqrt(eps), attained where x is constant (D = 0).

*Root mean square.* The same without P: x/sqrt(|x|^2/n + eps) has the Jacobian (I - t u u^T)/s with u = x/|x|,
and max|g|/sqrt(eps) is attained at x = 0.

*The statistics.* The mean amplifies by 1/sqrt(n). The gradient of 1/s is -D/(n s^3), of norm
sqrt(v)/(sqrt(n) (v + eps)^1.5); the largest, at v = eps/2, is 2/(3 sqrt(3) sqrt(n) eps).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.numerics.rounding import UP_MANY, margin

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE = 2**16  # scales; max|g| is at most 1/(2n) above the norm, which matters for few
HALVINGS = 50


def centred_norm(scales: NDArray[np.float64]) -> float:
    """Upper bound of the norm of diag(g)(I - 11^T/n), the largest over the rows g of finite [rows, n].

    Its square is the largest eigenvalue of diag(d) - gg^T/n, d = g^2. The secular equation (Golub 1973) is
    sum 1/(x - d_i) = 0, whose left side decreases between the two largest d: where it is proven to be
    negative, rounding included, the eigenvalue is smaller. It is in [(1 - 1/n) max d, max d].
    """
    n = scales.shape[1]
    largest = float(np.abs(scales).max(initial=0.0))
    if n < 2 or largest == 0:
        return 0.0
    if scales.size > LARGE:
        return largest
    squares = np.square(scales / largest)
    second, high = np.partition(squares, -2)[:, -2:].T
    low = np.maximum(second, high * (1 - 1 / n))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = 1 / (middle[:, None] - squares)
            above = terms.sum(1) + margin(n + 3) * np.abs(terms).sum(1) < 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return largest * math.sqrt(float(high.max())) * UP_MANY


def inverse_deviation_gain(n: int, epsilon: float) -> float:
    """The Lipschitz constant of 1/sqrt(v + eps) for the variance v of n entries."""
    return 2 / (3 * math.sqrt(3 * n) * epsilon) * UP_MANY
