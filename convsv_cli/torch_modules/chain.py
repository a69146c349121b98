r"""Networks of which the second derivative is bounded: linear layers with one smooth activation between them.

For a_I = phi(z_I) the Hessian of a combination f = w . z_L of logits is the sum over hidden layers I of

    J_I^T diag(df/da_I * phi''(z_I)) J_I,   J_I = dz_I / dx,

so that |Hessian| <= sum_I max |phi''| r_I^2 max_j S_I[j], with r_I = g^(I-1) prod_(t <= I) |W_t| >= |J_I|,
S_(L-1) = |w|, S_I = g |W_(I+1)|^T S_(I+1) >= |df/da_I| entry by entry, and g = max |phi'| (Singla & Feizi,
Second-Order Provable Defenses, arXiv 2006.00731). With one hidden layer it is equation 4 of
Bounding Singular Values of Convolution Layers (arXiv 1911.10258): max |phi''| |W_1|^2 max_j |w_j|.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from convsv_cli.errors import UsageError
from convsv_cli.torch_modules.modules import linear_maps, unwrapped, weight_of


@dataclass(frozen=True, kw_only=True)
class Smoothness:
    """What is known of an activation everywhere: |phi'| <= slope, lower <= phi'' <= upper, lower <= 0."""

    slope: float
    lower: float
    upper: float

    @property
    def curvature(self) -> float:
        """A bound of |phi''|."""
        return max(-self.lower, self.upper)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """A network of linear layers with the same activation after each but the last.

    Attributes:
        hidden: the layers before the last.
        head: the last one.
        activation: between them.
    """

    hidden: tuple[nn.Module, ...]
    head: nn.Linear
    activation: Smoothness

    def curvature(
        self, differences: torch.Tensor, norms: Sequence[torch.Tensor], input_shape: Sequence[int] | None
    ) -> torch.Tensor:
        """Bounds of the spectral norm of the Hessian of combinations of logits, at every input: [n].

        Args:
            differences: w, the combinations of rows of the head: [n, features].
            norms: of the hidden layers, scalars.
            input_shape: of one input; only needed with more than one hidden layer.
        """
        sensitivity, total = differences.abs(), []
        radii = self._radii(norms)
        shapes = self._shapes(differences, input_shape)
        for index in reversed(range(len(self.hidden))):
            total.append(radii[index] ** 2 * sensitivity.flatten(1).amax(1))
            if index:
                layer, shape = self.hidden[index], shapes[index - 1]
                sensitivity = self.activation.slope * _absolute_adjoint(layer, sensitivity, shape)
        return self.activation.curvature * torch.stack(total).sum(0)

    def _radii(self, norms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        radii = [norms[0]]
        for norm in norms[1:]:
            radii.append(self.activation.slope * radii[-1] * norm)
        return radii

    @torch.no_grad()
    def _shapes(self, like: torch.Tensor, input_shape: Sequence[int] | None) -> list[tuple[int, ...]]:
        """Of what each hidden layer gives for one input, but of the last."""
        if len(self.hidden) == 1:
            return []
        if input_shape is None:
            raise UsageError("a network with several hidden layers needs the shape of its input")
        x, shapes = like.new_zeros(1, *input_shape), []
        for layer in self.hidden[:-1]:
            weight = weight_of(layer)
            x = layer(x.flatten(1) if weight.ndim == 2 else x)
            shapes.append(tuple(x.shape[1:]))
        return shapes


def chain_of(model: nn.Module) -> Chain:
    """The layers of a Sequential: linear maps, each followed by the same activation, and Linear.

    Flatten and Identity may be anywhere, Dropout in evaluation mode.

    Raises:
        UsageError: there is something else in it, or in another order.
    """
    model = unwrapped(model)
    if not isinstance(model, nn.Sequential):
        raise UsageError(
            "curvature is bounded for an nn.Sequential only", hint=f"not a {type(model).__name__}"
        )
    parts = [part for part in model if not _is_nothing(part)]
    layers, activations = parts[::2], [_smoothness(part) for part in parts[1::2]]
    head = layers[-1] if layers else None
    if len(parts) < 3 or not len(parts) % 2 or not isinstance(head, nn.Linear) or len(set(activations)) > 1:
        raise UsageError("curvature needs layers with one activation between them, and Linear as the last")
    for layer in layers[:-1]:
        if list(linear_maps(layer)) != ["weight"] or getattr(layer, "padding_mode", "zeros") != "zeros":
            raise UsageError(f"curvature is not bounded for {type(layer).__name__}")
    return Chain(hidden=tuple(layers[:-1]), head=head, activation=activations[0])


def _smoothness(part: nn.Module) -> Smoothness:
    settings: Any = part
    if isinstance(part, nn.Softplus):
        return Smoothness(slope=1.0, lower=0.0, upper=settings.beta / 4)
    if isinstance(part, nn.Sigmoid):
        return Smoothness(slope=0.25, lower=-1 / (6 * math.sqrt(3)), upper=1 / (6 * math.sqrt(3)))
    if isinstance(part, nn.Tanh):
        return Smoothness(slope=1.0, lower=-4 / (3 * math.sqrt(3)), upper=4 / (3 * math.sqrt(3)))
    raise UsageError(f"curvature needs Softplus, Sigmoid or Tanh, not {type(part).__name__}")


def _is_nothing(part: nn.Module) -> bool:
    return isinstance(part, (nn.Flatten, nn.Identity)) or (isinstance(part, nn.Dropout) and not part.training)


def _absolute_adjoint(layer: nn.Module, values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """|W|^T values, for [n, ..] of what the layer gives: [n, *shape] of what it takes."""
    absolute = {"weight": weight_of(layer).abs()}
    bias = getattr(layer, "bias", None)
    if isinstance(bias, torch.Tensor):
        absolute["bias"] = torch.zeros_like(bias)

    def applied(x: torch.Tensor) -> torch.Tensor:
        inputs = x.flatten(1) if absolute["weight"].ndim == 2 else x
        out: torch.Tensor = torch.func.functional_call(layer, absolute, (inputs,))
        return out

    differentiated = torch.is_grad_enabled()
    with torch.enable_grad():
        zeros = values.new_zeros(len(values), *shape, requires_grad=True)
        outputs = applied(zeros)
        (result,) = torch.autograd.grad(
            outputs, zeros, values.reshape(outputs.shape), create_graph=differentiated
        )
    adjoint: torch.Tensor = result
    return adjoint
