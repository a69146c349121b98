"""The certified norm of a layer as a number that can be differentiated."""

from __future__ import annotations

import math

import torch

from convsv_cli.model.kernel import Kernel, reduce_kernel, reduced_weight
from convsv_cli.model.layer import Geometry
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.spectral.norms import PlaneWave, norms_of


@torch.compiler.disable  # type: ignore[untyped-decorator]
def certified_norm(weight: torch.Tensor, geometry: Geometry, *, tolerance: float = 1e-3) -> torch.Tensor:
    """The supremum of a layer's norm over all input sizes and paddings, proven from above: float64 [].

    The gradient is that of Re u* G(theta) v with the frequency theta and the singular vectors u, v of the
    maximum: the derivative of the supremum where the maximum is attained once (Danskin), one of its
    subgradients elsewhere. It is as exact as theta, to about the root of `tolerance`.

    Args:
        weight: as of torch.nn, floating point.
        geometry: of the layer.
        tolerance: relative width of the enclosure whose upper end is the value.
    """
    with torch.no_grad(), one_thread_each():
        kernel = reduce_kernel(weight.detach(), geometry)
        norms = norms_of(kernel)
        upper = norms.supremum(tolerance=tolerance).upper
        flat = math.prod(kernel.spatial) == 1 or not upper
        wave = _still_wave(kernel) if flat else norms.wave(tolerance=tolerance)
        pattern = _pattern(wave.left, wave.right, wave.turns, kernel.spatial)
    value = (reduced_weight(weight.double(), geometry)[wave.block] * pattern).sum()
    return value + (upper - value.detach())


def _still_wave(kernel: Kernel) -> PlaneWave:
    """At frequency zero, where the symbol is the sum of all taps: singular vectors of the largest block."""
    symbols = kernel.weight.reshape(*kernel.weight.shape[:3], -1).sum(-1)
    left, values, right = torch.linalg.svd(symbols, full_matrices=False)
    block = int(values[:, 0].argmax())
    turns = (0.0,) * len(kernel.spatial)
    return PlaneWave(block=block, turns=turns, left=left[block, :, 0] + 0j, right=right[block, 0] + 0j)


def _pattern(
    left: torch.Tensor, right: torch.Tensor, turns: tuple[float, ...], spatial: tuple[int, ...]
) -> torch.Tensor:
    """The kernel P [c_out, c_in, *k] for which <K, P> = Re u* G(theta) v for every kernel K."""
    phase = torch.zeros(spatial, dtype=torch.float64, device=left.device)
    for axis, (turn, k) in enumerate(zip(turns, spatial, strict=True)):
        steps = torch.arange(k, dtype=torch.float64, device=left.device) * turn
        phase = phase + steps.view(-1, *(1 for _ in spatial[axis + 1 :]))
    outer = torch.outer(left.conj() / left.norm(), right / right.norm())
    angle = -2 * math.pi * phase
    wave = torch.polar(torch.ones_like(angle), angle)
    return torch.tensordot(outer, wave, dims=0).real if spatial else outer.real
