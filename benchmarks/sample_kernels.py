"""The kernels that the benchmarks measure, float64 [c_out, c_in, h, w]."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

Array = np.ndarray
RESNET18 = "models/resnet18-imagenet-bn-folded"
SIZES = {
    "conv1": 224,
    "layer1.0.conv1": 56,
    "layer1.0.conv2": 56,
    "layer1.1.conv1": 56,
    "layer1.1.conv2": 56,
    "layer2.0.conv1": 56,
    "layer2.0.conv2": 28,
    "layer2.1.conv1": 28,
    "layer2.1.conv2": 28,
    "layer3.0.conv1": 28,
    "layer3.0.conv2": 14,
    "layer3.1.conv1": 14,
    "layer3.1.conv2": 14,
}
"""The spatial kernels of an ImageNet ResNet-18 up to layer3, with the size of each one's input."""


def real(shared: Path, layer: str) -> Array:
    """A kernel of `SIZES`, with BatchNorm folded in."""
    return np.load(shared / RESNET18 / f"{layer}.weight.npy").astype(np.float64)


def gaussian(channels: int, taps: int = 3, seed: int = 0) -> Array:
    """Independent normal entries, scaled so that the norm is near 2 for any number of channels."""
    shape = (channels, channels, taps, taps)
    return np.random.default_rng(seed).standard_normal(shape) / np.sqrt(channels * taps**2)


def orthogonal(channels: int, taps: int = 3, seed: int = 0) -> Array:
    """A kernel whose symbol is unitary at every frequency, so that all singular values are 1.

    Block convolution (Xiao et al., ICML 2018; BCOP, Li et al., NeurIPS 2019): an orthogonal matrix times,
    for each axis, factors P + (I - P) z with P a projection onto half of the channels.
    """
    rng = np.random.default_rng(seed)
    start = _orthogonal_matrix(rng, channels)[:, :, None, None]
    factors = [_two_taps(rng, channels, axis) for _ in range(taps - 1) for axis in (2, 3)]
    return functools.reduce(_compose, factors, start)


def perturbed(kernel: Array, size: float, seed: int = 0) -> Array:
    """The kernel plus Gaussian noise that is `size` times as large in the Frobenius norm."""
    noise = np.random.default_rng(seed).standard_normal(kernel.shape)
    return kernel + size * np.linalg.norm(kernel) / np.linalg.norm(noise) * noise


def _orthogonal_matrix(rng: np.random.Generator, size: int) -> Array:
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def _two_taps(rng: np.random.Generator, channels: int, axis: int) -> Array:
    basis = _orthogonal_matrix(rng, channels)[:, : channels // 2]
    projection = basis @ basis.T
    return np.stack((projection, np.eye(channels) - projection), -1)[..., None].swapaxes(-2, axis)


def _compose(first: Array, second: Array) -> Array:
    """The kernel of `first` after `second`: a convolution of matrices."""
    (h, w), (p, q) = first.shape[2:], second.shape[2:]
    result = np.zeros((first.shape[0], second.shape[1], h + p - 1, w + q - 1))
    for i, j in np.ndindex(p, q):
        result[:, :, i : i + h, j : j + w] += np.einsum("abhw,bc->achw", first, second[:, :, i, j])
    return result
