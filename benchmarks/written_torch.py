"""The same functions as people write them in torch, for its two exporters to spell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.written_norms import BETA, EPS, GAMMA, IMAGE_BETA, IMAGE_GAMMA, N
from benchmarks.zoo_export import export

Function = Callable[[Tensor], Tensor]
SCALE, SHIFT, CHANNEL_SCALE, CHANNEL_SHIFT = (
    torch.tensor(each, dtype=torch.float32) for each in (GAMMA, BETA, IMAGE_GAMMA, IMAGE_BETA)
)
OLDEST, NEWEST = {True: 13, False: 11}, {True: 23, False: 20}
"""Opsets that an exporter is asked for; the key is whether it is that of today."""


def centred(x: Tensor, dims: int | tuple[int, ...] = -1) -> Tensor:
    """Mean zero."""
    return x - x.mean(dims, keepdim=True)


def standardised(x: Tensor, dims: int | tuple[int, ...] = -1) -> Tensor:
    """And variance one."""
    d = centred(x, dims)
    return d / torch.sqrt((d * d).mean(dims, keepdim=True) + EPS)


def by_moments(x: Tensor) -> Tensor:
    """From the squares' mean."""
    mean = x.mean(-1, keepdim=True)
    return (x - mean) * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) - mean.pow(2) + EPS)


def of_groups(x: Tensor) -> Tensor:
    """Two groups of channels, written out."""
    return standardised(x.view(1, 2, -1)).view(x.shape)


def of_channels(x: Tensor) -> Tensor:
    """The affine map of images."""
    return x * CHANNEL_SCALE + CHANNEL_SHIFT


def shares(x: Tensor) -> Tensor:
    """Softmax with the largest entry taken off."""
    e = torch.exp(x - x.max(-1, keepdim=True)[0])
    return e / e.sum(-1, keepdim=True)


def length(x: Tensor) -> Tensor:
    """Of rows."""
    return x.norm(dim=-1, keepdim=True)


def squares(x: Tensor) -> Tensor:
    """Of pairs."""
    a, b = x.chunk(2, -1)
    return a**2 + b**2


SPELLINGS: Mapping[str, Mapping[str, Function]] = {
    "GELU": {
        "functional": functional.gelu,
        "erf": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    },
    "GELU-tanh": {
        "functional": lambda x: functional.gelu(x, approximate="tanh"),
        "pow": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3)))),
    },
    "SiLU": {"functional": functional.silu, "sigmoid": lambda x: x * torch.sigmoid(x)},
    "Mish": {"functional": functional.mish, "tanh": lambda x: x * torch.tanh(functional.softplus(x))},
    "HardSwish": {"functional": functional.hardswish, "relu6": lambda x: x * functional.relu6(x + 3) / 6},
    "Softplus": {"functional": functional.softplus, "log1p": lambda x: torch.log1p(torch.exp(x))},
    "Softplus-2": {"functional": lambda x: functional.softplus(x, beta=2)},
    "ELU": {
        "functional": functional.elu,
        "where": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
        "expm1": lambda x: torch.where(x > 0, x, torch.expm1(x)),
        "celu": functional.celu,
    },
    "SELU": {"functional": functional.selu},
    "LeakyReLU": {
        "functional": lambda x: functional.leaky_relu(x, 0.2),
        "where": lambda x: torch.where(x < 0, 0.2 * x, x),
        "maximum": lambda x: torch.maximum(x, 0.2 * x),
        "prelu": lambda x: functional.prelu(x, torch.tensor([0.2])),
    },
    "ReLU": {"mask": lambda x: x * (x > 0), "clamp": lambda x: x.clamp(min=0)},
    "Abs": {"abs": torch.abs, "sign": lambda x: x * x.sign()},
    "LayerNorm": {
        "functional": lambda x: functional.layer_norm(x, (N,), SCALE, SHIFT, EPS),
        "written": lambda x: standardised(x) * SCALE + SHIFT,
        "var": lambda x: (
            centred(x) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + EPS) * SCALE + SHIFT
        ),
        "moments": lambda x: by_moments(x) * SCALE + SHIFT,
    },
    "LayerNorm-std": {
        "std": lambda x: centred(x) / (x.std(-1, keepdim=True, unbiased=False) + EPS) * SCALE + SHIFT,
    },
    "RMSNorm": {
        "functional": lambda x: functional.rms_norm(x, (N,), SCALE, EPS),
        "llama": lambda x: SCALE * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS)),
        "norm": lambda x: x / torch.sqrt(length(x) ** 2 / N + EPS) * SCALE,
    },
    "L2-clamped": {
        "functional": lambda x: functional.normalize(x, dim=-1, eps=1e-3),
        "clamp": lambda x: x / length(x).clamp(min=1e-3),
        "vector-norm": lambda x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-3),
    },
    "L2-inside": {"rsqrt": lambda x: x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)},
    "L2-plus": {"norm": lambda x: x / (length(x) + 1e-3)},
    "Softmax": {"functional": lambda x: torch.softmax(x, -1), "written": shares},
    "LogSoftmax": {
        "functional": lambda x: torch.log_softmax(x, -1),
        "log": lambda x: torch.log(torch.softmax(x, -1)),
        "logsumexp": lambda x: x - torch.logsumexp(x, -1, keepdim=True),
    },
    "LogSumExp": {
        "functional": lambda x: torch.logsumexp(x, -1, keepdim=True),
        "written": lambda x: torch.log(torch.exp(x).sum(-1, keepdim=True)),
    },
    "Hypot": {
        "sqrt": lambda x: squares(x).sqrt(),
        "hypot": lambda x: torch.hypot(*x.chunk(2, -1)),
        "norm": lambda x: torch.stack(x.chunk(2, -1), -1).norm(dim=-1),
    },
    "Hypot-eps": {"sqrt": lambda x: torch.sqrt(squares(x) + 1e-6)},
    "GroupNorm": {
        "functional": lambda x: of_channels(functional.group_norm(x, 2, eps=EPS)),
        "affine": lambda x: functional.group_norm(
            x, 2, CHANNEL_SCALE.flatten(), CHANNEL_SHIFT.flatten(), EPS
        ),
        "written": lambda x: of_channels(of_groups(x)),
    },
    "InstanceNorm": {
        "functional": lambda x: of_channels(functional.instance_norm(x, eps=EPS)),
        "written": lambda x: of_channels(standardised(x, (2, 3))),
    },
    "LayerNorm2d": {
        "written": lambda x: of_channels(standardised(x, 1)),
        "permuted": lambda x: of_channels(
            functional.layer_norm(x.permute(0, 2, 3, 1), (4,), eps=EPS).permute(0, 3, 1, 2)
        ),
    },
}


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Of the pattern's shape."""
        return self.function(x)


def exported(name: str, spelling: str, path: Path, shape: tuple[int, ...], **options: bool | int) -> str:
    """Write it as ONNX; why not, where that does not work, else an empty string."""
    return export(Applied(SPELLINGS[name][spelling]).eval(), (torch.randn(shape),), path, **options)
