"""Which inputs are certified at epsilon, by several bounds of the curvature."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convsv_cli.calculators import singla_feizi
from convsv_cli.calculators.calculator import Problem
from convsv_cli.certification.curvature_bounds import curvature_bounds
from convsv_cli.certification.routes.curvature import curvature_radii
from convsv_cli.model.kernel import reduce_kernel
from convsv_cli.torch_modules.modules import geometry_of

CUT = 2.1e-9  # by how much torch's Softplus, linear above 20, is off there
SLACK = 1e-9  # of the logits, for the rounding of float64
BATCH = 32
LARGEST = 1024  # entries of an image: its own bound takes minutes above


def curvatures(model: nn.Sequential, shape: torch.Size) -> dict[str, Tensor]:
    """K[y, t] of a float64 network with one hidden layer, tighter ones first: float64 [classes, classes].

    For the size of the images, where they are small, from the largest eigenvalue of a matrix above the
    Hessian; with the certified norm of the layer; with the least of four bounds of it, by unfoldings of the
    filters; with the paper's, by the unfolding R. What one does not certify the next does not either.
    """
    layer, head = model[0], model[-1].weight.detach()
    unfoldings = singla_feizi.calculate(
        Problem(kernel=reduce_kernel(layer.weight.detach(), geometry_of(layer)))
    )
    largest = (head[:, None] - head).abs().amax(2) * (1 + SLACK) / 4
    small = shape.numel() <= LARGEST
    found = {"by Hessian": curvature_bounds(model, input_shape=shape)} if small else {}
    return found | {
        "by norm": curvature_bounds(model),
        "by four": unfoldings.value**2 * largest,
        "by R": dict(unfoldings.parts)["R"] ** 2 * largest,
    }


def beyond(model: nn.Module, x: Tensor, bounds: Tensor, epsilon: float) -> Tensor:
    """Which inputs have a radius above epsilon: bool [n]. Only where that is open `curvature_radii` is asked.

    Args:
        model: in float64, one hidden layer with softplus, and a linear layer as its last.
        x: [n, ..].
        bounds: K[y, t] of the curvature of z_y - z_t.
        epsilon: in the Euclidean norm.
    """
    head = list(model.parameters())[-2].detach()
    error = CUT * float(head.abs().sum(1).max())
    batches = [each.double() for each in x.split(BATCH)]
    return torch.cat([_decided(model, each, bounds, error, epsilon) for each in batches])


@dataclass(frozen=True, kw_only=True, eq=False)
class Rivals:
    """Of each input and class but the predicted one: z_y - z_t, the norm of its slope, and K[t, y]."""

    gaps: Tensor
    slopes: Tensor
    curvatures: Tensor


def _decided(model: nn.Module, x: Tensor, bounds: Tensor, error: float, epsilon: float) -> Tensor:
    """At distance r, f = z_y - z_t is at least f(x) - r |slope| - r^2 K / 2: above 0 at epsilon, all is well.

    The dual problem proves no r^2 above 2 f(x) / K, for its multipliers end at 1 / K and its value at x is
    the multiplier times f(x).
    """
    rivals = _rivals(model, x, bounds, error)
    least = rivals.gaps - epsilon * rivals.slopes - epsilon**2 * rivals.curvatures / 2
    proven = (least > 0).all(1)
    open_ = ~proven & (2 * rivals.gaps > epsilon**2 * rivals.curvatures).all(1)
    if open_.any():
        radii = curvature_radii(model, x[open_], bounds, logit_error=error, rounds=8, steps=5)
        proven[open_] = radii > epsilon
    return proven


def _rivals(model: nn.Module, x: Tensor, bounds: Tensor, error: float) -> Rivals:
    x = x.clone().requires_grad_()
    logits = model(x)
    rows = [torch.autograd.grad(each.sum(), x, retain_graph=True)[0].flatten(1) for each in logits.T]
    gradients, y = torch.stack(rows, 1), logits.argmax(1)
    others = torch.ones_like(logits, dtype=torch.bool).scatter(1, y[:, None], value=False)
    shape = (len(x), logits.shape[1] - 1)
    top = logits.gather(1, y[:, None])
    gaps = (top - logits - 2 * error - SLACK * (top.abs() + logits.abs())).detach()
    slopes = (gradients[torch.arange(len(x)), y][:, None] - gradients).norm(dim=2) * (1 + SLACK)
    return Rivals(
        gaps=gaps[others].view(shape),
        slopes=slopes[others].view(shape),
        curvatures=bounds.T[y][others].view(shape),
    )
