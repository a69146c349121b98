"""Layers of every kind that can be trained, and the truth about them from dense matrices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from tests.support import oracles


class Conv1D(nn.Module):
    """As that of the transformers library: x W + b."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.zeros(nf))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x, self.weight)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(5, 7),
    "1-D": lambda: nn.Conv1d(3, 4, 5, padding=2),
    "2-D": lambda: nn.Conv2d(4, 6, 3),
    "wide 2-D": lambda: nn.Conv2d(7, 2, (2, 5)),
    "pointwise": lambda: nn.Conv2d(5, 3, 1),
    "3-D": lambda: nn.Conv3d(2, 3, (3, 2, 2)),
    "strided": lambda: nn.Conv2d(3, 4, 4, stride=2),
    "dilated": lambda: nn.Conv2d(3, 4, 3, dilation=2),
    "strided and dilated": lambda: nn.Conv1d(2, 3, 5, stride=4, dilation=2),
    "grouped": lambda: nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4),
    "transposed 1-D": lambda: nn.ConvTranspose1d(3, 5, 3),
    "transposed": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2),
    "transposed, grouped": lambda: nn.ConvTranspose2d(4, 6, 2, groups=2),
    "transposed 3-D": lambda: nn.ConvTranspose3d(2, 2, 2),
}


def layer(kind: str, seed: int = 0) -> nn.Module:
    """One of `LAYERS` in double precision, with random weights of about norm 1."""
    made = LAYERS[kind]().double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.weight.copy_(torch.randn(made.weight.shape, generator=generator, dtype=torch.float64))
    return made


def unfoldings(module: nn.Module, weight: np.ndarray | None = None) -> dict[frozenset[int], list[np.ndarray]]:
    """Every unfolding of the layer's reduced kernel, or of another weight in its place."""
    weight = module.weight.detach().double().numpy() if weight is None else weight
    convolution = not isinstance(module, nn.Linear)
    return oracles.unfoldings(
        weight,
        stride=module.stride if convolution else (),
        dilation=module.dilation if convolution else (),
        groups=module.groups if convolution else 1,
        transposed=convolution and module.transposed,
    )


def taps(module: nn.Module) -> int:
    """Number of taps of the reduced kernel: prod k."""
    by_rows = unfoldings(module)
    matrix = by_rows[frozenset()][0]
    everything = by_rows[max(by_rows, key=len)][0]
    return everything.shape[0] // matrix.shape[0]


def true_bound(module: nn.Module, weight: np.ndarray | None = None) -> float:
    """sqrt(prod k) times the least norm of all unfoldings."""
    by_rows = unfoldings(module, weight)
    return math.sqrt(taps(module)) * min(max(map(oracles.spectral_norm, m)) for m in by_rows.values())


def true_heuristic(module: nn.Module, weight: np.ndarray | None = None) -> float:
    """The norm of T."""
    return max(map(oracles.spectral_norm, unfoldings(module, weight)[frozenset()]))


def true_supremum(module: nn.Module, weight: np.ndarray | None = None) -> float:
    """Over all frequencies, by a search."""
    weight = module.weight.detach().numpy() if weight is None else weight
    if isinstance(module, nn.Linear):
        return oracles.spectral_norm(weight)
    blocks = [
        oracles.reduced_kernel(
            block, stride=module.stride, dilation=module.dilation, transposed=module.transposed
        )
        for block in np.split(weight, module.groups)
    ]
    return max(map(oracles.supremum, blocks))


def finite_difference(
    function: Callable[[nn.Module, np.ndarray], float], module: nn.Module, direction: np.ndarray
) -> float:
    """The derivative along a direction of the weight: central differences, extrapolated once."""
    weight = module.weight.detach().numpy()

    def slope(step: float) -> float:
        up, down = function(module, weight + step * direction), function(module, weight - step * direction)
        return (up - down) / (2 * step)

    return (4 * slope(5e-4) - slope(1e-3)) / 3
