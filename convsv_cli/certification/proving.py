"""All routes at work: what is proven of the samples by now, also where somebody does not wait for the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from convsv_cli import deadline
from convsv_cli.certification.routes import ROUTES
from convsv_cli.certification.routes.certifier import Certifier, Problem, Proven, combined, origins
from convsv_cli.report import INTERRUPTED, MARGIN, TIME_LIMIT, Route

WHY = {INTERRUPTED: "it was interrupted", TIME_LIMIT: f"it was {deadline.WORDS[TIME_LIMIT]}"}
"""What is said of a route that came to nothing by then."""


class Listener(Protocol):
    """Who wants to know how far the work has come."""

    def __call__(self, name: str, share: float, *, more: bool) -> None:
        """Be told.

        Args:
            name: of the route at work.
            share: of all work that is done.
            more: whether more may be proven than before.
        """


@dataclass(kw_only=True, eq=False)
class Proving:
    """Radii by one route after the other.

    Attributes:
        problem: a classifier at samples, of which nothing is proven yet.
        predicted: the classes that the network says as it runs, int64 [n].
        told: called on the way.
        proven: what each route leads to, by name; the last one may be at work.
        ended: bool [n], of which samples that is all that there will be.
        stopped: why it ended early, `INTERRUPTED` or `TIME_LIMIT`; empty where it did not.
    """

    problem: Problem
    predicted: Tensor
    told: Listener
    proven: dict[str, Proven] = field(default_factory=dict)
    ended: Tensor = field(init=False)
    stopped: str = ""

    def __post_init__(self) -> None:
        self.ended = torch.zeros(len(self.predicted), dtype=torch.bool)

    def run(self) -> None:
        """Let every route prove what it can; the end of the run is that of the one at work and all others.

        Margins are to be had by then, anyway.
        """
        nothing = torch.zeros_like(self.problem.known)
        for number, route in enumerate(ROUTES):
            if route.name != MARGIN:
                self.stopped = self.stopped or deadline.ended()
            self.proven[route.name] = Proven(radii=nothing, reason=WHY[self.stopped or INTERRUPTED])
            if not self.stopped:
                self._run(route, number)
        if not self.stopped:
            self.ended[:] = True

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Work that the end of the run ends."""
        try:
            yield
        except deadline.TimeUpError:
            self.stopped = deadline.ended()
        except KeyboardInterrupt:
            self.stopped = INTERRUPTED

    def radii(self) -> tuple[Tensor, tuple[Route, ...], list[str]]:
        """What is proven by now, float64 [n]; the routes; and the names of those that radii come from."""
        known = [*self.proven.items()]
        radii, routes = combined(known)
        return radii, routes, origins(known, radii)

    def _run(self, route: Certifier, number: int) -> None:
        def told(share: float, radii: Tensor | None = None, ended: Tensor | None = None) -> None:
            if radii is not None and ended is not None:
                so_far = Proven(radii=radii.clone(), arithmetic=self.problem.arithmetic)
                self._keep(route.name, so_far)
                self.ended = ended.clone()
            self.told(route.name, (number + share) / len(ROUTES), more=radii is not None)
            if route.name != MARGIN:
                deadline.check()

        with self.stopping():
            found = route.prove(self.problem, told)
            scale = self.problem.inscribed if route.euclidean else 1.0
            self._keep(route.name, replace(found, radii=scale * found.radii))
        if self.stopped and self.proven[route.name].reason:
            self.proven[route.name] = Proven(radii=self.proven[route.name].radii, reason=WHY[self.stopped])
        known = torch.maximum(self.problem.known, self.proven[route.name].radii)
        self.problem = replace(self.problem, known=known)

    def _keep(self, name: str, proven: Proven) -> None:
        """Radii are of the class that the network says, where that is the one that they were proven of."""
        same = self.problem.logits.argmax(1) == self.predicted
        self.proven[name] = replace(proven, radii=torch.where(same, proven.radii, 0.0))
