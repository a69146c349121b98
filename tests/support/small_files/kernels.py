"""Weights whose norms, or whose exact norms at a size, take long or much memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from onnx import helper

from tests.support.onnx_models import graph_model, saved
from tests.support.small_files.small_file import SmallFile

EXACT = ("audit", "--exact")
BRIEF = ("audit", "--step-limit", "4e8")
"""What takes all that a small file may take by default takes some fifteen seconds; this is a fifth of it."""
FIGURES, SOME_MISSING = (0,), (0, 3)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    scale = max(1, np.prod(shape[1:])) ** -0.5
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def nearly_orthogonal(channels: int, *k: int, seed: int = 0) -> np.ndarray:
    """A kernel whose symbol is flat, so that its search is long."""
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((channels, channels, *k)) * 1e-3
    middle = tuple(size // 2 for size in k)
    kernel[(slice(None), slice(None), *middle)] += np.linalg.qr(rng.standard_normal((channels, channels)))[0]
    return kernel.astype(np.float32)


def chain(
    folder: Path,
    kernels: Sequence[np.ndarray] | Callable[[], Sequence[np.ndarray]],
    size: Sequence[int | str],
    **attributes: int | list[int],
) -> Path:
    """Convolutions one after the other."""
    weights = kernels() if callable(kernels) else kernels
    channels = weights[0].shape[1] * int(attributes.get("group", 1))  # type: ignore[arg-type]
    nodes = [
        helper.make_node("Conv", [f"t{i}", f"w{i}"], [f"t{i + 1}"], **attributes) for i in range(len(weights))
    ]
    nodes.append(helper.make_node("Relu", [f"t{len(weights)}"], ["y"]))
    model = graph_model(
        nodes, {"t0": [1, channels, *size]}, {f"w{i}": weight for i, weight in enumerate(weights)}
    )
    return saved(model, folder)


def one(name: str, *shape: int, codes: tuple[int, ...] = FIGURES, says: str = "heuristic") -> SmallFile:
    """A kernel, at an unknown size."""
    axes = [f"n{axis}" for axis in range(len(shape) - 2)]
    make = partial(chain, kernels=lambda: [random(*shape)], size=axes)
    return SmallFile(name=f"kernel: {name}", make=make, codes=codes, says=says)


def sized(name: str, size: int, *shape: int, **attributes: int | list[int]) -> SmallFile:
    """A kernel, at the size that the file says."""
    make = partial(chain, kernels=lambda: [random(*shape)], size=[size] * (len(shape) - 2), **attributes)
    return SmallFile(name=f"size: {name}", make=make, codes=SOME_MISSING, says="certified", command=EXACT)


def one_for_all(folder: Path, count: int = 150) -> Path:
    """A kernel that convolutions of many dilations share."""
    nodes = [
        helper.make_node("Conv", [f"t{i}", "w"], [f"t{i + 1}"], dilations=[i + 1, 1]) for i in range(count)
    ]
    nodes.append(helper.make_node("Relu", [f"t{count}"], ["y"]))
    kernel = nearly_orthogonal(32, 5, 5)
    return saved(graph_model(nodes, {"t0": [1, 32, "h", "w"]}, {"w": kernel}), folder)


def dense(folder: Path, *, shape: tuple[int, int]) -> Path:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return saved(graph_model([node], {"x": [1, shape[0]]}, {"w": random(*shape)}), folder)


def flat(count: int, channels: int, *k: int) -> list[np.ndarray]:
    return [nearly_orthogonal(channels, *k, seed=seed) for seed in range(count)]


def deep(name: str, kernels: Callable[[], Sequence[np.ndarray]], n: int, pads: list[int]) -> SmallFile:
    make = partial(chain, kernels=kernels, size=[n] * (len(pads) // 2), pads=pads)
    return SmallFile(name=f"layers: {name}", make=make, codes=SOME_MISSING, says="certified", command=BRIEF)


FILES: tuple[SmallFile, ...] = (
    one("45 axes of one tap", 2, 2, *[1] * 45),
    one("more axes than tensors have", 2, 2, *[1] * 60, codes=(3,), says="spatial axes"),
    one("10 axes of two taps", 2, 2, *[2] * 10, says="certified"),
    one("17 axes of two taps", 1, 1, *[2] * 17, says="certified"),
    one("6 axes of three taps", 4, 4, *[3] * 6),
    one("64 x 64 taps", 1, 1, 64, 64),
    one("128 x 128 taps", 1, 1, 128, 128, says="before its first step"),
    one("500 x 500 taps", 1, 1, 500, 500),
    one("16,000 taps", 1, 1, 16_000),
    one("200,000 taps", 1, 1, 200_000),
    one("1,000 taps of 8 channels", 8, 8, 1000),
    one("250,000 channels", 1, 250_000, 1, 1),
    SmallFile(
        name="kernel: a long thin matrix",
        make=partial(dense, shape=(250_000, 1)),
        codes=FIGURES,
        says="heuristic",
    ),
    sized("pads of 15,000", 8, 4, 4, 3, 3, pads=[15_000] * 4),
    sized("10^9 pixels", 10**9, 4, 4, 3, 3, pads=[1] * 4),
    sized("10^5 pixels", 10**5, 4, 4, 3, 3, pads=[1] * 4),
    sized("10^4 voxels", 10**4, 4, 4, 3, 3, 3, pads=[1] * 6),
    sized("strides of 2^31", 10**5, 4, 4, 3, 3, strides=[2**31 - 1] * 2),
    sized("dilations of 2^31", 10**5, 4, 4, 3, 3, dilations=[2**31 - 1] * 2),
    sized("a group for each of 25,000 channels", 28, 25_000, 1, 3, 3, pads=[1] * 4, group=25_000),
    SmallFile(
        name="size: all singular values of 10^9 pixels",
        make=partial(chain, kernels=lambda: [random(4, 4, 3, 3)], size=[10**9] * 2, pads=[1] * 4),
        codes=SOME_MISSING,
        says="the singular values at this size",
        command=("audit", "--spectra", "*", "--format", "json"),
    ),
    SmallFile(
        name="size: the spectrum of 10^5 pixels",
        make=partial(chain, kernels=lambda: [random(4, 4, 3, 3)], size=[10**5] * 2, pads=[1] * 4),
        codes=SOME_MISSING,
        says="--step-limit",
        command=("spectrum",),
    ),
    SmallFile(
        name="layers: one kernel for 150",
        make=one_for_all,
        codes=SOME_MISSING,
        says="certified",
    ),
    deep("120 flat ones of 7 x 7 taps", lambda: flat(120, 4, 7, 7), 32, [3] * 4),
    deep("200 of 8 channels", lambda: [random(8, 8, 3, 3, seed=i) for i in range(200)], 32, [1] * 4),
    SmallFile(
        name="layers: 40 of small groups",
        make=partial(
            chain,
            kernels=lambda: [random(100, 2, 5, 5, seed=i) for i in range(40)],
            size=[64, 64],
            pads=[2] * 4,
            group=50,
        ),
        codes=FIGURES,
        says="certified",
    ),
)
