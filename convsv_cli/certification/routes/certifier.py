"""The descriptor of a way to a radius, what it is given, and what it proves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from convsv_cli.numerics.rounding import gamma

if TYPE_CHECKING:
    from convsv_cli.certification.classifier import Constants
    from convsv_cli.certification.smooth_chain import SmoothChain


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A classifier at samples, and what is known of it.

    Attributes:
        x: inputs of the network, [n, *shape].
        logits: float64 [n, classes].
        logit_error: bound of the absolute error of each logit: of all, or [n] of those of each sample.
        input_error: how far what was run is from each sample, [n], before the normalization.
        input_scale: by how much the normalization lengthens differences of samples at most.
        constants: how fast logits can come together.
        chain: the classifier as a chain of layers with one smooth activation; None where it is none.
        no_chain: why it is none; empty where it is one.
    """

    x: torch.Tensor
    logits: torch.Tensor
    logit_error: float | torch.Tensor
    input_error: torch.Tensor
    input_scale: float
    constants: Constants
    chain: SmoothChain | None
    no_chain: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Proven:
    """What a route leads to.

    Attributes:
        radii: before the normalization, float64 [n]; 0 where nothing is proven.
        constants: what they rest on: name and proven value.
        reason: why the route leads nowhere; empty where it does not.
    """

    radii: torch.Tensor
    constants: tuple[tuple[str, float], ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Certifier:
    """A way to radii within which no input has another class.

    Attributes:
        name: as reports have it.
        prove: the radii of all samples; it is called back with the share that is done.
    """

    name: str
    prove: Callable[[Problem, Callable[[float], None]], Proven]


def pair_margins(logits: torch.Tensor, error: float | torch.Tensor = 0.0) -> torch.Tensor:
    """By how much the largest of float64 [n, classes] surely exceeds each of them: at least 0."""
    top = logits.amax(1, keepdim=True)
    lost = 2 * error + gamma(4) * (logits.abs() + top.abs())
    return (top - logits - torch.where(logits == top, 0.0, lost)).clamp_min(0.0)
