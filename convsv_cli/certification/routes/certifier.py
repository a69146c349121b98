"""The descriptor of a way to a radius, what it is given, and what it proves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from convsv_cli.errors import UsageError
from convsv_cli.numerics.rounding import gamma, round_down
from convsv_cli.report import EUCLIDEAN, REAL, Route

if TYPE_CHECKING:
    from convsv_cli.certification.classifier import Constants
    from convsv_cli.certification.local import Local
    from convsv_cli.certification.smooth_chain import SmoothChain


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A classifier at samples, and what is known of it.

    Attributes:
        x: inputs of the network, [n, *shape].
        logits: float64 [n, classes].
        logit_error: bound of the absolute error of each logit: of all, or [n] of those of each sample.
        execution: by how much a runtime may be off at the differences of the largest logit and the others,
            [n, classes], while samples move by radii [n].
        arithmetic: of the runtime that this is said of.
        input_error: how far what was run is from each sample, [n], before the normalization.
        inscribed: radius of the largest ball, in the norm asked for, in a Euclidean one of radius 1.
        input_scale: by how much the normalization lengthens differences of samples at most.
        constants: how fast logits can come together.
        chain: the classifier as a chain of layers with one smooth activation; None where it is none.
        no_chain: why it is none; empty where it is one.
        local: the classifier as steps that have local bounds; None where it has none.
        no_local: why it has none; empty where it does.
        wanted: radii at which it is decided whether samples are certified, ascending; None for radii.
        correct: samples that are right, bool [n]: of others, radii are of no use where they are wanted.
        known: radii that other routes have proven, [n].
    """

    x: torch.Tensor
    logits: torch.Tensor
    logit_error: float | torch.Tensor
    execution: Callable[[torch.Tensor], torch.Tensor]
    arithmetic: str
    input_error: torch.Tensor
    inscribed: float
    input_scale: float
    constants: Constants
    chain: SmoothChain | None
    no_chain: str
    local: Local | None
    no_local: str
    wanted: tuple[float, ...] | None
    correct: torch.Tensor
    known: torch.Tensor


class Told(Protocol):
    """Who wants to know how far a route has come."""

    def __call__(
        self, share: float, radii: torch.Tensor | None = None, ended: torch.Tensor | None = None
    ) -> None:
        """Be told.

        Args:
            share: of the work that is done.
            radii: what is proven so far, whatever comes of the rest, float64 [n]; None for nothing new.
            ended: bool [n], of which samples that is all that there will be; with `radii`.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class Proven:
    """What a route leads to.

    Attributes:
        radii: before the normalization, float64 [n]; 0 where nothing is proven.
        constants: what they rest on: name and proven value.
        reason: why the route leads nowhere; empty where it does not.
        arithmetic: of the network that the radii hold for.
    """

    radii: torch.Tensor
    constants: tuple[tuple[str, float], ...] = ()
    reason: str = ""
    arithmetic: str = REAL


@dataclass(frozen=True, kw_only=True)
class Certifier:
    """A way to radii within which no input has another class.

    Attributes:
        name: as reports have it.
        euclidean: whether its radii are Euclidean in any case; else they are in the norm asked for.
        prove: the radii of all samples; who is told of these on the way may interrupt it.
    """

    name: str
    prove: Callable[[Problem, Told], Proven]
    euclidean: bool = True


def inscribed(norm: str, entries: int) -> float:
    """The radius of the largest ball of a norm in a Euclidean one of radius 1, rounded down.

    Args:
        norm: one of `NORMS`.
        entries: of an input.
    """
    return 1.0 if norm == EUCLIDEAN else round_down(1 / math.sqrt(entries))


def executed(problem: Problem, prove: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Radii that hold however the runtime rounds: [n].

    Its errors are those within the radii that there would be without them, which are larger.

    Args:
        problem: whose radii they are.
        prove: gives radii [n] by bounds of the errors of differences of the largest logit and the others,
            [n, classes].
    """
    errors = 2 * torch.as_tensor(problem.logit_error, dtype=torch.float64).reshape(-1, 1)
    errors = errors.expand(problem.logits.shape)
    radii = prove(errors)
    return radii if problem.arithmetic == REAL else prove(errors + problem.execution(radii))


def pair_errors(logits: torch.Tensor, logit_error: float, pair_error: float | torch.Tensor) -> torch.Tensor:
    """Bounds of the absolute errors of differences of the largest logit and the others: float64 [n, classes].

    Args:
        logits: [n, classes].
        logit_error: of each logit.
        pair_error: what is to be added, of all differences or [n, classes]; infinite for no claim.

    Raises:
        UsageError: the errors do not fit the logits, or are no bounds.
    """
    pair = torch.as_tensor(pair_error, dtype=torch.float64, device=logits.device)
    if pair.shape not in ((), logits.shape):
        raise UsageError(f"pair_error must be one number or {list(logits.shape)}, not {list(pair.shape)}")
    if not (0 <= logit_error < math.inf and (pair >= 0).all()):
        raise UsageError("errors must be 0 or more, and logit_error finite")
    return (2 * logit_error + pair).expand(logits.shape)


def pair_margins(logits: torch.Tensor, errors: torch.Tensor | float = 0.0) -> torch.Tensor:
    """By how much the largest of float64 [n, classes] surely exceeds each of them: at least 0.

    Args:
        logits: as they were computed.
        errors: bounds of the absolute errors of these differences, of all or [n, classes].
    """
    top = logits.amax(1, keepdim=True)
    lost = errors + gamma(4) * (logits.abs() + top.abs())
    return (top - logits - torch.where(logits == top, 0.0, lost)).clamp_min(0.0)


def combined(proven: Sequence[tuple[str, Proven]]) -> tuple[torch.Tensor, tuple[Route, ...]]:
    """The largest radius of each sample, and the routes, each with how many samples it is the one for."""
    radii = torch.stack([found.radii for _, found in proven]).amax(0)
    left, routes = radii > 0, []
    for name, found in reversed(proven):
        best = left & (found.radii == radii)
        left = left & ~best
        routes.append(
            Route(
                name=name,
                reason=found.reason,
                constants=found.constants,
                best=int(best.sum()),
                arithmetic=found.arithmetic,
            )
        )
    return radii, tuple(reversed(routes))


def origins(proven: Sequence[tuple[str, Proven]], radii: torch.Tensor) -> list[str]:
    """Of the route that each radius comes from, the last one of several; empty where it is 0."""
    names = [""] * len(radii)
    for name, found in proven:
        for index in ((radii > 0) & (found.radii == radii)).nonzero()[:, 0].tolist():
            names[index] = name
    return names
