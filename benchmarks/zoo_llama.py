"""Llama in miniature: RMSNorm, rotary embeddings, grouped queries, gated perceptrons."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, GROUPS, TOKENS = 16, 4, 2, 9
SIZE = WIDTH // HEADS


class RMSNorm(nn.Module):
    """As transformers writes it: the statistics in single precision."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(1 + 0.1 * torch.randn(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., width]."""
        kind = x.dtype
        x = x.to(torch.float32)
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.eps)).to(kind)


def rotated_half(x: Tensor) -> Tensor:
    """The second half negated, then the first."""
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-second, first), dim=-1)


def repeat_kv(x: Tensor, times: int) -> Tensor:
    """[b, groups, n, d] to [b, groups times, n, d]."""
    b, groups, n, d = x.shape
    return x[:, :, None, :, :].expand(b, groups, times, n, d).reshape(b, groups * times, n, d)


class Attention(nn.Module):
    """Of grouped queries; with `normalised`, queries and keys pass an RMSNorm, as in Qwen 3."""

    def __init__(self, *, normalised: bool) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.key, self.value = (nn.Linear(WIDTH, GROUPS * SIZE, bias=False) for _ in range(2))
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norms = nn.ModuleList(RMSNorm(SIZE) if normalised else nn.Identity() for _ in range(2))
        self.register_buffer(
            "mask", torch.full((1, 1, TOKENS, TOKENS), torch.finfo(torch.float32).min).triu(1)
        )
        frequencies = 10000.0 ** (-torch.arange(0, SIZE, 2) / SIZE)
        angles = torch.outer(torch.arange(TOKENS, dtype=torch.float32), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, width]."""
        b, n, _ = x.shape
        q, k, v = (
            layer(x).view(b, n, -1, SIZE).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        q, k = (
            y * self.cos + rotated_half(y) * self.sin
            for y in (norm(part) for norm, part in zip(self.norms, (q, k), strict=True))
        )
        k, v = (repeat_kv(part, HEADS // GROUPS) for part in (k, v))
        scores = torch.matmul(q, k.transpose(2, 3)) * SIZE**-0.5 + self.mask
        weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
        mixed = torch.matmul(weights, v).transpose(1, 2).contiguous()
        return self.out(mixed.reshape(b, n, -1))


class SwiGLU(nn.Module):
    """A product of two linear maps of one tensor, one through SiLU."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(WIDTH, 2 * WIDTH, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, width]."""
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    """x + f(norm(x)), for attention and for the perceptron."""

    def __init__(self, *, normalised: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(WIDTH), RMSNorm(WIDTH)
        self.attention, self.mlp = Attention(normalised=normalised), SwiGLU()

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, width]."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def llama(*, normalised: bool = False) -> nn.Module:
    """Two layers and the scores of the next token."""
    layers = (Layer(normalised=normalised) for _ in range(2))
    return nn.Sequential(*layers, RMSNorm(WIDTH), nn.Linear(WIDTH, 11, bias=False))
