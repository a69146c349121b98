"""The bound of a whole network as a loss: covariance propagation as a function of a module's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import nn

from convsv_cli.auditing import audit_network
from convsv_cli.errors import UsageError
from convsv_cli.limits import allowing
from convsv_cli.lipschitz.density.plan import planned
from convsv_cli.lipschitz.density.program import Program
from convsv_cli.lipschitz.density.recursion import Recursion
from convsv_cli.lipschitz.density.search import BETAS, chosen, greedy, movable, objective, parameters
from convsv_cli.lipschitz.density.sizes import InfeasibleError
from convsv_cli.lipschitz.density.steps import Functional
from convsv_cli.loaders.live import Example, network_in_memory
from convsv_cli.numerics.adam import Adam
from convsv_cli.report import NORMAL, NetworkBound, Settings
from convsv_cli.torch_modules.modules import unwrapped
from convsv_cli.training.layers import check_whole
from convsv_cli.training.live_program import LiveProgram

RATE = 0.05
"""Of the steps of multipliers, in their logarithms."""
TORUS = 16
AWAY = (1e-3, 1e-2, 1e-1)
"""From the least factor of multipliers, as a share of it."""
TINY = 1e-100
BEYOND = "the network's bound is beyond what floats hold"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tangent:
    """The logarithm of the bound near some weights: log + <slopes, weights - points>."""

    log: float
    points: Mapping[str, torch.Tensor]
    slopes: Mapping[str, torch.Tensor]

    def at(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """At others: float64 []."""
        moved = [
            ((weights[name] - self.points[name]).double() * slope.double()).sum().cpu()
            for name, slope in self.slopes.items()
        ]
        return torch.stack([torch.tensor(self.log, dtype=torch.float64), *moved]).sum()


class NetworkBoundLoss(nn.Module):
    """`loss + beta * bound.log()`: the Lipschitz bound of a whole network, as an audit finds it, to train by.

    `LipschitzPenalty` adds up how much each layer amplifies. This is the constant of the network by
    covariance propagation, the route that audits take too, as a differentiable function of the weights. So it
    sees which directions the layers amplify one after the other, and skips.

    Its value is an estimate of what an audit certifies, and proves nothing: it is in single precision (double
    for modules that are), no rounding counts, the torus is smaller than the image unless `torus` is None, and
    the multipliers, greedy at first, are moved by one step of Adam a call. What proves something is
    `certified`, an audit; it searches longer and knows more ways, so that its bound is mostly smaller.

    BatchNorm counts as in evaluation, by its running statistics, which have no gradients. The network may
    have linear layers, convolutions with any stride, dilation, groups and padding by zeros, BatchNorm that a
    layer before or after takes in, activations without weights, pooling, skips, concatenations. All else is
    refused.

    A call in training mode moves the multipliers on; they are in no `state_dict`, so that a new loss begins
    with greedy ones. The model is not registered here. All is computed on the CPU, without autocast. The
    gradients are of the first order, and of the weights with multipliers held fixed.

    Args:
        model: any module that torch.export follows; its weights are read anew at each call.
        example_input: inputs of the shapes that the network is bounded for, as of `audit`.
        every: how many calls in training mode share one pass. Those in between give its tangent: the bound,
            to the first order, of the weights as they are, with the gradient of that pass.
        torus: positions along each axis of the image that the passes are for, at most; with fewer they are
            cheaper, and the value is less exact. None for those of the image.

    Attributes:
        every, torus: as given; a training may begin with cheap passes, and end with exact ones.

    Raises:
        UsageError: the module cannot be called with the example, a part of it has no place in this, or its
            weights are spread over processes.
    """

    def __init__(
        self,
        model: nn.Module,
        example_input: Example,
        *,
        every: int = 1,
        torus: int | None = TORUS,
    ) -> None:
        super().__init__()
        if every < 1 or (torus is not None and torus < 1):
            raise UsageError("every and torus must be 1 or more")
        self._model, self._example = (model,), example_input  # in a tuple: its parameters stay its own
        self.every, self.torus = every, torus
        inner = unwrapped(model)
        check_whole(inner)
        device = next((each.device.type for each in inner.parameters()), "cpu")
        with torch.autocast(device, enabled=False), network_in_memory(inner, example_input) as network:
            self._live = LiveProgram(inner, network)
        self._multipliers = movable({})
        self._adam: Adam | None = None
        self._tangent: _Tangent | None = None
        self._calls = 0

    def forward(self) -> torch.Tensor:
        """The bound, a scalar of the weights' type, float32 where that is shorter."""
        return self._like_weights(self.log().exp())

    def log(self) -> torch.Tensor:
        """Its natural logarithm, which is what to minimise where it is large: float64 [], on the CPU.

        A call of this counts as one of the loss.

        Raises:
            UsageError: the weights are not finite, or too large or small.
        """
        differentiable = torch.is_grad_enabled()
        if not (self.training and differentiable):
            return self._passed(moving=False, differentiable=differentiable).at(self._live.weights)
        if self._tangent is None or self._calls % self.every == 0:
            self._tangent = self._passed(moving=True, differentiable=True)
        self._calls += 1
        return self._tangent.at(self._live.weights)

    def certified(self, effort: str = NORMAL) -> NetworkBound:
        """What an audit proves of the network with the weights as they are.

        Args:
            effort: of its search, as `network_effort` of `audit`.
        """
        (model,) = self._model
        with network_in_memory(model, self._example) as network:
            return audit_network(network, Settings(network_effort=effort)).bound

    def _like_weights(self, value: torch.Tensor) -> torch.Tensor:
        """On their device, and of their type, float32 where that is shorter."""
        weights = self._live.weights.values()
        kinds = [each.dtype for each in weights if each.is_floating_point()]
        device = next((each.device for each in weights), torch.device("cpu"))
        return value.to(device, torch.float64 if torch.float64 in kinds else torch.float32)

    def _passed(self, *, moving: bool, differentiable: bool) -> _Tangent:
        """One pass, with its derivatives; then the multipliers are moved.

        Raises:
            UsageError: there is no bound that floats hold.
        """
        weights = {k: v for k, v in self._live.weights.items() if v.requires_grad and differentiable}
        with torch.inference_mode(mode=False), torch.autocast("cpu", enabled=False), allowing():
            try:
                if self._adam is None:
                    self._begin()
                own = parameters(self._multipliers) if moving else []
                log, slopes = self._feasible([*weights.values(), *own])
            except InfeasibleError as error:
                raise UsageError(BEYOND) from error
        if own and self._adam is not None:
            for each, slope in zip(own, slopes[len(weights) :], strict=True):
                each.grad = slope
            self._adam.step(RATE)
        found = {k: slope for k, slope in zip(weights, slopes, strict=False) if slope is not None}
        points = {name: weights[name].detach().clone() for name in found}
        return _Tangent(log=log, points=points, slopes=found)

    def _feasible(self, along: list[torch.Tensor]) -> tuple[float, tuple[torch.Tensor | None, ...]]:
        """As `_differentiated`, also where multipliers have come so near to what is infeasible that they are.

        The least factor of a multiplier is found in single precision, too, and the best multipliers may be
        next to it: then they are moved away from it, as far as it takes.

        Raises:
            InfeasibleError: as of that.
        """
        for least in AWAY:
            with suppress(InfeasibleError):
                return self._differentiated(along)
            for each in self._multipliers.values():
                each.ratio.data.clamp_(min=math.log(least))
        return self._differentiated(along)

    def _differentiated(self, along: list[torch.Tensor]) -> tuple[float, tuple[torch.Tensor | None, ...]]:
        """The logarithm of the bound, and its derivatives; None for what it does not depend on.

        Raises:
            InfeasibleError: it is beyond what floats hold.
        """
        with torch.set_grad_enabled(bool(along)):
            value = self._value(self._recursion())
        if not math.isfinite(value.detach().item()):
            raise InfeasibleError
        slopes = torch.autograd.grad(value, along, allow_unused=True) if along else ()
        return value.detach().item(), slopes

    def _value(self, recursion: Recursion) -> torch.Tensor:
        """The logarithm of the bound: float64 [].

        Raises:
            InfeasibleError: it is beyond what floats hold.
        """
        return objective(recursion, chosen(self._multipliers))

    def _begin(self) -> None:
        """Greedy multipliers.

        Raises:
            InfeasibleError: none of them leads to a bound that floats hold.
        """
        with torch.no_grad():
            found = greedy(self._recursion())
        if not math.isfinite(found.log):
            raise InfeasibleError
        self._multipliers = movable(found.multipliers)
        self._adam = Adam(parameters(self._multipliers), BETAS)

    def _recursion(self) -> Recursion:
        """Of the weights as they are."""
        double = any(each.dtype == torch.float64 for each in self._live.weights.values())
        dtype = torch.complex128 if double else torch.complex64
        program = self._small(self._live.now())
        return Recursion(program, plan=planned(program), dtype=dtype, proof=False, exact=True)

    def _small(self, program: Program) -> Program:
        """On the torus that is asked for, with sums over windows that give about as much as on the true one.

        Shrinking adds up the kernels of neighbouring positions. Of a covariance that is the same at all
        frequencies, a sum gives as much as the squares of its kernel add up to: that stays as it is.
        """
        if self.torus is None:
            return program
        small = program.shrunk(self.torus)
        steps = (
            replace(new, kernel=new.kernel * (old.kernel.norm() / new.kernel.norm().clamp_min(TINY)))
            if isinstance(new, Functional) and isinstance(old, Functional)
            else new
            for new, old in zip(small.steps, program.steps, strict=True)
        )
        return replace(small, steps=tuple(steps))
