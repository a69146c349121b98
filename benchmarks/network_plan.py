"""Which networks the bound of the whole network is measured on, and how large the cases are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import architectures
from convsv_cli.report import EFFORTS

ROOT = Path(__file__).resolve().parent.parent
VERIFIED = "models/l2-verification"
MNIST = ("mnist_samples.npz", (0.1307,), (0.3081,))
PIXELS = ("cifar10_samples.npz", (0.0,), (1.0,))
CIFAR = ("cifar10_samples.npz", (0.485, 0.456, 0.406), (0.225,))
TRAINED = ("cifar10_samples.npz", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network of the table.

    Attributes:
        name: of it.
        path: makes its file, given a path that is free.
        samples: of the shared folder, with the mean and the deviation to normalise them by; else its inputs
            are normal noise.
        large: so large that the searches from below are short.
    """

    name: str
    path: Callable[[Path], Path]
    samples: tuple[str, tuple[float, ...], tuple[float, ...]] | None = None
    large: bool = False

    def points(self, shared: Path, shape: tuple[int, ...]) -> Tensor:
        """Where the search for the largest Jacobian starts: [16, *shape], two of a large network."""
        count = 2 if self.large else 16
        if self.samples is None:
            return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))
        file, mean, deviation = self.samples
        images = np.load(shared / VERIFIED / file)["x"][:count]
        moments = (np.asarray(each, np.float32)[:, None, None] for each in (mean, deviation))
        return torch.from_numpy((images - next(moments)) / next(moments))


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """How large the cases are.

    Attributes:
        shared: folder of the real models.
        networks: a glob for the names of networks.
        efforts: of the audit's.
        seconds: after which a process is stopped.
        depths, widths: of the dense chains: each depth, in linear layers, with each width.
        outputs: of the dense chains.
        cost_widths, cost_sizes: of a ResNet-20's first stage at 32 x 32, and of the images at 16 channels.
        passes: of the search over slopes.
        steps: of each phase of the search over points.
        graphs: nodes in long graphs.
        resnet50: whether the sum rule's cost is measured on that, too.
    """

    shared: Path
    networks: str = "*"
    efforts: tuple[str, ...] = EFFORTS
    seconds: float = 1800
    depths: tuple[int, ...] = (3, 4, 5, 6, 7)
    widths: tuple[int, ...] = (20, 40, 60, 80)
    outputs: int = 10
    cost_widths: tuple[int, ...] = (16, 32, 64, 128)
    cost_sizes: tuple[int, ...] = (32, 64, 128, 224)
    passes: int = 200
    steps: int = 100
    graphs: tuple[int, ...] = (100, 300, 1000)
    resnet50: bool = True

    def cases(self) -> list[Case]:
        """The networks that the glob names."""
        return [case for case in cases(self.shared) if fnmatch(case.name, self.networks)]


def quick(shared: Path) -> NetworkPlan:
    """The same sections in seconds."""
    return NetworkPlan(
        shared=shared,
        networks="mnist_mlp",
        efforts=("quick",),
        depths=(3,),
        widths=(5, 6),
        outputs=4,
        cost_widths=(2, 4),
        cost_sizes=(8, 16),
        passes=20,
        steps=5,
        graphs=(30,),
        resnet50=False,
    )


def cases(shared: Path) -> list[Case]:
    """All networks: trained ones first, then some of random weights.

    Args:
        shared: folder of the real models.
    """
    samples = (
        Case(name="ResNet-20 (sample)", path=_there(_sample("resnet20")), samples=PIXELS),
        Case(name="ResNet-20 (regularised)", path=_there(_sample("resnet20_regularised")), samples=PIXELS),
    )
    trained = (
        Case(name=f"{name} (CIFAR-10)", path=partial(_cifar, shared, file), samples=TRAINED)
        for name, file in (("ResNet-20", "resnet20-*.th"), ("ResNet-32", "resnet32-*.th"))
    )
    verified = (
        Case(name=name, path=_there(shared / VERIFIED / f"{name}.onnx"), samples=images)
        for name, images in (
            ("mnist_mlp", MNIST),
            ("mnist_convsmall", MNIST),
            ("cifar10_cnn_a", CIFAR),
            ("cifar10_cnn_c", CIFAR),
        )
    )
    large = (
        Case(name=name, path=build, large=True)
        for name, build in (
            ("ResNet-18 (ImageNet)", partial(architectures.resnet18, shared=shared)),
            ("ResNet-50 (random)", architectures.resnet50),
            ("MobileNetV2 (random)", architectures.mobilenet_v2),
            ("DenseNet-121 (random)", architectures.densenet121),
            ("U-Net (random)", architectures.unet),
        )
    )
    return [*samples, *trained, *verified, *large]


def _sample(name: str) -> Path:
    return ROOT / "sample_models" / f"{name}.onnx"


def _there(path: Path) -> Callable[[Path], Path]:
    """A file that there is already."""
    return lambda _: path


def _cifar(shared: Path, file: str, path: Path) -> Path:
    (checkpoint,) = (shared / architectures.CIFAR_RESNETS).glob(file)
    return architectures.cifar_resnet(path, checkpoint)
