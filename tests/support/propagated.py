"""Covariance propagation as tests ask for it: whether or not the rules give less, and what it was made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from onnx import ModelProto

from convsv_cli.lipschitz.collapse import collapsed
from convsv_cli.lipschitz.composition import compose
from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.groups import Group
from convsv_cli.lipschitz.density.levels import level
from convsv_cli.lipschitz.density.plan import Plan, planned
from convsv_cli.lipschitz.density.program import Program
from convsv_cli.lipschitz.density.ranges import alike, ranges_of
from convsv_cli.lipschitz.density.recursion import Recursion
from convsv_cli.lipschitz.density.route import Stretch
from convsv_cli.lipschitz.density.route import stretches as planned_stretches
from convsv_cli.lipschitz.density.search import choosing, chosen, greedy
from convsv_cli.lipschitz.density.sizes import InfeasibleError
from convsv_cli.lipschitz.density.window import Switch, restricted, switches
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.lipschitz.fold import folded
from convsv_cli.lipschitz.norms import kernel_norm
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.lipschitz.segments import Segment
from convsv_cli.numerics.intervals import ANYTHING, Range
from convsv_cli.report import QUICK
from tests.support.sensitivity import network, norms_of_rows

Array = np.ndarray
TOLERANCE = 1e-3
"""Relative width of the norms of kernels that folding makes."""


class Recorded(Recursion):
    """A recursion that notes what it did.

    Attributes:
        multipliers: D by the index of the step, for a covariance whose scale is 1.
        splits: how often fields were bounded independently of others that they vary with.
    """

    def __init__(
        self, program: Program, *, plan: Plan, proof: bool = True, start: Covariance | None = None
    ) -> None:
        super().__init__(program, plan=plan, proof=proof, start=start)
        self.multipliers: dict[int, Array] = {}
        self.splits, self._scale = 0, 1.0

    def _activation(self, index, step, covariance, kept, choose):
        self._scale = _scale(covariance, kept, step.source)
        return super()._activation(index, step, covariance, kept, choose)

    def _gain(self, index, step, group, kept, choose):
        self._scale = _scale(group.covariance, kept, step.source)
        return super()._gain(index, step, group, kept, choose)

    def _feasible(self, index, variance, factor, choose):
        found = super()._feasible(index, variance, factor, choose)
        self.multipliers[index] = found[0].detach().numpy() * self._scale
        return found

    def _split(self, group: Group, first: Sequence[str], second: Sequence[str]) -> tuple[Group, Group]:
        self.splits += 1
        return super()._split(group, first, second)


def _scale(covariance: Covariance, kept: Sequence[str], source: str) -> float:
    """What D is relative to, at an activation or a gain."""
    return covariance.only([*dict.fromkeys((*kept, source))]).normalised().scale


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was proven of a program, and by which multipliers.

    Attributes:
        bound: infinite where nothing was.
        program: from start to end, on tori.
        multipliers: by the index of the step; one per channel, or per entry where the torus had been left.
        splits: as of `Recorded`; then the multipliers are not those of one matrix inequality.
        left: the index of the step before which the torus was left; None for never.
    """

    bound: float
    program: Program
    multipliers: dict[int, Array]
    splits: int
    left: int | None = None


def stretches(model: ModelProto, box: Range | None = None) -> Iterator[Stretch | Segment]:
    """The parts of a model that have a program, and the others, as bounded by the rules.

    Args:
        model: any.
        box: what the inputs are in. None for anything, and for knowing nothing of other tensors either: then
            slopes are as far apart as they may be anywhere.
    """
    read = network(model)
    assert read.graph is not None
    norms = norms_of_rows(read, partial(kernel_norm, tolerance=TOLERANCE))
    graph = collapsed(folded(read.graph).graph)
    found = compose(graph, RULES, norms, ANYTHING if box is None else box)
    ranges = {} if box is None else ranges_of(graph, alike(graph, box), found.ranges)
    yield from planned_stretches(graph, found.segments, Effort(level=QUICK), ranges)


def proofs(program: Program, plan: Plan | None = None) -> Iterator[Proof]:
    """What greedy multipliers prove on the torus, and where it is left as early and as late as it may be."""
    plan = plan or planned(program)
    found = greedy(Recursion(program, plan=plan, dtype=torch.complex64, proof=False))
    if not math.isfinite(found.log):
        yield Proof(bound=math.inf, program=program, multipliers={}, splits=0)
        return
    yield _proof(program, plan, found.multipliers)
    places = list(switches(program))
    for switch in dict.fromkeys((*places[:1], *places[-1:])):
        yield _proof(program, plan, found.multipliers, switch)


def proven(program: Program, plan: Plan | None = None) -> Proof:
    """The first of `proofs`."""
    return next(proofs(program, plan))


def _proof(program: Program, plan: Plan, multipliers, switch: Switch | None = None) -> Proof:
    recorded: list[tuple[int, Recorded]] = []
    try:
        with torch.no_grad():
            bound = level(_run(program, plan, multipliers, switch, recorded), proof=True)
    except InfeasibleError:
        bound = math.inf
    used = {first + i: d for first, recursion in recorded for i, d in recursion.multipliers.items()}
    splits = sum(recursion.splits for _, recursion in recorded)
    left = None if switch is None else switch.first
    return Proof(bound=bound, program=program, multipliers=used, splits=splits, left=left)


def _run(program, plan, multipliers, switch, recorded) -> tuple[Covariance, ...]:
    if switch is None:
        recorded.append((0, Recorded(program, plan=plan)))
        return recorded[0][1].run(chosen(multipliers))
    start = None
    if switch.first:
        head = Program(
            steps=program.steps[: switch.first],
            fields=program.fields,
            sources=program.sources,
            outputs=switch.program.sources,
        )
        recorded.append((0, Recorded(head, plan=plan)))
        (found,) = recorded[0][1].run(chosen(multipliers))
        (name,) = found.fields
        start = restricted(found, program.fields[name], head.tori[name])
    late = Recorded(switch.program, plan=planned(switch.program), start=start)
    recorded.append((switch.first, late))
    return late.run(choosing(lambda index, variance, _: switch.own(multipliers, index, variance)))
