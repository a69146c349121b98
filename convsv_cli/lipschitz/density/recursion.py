"""The recursion over a program: from the identity at its sources to the covariance of its outputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.functionals import functional
from convsv_cli.lipschitz.density.groups import Group, merged
from convsv_cli.lipschitz.density.levels import levelled
from convsv_cli.lipschitz.density.mapping import mapped, subsampled, upsampled
from convsv_cli.lipschitz.density.multipliers import Choose, adapted
from convsv_cli.lipschitz.density.nonlinear import activated, gained
from convsv_cli.lipschitz.density.plan import Plan
from convsv_cli.lipschitz.density.program import Program, sources
from convsv_cli.lipschitz.density.quadratic import Middle, middle_of
from convsv_cli.lipschitz.density.sizes import LEAST, MOST, InfeasibleError
from convsv_cli.lipschitz.density.steps import Activation, Functional, Gain, Linear, Step
from convsv_cli.lipschitz.density.symbols import Maps, symbol
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF

Watch = Callable[[int, Sequence[Covariance]], None]
"""Gets the number of steps done, and the covariances of what is live."""
RAISES, RAISE = 400, 1.05
"""How often, and by which factor, a multiplier that turns out infeasible is raised."""
NOTHING = 2.0**-100
"""A multiplier of what does not vary at all; in single precision, its square root is used."""


class Recursion:
    """Runs a program.

    Args:
        program: what to run.
        plan: where the state is made coarser.
        dtype: complex128, or complex64 where nothing is to be proven.
        proof: whether rounding is accounted for.
        start: the covariance of the sources; None for the identity.
        exact: derivatives are of all that is computed. Those that a search goes by are not of the weights of
            parts that were split, or of aliases, which are the best for what these are.

    Attributes:
        program: as given.
    """

    def __init__(
        self,
        program: Program,
        *,
        plan: Plan,
        dtype: torch.dtype = torch.complex128,
        proof: bool,
        start: Covariance | None = None,
        exact: bool = False,
    ) -> None:
        self.program, self._plan, self._dtype, self._proof = program, plan, dtype, proof
        self._start, self._exact = start, exact
        self._numbers = itertools.count()
        self._known: dict[int, Maps] = {}

    def run(self, choose: Choose, watch: Watch = lambda *_: None) -> tuple[Covariance, ...]:
        """The covariances of the outputs, one for each group of them that are bounded independently.

        Args:
            choose: gives the multipliers.
            watch: called after each step.

        Raises:
            InfeasibleError: a multiplier cannot be raised enough, or numbers are beyond what a float holds.
        """
        if self._start is None:
            groups = [self._source(name) for name in self.program.sources]
        else:
            groups = [Group(covariance=self._start)]
        for index, step in enumerate(self.program.steps):
            groups = self._stepped(index, step, groups, choose)
            watch(index + 1, [group.covariance for group in groups])
        return tuple(group.covariance for group in groups)

    def _source(self, name: str) -> Group:
        real = torch.float64 if self._dtype == torch.complex128 else torch.float32
        identity = torch.eye(self.program.fields[name].channels, dtype=real)[None]
        return Group(
            covariance=Covariance(fields=(name,), blocks={(name, name): identity}, proof=self._proof)
        )

    def _stepped(self, index: int, step: Step, groups: list[Group], choose: Choose) -> list[Group]:
        """All groups after a step: those that it needs become one, without what that cannot keep."""
        needed, live = set(sources(step)), self.program.live[index]
        others = [group for group in groups if needed.isdisjoint(group.fields)]
        group = merged([group for group in groups if not needed.isdisjoint(group.fields)], exact=self._exact)
        kept = [name for name in group.fields if name in live]
        alone = isinstance(step, Functional) or (isinstance(step, Linear) and bool(step.stride))
        if kept and (alone or index in self._plan.splits):
            group, rest = self._split(group, sources(step), kept)
            others.append(rest)
            kept = []
        if index in self._plan.levels:
            group = replace(group, covariance=levelled(group.covariance))
        made = self._made(index, step, group, kept, choose)
        return [*others, *(each.only([*live]) for each in made)]

    def _split(self, group: Group, first: Sequence[str], second: Sequence[str]) -> tuple[Group, Group]:
        return group.split(first, second, next(self._numbers))

    def _made(
        self, index: int, step: Step, group: Group, kept: Sequence[str], choose: Choose
    ) -> Sequence[Group]:
        """What a step makes of the group of its sources, with the other fields of it that are kept."""
        if isinstance(step, Gain):
            return self._gain(index, step, group, kept, choose)
        if isinstance(step, Linear):
            found = self._linear(index, step, group.covariance, kept)
        elif isinstance(step, Activation):
            found = self._activation(index, step, group.covariance, kept, choose)
        else:
            found = functional(group.covariance, step, self.program.tori[step.source])
        return [replace(group, covariance=found)]

    def _linear(self, index: int, step: Linear, covariance: Covariance, kept: Sequence[str]) -> Covariance:
        maps, tori = self._maps(index, step), self.program.tori
        if step.upward:
            on = tori[next(iter(step.outputs))]
            return upsampled(covariance.only(step.inputs), maps, on, step.stride, exact=self._exact)
        if step.stride:
            return subsampled(covariance, maps, tori[step.inputs[0]], step.stride)
        return mapped(covariance, maps, kept)

    def _maps(self, index: int, step: Linear) -> Maps:
        """Kept for further runs where these are many: in a search."""
        if index in self._known:
            return self._known[index]
        tori = self.program.tori
        found = {
            output: [
                (name, symbol(part, tori[output if step.upward else name], self._dtype))
                for name, part in terms
            ]
            for output, terms in step.outputs.items()
        }
        if not self._proof:
            self._known[index] = found
        return found

    def _activation(
        self, index: int, step: Activation, covariance: Covariance, kept: Sequence[str], choose: Choose
    ) -> Covariance:
        active = step.upper > step.lower
        choose = adapted(choose, step.lower[active], step.upper[active])
        return activated(covariance, step, kept, lambda v: self._feasible(index, v, 2.0, choose))

    def _gain(
        self, index: int, step: Gain, group: Group, kept: Sequence[str], choose: Choose
    ) -> Sequence[Group]:
        kappa = step.kappa.expand(self.program.fields[step.output].channels)
        weights = 1 / kappa * (1 - 8 * UNIT_ROUNDOFF)
        new, rest = gained(
            group.covariance,
            step,
            kept,
            lambda v: self._feasible(index, v, weights, lambda *at: kappa * choose(*at)),
        )
        if rest is None:
            return [replace(group, covariance=new)]
        return [Group(covariance=new), Group(covariance=rest)]

    def _feasible(
        self, index: int, variance: torch.Tensor, factor: float | torch.Tensor, choose: Choose
    ) -> tuple[torch.Tensor, Middle]:
        """D with factor D > V, raised where what was chosen is none."""
        multiplier = choose(index, variance, 2.0 if isinstance(factor, float) else 1.0).clamp_min(NOTHING)
        for _ in range(RAISES):
            if not bool(((multiplier >= LEAST**2) & (multiplier <= MOST**2)).all()):
                break
            try:
                return multiplier, middle_of(factor * multiplier, variance, proof=self._proof)
            except InfeasibleError:
                multiplier = multiplier * RAISE
        raise InfeasibleError
