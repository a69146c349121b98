"""Small networks of PyTorch's own layers, one of each kind that is in use, with an input of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

Tensor = torch.Tensor


class Of(nn.Module):
    """A function of a tensor and some layers."""

    def __init__(self, function: Callable[..., object], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs, *self.layers)


class Residual(nn.Module):
    """With both of its additions in place."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[1](self.second(self.relu(self.norms[0](self.first(x)))))
        y += x
        return self.relu(y)


def unet(x: Tensor, first: nn.Module, down: nn.Module, up: nn.Module, last: nn.Module) -> Tensor:
    wide = F.relu(first(x))
    return last(torch.cat([wide, up(F.relu(down(wide)))], 1))


def upsampled(x: Tensor, first: nn.Module, down: nn.Module, last: nn.Module) -> Tensor:
    wide = F.leaky_relu(first(x))
    return last(torch.cat([wide, F.interpolate(down(wide), scale_factor=2)], 1))


def squeezed(x: Tensor, conv: nn.Module, down: nn.Module, up: nn.Module) -> Tensor:
    y = torch.tanh(conv(x))
    return y * torch.sigmoid(up(F.relu(down(F.adaptive_avg_pool2d(y, 1)))))


def last_state(x: Tensor, recurrent: nn.Module, linear: nn.Module) -> Tensor:
    return linear(recurrent(x)[0][:, -1])


def dense(x: Tensor, *layers: nn.Module) -> Tensor:
    for layer in layers:
        x = torch.cat([x, F.relu(layer(x))], 1)
    return x.mean((2, 3))


def shuffled(x: Tensor, first: nn.Module, middle: nn.Module, last: nn.Module) -> Tensor:
    y = F.relu(first(x))
    batch, channels, rows, columns = y.shape
    y = y.view(batch, 2, channels // 2, rows, columns).transpose(1, 2).reshape(batch, channels, rows, columns)
    return F.relu(x + last(middle(y)))


def patches(x: Tensor, cut: nn.Module, encoder: nn.Module, head: nn.Module) -> Tensor:
    tokens = cut(x).flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
    return head(encoder(tokens)[:, 0])


def convnext(x: Tensor, depthwise: nn.Module, norm: nn.Module, up: nn.Module, down: nn.Module) -> Tensor:
    y = norm(depthwise(x).permute(0, 2, 3, 1))
    return x + 0.1 * down(F.gelu(up(y))).permute(0, 3, 1, 2)


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu")


def networks() -> Mapping[str, tuple[nn.Module, Tensor]]:
    """By name, each with an input; the same ones each time."""
    torch.manual_seed(0)
    image, wide, sequence = torch.randn(1, 3, 8, 8), torch.randn(1, 8, 8, 8), torch.randn(1, 4, 5)
    conv = nn.Conv2d
    return {
        "mlp": (
            nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3)),
            image,
        ),
        "conv": (
            nn.Sequential(
                conv(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1),
                nn.Flatten(), nn.Linear(8, 3),
            ),
            image,
        ),
        "residual": (nn.Sequential(Residual(), Residual()), wide),
        "depthwise": (
            nn.Sequential(conv(8, 8, 3, padding=1, groups=8), nn.Hardswish(), conv(8, 4, 1), nn.ReLU6()),
            wide,
        ),
        "grouped": (nn.Sequential(conv(8, 8, 3, groups=2, dilation=2), nn.SiLU()), wide),
        "transposed": (
            nn.Sequential(
                nn.ConvTranspose2d(8, 4, 3, 2, 1, 1), nn.GELU(), nn.ConvTranspose2d(4, 4, 2, 2, groups=2)
            ),
            wide,
        ),
        "unet": (
            Of(
                unet, conv(3, 8, 3, padding=1), conv(8, 16, 3, 2, 1), nn.ConvTranspose2d(16, 8, 2, 2),
                conv(16, 2, 1),
            ),
            image,
        ),
        "upsampled": (Of(upsampled, conv(3, 8, 3, padding=1), conv(8, 8, 3, 2, 1), conv(16, 2, 1)), image),
        "squeeze and excitation": (Of(squeezed, conv(3, 8, 3), conv(8, 4, 1), conv(4, 8, 1)), image),
        "lstm": (Of(last_state, nn.LSTM(5, 7, 2, batch_first=True), nn.Linear(7, 3)), sequence),
        "both ways": (
            Of(last_state, nn.LSTM(5, 7, batch_first=True, bidirectional=True), nn.Linear(14, 3)), sequence
        ),
        "gru": (Of(last_state, nn.GRU(5, 7, 2, batch_first=True), nn.Linear(7, 3)), sequence),
        "rnn": (Of(last_state, nn.RNN(5, 7, 2, batch_first=True), nn.Linear(7, 3)), sequence),
        "transformer": (nn.Sequential(nn.LayerNorm(8), encoder()), torch.randn(1, 5, 8)),
        "vision transformer": (Of(patches, conv(3, 8, 4, 4), encoder(), nn.Linear(8, 3)), image),
        "densenet": (Of(dense, *(conv(3 + 4 * i, 4, 3, padding=1) for i in range(3))), image),
        "shufflenet": (
            Of(
                shuffled, conv(4, 8, 1, groups=2), conv(8, 8, 3, padding=1, groups=8),
                conv(8, 4, 1, groups=2),
            ),
            torch.randn(1, 4, 8, 8),
        ),
        "convnext": (
            Of(
                convnext, conv(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8), nn.Linear(8, 32),
                nn.Linear(32, 8),
            ),
            wide,
        ),
        "one axis": (
            nn.Sequential(nn.Conv1d(3, 8, 5, padding="same"), nn.ELU(), nn.AvgPool1d(2), nn.Conv1d(8, 4, 3)),
            torch.randn(1, 3, 16),
        ),
        "three axes": (
            nn.Sequential(nn.Conv3d(2, 4, 3), nn.InstanceNorm3d(4, affine=True), nn.Softplus()),
            torch.randn(1, 2, 6, 6, 6),
        ),
        "group norm": (nn.Sequential(conv(8, 8, 3), nn.GroupNorm(2, 8), nn.Mish()), wide),
        "circular": (
            nn.Sequential(conv(3, 8, 3, padding=1, padding_mode="circular"), nn.PixelShuffle(2)), image
        ),
        "weight norm": (
            nn.Sequential(nn.utils.parametrizations.weight_norm(conv(3, 8, 3)), nn.LeakyReLU(0.2)), image
        ),
    }  # fmt: skip
