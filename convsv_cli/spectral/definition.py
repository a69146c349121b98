"""Symbols at any frequencies, by their definition, and the sines and cosines that all of them are made of."""

from __future__ import annotations

import itertools
import math

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma
from convsv_cli.spectral.cores import squared


def half_lags(k: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """One of each pair of opposite lags of taps, without zero: float64 [lags, axes], where `like` is."""
    pairs = [lag for lag in itertools.product(*(range(1 - n, n) for n in k)) if lag > (0,) * len(k)]
    return torch.tensor(pairs, dtype=torch.float64, device=like.device).reshape(-1, len(k))


def phases(lags: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """1, cosines and sines of <lag, theta> at theta = 2 pi turns: [n, axes] -> float64 [n, 1 + 2 lags]."""
    angle = (2 * math.pi) * (turns @ lags.T).frac()
    return torch.cat([turns.new_ones(len(turns), 1), angle.cos(), angle.sin()], 1)


def phase_error(k: tuple[int, ...]) -> float:
    """How far off each of them is: by a few 2^-53 for every turn that enters it."""
    axes = len(k)
    return (2 * math.pi * (axes * (axes + 1) * max(k, default=1) + 2) + 8) * UNIT_ROUNDOFF


def symbols_of(taps: torch.Tensor, turns: torch.Tensor, block: torch.Tensor | None = None) -> torch.Tensor:
    """G at theta = 2 pi turns: real [blocks, *k, p, q], [n, axes] -> complex [n, p, q], of `taps`' precision.

    The kernel is that of `block`, int64 [n], or the only one.
    """
    k = taps.shape[1:-2]
    places = [torch.arange(n, dtype=torch.float64, device=taps.device) for n in k]
    offsets = torch.cartesian_prod(*places).reshape(-1, len(k))
    angle = (2 * math.pi) * (turns @ offsets.T).frac()
    flat = taps.reshape(len(taps), len(offsets), -1)
    flat = flat[0] if len(taps) == 1 else flat[block]
    real, imaginary = (
        part @ flat if len(taps) == 1 else (part[:, None] @ flat)[:, 0]
        for part in (angle.cos().to(taps.dtype), -angle.sin().to(taps.dtype))
    )
    return torch.complex(real, imaginary).view(len(turns), *taps.shape[-2:])


def gram_by_definition(taps: torch.Tensor, block: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """H = G G*: taps float64 [blocks, *k, p, q], block [n], turns [n, axes] -> complex128 [n, p, p]."""
    symbols = symbols_of(taps, turns, block)
    return squared(symbols[0])[None] if len(turns) == 1 else symbols @ symbols.mH


def definition_error(taps: torch.Tensor, size: float, trace: float) -> float:
    """A bound of the spectral norm of what rounding does to `gram_by_definition`.

    |dG| <= c S, S = sum_t |K_t| entry by entry, with c = sqrt(2) (gamma_taps + phase); and complex sums of q
    products count as real ones of four times the length: 2 c |S|_F |G|_F + gamma_{4q} |G|_F^2.

    Args:
        taps: float64 [blocks, *k, p, q].
        size: at least |S|_F.
        trace: at least |G|_F^2, the trace of H, at all frequencies.
    """
    k, q = tuple(taps.shape[1:-2]), taps.shape[-1]
    symbol = math.sqrt(2) * (gamma(math.prod(k) + 4) + phase_error(k))
    return 2 * symbol * size * math.sqrt(trace) + gamma(4 * (q + 4)) * trace + symbol**2 * size**2
