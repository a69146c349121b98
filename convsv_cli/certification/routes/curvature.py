"""Radii from bounds of the curvature of differences of logits, for chains with one smooth activation."""

from __future__ import annotations

from collections.abc import Callable

import torch

from convsv_cli.certification.curvature import curvature_radii
from convsv_cli.certification.curvature_bounds import curvature_bounds
from convsv_cli.certification.routes.certifier import Certifier, Problem, Proven
from convsv_cli.report import CURVATURE
from convsv_cli.spectral.cores import one_thread_each, parallel_map

BOUNDS = 0.5
"""Of the progress: bounds of the curvature, before any sample."""
WORK = 4e12
"""Multiplications for tighter bounds: minutes, for ten classes of 3x32x32; hours for a hundred."""


def prove(problem: Problem, progress: Callable[[float], None]) -> Proven:
    """By the dual problem of the nearest input of another class, over all cores."""
    chain, x = problem.chain, problem.x
    if chain is None:
        return Proven(radii=torch.zeros(len(x), dtype=torch.float64), reason=problem.no_chain)
    bounds = curvature_bounds(
        chain.model,
        input_shape=x.shape[1:],
        work_limit=WORK,
        progress=lambda share: progress(BOUNDS * share),
    )
    done: list[int] = []

    def some(start: int) -> torch.Tensor:
        part = x[start : start + chain.count]
        found = curvature_radii(chain.model, part, bounds, logit_error=chain.logit_error)
        done.append(start)
        progress(BOUNDS + (1 - BOUNDS) * min(1.0, len(done) * chain.count / len(x)))
        return found

    with one_thread_each():
        parts = parallel_map(some, range(0, len(x), chain.count))
    constants = (("largest_curvature", float(bounds.max())),)
    return Proven(radii=torch.cat(parts) / problem.input_scale, constants=constants)


ROUTE = Certifier(name=CURVATURE, prove=prove)
