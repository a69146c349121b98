"""Cross entropy at the worst that a Lipschitz bound allows near an image: Lipschitz-margin training.

Tsuzuku, Sato & Sugiyama (NeurIPS 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


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
