"""The functions that are written out, by torch, and where they are steepest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.written_norms import (
    BETA,
    EPS,
    GAMMA,
    GROUP_NORM,
    IMAGE_BETA,
    IMAGE_GAMMA,
    INSTANCE_NORM,
    L2_CLAMPED,
    L2_INSIDE,
    L2_PLUS,
    LAYER_NORM,
    LAYER_NORM_2D,
    LAYER_NORM_STD,
    RMS_NORM,
    N,
)
from benchmarks.written_scalars import SCALARS
from benchmarks.written_softmax import HYPOT, HYPOT_CLIPPED, HYPOT_EPS, LOG_SOFTMAX, LOG_SUM_EXP, SOFTMAX
from benchmarks.written_terms import Spelling

NUMBERS = (2, 5)
ROWS, IMAGES = (1, 3, N), (1, 4, 3, 3)
TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A function of a tensor.

    Attributes:
        shape: of the tensor.
        function: by torch.
        peak: where its Jacobian is as large as anywhere, or as large as one likes for an ever larger peak.
        spellings: by name.
    """

    shape: tuple[int, ...]
    function: Callable[[Tensor], Tensor]
    peak: Tensor
    spellings: Mapping[str, Spelling]


def _layer_norm(x: Tensor) -> Tensor:
    return functional.layer_norm(x, (N,), torch.tensor(GAMMA), torch.tensor(BETA), EPS)


def _layer_norm_std(x: Tensor) -> Tensor:
    d = x - x.mean(-1, keepdim=True)
    return d / (d.square().mean(-1, keepdim=True).sqrt() + EPS) * torch.tensor(GAMMA) + torch.tensor(BETA)


def _rms_norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, (N,), torch.tensor(GAMMA), EPS)


def _group_norm(x: Tensor) -> Tensor:
    return _image_affine(functional.group_norm(x, 2, eps=EPS))


def _instance_norm(x: Tensor) -> Tensor:
    return _image_affine(functional.group_norm(x, 4, eps=EPS))


def _layer_norm_2d(x: Tensor) -> Tensor:
    return _image_affine(functional.layer_norm(x.movedim(1, -1), (4,), eps=EPS).movedim(-1, 1))


def _image_affine(x: Tensor) -> Tensor:
    return x * torch.tensor(IMAGE_GAMMA) + torch.tensor(IMAGE_BETA)


def _norm(x: Tensor) -> Tensor:
    return x.norm(dim=-1, keepdim=True)


def _squares(x: Tensor) -> Tensor:
    return x[..., :3] ** 2 + x[..., 3:] ** 2


def _rows(*row: float) -> Tensor:
    """The same in each row."""
    return torch.tensor(row, dtype=torch.float64).expand(ROWS).clone()


def _tiny(*shape: int) -> Tensor:
    return TINY * torch.linspace(-1, 2, math.prod(shape), dtype=torch.float64).reshape(shape)


def _patterns() -> dict[str, Pattern]:
    one, two, first = _rows(60, 0, 0, 0, 0, 0), _rows(60, 60, 0, 0, 0, 0), _rows(1, 1, 1, 0, 0, 0)
    small, image = _tiny(*ROWS), _tiny(*IMAGES)
    rows = {
        "LayerNorm": (_layer_norm, small, LAYER_NORM),
        "LayerNorm-std": (_layer_norm_std, small, LAYER_NORM_STD),
        "RMSNorm": (_rms_norm, small, RMS_NORM),
        "L2-clamped": (lambda x: functional.normalize(x, dim=-1, eps=1e-3), small, L2_CLAMPED),
        "L2-inside": (lambda x: x / (_norm(x) ** 2 + 1e-6).sqrt(), small, L2_INSIDE),
        "L2-plus": (lambda x: x / (_norm(x) + 1e-3), small, L2_PLUS),
        "Softmax": (lambda x: torch.softmax(x, -1), two, SOFTMAX),
        "LogSoftmax": (lambda x: torch.log_softmax(x, -1), one, LOG_SOFTMAX),
        "LogSumExp": (lambda x: torch.logsumexp(x, -1, keepdim=True), one, LOG_SUM_EXP),
        "Hypot": (lambda x: _squares(x).sqrt(), first, HYPOT),
        "Hypot-eps": (lambda x: (_squares(x) + 1e-6).sqrt(), 1e3 * first, HYPOT_EPS),
        "Hypot-clipped": (lambda x: _squares(x).clamp_min(1e-6).sqrt(), first, HYPOT_CLIPPED),
    }
    images = {
        "GroupNorm": (_group_norm, GROUP_NORM),
        "InstanceNorm": (_instance_norm, INSTANCE_NORM),
        "LayerNorm2d": (_layer_norm_2d, LAYER_NORM_2D),
    }
    return {
        **{n: Pattern(shape=ROWS, function=f, peak=p, spellings=s) for n, (f, p, s) in rows.items()},
        **{n: Pattern(shape=IMAGES, function=f, peak=image, spellings=s) for n, (f, s) in images.items()},
    }


NORMS = _patterns()
PATTERNS = {
    **{
        name: Pattern(shape=NUMBERS, function=function, peak=torch.zeros(()), spellings=spellings)
        for name, (function, spellings) in SCALARS.items()
    },
    **NORMS,
}
