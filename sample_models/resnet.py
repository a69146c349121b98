"""The CIFAR-10 ResNet of He et al. (2016, section 4.2), with pooling in place of strides.

Average pooling between the stages halves the image, and a 1x1 convolution on the skip widens it. So each
kernel acts with stride 1, and a bare state dict, which holds no strides, says all there is to say.

BatchNorm divides by what its layer puts out, and so undoes every limit on the layer's norm. A network that is
to have a small Lipschitz constant has biases in its place; its layers keep their names.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip, which a 1x1 convolution projects where channels are added."""

    def __init__(self, c_in: int, c_out: int, *, normalised: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=not normalised)
        self.bn1 = _norm(c_out, normalised=normalised)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=not normalised)
        self.bn2 = _norm(c_out, normalised=normalised)
        self.skip: nn.Module = nn.Identity()
        if c_in != c_out:
            project = nn.Conv2d(c_in, c_out, 1, bias=not normalised)
            self.skip = nn.Sequential(project, _norm(c_out, normalised=normalised))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, c_in, h, w] -> [batch, c_out, h, w]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.skip(x))


class ResNet(nn.Module):
    """Input [batch, 3, 32, 32] in [0, 1], normalised inside the network; output [batch, 10] logits.

    With the normalisation of pixels inside, a Lipschitz constant of the network is one in units of pixels.
    Its depth is 6 * blocks + 2: three blocks a stage give ResNet-20. Where it is not `normalised`, it has
    biases in place of BatchNorm.
    """

    def __init__(
        self, blocks: int = 3, width: int = 16, classes: int = 10, *, normalised: bool = True
    ) -> None:
        super().__init__()
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.register_buffer("pixel_mean", torch.tensor(CIFAR10_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(CIFAR10_STD).view(3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=not normalised)
        self.bn1 = _norm(width, normalised=normalised)
        self.layer1 = _stage(width, width, blocks, normalised=normalised)
        self.layer2 = _stage(width, 2 * width, blocks, normalised=normalised)
        self.layer3 = _stage(2 * width, 4 * width, blocks, normalised=normalised)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, h, w] pixels -> [batch, classes] logits."""
        return self.fc(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """[batch, 3, h, w] pixels -> [batch, 4 * width], of which `fc` makes logits."""
        x = (x - self.pixel_mean) / self.pixel_std
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer2(functional.avg_pool2d(self.layer1(x), 2))
        x = self.layer3(functional.avg_pool2d(x, 2))
        return x.mean(dim=(2, 3))


def _stage(c_in: int, c_out: int, blocks: int, *, normalised: bool) -> nn.Sequential:
    widths = [c_in, *(c_out for _ in range(blocks))]
    return nn.Sequential(*(BasicBlock(a, b, normalised=normalised) for a, b in itertools.pairwise(widths)))


def _norm(channels: int, *, normalised: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if normalised else nn.Identity()
