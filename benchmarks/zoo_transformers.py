"""Transformers in miniature, with the operations that their well-known implementations consist of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, TOKENS = 16, 2, 9


def heads_of(x: Tensor, heads: int) -> Tensor:
    """[b, n, c] to [b, heads, n, c / heads]."""
    b, n, c = x.shape
    return x.view(b, n, heads, c // heads).transpose(1, 2)


def merged(x: Tensor) -> Tensor:
    """Back: [b, heads, n, d] to [b, n, heads d]."""
    b, heads, n, d = x.shape
    return x.transpose(1, 2).reshape(b, n, heads * d)


def causal(tokens: int) -> Tensor:
    """What is added to scores [tokens, tokens], so that none looks ahead."""
    return torch.full((tokens, tokens), -1e9).triu(1)


class Attention(nn.Module):
    """Scores, mask, softmax and values written out, as in BERT; queries come from `x`, all else from `y`."""

    def __init__(self, width: int = WIDTH, heads: int = HEADS, mask: Tensor | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """[b, n, c], and keys and values from [b, m, c]."""
        y = x if y is None else y
        q, k, v = (
            heads_of(layer(z), self.heads) for layer, z in ((self.query, x), (self.key, y), (self.value, y))
        )
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        if self.mask is not None:
            scores = scores + self.mask
        return self.out(merged(torch.matmul(functional.softmax(scores, dim=-1), v)))


class FusedAttention(nn.Module):
    """One product gives queries, keys and values, as in timm; torch's own function does all else."""

    def __init__(self, width: int = WIDTH, heads: int = HEADS, *, is_causal: bool = False) -> None:
        super().__init__()
        self.heads, self.is_causal = heads, is_causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, c]."""
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(merged(functional.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)))


class L2Attention(nn.Module):
    """Scores are distances, queries and keys are tied (Kim, Papamakarios & Mnih, ICML 2021, section 3.3)."""

    def __init__(self, width: int = WIDTH, heads: int = HEADS) -> None:
        super().__init__()
        self.heads, self.scale = heads, math.sqrt(width // heads)
        self.query, self.value = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, c]."""
        q = heads_of(self.query(x), self.heads)
        squares = q.pow(2).sum(-1, keepdim=True)
        distances = squares + squares.transpose(-1, -2) - 2 * q @ q.transpose(-1, -2)
        weights = functional.softmax(-distances / self.scale, dim=-1)
        projection = self.query.weight.view(self.heads, -1, x.shape[-1])
        mixed = weights @ x.unsqueeze(1) @ (projection.transpose(-1, -2) @ projection / self.scale)
        values = self.value.weight.view(self.heads, -1, x.shape[-1]).transpose(-1, -2)
        return self.out(merged(mixed @ values))


def perceptron(width: int, activation: nn.Module | None = None, factor: int = 2) -> nn.Sequential:
    """Wider, bent, and back."""
    wide = factor * width
    return nn.Sequential(nn.Linear(width, wide), activation or nn.GELU(), nn.Linear(wide, width))


class PreNorm(nn.Module):
    """x + f(norm(x)) for attention, then for the perceptron."""

    def __init__(self, attention: nn.Module, width: int = WIDTH, mlp: nn.Module | None = None) -> None:
        super().__init__()
        self.attention, self.mlp = attention, mlp or perceptron(width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, c]."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PostNorm(PreNorm):
    """norm(x + f(x)), likewise."""

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, c]."""
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


class Bert(nn.Module):
    """Of embeddings: positions, LayerNorm, two layers with a mask that hides the last tokens, the pooler."""

    def __init__(self) -> None:
        super().__init__()
        mask = torch.zeros(1, 1, 1, TOKENS)
        mask[..., -2:] = torch.finfo(torch.float32).min
        self.position = nn.Parameter(torch.randn(1, TOKENS, WIDTH) * 0.1)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.Sequential(*(PostNorm(Attention(mask=mask)) for _ in range(2)))
        self.pooler, self.classifier = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, inputs_embeds: Tensor) -> Tensor:
        """[b, n, c] to [b, 3]."""
        hidden = self.layers(self.norm(inputs_embeds + self.position))
        return self.classifier(torch.tanh(self.pooler(hidden[:, 0])))


class NewGELU(nn.Module):
    """By tanh, written out as in GPT-2."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
        return 0.5 * x * (1.0 + torch.tanh(inner))


class QuickGELU(nn.Module):
    """By a sigmoid, as in CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x * torch.sigmoid(1.702 * x)


class CausalAttention(nn.Module):
    """One product of a transposed weight, Split, and scores that `where` hides, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, 3 * WIDTH) / math.sqrt(WIDTH))
        self.bias = nn.Parameter(torch.zeros(3 * WIDTH))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("seen", torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool).tril())

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, c]."""
        b, n, c = x.shape
        qkv = torch.addmm(self.bias, x.view(-1, c), self.weight).view(b, n, 3 * c)
        q, k, v = (heads_of(part, HEADS) for part in qkv.split(c, dim=2))
        scores = torch.matmul(q, k.transpose(-1, -2)) / torch.full([], v.shape[-1] ** 0.5, dtype=v.dtype)
        hidden = torch.full([], torch.finfo(scores.dtype).min, dtype=scores.dtype)
        scores = torch.where(self.seen[:, :, :n, :n], scores, hidden)
        return self.out(merged(torch.matmul(functional.softmax(scores, dim=-1), v)))


def gpt2() -> nn.Module:
    """Pre-LayerNorm, scores of every token for the next."""
    layers = (PreNorm(CausalAttention(), mlp=perceptron(WIDTH, NewGELU())) for _ in range(2))
    return nn.Sequential(*layers, nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 11, bias=False))


class ViT(nn.Module):
    """Patches by a convolution, class token, pre-LayerNorm."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.1)
        self.position = nn.Parameter(torch.randn(1, TOKENS + 1, WIDTH) * 0.1)
        mlps = (perceptron(WIDTH, activation) for _ in range(2))
        self.blocks = nn.Sequential(*(PreNorm(FusedAttention(), mlp=mlp) for mlp in mlps))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        """[b, 3, 12, 12] to [b, 5]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class Whisper(nn.Module):
    """Convolutions over mel frames, an encoder, and a decoder of embeddings that attends to it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(8, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.position = nn.Parameter(torch.randn(TOKENS, WIDTH) * 0.1)
        self.encoder = nn.Sequential(*(PreNorm(Attention()) for _ in range(2)), nn.LayerNorm(WIDTH))
        self.decoder = nn.ModuleList(WhisperDecoderLayer() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 11, bias=False)

    def forward(self, mel: Tensor, decoder_inputs_embeds: Tensor) -> Tensor:
        """[b, 8, frames] and [b, 4, c] to [b, 4, 11]."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).permute(0, 2, 1)
        heard = self.encoder(x + self.position)
        y = decoder_inputs_embeds
        for layer in self.decoder:
            y = layer(y, heard)
        return self.head(self.norm(y))


class WhisperDecoderLayer(nn.Module):
    """Causal self-attention, attention to what was heard, perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = PreNorm(Attention(mask=causal(4)))
        self.cross, self.norm = Attention(), nn.LayerNorm(WIDTH)

    def forward(self, y: Tensor, heard: Tensor) -> Tensor:
        """[b, m, c] and [b, n, c] to [b, m, c]."""
        y = y + self.layer.attention(self.layer.norm1(y))
        y = y + self.cross(self.norm(y), heard)
        return y + self.layer.mlp(self.layer.norm2(y))


class Mixer(nn.Module):
    """Perceptrons over tokens and over channels in turn (Tolstikhin et al., NeurIPS 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.tokens, self.channels = perceptron(TOKENS), perceptron(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, c]."""
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class MultiHead(nn.Module):
    """torch's own, of one tensor."""

    def __init__(self, *, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), weights

    def forward(self, x: Tensor) -> Tensor:
        """[b, n, c]."""
        return self.attention(x, x, x, need_weights=self.weights)[0]


def encoder_layer(*, norm_first: bool) -> nn.Module:
    """Two of torch's own."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 2 * WIDTH, batch_first=True, norm_first=norm_first, activation="gelu"
    )
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
