"""LipSDP-Neuron: the Lipschitz bound of a dense chain by semidefinite programming, from its paper.

One multiplier a neuron, all of them at once: no bound that uses only slopes, each neuron by itself, is below
its optimum. Needs the extra `benchmark`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.dense_chains import Weights

ACCURACY = 1e-5  # of SCS; its multipliers are of no use for long chains at 1e-4
MARGINS = (1e-7, 1e-4, 1e-2, 0.1, 0.5)
"""What a multiplier that is not feasible gives way by, beyond what it must."""


@dataclass(frozen=True, kw_only=True)
class LipSdp:
    """The result of one program.

    Attributes:
        optimum: the bound that the solver reports; true to its accuracy only.
        bound: what its multipliers give, but for rounding; not below the true optimum.
        seconds: of the solver itself, without the time in which cvxpy compiles the program.
    """

    optimum: float
    bound: float
    seconds: float


def lipsdp_neuron(weights: Weights, *, solver: str = "SCS") -> LipSdp:
    """The least rho with M(rho, T) <= 0 over diagonal T >= 0 (Fazlyab et al., NeurIPS 2019, Theorem 2).

    M has the blocks -rho I, then -2 T_i, the last of these plus W_l' W_l, on its diagonal, and W_i' T_i above
    it. (The paper also has multipliers of pairs of neurons, with which it is wrong: Pauli et al., 2021.)
    Made easier for the solver, with the same optimum: each layer is scaled to norm 1, and M, which is block
    tridiagonal, is split into pairs of layers (Xue et al., CDC 2022).

    Args:
        weights: of the layers, two or more; activations with slopes in [0, 1] between them.
        solver: of those that cvxpy has. SCS is the faster one for all but tiny chains.
    """
    import cvxpy

    norms = [float(np.linalg.norm(weight, 2)) for weight in weights]
    scaled = [weight / norm for weight, norm in zip(weights, norms, strict=True)]
    rho = cvxpy.Variable()
    multipliers = [cvxpy.Variable(len(weight), nonneg=True) for weight in scaled[:-1]]
    problem = cvxpy.Problem(cvxpy.Minimize(rho), _pairs(cvxpy, scaled, rho, multipliers))
    options = {"eps": ACCURACY} if solver == "SCS" else {}
    start = time.perf_counter()
    problem.solve(solver=solver, **options)
    wall = time.perf_counter() - start
    given = [np.maximum(each.value, 0) / rho.value for each in multipliers]
    total = math.prod(norms)
    return LipSdp(
        optimum=total * math.sqrt(rho.value),
        bound=total * min(with_multipliers(scaled, given, margin) for margin in MARGINS),
        seconds=problem.solver_stats.solve_time or wall,
    )


def with_multipliers(weights: Weights, multipliers: Sequence[np.ndarray], margin: float = 0.0) -> float:
    """The bound at given multipliers, but for rounding: the least rho for which M(rho, rho T) <= 0.

    By elimination of M's blocks from the first one on: X_0 = I, and with V = W_i X_(i-1) W_i' and D = T_i^-1,
    X_i = D (2 D - V)^-1 D. Where 2 D > V fails, D is raised to where it holds, and by the margin beyond: any
    such D is valid.

    Args:
        weights: of the layers.
        multipliers: of the hidden layers, for rho = 1: [features] each, 0 or more.
        margin: relative.
    """
    covariance = np.eye(weights[0].shape[1])
    for weight, multiplier in zip(weights, multipliers, strict=False):
        spread = weight @ covariance @ weight.T
        inverse = 1 / np.maximum(multiplier, 1e-9 * multiplier.max())
        root = np.sqrt(inverse)
        needed = np.linalg.eigvalsh(spread / root[:, None] / root)[-1] / 2 * (1 + margin)
        inverse = inverse * max(1.0, needed)
        covariance = inverse[:, None] * np.linalg.inv(2 * np.diag(inverse) - spread) * inverse
    return math.sqrt(np.linalg.eigvalsh(weights[-1] @ covariance @ weights[-1].T)[-1])


def _pairs(cvxpy: Any, weights: Weights, rho: Any, multipliers: Sequence[Any]) -> list[Any]:  # noqa: ANN401
    """M as a sum of matrices on neighbouring layers, each of them negative semidefinite.

    What the two pairs at a layer have of its diagonal block is free: a symmetric matrix, and the rest.
    """
    constraints, blocks = [], [-2 * cvxpy.diag(each) for each in multipliers]
    blocks[-1] += weights[-1].T @ weights[-1]
    corner = -rho * np.eye(weights[0].shape[1])
    for index, (weight, multiplier, block) in enumerate(zip(weights, multipliers, blocks, strict=False)):
        last = index == len(multipliers) - 1
        share = block if last else cvxpy.Variable(block.shape, symmetric=True)
        across = weight.T @ cvxpy.diag(multiplier)
        constraints.append(cvxpy.bmat([[corner, across], [across.T, share]]) << 0)
        corner = block - share
    return constraints
