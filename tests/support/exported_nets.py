"""Small networks of well-known kinds with random weights, and their exports by both of torch's exporters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_bn(
    c_in: int, c_out: int, k: int = 3, stride: int = 1, groups: int = 1, act: nn.Module | None = None
):
    layers = [nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers, *([act] if act else []))


class Residual(nn.Module):
    """What is inside, plus the input or a projection of it."""

    def __init__(
        self, inside: nn.Module, skip: nn.Module | None = None, after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.inside, self.skip, self.after = inside, skip or nn.Identity(), after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.inside(x) + self.skip(x))


class Joined(nn.Module):
    """Branches side by side, concatenated as channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def head(c: int, classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))


def resnet18() -> nn.Module:
    def block(c_in: int, c_out: int, stride: int) -> nn.Module:
        inside = nn.Sequential(conv_bn(c_in, c_out, 3, stride, act=nn.ReLU()), conv_bn(c_out, c_out))
        skip = conv_bn(c_in, c_out, 1, stride) if stride > 1 else None
        return Residual(inside, skip, nn.ReLU())

    widths = (4, 4, 8, 8, 12)
    stages = [
        nn.Sequential(block(a, b, 1 if i == 0 else 2), block(b, b, 1))
        for i, (a, b) in enumerate(pairwise(widths))
    ]
    stem = [conv_bn(3, 4, 7, 2, act=nn.ReLU()), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *stages, head(12))


def vgg11_bn() -> nn.Module:
    layers: list[nn.Module] = []
    c = 3
    for width in (4, "M", 6, "M", 8, 8, "M", 8, 8, "M", 8, 8, "M"):
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(c, int(width), 3, padding=1), nn.BatchNorm2d(int(width)), nn.ReLU()]
            c = int(width)
    classifier = [nn.Linear(8, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 5)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *classifier)


def squeezenet() -> nn.Module:
    def fire(c_in: int, squeeze: int, expand: int) -> nn.Module:
        def branch(k: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(squeeze, expand, k, padding=k // 2), nn.ReLU())

        return nn.Sequential(nn.Conv2d(c_in, squeeze, 1), nn.ReLU(), Joined(branch(1), branch(3)))

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    stem = [nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), pool()]
    fires = [fire(8, 2, 4), fire(8, 2, 4), pool(), fire(8, 4, 6), nn.Dropout()]
    end = [nn.Conv2d(12, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*stem, *fires, *end)


def densenet() -> nn.Module:
    def dense(c: int, growth: int = 4) -> nn.Module:
        layers = [nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
        return Joined(nn.Identity(), nn.Sequential(*layers, nn.Conv2d(8, growth, 3, padding=1, bias=False)))

    def transition(c: int) -> nn.Module:
        return nn.Sequential(
            nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c // 2, 1, bias=False), nn.AvgPool2d(2)
        )

    stem = [conv_bn(3, 8, 3, 2, act=nn.ReLU()), nn.MaxPool2d(3, 2, 1)]
    stages = [dense(8), dense(12), transition(16), dense(8), dense(12)]
    return nn.Sequential(*stem, *stages, nn.BatchNorm2d(16), nn.ReLU(), head(16))


class UNet(nn.Module):
    """Down, up and across; the way up is either a transposed convolution or an interpolation."""

    def __init__(self, up: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.down1 = conv_bn(3, 4, act=nn.ReLU())
        self.down2 = conv_bn(4, 8, act=nn.ReLU())
        self.bottom = conv_bn(8, 8, act=nn.LeakyReLU(0.1))
        self.up2, self.up1 = up(8, 8), up(8, 4)
        self.merge2 = conv_bn(16, 8, act=nn.ReLU())
        self.merge1 = conv_bn(8, 4, act=nn.ReLU())
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(functional.max_pool2d(one, 2))
        y = self.up2(self.bottom(functional.max_pool2d(two, 2)))
        y = self.up1(self.merge2(torch.cat([y, two], 1)))
        return self.last(self.merge1(torch.cat([y, one], 1)))


def unet_transposed() -> nn.Module:
    return UNet(lambda c_in, c_out: nn.ConvTranspose2d(c_in, c_out, 2, 2))


def unet_upsampled() -> nn.Module:
    def up(c_in: int, c_out: int) -> nn.Module:
        return nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=c_in == c_out),
            nn.Conv2d(c_in, c_out, 1),
        )

    return UNet(up)


def inverted(c_in: int, c_out: int, stride: int, act: type[nn.Module], gate: type[nn.Module] | None = None):
    hidden = 2 * c_in
    inside = nn.Sequential(
        conv_bn(c_in, hidden, 1, act=act()),
        conv_bn(hidden, hidden, 3, stride, groups=hidden, act=act()),
        *([gate(hidden)] if gate else []),
        conv_bn(hidden, c_out, 1),
    )
    return Residual(inside) if stride == 1 and c_in == c_out else inside


def mobilenet_v2() -> nn.Module:
    blocks = [inverted(a, b, s, nn.ReLU6) for a, b, s in ((4, 4, 1), (4, 6, 2), (6, 6, 1), (6, 8, 2))]
    return nn.Sequential(
        conv_bn(3, 4, 3, 2, act=nn.ReLU6()), *blocks, conv_bn(8, 16, 1, act=nn.ReLU6()), head(16)
    )


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.reduce, self.widen = nn.Conv2d(c, 2, 1), nn.Conv2d(2, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.reduce(functional.adaptive_avg_pool2d(x, 1)))
        return x * torch.sigmoid(self.widen(y))


def efficientnet() -> nn.Module:
    blocks = [inverted(a, b, s, nn.SiLU, Gate) for a, b, s in ((4, 4, 1), (4, 6, 2), (6, 6, 1))]
    return nn.Sequential(
        conv_bn(3, 4, 3, 2, act=nn.SiLU()), *blocks, conv_bn(6, 12, 1, act=nn.SiLU()), head(12)
    )


class Attention(nn.Module):
    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = (
            layer(x).reshape(b, n, self.heads, c // self.heads).transpose(1, 2)
            for layer in (self.queries, self.keys, self.values)
        )
        weights = torch.softmax(torch.matmul(q, k.transpose(-2, -1)) * (c // self.heads) ** -0.5, -1)
        return self.out(torch.matmul(weights, v).transpose(1, 2).reshape(b, n, c))


class ViT(nn.Module):
    """Attention and perceptron follow LayerNorm, which keeps what they multiply in a range."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.position = nn.Parameter(torch.randn(1, 16, width) * 0.1)
        attention = [nn.LayerNorm(width), Attention(width)]
        self.blocks = nn.Sequential(
            Residual(nn.Sequential(*attention)),
            Residual(nn.Sequential(nn.LayerNorm(width), *perceptron(width))),
        )
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.fc(self.norm(self.blocks(y)).mean(1))


def perceptron(width: int) -> list[nn.Module]:
    return [nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)]


def transformer() -> nn.Module:
    """LayerNorm comes last: only the first attention multiplies what may be of any size."""

    def layer(width: int = 8) -> nn.Module:
        attention = Residual(Attention(width), after=nn.LayerNorm(width))
        return nn.Sequential(
            attention, Residual(nn.Sequential(*perceptron(width)), after=nn.LayerNorm(width))
        )

    return nn.Sequential(nn.Linear(6, 8), layer(), layer(), nn.Linear(8, 3))


class WaveNet(nn.Module):
    """Dilated convolutions, each gated: tanh times sigmoid."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 1)
        self.layers = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(3))
        self.mixers = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(3))
        self.last = nn.Conv1d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        for i, (layer, mixer) in enumerate(zip(self.layers, self.mixers, strict=True)):
            a, b = layer(functional.pad(y, (2**i, 0))).chunk(2, 1)
            y = y + mixer(torch.tanh(a) * torch.sigmoid(b))
        return self.last(functional.relu(y))


def group_norm_net() -> nn.Module:
    def block(c: int) -> nn.Module:
        return Residual(nn.Sequential(nn.GroupNorm(2, c, eps=1e-2), nn.Mish(), nn.Conv2d(c, c, 3, padding=1)))

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), block(8), block(8), nn.GroupNorm(4, 8), nn.Hardswish(), head(8)
    )


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (resnet18, (1, 3, 32, 32)),
    "vgg11_bn": (vgg11_bn, (1, 3, 32, 32)),
    "squeezenet": (squeezenet, (1, 3, 31, 31)),
    "densenet": (densenet, (1, 3, 32, 32)),
    "unet_transposed": (unet_transposed, (1, 3, 16, 16)),
    "unet_upsampled": (unet_upsampled, (1, 3, 16, 16)),
    "mobilenet_v2": (mobilenet_v2, (1, 3, 16, 16)),
    "wavenet": (WaveNet, (1, 1, 16)),
    "group_norm": (group_norm_net, (1, 3, 12, 12)),
    "vit": (ViT, (1, 3, 16, 16)),
    "efficientnet": (efficientnet, (1, 3, 16, 16)),
    "transformer": (transformer, (1, 7, 6)),
}
"""How to make each, and the shape of its input."""


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """In evaluation mode, with statistics that are not the initial ones; and the shape of its input."""
    make, shape = NETS[name]
    torch.manual_seed(sorted(NETS).index(name))
    net = make()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.4, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.2)
            nn.init.normal_(module.bias, std=0.2)
    return net.eval(), shape


def export(net: nn.Module, shape: tuple[int, ...], path: Path, *, dynamo: bool, **options: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.rand(shape),), path, dynamo=dynamo, verbose=False, **options)
    return path


def jacobian_norm(net: nn.Module, x: Tensor, rounds: int = 12) -> float:
    """A lower bound of the Jacobian's norm in double precision, by power iteration."""
    net, x = net.double(), x.double()
    direction = torch.randn_like(x)
    for _ in range(rounds):
        direction = direction / direction.norm()
        _, forward = torch.autograd.functional.jvp(net, x, direction)
        found = float(forward.norm())
        _, direction = torch.autograd.functional.vjp(net, x, forward)
    return found
