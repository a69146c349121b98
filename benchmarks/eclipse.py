"""ECLipsE-Fast: the Lipschitz bound of a dense chain in closed form, from its paper."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.dense_chains import Weights


def eclipse_fast(weights: Weights) -> float:
    """The bound (Xu & Sivaranjani, NeurIPS 2024, arXiv 2404.04375), but for rounding.

    M_0 = I, and for each hidden layer, with slopes in [0, 1] and S = W_i M_(i-1)^-1 W_i',
    lambda_i = 2 / lambda_max(S) and M_i = lambda_i I - lambda_i^2 / 4 S. The square of the bound is
    lambda_max(W_l M_(l-1)^-1 W_l'). This is LipSDP with one multiplier a layer, chosen greedily.

    Args:
        weights: of the layers; ReLU, or another activation with slopes in [0, 1], between them.
    """
    precision = np.eye(weights[0].shape[1])
    for weight in weights[:-1]:
        spread = _spread(weight, precision)
        multiplier = 2 / np.linalg.eigvalsh(spread)[-1]
        precision = multiplier * np.eye(len(spread)) - multiplier**2 / 4 * spread
    return math.sqrt(np.linalg.eigvalsh(_spread(weights[-1], precision))[-1])


def _spread(weight: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """W M^-1 W', symmetric."""
    root = np.linalg.cholesky(precision)
    half = np.linalg.solve(root, weight.T)
    return half.T @ half
