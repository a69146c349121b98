"""Whether samples keep their classes in balls: cheap bounds first, and a search where they do not do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from convsv_cli.local.backward import at_once, improved, lower_bounds
from convsv_cli.local.boxes import smaller_boxes
from convsv_cli.local.branching import Decided, least_of_parts, together
from convsv_cli.local.certificate import certified
from convsv_cli.local.choices import Choice, first_choices
from convsv_cli.local.effort import BoxEffort, Effort
from convsv_cli.local.maps import Product
from convsv_cli.local.places import Place, down, length
from convsv_cli.local.problem import Problem
from convsv_cli.local.propagation import Boxes, places
from convsv_cli.local.rows import Rows, Samples, samples_of
from convsv_cli.local.steps import Affine
from convsv_cli.numerics.rounding import UP_MANY, gamma

Told = Callable[[float], None]
ROWS = 2**12
"""Rows of the last matrix that are subtracted at once."""
TOGETHER = 16
"""Samples for which smaller boxes are searched for at once."""


@dataclass(kw_only=True, eq=False)
class Margins:
    """Proven lower bounds of how far each class stays above its rivals, in balls of some radii.

    Attributes:
        problem: samples.
        radius: of the balls, float64 [n].
        effort: of the search.
        sample, rival: int64 [rows].
        lower: float64 [rows]; what is positive is decided.
        known: boxes of tensors that hold at all of the radii; None for none.
    """

    problem: Problem
    radius: Tensor
    effort: Effort
    known: Boxes | None = None
    sample: Tensor = field(init=False)
    rival: Tensor = field(init=False)
    lower: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sample, self.rival = self.problem.rivals()
        self.lower = torch.full((len(self.sample),), -math.inf, dtype=torch.float64)
        self._single = self.problem.program.to(torch.float32)

    def worst(self) -> Tensor:
        """Of all rivals of each sample: [n]."""
        found = torch.full((len(self.radius),), math.inf, dtype=torch.float64)
        return found.scatter_reduce(0, self.sample, self.lower, "amin")

    def search(self, told: Told) -> None:
        """Decide what can be decided."""
        parts = 1 + len(self.effort.boxes)
        found = places(self.problem.program, self.problem.ball(self.radius), self.known)
        self._exclude(found)
        self._decide(torch.arange(len(self.radius)), found, lambda share: told(share / parts))
        for i, effort in enumerate(self.effort.boxes, 1):
            open_ = self.open
            for start in range(0, len(open_), TOGETHER):
                which = open_[start : start + TOGETHER]
                ball = self.problem.take(which).ball(self.radius[which])
                known = self.boxes(which, effort)
                found = places(self.problem.program, ball, known)
                self._decide(which, found, lambda _share: None)
                if i == len(self.effort.boxes):
                    self._branch(which, known)
                told((i + (start + len(which)) / len(open_)) / parts)

    @property
    def open(self) -> Tensor:
        """Samples that are not decided, int64."""
        return (self.worst() <= 0).nonzero()[:, 0]

    def _branch(self, samples: Tensor, known: Boxes) -> None:
        """Cut the balls of those of some samples that are not decided.

        Args:
            samples: ascending.
            known: boxes of their tensors.
        """
        program, depth = self.problem.program, self.effort.splits
        room = together(program, depth)
        left = (self.worst()[samples] <= 0).nonzero()[:, 0]
        for some in torch.split(left, room) if depth and room and len(left) else ():
            which = samples[some]

            def decide(sample: Tensor, boxes: Boxes, which: Tensor = which) -> Decided:
                return self._part(which[sample], boxes)

            boxes = {name: (lower[some], upper[some]) for name, (lower, upper) in known.items()}
            least = least_of_parts(program, decide, boxes, len(some), depth)[:, None]
            rows = self.lower.view(len(self.radius), -1)
            rows[which] = torch.where(rows[which] > 0, rows[which], torch.maximum(rows[which], least))

    def _part(self, samples: Tensor, known: Boxes) -> Decided:
        """Parts of the balls of samples, which are searched for the rivals that are not decided."""
        effort = replace(self.effort, steps=self.effort.steps[:2], boxes=(), splits=0)
        part = Margins(
            problem=self.problem.take(samples), radius=self.radius[samples], effort=effort, known=known
        )
        decided = (self.lower.view(len(self.radius), -1)[samples] > 0).flatten()
        part.lower[decided] = math.inf
        part.search(lambda _share: None)

        def look(which: Tensor) -> tuple[dict[str, Place], dict[str, Tensor]]:
            boxes = {name: (lower[which], upper[which]) for name, (lower, upper) in known.items()}
            ball = part.problem.take(which).ball(part.radius[which])
            found = places(part.problem.program, ball, boxes)
            return found, part.weights(which, found)

        return Decided(worst=part.worst(), look=look)

    def boxes(self, samples: Tensor, effort: BoxEffort) -> Boxes:
        """Smaller boxes, that hold for all smaller radii, too.

        Args:
            samples: of which not all rows are decided, ascending.
            effort: of the search.
        """
        ball = self.problem.take(samples).ball(self.radius[samples])
        weights = self.weights(samples, places(self.problem.program, ball))
        return smaller_boxes(self.problem.program, ball, weights, effort)

    def weights(self, samples: Tensor, found: dict[str, Place]) -> dict[str, Tensor]:
        """By how much each result of a function of numbers counts, at some samples."""
        rows, at = (each[: at_once(self._single)] for each in self._open(samples))
        weights: dict[str, Tensor] = {}
        asked = samples_of(self._single, found).rows(
            at, self.problem.directions(self.sample[rows], self.rival[rows])
        )
        seen: dict[str, Tensor] = {}
        with torch.no_grad():
            lower_bounds(asked, first_choices(asked), seen)
        for name, vectors in seen.items():
            sums = torch.zeros(len(samples), *vectors.shape[1:], dtype=torch.float64)
            weights[name] = sums.index_add(0, at, vectors.double().abs())
        return weights

    def _open(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of some samples that are open, and the indices of their samples among these."""
        position = torch.full((len(self.radius),), -1)
        position[samples] = torch.arange(len(samples))
        rows = ((self.lower <= 0) & (position[self.sample] >= 0)).nonzero()[:, 0]
        return rows, position[self.sample[rows]]

    def _exclude(self, found: dict[str, Place]) -> None:
        """Rivals that the box or the ball of the logits keeps away."""
        place = found[self.problem.program.output]
        low, high, centre = (each.flatten(1) for each in (place.low, place.high, place.centre))
        own = self.problem.classes[self.sample]
        by_box = down(low[self.sample, own] - high[self.sample, self.rival])
        apart = centre[self.sample, own] - centre[self.sample, self.rival]
        reach = math.sqrt(2) * UP_MANY * place.radius[self.sample]
        by_ball = apart - reach - (apart.abs() + reach) * gamma(4)
        self.lower = torch.maximum(self.lower, torch.maximum(by_box, by_ball))
        last = self.problem.program.steps[-1] if self.problem.program.steps else None
        if isinstance(last, Affine) and len(last.maps) == 1 and isinstance(last.maps[0], Product):
            lengths = self._lengths(last.maps[0]) * found[last.inputs[0]].radius[self.sample]
            reach = (lengths + math.sqrt(2) * place.own_noise[self.sample]) * UP_MANY
            self.lower = torch.maximum(self.lower, apart - reach - (apart.abs() + reach) * gamma(4))

    def _lengths(self, head: Product) -> Tensor:
        """Of the differences of rows of the last matrix, rounded up: [rows]; infinite where it is none."""
        if head.weight.ndim != 2 or head.left or head.weight.shape[1] != self.problem.count:
            return torch.full_like(self.lower, math.inf)
        rows = head.weight.T.contiguous()
        own = self.problem.classes[self.sample]
        parts = torch.split(torch.stack([own, self.rival], 1), ROWS)
        apart = torch.cat([length(rows[part[:, 0]] - rows[part[:, 1]]) for part in parts])
        norms = length(rows)  # a weight may be a product that was rounded
        return apart + gamma(4) * (norms[own] + norms[self.rival])

    def _decide(self, samples: Tensor, found: dict[str, Place], told: Told) -> None:
        """Search for the rows of some samples that are open.

        Args:
            samples: ascending.
            found: where the tensors of these are.
            told: called with the share that is done.
        """
        rows, at = self._open(samples)
        program = self.problem.program
        rough, exact = samples_of(self._single, found), samples_of(program, found)
        done = 0
        for part in torch.split(rows, at_once(self._single)) if len(rows) else ():
            direction = self.problem.directions(self.sample[part], self.rival[part])
            self._decide_rows(part, rough.rows(at[done : done + len(part)], direction), exact)
            done += len(part)
            told(done / len(rows))

    def _decide_rows(self, rows: Tensor, asked: Rows, exact: Samples) -> None:
        """What is decided leaves the search, so that what is left is what is hard."""
        choices = first_choices(asked)
        with torch.no_grad():
            bounds = lower_bounds(asked, choices)
        self._prove(rows[bounds > 0], asked.take(bounds > 0), exact, [c.take(bounds > 0) for c in choices])
        for steps in self.effort.steps:
            left = self.lower[rows] <= 0
            if not bool(left.any()):
                return
            rows, asked, choices = rows[left], asked.take(left), [choice.take(left) for choice in choices]
            choices, bounds = improved(asked, choices, steps)
            near = bounds > 0 if steps != self.effort.steps[-1] else torch.ones_like(left[left])
            self._prove(rows[near], asked.take(near), exact, [choice.take(near) for choice in choices])

    def _prove(self, rows: Tensor, asked: Rows, exact: Samples, choices: Sequence[Choice]) -> None:
        """Prove as much of each row as there is."""
        for some in torch.split(torch.arange(len(rows)), at_once(self._single)) if len(rows) else ():
            double = exact.rows(asked.sample[some], asked.direction[some])
            lower = certified(double, [choice.take(some).double() for choice in choices])
            self.lower[rows[some]] = torch.maximum(self.lower[rows[some]], lower)
