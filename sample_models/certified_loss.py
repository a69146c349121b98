"""Cross entropy at the worst that a Lipschitz bound allows near an image: Lipschitz-margin training.

Tsuzuku, Sato & Sugiyama (NeurIPS 2018). The bound of the network is put together from the norms of its
layers, as `convsv audit` does it: ReLU has the constant 1, the mean over n positions 1 / sqrt(n), and a
residual block that of its skip plus the product of its two convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

POOLS = 1 / 2 * 1 / 2 * 1 / 8  # two of 2x2, and what they leave of 32x32: 8x8


def bound_before_head(norms: Mapping[str, Tensor], pixel_std: Tensor) -> Tensor:
    """Lipschitz bound of a `ResNet` without BatchNorm, from pixels to the input of `fc`: a scalar.

    Args:
        norms: by layer, as of `LipschitzPenalty.norms`; it is a bound as far as these are.
        pixel_std: what the network divides by.
    """
    bound = norms["conv1"] / pixel_std.min()
    for first in (name for name in norms if name.endswith(".conv1")):
        block = first.removesuffix("conv1")
        bound = bound * (norms.get(f"{block}skip.0", 1.0) + norms[first] * norms[f"{block}conv2"])
    return bound * POOLS


def certified_loss(logits: Tensor, labels: Tensor, bound: Tensor, head: Tensor, radius: float) -> Tensor:
    """Cross entropy with each other class raised by as much as it can gain on the label within `radius`.

    Args:
        logits: [n, classes].
        labels: int64 [n].
        bound: of the network before its last layer.
        head: weight of the last layer, [classes, features]: classes i, j come closer at |w_i - w_j| bound.
        radius: Euclidean, in units of the network's input.
    """
    distances = torch.cdist(head, head, compute_mode="donot_use_mm_for_euclid_dist")
    return cross_entropy(logits + radius * bound * distances[labels], labels)
