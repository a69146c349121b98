"""Networks of well-known shapes as ONNX files: trained where the shared folder has weights, else random.

The random ones have the layers, widths and input sizes of their papers; `GraphBuilder` draws their kernels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.graph_builder import IMAGE, GraphBuilder
from benchmarks.sample_kernels import RESNET18

CIFAR_RESNETS = "models/cifar10-resnet"
DEPTHS = (3, 4, 6, 3)
INVERTED = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Of MobileNetV2's stages: expansion, channels, blocks, and the stride of the first."""
DENSE_BLOCKS = (6, 12, 24, 16)
Parts = dict[str, np.ndarray]


def resnet20(path: Path, width: int = 16, n: int = 32) -> Path:
    """Three stages of three blocks with projections as skips, at random (He et al., CVPR 2016).

    Args:
        path: of the file.
        width: of the first stage; the others have twice and four times as many channels.
        n: height and width of the image; a multiple of 4.
    """
    graph = GraphBuilder(3, n, n)
    x = graph.relu(graph.conv("conv1", IMAGE, width, 3))
    for stage, channels in enumerate((width, 2 * width, 4 * width), 1):
        for block in range(3):
            stride = 2 if block == 0 and stage > 1 else 1
            x = _basic_block(graph, f"layer{stage}.{block}", x, channels, stride)
    return graph.save(path, graph.head(x, 10))


def resnet50(path: Path, *, normalised: bool = False, width: int = 64, n: int = 224) -> Path:
    """At random, as torchvision has it: the stride is in the 3 x 3 convolution.

    Args:
        path: of the file.
        normalised: with BatchNorms in the graph, rather than folded into the kernels as exporters do.
        width: of the first stage's 3 x 3 convolutions.
        n: height and width of the image.
    """
    graph = GraphBuilder(3, n, n, normalised=normalised)
    x = _stem(graph, width)
    for stage, depth in enumerate(DEPTHS, 1):
        channels = width * 2 ** (stage - 1)
        for block in range(depth):
            name, stride = f"layer{stage}.{block}", 2 if block == 0 and stage > 1 else 1
            inner = graph.relu(graph.conv(f"{name}.conv1", x, channels, 1))
            inner = graph.relu(graph.conv(f"{name}.conv2", inner, channels, 3, stride=stride))
            inner = graph.conv(f"{name}.conv3", inner, 4 * channels, 1)
            if block == 0:
                x = graph.conv(f"{name}.downsample.0", x, 4 * channels, 1, stride=stride)
            x = graph.relu(graph.node("Add", f"{name}.add", inner, x))
    return graph.save(path, graph.head(x, 1000))


def resnet18(path: Path, shared: Path | None, n: int = 224) -> Path:
    """With the real kernels of the shared folder where it has them; four of the last stage are random.

    Args:
        path: of the file.
        shared: the folder; None for random kernels everywhere.
        n: height and width of the image.
    """
    graph = GraphBuilder(3, n, n)

    def parts(name: str) -> Parts | None:
        files = (
            []
            if shared is None
            else [shared / RESNET18 / f"{name}.{each}.npy" for each in ("weight", "bias")]
        )
        found = {file.name.split(".")[-2]: np.load(file) for file in files if file.exists()}
        return found if "weight" in found else None

    x = _stem(graph, 64, parts("conv1"))
    for stage, channels in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if block == 0 and stage > 1 else 1
            inner = graph.conv(f"{name}.conv1", x, channels, 3, stride=stride, parts=parts(f"{name}.conv1"))
            inner = graph.conv(f"{name}.conv2", graph.relu(inner), channels, 3, parts=parts(f"{name}.conv2"))
            if stride > 1:
                skip = f"{name}.downsample.0"
                x = graph.conv(skip, x, channels, 1, stride=stride, parts=parts(skip))
            x = graph.relu(graph.node("Add", f"{name}.add", inner, x))
    return graph.save(path, graph.head(x, 1000, parts=parts("fc")))


def cifar_resnet(path: Path, checkpoint: Path) -> Path:
    """A trained ResNet of the shared folder: BatchNorms in the graph, option-A skips (He et al., CVPR 2016).

    Args:
        path: of the file.
        checkpoint: with the names of a DataParallel module.
    """
    stored = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
    state = {name.removeprefix("module."): tensor.numpy() for name, tensor in stored.items()}
    graph = GraphBuilder(3, 32, 32)

    def conv(name: str, norm: str, x: str, stride: int = 1) -> str:
        weight = state[f"{name}.weight"]
        y = graph.conv(name, x, len(weight), 3, stride=stride, parts={"weight": weight})
        statistics = ("weight", "bias", "running_mean", "running_var")
        return graph.norm(norm, y, {part: state[f"{norm}.{part}"] for part in statistics})

    x = graph.relu(conv("conv1", "bn1", IMAGE))
    for name in dict.fromkeys(key.rpartition(".conv1")[0] for key in state if ".conv1." in key):
        growth = len(state[f"{name}.conv1.weight"]) - graph.channels[x]
        inner = conv(f"{name}.conv1", f"{name}.bn1", x, 2 if growth else 1)
        inner = conv(f"{name}.conv2", f"{name}.bn2", graph.relu(inner))
        x = graph.relu(
            graph.node("Add", f"{name}.add", inner, _thinned(graph, name, x, growth) if growth else x)
        )
    return graph.save(
        path, graph.head(x, 10, "linear", {part: state[f"linear.{part}"] for part in ("weight", "bias")})
    )


def mobilenet_v2(path: Path, *, narrower: int = 1, n: int = 224) -> Path:
    """Inverted residuals with depthwise convolutions, at random (Sandler et al., CVPR 2018).

    Args:
        path: of the file.
        narrower: what all numbers of channels are divided by; a divisor of 8.
        n: height and width of the image.
    """
    graph = GraphBuilder(3, n, n, normalised=True)
    x = graph.relu6(graph.conv("stem", IMAGE, 32 // narrower, 3, stride=2))
    for stage, (expansion, channels, depth, first) in enumerate(INVERTED):
        for block in range(depth):
            name, stride = f"stage{stage}.{block}", first if block == 0 else 1
            hidden = expansion * graph.channels[x]
            inner = x if expansion == 1 else graph.relu6(graph.conv(f"{name}.expand", x, hidden, 1))
            inner = graph.relu6(
                graph.conv(f"{name}.depthwise", inner, hidden, 3, stride=stride, groups=hidden)
            )
            inner = graph.conv(f"{name}.project", inner, channels // narrower, 1)
            x = graph.node("Add", f"{name}.add", inner, x) if block else inner
    return graph.save(path, graph.head(graph.relu6(graph.conv("last", x, 1280 // narrower, 1)), 1000))


def densenet121(
    path: Path, *, growth: int = 32, blocks: tuple[int, ...] = DENSE_BLOCKS, n: int = 224
) -> Path:
    """Concatenations, and BatchNorm before each convolution, at random (Huang et al., CVPR 2017).

    Args:
        path: of the file.
        growth: channels that each layer adds; the first convolution has twice as many.
        blocks: layers in each dense block.
        n: height and width of the image.
    """
    graph = GraphBuilder(3, n, n)
    x = _stem(graph, 2 * growth)
    for stage, depth in enumerate(blocks):
        for layer in range(depth):
            name = f"dense{stage}.{layer}"
            inner = graph.conv(f"{name}.conv1", graph.relu(graph.norm(f"{name}.norm1", x)), 4 * growth, 1)
            inner = graph.conv(f"{name}.conv2", graph.relu(graph.norm(f"{name}.norm2", inner)), growth, 3)
            x = graph.concat(f"{name}.concat", x, inner)
        x = graph.relu(graph.norm(f"norm{stage}", x))
        if stage < len(blocks) - 1:
            x = graph.average_pool(
                f"pool{stage}", graph.conv(f"transition{stage}", x, graph.channels[x] // 2, 1)
            )
    return graph.save(path, graph.head(x, 1000))


def unet(path: Path, width: int = 16, n: int = 128) -> Path:
    """Down, up and across, with transposed convolutions, at random (Ronneberger et al., MICCAI 2015).

    Args:
        path: of the file.
        width: channels at full size; twice as many after each of three poolings.
        n: height and width of the image; a multiple of 8.
    """
    graph = GraphBuilder(1, n, n)

    def pair(name: str, x: str, channels: int) -> str:
        x = graph.relu(graph.conv(f"{name}.conv1", x, channels, 3))
        return graph.relu(graph.conv(f"{name}.conv2", x, channels, 3))

    x, across = IMAGE, []
    for level in range(3):
        across.append(pair(f"down{level}", x, width * 2**level))
        x = graph.max_pool(f"pool{level}", across[-1], 2)
    x = pair("bottom", x, width * 8)
    for level in (2, 1, 0):
        x = graph.concat(f"join{level}", across[level], graph.up(f"up{level}", x, width * 2**level))
        x = pair(f"merge{level}", x, width * 2**level)
    return graph.save(path, graph.conv("last", x, 2, 1))


def _stem(graph: GraphBuilder, channels: int, parts: Parts | None = None) -> str:
    """Of ImageNet networks: a quarter of the size."""
    return graph.max_pool(
        "maxpool", graph.relu(graph.conv("conv1", IMAGE, channels, 7, stride=2, parts=parts)), 3
    )


def _basic_block(graph: GraphBuilder, name: str, x: str, channels: int, stride: int) -> str:
    inner = graph.relu(graph.conv(f"{name}.conv1", x, channels, 3, stride=stride))
    inner = graph.conv(f"{name}.conv2", inner, channels, 3)
    if stride > 1:
        x = graph.conv(f"{name}.downsample.0", x, channels, 1, stride=stride)
    return graph.relu(graph.node("Add", f"{name}.add", inner, x))


def _thinned(graph: GraphBuilder, name: str, x: str, growth: int) -> str:
    """Every other pixel, and channels of zeros around those that there are."""
    texts = {"starts": (0, 0), "ends": (2**31 - 1,) * 2, "axes": (2, 3), "steps": (2, 2)}
    inputs = [graph.constant(f"{name}.{text}", *numbers) for text, numbers in texts.items()]
    half = growth // 2
    pads = graph.constant(f"{name}.pads", 0, half, 0, 0, 0, growth - half, 0, 0)
    thin = graph.node("Slice", f"{name}.slice", x, *inputs)
    return graph.node("Pad", f"{name}.pad", thin, pads, channels=graph.channels[x] + growth)
