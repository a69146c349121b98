"""Swin transformers in miniature: windows, shifts, relative positions, merged patches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, WINDOW, GRID = 16, 2, 2, 8


def relative_index(window: int) -> Tensor:
    """Row of the table of relative positions, for each pair of places of a window."""
    places = torch.stack(torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij")).flatten(1)
    offsets = (places[:, :, None] - places[:, None, :]).permute(1, 2, 0) + window - 1
    return (offsets[..., 0] * (2 * window - 1) + offsets[..., 1]).flatten()


def windows_of(x: Tensor, window: int) -> Tensor:
    """[b, h, w, c] to [b windows, window^2, c]."""
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, c)


def unwindowed(x: Tensor, window: int, shape: torch.Size) -> Tensor:
    """And back."""
    b, h, w, c = shape
    x = x.view(b, h // window, w // window, window, window, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)


def shifted_mask(x: Tensor, window: int, shift: int) -> Tensor:
    """What keeps apart, in windows of a shifted image, what was at its opposite ends: [windows, n, n]."""
    _, h, w, _ = x.shape
    regions = x.new_zeros((h, w))
    slices = ((0, -window), (-window, -shift), (-shift, None))
    for i, (top, bottom) in enumerate(slices):
        for j, (left, right) in enumerate(slices):
            regions[top:bottom, left:right] = 3 * i + j
    regions = windows_of(regions[None, :, :, None], window).squeeze(-1)
    differences = regions.unsqueeze(1) - regions.unsqueeze(2)
    return differences.masked_fill(differences != 0, -100.0).masked_fill(differences == 0, 0.0)


class WindowAttention(nn.Module):
    """As torchvision has it; with `cosine`, of the second version: scores are cosines times a scale."""

    def __init__(self, width: int, shift: int, *, cosine: bool) -> None:
        super().__init__()
        self.shift, self.cosine = shift, cosine
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("index", relative_index(WINDOW))
        self.table = nn.Parameter(0.5 * torch.randn((2 * WINDOW - 1) ** 2, HEADS))
        self.scale = nn.Parameter(torch.full((HEADS, 1, 1), 10.0).log())

    def forward(self, x: Tensor) -> Tensor:
        """[b, h, w, c]."""
        shape, moved = x.shape, x
        if self.shift:
            moved = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        parts = windows_of(moved, WINDOW)
        mask = shifted_mask(x, WINDOW, self.shift) if self.shift else None
        y = unwindowed(self._attended(parts, mask), WINDOW, shape)
        return torch.roll(y, shifts=(self.shift, self.shift), dims=(1, 2)) if self.shift else y

    def _attended(self, x: Tensor, mask: Tensor | None) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = self._scores(q, k) + self._bias(n)
        if mask is not None:
            scores = scores.view(b // len(mask), len(mask), HEADS, n, n) + mask.unsqueeze(1).unsqueeze(0)
            scores = scores.view(-1, HEADS, n, n)
        weights = functional.softmax(scores, dim=-1)
        return self.out(weights.matmul(v).transpose(1, 2).reshape(b, n, c))

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        if not self.cosine:
            return (q * q.shape[-1] ** -0.5).matmul(k.transpose(-2, -1))
        cosines = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1)
        return cosines * torch.clamp(self.scale, max=math.log(100.0)).exp()

    def _bias(self, n: int) -> Tensor:
        bias = self.table[self.index].view(n, n, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        return 16 * torch.sigmoid(bias) if self.cosine else bias


class Block(nn.Module):
    """LayerNorm before attention and perceptron, or after them in the second version."""

    def __init__(self, width: int, shift: int, *, second: bool) -> None:
        super().__init__()
        self.second = second
        self.attention = WindowAttention(width, shift, cosine=second)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[b, h, w, c]."""
        if self.second:
            x = x + self.norm1(self.attention(x))
            return x + self.norm2(self.mlp(x))
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Four neighbours side by side, then half as many channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[b, h, w, c] to [b, h / 2, w / 2, 2 c]."""
        parts = [x[..., i::2, j::2, :] for j in (0, 1) for i in (0, 1)]
        return self.reduce(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    """Two stages; every second block is shifted."""

    def __init__(self, depths: tuple[int, int] = (2, 2), *, second: bool = False) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, WIDTH, 2, 2), nn.LayerNorm(WIDTH)
        one, two = (
            [Block(width, i % 2 * (WINDOW // 2), second=second) for i in range(depth)]
            for width, depth in zip((WIDTH, 2 * WIDTH), depths, strict=True)
        )
        self.blocks = nn.Sequential(*one, PatchMerging(WIDTH), *two)
        self.last, self.head = nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        """[b, 3, 16, 16] to [b, 5]."""
        x = self.last(self.blocks(self.norm(self.patches(x).permute(0, 2, 3, 1))))
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 1), 1))
