"""Convolutional networks in miniature: gates, norms, skips and concatenations of the well-known ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[], nn.Module]


def conv_norm(
    c_in: int,
    c_out: int,
    k: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = None,
) -> nn.Sequential:
    """Convolution, BatchNorm, activation."""
    layers = [nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def head(c: int, classes: int = 5) -> nn.Sequential:
    """Mean of each channel, and a linear layer on them."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))


class Residual(nn.Module):
    """What is inside, plus the input or a projection of it."""

    def __init__(self, inside: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.inside, self.skip = inside, skip or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w]."""
        return self.inside(x) + self.skip(x)


class SqueezeExcitation(nn.Module):
    """A factor for each channel, computed from the means of all."""

    def __init__(self, c: int, inner: Activation, outer: Activation) -> None:
        super().__init__()
        self.reduce, self.widen = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1)
        self.inner, self.outer = inner(), outer()

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w]."""
        means = functional.adaptive_avg_pool2d(x, 1)
        return self.outer(self.widen(self.inner(self.reduce(means)))) * x


def inverted(c_in: int, c_out: int, stride: int, activation: Activation, gate: nn.Module | None) -> nn.Module:
    """An inverted residual of twice the width."""
    hidden = 2 * c_in
    inside = nn.Sequential(
        conv_norm(c_in, hidden, 1, activation=activation),
        conv_norm(hidden, hidden, stride=stride, groups=hidden, activation=activation),
        *([gate] if gate else []),
        conv_norm(hidden, c_out, 1),
    )
    return Residual(inside) if stride == 1 and c_in == c_out else inside


def efficientnet() -> nn.Module:
    """SiLU, and squeeze-and-excitation by SiLU and a sigmoid."""
    blocks = [
        inverted(a, b, s, nn.SiLU, SqueezeExcitation(2 * a, nn.SiLU, nn.Sigmoid))
        for a, b, s in ((8, 8, 1), (8, 12, 2), (12, 12, 1))
    ]
    return nn.Sequential(
        conv_norm(3, 8, stride=2, activation=nn.SiLU),
        *blocks,
        conv_norm(12, 24, 1, activation=nn.SiLU),
        head(24),
    )


def mobilenet_v3() -> nn.Module:
    """HardSwish, and squeeze-and-excitation by ReLU and HardSigmoid."""
    gated = SqueezeExcitation(16, nn.ReLU, nn.Hardsigmoid), SqueezeExcitation(24, nn.ReLU, nn.Hardsigmoid)
    return nn.Sequential(
        conv_norm(3, 8, stride=2, activation=nn.Hardswish),
        inverted(8, 8, 1, nn.ReLU, gated[0]),
        inverted(8, 12, 2, nn.Hardswish, None),
        inverted(12, 12, 1, nn.Hardswish, gated[1]),
        conv_norm(12, 24, 1, activation=nn.Hardswish),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 32),
        nn.Hardswish(),
        nn.Linear(32, 5),
    )


def regnet_y() -> nn.Module:
    """Grouped convolutions, squeeze-and-excitation by ReLU and a sigmoid, ReLU after the sum."""

    def block(c_in: int, c_out: int, stride: int) -> nn.Module:
        inside = nn.Sequential(
            conv_norm(c_in, c_out, 1, activation=nn.ReLU),
            conv_norm(c_out, c_out, stride=stride, groups=2, activation=nn.ReLU),
            SqueezeExcitation(c_out, nn.ReLU, nn.Sigmoid),
            conv_norm(c_out, c_out, 1),
        )
        skip = conv_norm(c_in, c_out, 1, stride=stride) if stride > 1 else None
        return nn.Sequential(Residual(inside, skip), nn.ReLU())

    return nn.Sequential(
        conv_norm(3, 8, stride=2, activation=nn.ReLU), block(8, 8, 1), block(8, 16, 2), head(16)
    )


class LayerNorm2d(nn.Module):
    """Over channels, written out, as in the ConvNeXt of its authors."""

    def __init__(self, c: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(1 + 0.1 * torch.randn(c)), nn.Parameter(0.1 * torch.randn(c))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w]."""
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class ResponseNorm(nn.Module):
    """Global response normalisation of ConvNeXt V2 (Woo et al., CVPR 2023)."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(0.3 * torch.randn(1, 1, 1, c)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[b, h, w, c]."""
        norms = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        relative = norms / (norms.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma * (x * relative) + self.beta + x


class ConvNeXtBlock(nn.Module):
    """Depthwise 7 x 7, LayerNorm and a perceptron on the last axis, layer scale."""

    def __init__(self, c: int, *, second: bool) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c, eps=1e-6)
        self.wide, self.narrow = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)
        self.gamma = None if second else nn.Parameter(0.1 * torch.ones(c))
        self.response = ResponseNorm(4 * c) if second else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w]."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(self.response(functional.gelu(self.wide(y))))
        if self.gamma is not None:
            y = self.gamma * y
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Two stages of two blocks."""

    def __init__(self, *, second: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 2, 2), LayerNorm2d(8))
        self.one = nn.Sequential(*(ConvNeXtBlock(8, second=second) for _ in range(2)))
        self.down = nn.Sequential(LayerNorm2d(8), nn.Conv2d(8, 16, 2, 2))
        self.two = nn.Sequential(*(ConvNeXtBlock(16, second=second) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(16, eps=1e-6), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """[b, 3, h, w] to [b, 5]."""
        x = self.two(self.down(self.one(self.stem(x))))
        return self.head(self.norm(x.mean([-2, -1])))


class DenseBlock(nn.Module):
    """Each layer sees all before it, concatenated anew."""

    def __init__(self, c: int, growth: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                *(nn.BatchNorm2d(c + i * growth), nn.ReLU(), nn.Conv2d(c + i * growth, 8, 1, bias=False)),
                *(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, growth, 3, padding=1, bias=False)),
            )
            for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w], with channels appended."""
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


def densenet() -> nn.Module:
    """Two dense blocks and a transition."""
    transition = [nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1, bias=False), nn.AvgPool2d(2, 2)]
    stem = [conv_norm(3, 8, stride=2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    blocks = [DenseBlock(8, 4, 2), *transition, DenseBlock(8, 4, 2)]
    return nn.Sequential(*stem, *blocks, nn.BatchNorm2d(16), nn.ReLU(), head(16))


class UNet(nn.Module):
    """Down, up by transposed convolutions, and across; GroupNorm and SiLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.bottom = self._pair(3, 8), self._pair(8, 16), self._pair(16, 16)
        self.up2, self.up1 = nn.ConvTranspose2d(16, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
        self.merge2, self.merge1 = self._pair(32, 16), self._pair(16, 8)
        self.last = nn.Conv2d(8, 2, 1)

    @staticmethod
    def _pair(c_in: int, c_out: int) -> nn.Module:
        layers = [nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(4, c_out), nn.SiLU()]
        return nn.Sequential(
            *layers, nn.Conv2d(c_out, c_out, 3, padding=1), nn.GroupNorm(4, c_out), nn.SiLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """[b, 3, h, w] to [b, 2, h, w]."""
        one = self.first(x)
        two = self.middle(functional.max_pool2d(one, 2))
        y = self.up2(self.bottom(functional.max_pool2d(two, 2)))
        y = self.up1(self.merge2(torch.cat([two, y], 1)))
        return self.last(self.merge1(torch.cat([one, y], 1)))


class CBAM(nn.Module):
    """A gate for each channel, then one for each place (Woo et al., ECCV 2018)."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(c, c // 4), nn.ReLU(), nn.Linear(c // 4, c))
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w]."""
        gates = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        x = x * gates[:, :, None, None]
        both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return x * torch.sigmoid(self.conv(both))


def cbam() -> nn.Module:
    """In a residual block."""
    inside = nn.Sequential(conv_norm(8, 8, activation=nn.ReLU), conv_norm(8, 8), CBAM(8))
    return nn.Sequential(conv_norm(3, 8, stride=2, activation=nn.ReLU), Residual(inside), nn.ReLU(), head(8))
