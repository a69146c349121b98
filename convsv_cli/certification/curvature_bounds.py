r"""Bounds of the curvature of z_y - z_t at every input, proven from outside.

For one hidden layer f = w . phi(W x + b), and phi'' in [h_L, h_U], the Hessian W^T diag(w phi'') W lies
below W^T Q W with Q = h_U w where w >= 0, and h_L w elsewhere (Singla & Feizi, arXiv 2006.00731).
That Gram matrix is summed up patch by patch, and its largest eigenvalue is proven by Cholesky
factorizations. z_t - z_y has the opposite Hessian, so the smallest eigenvalue of one is the largest of the
other.

For several layers, and where there are no patches, the bound of `torch_modules/chain` with certified norms
counts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from convsv_cli.errors import UsageError
from convsv_cli.model.kernel import reduce_kernel
from convsv_cli.numerics.rounding import gamma, round_up
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.spectral.eigenpairs import top_pair
from convsv_cli.spectral.matrix_norm import proven_level
from convsv_cli.spectral.norms import norms_of
from convsv_cli.torch_modules.chain import Chain, chain_of
from convsv_cli.torch_modules.modules import geometry_of, weight_of

LARGEST = 4096  # entries of an input whose Gram matrix is formed


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches:
    """A layer as one matrix that is applied at several places of the input.

    Attributes:
        weight: float64 [c_out, taps].
        places: int64 [taps, positions], which entry of the input each tap meets, from 1; 0 for padding.
        inputs: number of entries.
    """

    weight: torch.Tensor
    places: torch.Tensor
    inputs: int

    def gram(self, q: torch.Tensor) -> torch.Tensor:
        """W^T diag(q) W for q [c_out, positions]: float64 [inputs, inputs]."""
        blocks = self.weight.T @ (q.T[:, :, None] * self.weight)
        at = self.places.T
        index = at[:, :, None] * (self.inputs + 1) + at[:, None, :]
        flat = self.weight.new_zeros((self.inputs + 1) ** 2)
        flat.index_add_(0, index.flatten(), blocks.flatten())
        full = flat.view(self.inputs + 1, -1)[1:, 1:]
        return (full + full.T) / 2

    def largest(self, q: torch.Tensor) -> float:
        """A proven bound of the largest eigenvalue of `gram(q)`, q >= 0."""
        gram = self.gram(q)
        absolute = Patches(weight=self.weight.abs(), places=self.places, inputs=self.inputs)
        terms = self.weight.shape[0] * self.weight.shape[1] + 8  # no entry sums up more products
        error = 2 * gamma(terms) * round_up(float(absolute.gram(q).sum(1).max()))
        top, _ = top_pair(gram)
        return proven_level(gram[None], top, error) if top > 0 else error


def curvature_bounds(
    model: nn.Module,
    *,
    input_shape: Sequence[int] | None = None,
    work_limit: float = math.inf,
    progress: Callable[[float], None] = lambda _share: None,
) -> torch.Tensor:
    """Proven bounds K[y, t] of the largest eigenvalue of the Hessian of z_y - z_t at every input.

    The smallest is at least -K[t, y]. They hold for the model's weights as they are, in exact arithmetic
    (Singla & Feizi, arXiv 2006.00731).

    Args:
        model: a Sequential of Linear and convolution layers, zero-padded, with one smooth activation
            (Softplus, Sigmoid or Tanh) between them, and Linear as the last.
        input_shape: of one input, [c, h, w] or [features]. Needed with several hidden layers; with one it
            makes the bounds tighter, at the cost of a factorization of side c h w for each pair of classes.
        work_limit: multiplications for all of these, above which the bounds stay as they are without them.
        progress: called with the share of the pairs that is done.

    Returns:
        float64 [classes, classes].

    Raises:
        UsageError: the model is something else.
    """
    model = copy.deepcopy(model).eval().double().cpu()
    with torch.no_grad(), one_thread_each():
        chain = chain_of(model)
        bounds = _by_norms(chain, input_shape)
        patches = _patches(chain, input_shape)
        if patches is None or len(bounds) ** 2 * patches.inputs**3 > work_limit:
            return bounds
        return torch.minimum(bounds, _by_patches(chain, patches, progress))


def _by_norms(chain: Chain, input_shape: Sequence[int] | None) -> torch.Tensor:
    """The sum over hidden layers, rounded up: all its terms are positive."""
    head = weight_of(chain.head)
    norms = [norms_of(reduce_kernel(weight_of(layer), geometry_of(layer))) for layer in chain.hidden]
    uppers = [torch.tensor(each.supremum().upper, dtype=torch.float64) for each in norms]
    entries = sum(weight_of(layer).numel() for layer in (*chain.hidden, chain.head))
    rows = [chain.curvature(head - row, uppers, input_shape) for row in head]
    return torch.stack(rows) * (1 + gamma(4 * entries + 64))


def _by_patches(chain: Chain, patches: Patches, progress: Callable[[float], None]) -> torch.Tensor:
    head, smooth = weight_of(chain.head), chain.activation
    positions = patches.places.shape[1]
    bounds = torch.zeros(len(head), len(head), dtype=torch.float64)
    for y, row in enumerate(head):
        for t, other in enumerate(head):
            if y == t:
                continue
            w = row - other
            q = torch.where(w >= 0, smooth.upper * w, smooth.lower * w)
            q = q.view(-1, positions) * (1 + gamma(8))
            bounds[y, t] = patches.largest(q)
            progress((y + (t + 1) / len(head)) / len(head))
    return bounds


def _patches(chain: Chain, input_shape: Sequence[int] | None) -> Patches | None:
    """Of the only hidden layer, where it is Linear or a Conv1d or Conv2d without groups; else None."""
    layer: Any = chain.hidden[0]
    if len(chain.hidden) > 1 or input_shape is None or torch.Size(input_shape).numel() > LARGEST:
        return None
    inputs = torch.Size(input_shape).numel()
    weight = weight_of(layer)
    if isinstance(layer, nn.Linear):
        places = torch.arange(1, inputs + 1)[:, None]
    elif _is_patched(layer):
        places = _unfolded_places(layer, tuple(input_shape))
    else:
        return None
    weight = weight.flatten(1)
    if weight.shape[1] != len(places) or chain.head.in_features != len(weight) * places.shape[1]:
        raise UsageError(f"the model does not take inputs of shape {tuple(input_shape)}")
    return Patches(weight=weight, places=places, inputs=inputs)


def _is_patched(layer: Any) -> bool:  # noqa: ANN401
    return isinstance(layer, (nn.Conv1d, nn.Conv2d)) and layer.groups == 1 and layer.padding != "same"


def _unfolded_places(layer: Any, shape: tuple[int, ...]) -> torch.Tensor:  # noqa: ANN401
    lifted = (shape[0], *(1,) * (3 - len(shape)), *shape[1:])
    flat = isinstance(layer, nn.Conv1d)
    if len(shape) != (2 if flat else 3):
        raise UsageError(f"the model does not take inputs of shape {shape}")
    padding = (0,) * len(layer.stride) if layer.padding == "valid" else layer.padding
    settings = {
        "dilation": (1, *layer.dilation) if flat else layer.dilation,
        "padding": (0, *padding) if flat else padding,
        "stride": (1, *layer.stride) if flat else layer.stride,
    }
    numbers = torch.arange(1, torch.Size(lifted).numel() + 1, dtype=torch.float64).view(1, *lifted)
    kernel = (1, *layer.kernel_size) if flat else layer.kernel_size
    return functional.unfold(numbers, kernel, **settings)[0].long()
