"""The classifier as steps that have local bounds, and what these prove of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsv_cli.certification.classifier import Classifier, Constants
from convsv_cli.certification.run import precision_of
from convsv_cli.certification.samples import Normalization
from convsv_cli.limits import LimitError, hold, multiply, room
from convsv_cli.local import COPIES, margins, radii
from convsv_cli.local.arithmetic import ARITHMETICS, BFLOAT16, FLOAT16, FLOAT32, REAL, Arithmetic
from convsv_cli.local.backward import at_once
from convsv_cli.local.disturbances import disturbance
from convsv_cli.local.effort import EFFORTS, Effort
from convsv_cli.local.maps import Scaling
from convsv_cli.local.problem import Problem
from convsv_cli.local.propagation import at_rest, places
from convsv_cli.local.runtimes import products
from convsv_cli.local.steps import Affine, Program
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, UP_MANY, round_up
from convsv_cli.report import MAXIMUM, CertifySettings

TOGETHER = 32
"""Samples that are run at once."""
HELD = 4
"""Copies of their tensors, while they are."""
ROUNDED, SEARCHED = 10.0, 0.4
"""Passes in double precision that it takes to bound what is rounded; and, for one of the search, which is in
single precision, with its derivatives, and of ever fewer classes."""
CALLS, SHARE = 3e7, 0.6
"""Multiplications in the time of the calls of a step; and the share of all that may have been taken then."""
NEAREST = 32
"""Classes of each sample for which it is looked at closely what runtimes may be off."""
TYPICAL = {"single": FLOAT32, "half": FLOAT16, "bfloat16": BFLOAT16}
RAW = "convsv:sample"
"""The tensor before the normalization."""
Told = Callable[[float, Tensor, Tensor], None]
"""Called with the share that is done, what is proven so far [n], and where the search has ended, bool [n]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Local:
    """A classifier that has local bounds.

    Attributes:
        program: from samples, before any normalization, to logits.
        x: the samples, float64 [n, *shape].
        constants: certified Lipschitz constants from there to tensors.
        lower, upper: of what entries of samples are known to be; numbers, or tensors that fit a sample.
        arithmetic: in which the network is run.
        effort: how long is searched; None for not at all.
        cubes: whether radii that are looked for are in the maximum norm, and not in the Euclidean one.
    """

    program: Program
    x: Tensor
    constants: Mapping[str, float]
    lower: Tensor | float
    upper: Tensor | float
    arithmetic: Arithmetic
    effort: Effort | None
    cubes: bool

    def logits(self) -> Tensor:
        """As computed in float64: [n, classes]."""
        with torch.no_grad():
            parts = (self.program.values(x)[self.program.output] for x in torch.split(self.x, self._together))
            return torch.cat([part.flatten(1) for part in parts])

    def rounding(self) -> Tensor:
        """How far the logits computed in float64 may be from those in real arithmetic: [n]."""
        parts = torch.split(self.x, self._together)
        return torch.cat([at_rest(self.program, x)[self.program.output] for x in parts])

    def execution(self, classes: Tensor, radii: Tensor) -> Tensor:
        """By how much a runtime may be off at the differences of logits while samples move: [n, classes].

        Args:
            classes: whose logits the others are subtracted from, int64 [n].
            radii: by how much samples move in the Euclidean norm, [n]; not finite for anything.
        """
        rows = torch.split(torch.arange(len(self.x)), self._together)
        finite = torch.where(radii.isfinite(), radii, 0.0)
        problems = (replace(self._problem(some, classes), cubes=False) for some in rows)
        found = [_execution(each, finite[some]) for each, some in zip(problems, rows, strict=True)]
        return torch.where(radii.isfinite()[:, None], torch.cat(found), math.inf)

    def decided(self, classes: Tensor, radii: Tensor, told: Told) -> Tensor:
        """Whether samples provably keep their classes in balls: bool [n].

        Args:
            classes: int64 [n].
            radii: of the balls, float64 [n]; not positive for samples that need not be looked at.
            told: called with the share that is done, and with what is kept so far.
        """
        kept, ended = torch.zeros(len(self.x), dtype=torch.bool), ~(radii > 0)
        which = (radii > 0).nonzero()[:, 0]

        def progress(known: Tensor, over: Tensor, share: float) -> None:
            kept[which] = known > 0
            ended[which] = over | (known > 0)
            told(share, kept, ended)

        if len(which):
            kept[which] = margins(self._problem(which, classes), radii[which], self._asked, progress) > 0
        return kept

    def radii(self, classes: Tensor, known: Tensor, told: Told) -> Tensor:
        """Radii of balls in which samples provably keep their classes: float64 [n].

        Args:
            classes: int64 [n].
            known: radii that are proven already, [n].
            told: called with the share that is done, and with radii that are proven so far.
        """

        def progress(found: Tensor, ended: Tensor, share: float) -> None:
            told(share, found.clamp_min(0.0), ended)

        problem = self._problem(torch.arange(len(self.x)), classes)
        return radii(problem, self._asked, progress, known).clamp_min(0.0)

    @property
    def _together(self) -> int:
        """Samples that are run at once: fewer where their tensors would take too much memory."""
        return max(1, int(min(TOGETHER, room() / (8 * HELD * max(1, self.program.entries)))))

    @property
    def _asked(self) -> Effort:
        assert self.effort is not None  # noqa: S101 - nobody searches without
        return self.effort

    def _problem(self, which: Tensor, classes: Tensor) -> Problem:
        return Problem(
            program=self.program,
            x=self.x[which],
            classes=classes[which],
            lower=self.lower,
            upper=self.upper,
            constants=self.constants,
            arithmetic=self.arithmetic,
            cubes=self.cubes,
        )


def _execution(problem: Problem, radii: Tensor) -> Tensor:
    """Of all classes by the noise of the logits, and of the nearest ones by gradients, too: [n, classes]."""
    program = problem.program
    found = places(program, problem.ball(radii))
    output = found[program.output]
    errors = (2 * output.noise)[:, None].repeat(1, problem.count)
    logits = output.centre.flatten(1).scatter(1, problem.classes[:, None], -math.inf)
    count = min(NEAREST, problem.count - 1)
    samples = torch.arange(len(radii)).repeat_interleave(count)
    rivals = logits.topk(count, 1).indices.flatten()
    pairs = zip(*(torch.split(each, at_once(program)) for each in (samples, rivals)), strict=True)
    for sample, rival in pairs:
        sharp = disturbance(program, found, sample, problem.directions(sample, rival))
        errors[sample, rival] = torch.minimum(errors[sample, rival], sharp)
    return errors


def _pass(program: Program, samples: int) -> float:
    """Multiplications of one pass for all rival classes of a sample, where so many are worked on together."""
    rivals = min(NEAREST, math.prod(program.shapes[program.output]) - 1)
    together = max(1.0, min(samples, at_once(program) / max(1, rivals)))
    return rivals * program.work + CALLS * len(program.steps) / together


def normalizing(program: Program, normalization: Normalization) -> Program:
    """A program that takes samples before the normalization.

    Args:
        program: from what is after it.
        normalization: with one entry or one per channel.
    """
    if not (normalization.mean or normalization.std):
        return program
    shape, raw = program.shapes[program.source], program.fresh(RAW)
    mean, std = (per_channel(v, shape) for v in (normalization.mean or (0.0,), normalization.std or (1.0,)))
    factors, shift = 1 / std, -mean / std
    step = Affine(
        node="normalization",
        inputs=(raw,),
        maps=(Scaling(taken=shape, given=shape, roundings=2, weight=factors),),
        norms=(float(factors.max()) * UP_MANY,),
        shift=shift,
        shift_error=2 * UNIT_ROUNDOFF * shift.abs(),
        off=products(float(factors.max())),
        output=program.source,
    )
    return replace(program, source=raw, shapes={raw: shape, **program.shapes}, steps=(step, *program.steps))


def per_channel(values: tuple[float, ...], shape: tuple[int, ...]) -> Tensor:
    """Numbers, one or one per channel, as a tensor that fits a sample [1, channels, ..]."""
    axes = (1, -1, *(1 for _ in shape[2:])) if len(shape) > 1 else (-1,)
    whole = torch.tensor(values, dtype=torch.float64).reshape(axes)
    return whole.expand(shape).contiguous()


def limits(
    normalization: Normalization,
    shape: tuple[int, ...],
    pixel_range: tuple[float, float] | None,
    input_range: tuple[float, float] | None,
) -> tuple[Tensor, Tensor]:
    """What entries of samples [1, channels, ..] are known to be in before the normalization.

    Args:
        normalization: of the samples.
        shape: of a sample.
        pixel_range, input_range: before and after the normalization; None for anything.
    """
    low, high = (torch.full(shape, end, dtype=torch.float64) for end in pixel_range or (-math.inf, math.inf))
    if input_range is None:
        return low, high
    mean, std = (per_channel(v, shape) for v in (normalization.mean or (0.0,), normalization.std or (1.0,)))
    ends = (std * end + mean for end in input_range)
    lost = 4 * UNIT_ROUNDOFF * (std * max(map(abs, input_range)) + mean.abs())
    least, most = ends
    return torch.maximum(low, least - lost), torch.minimum(high, most + lost)


def arithmetic_of(classifier: Classifier, settings: CertifySettings) -> Arithmetic:
    """As asked for, or of the coarsest type that the network computes in; real for double precision."""
    asked = ARITHMETICS.get(settings.arithmetic)
    return asked or TYPICAL.get(precision_of(classifier)[1], REAL)


def local_of(
    constants: Constants,
    settings: CertifySettings,
    normalization: Normalization,
    x: Tensor,
    arithmetic: Arithmetic,
) -> tuple[Local | None, str]:
    """The classifier that local bounds are of; or None, and why there is none.

    Args:
        constants: what is known of it.
        settings: the ranges and the effort.
        normalization: of the samples.
        x: the samples before it, float64 [n, *shape].
        arithmetic: in which the network is run.
    """
    program = constants.program
    if program is None:
        return None, constants.no_program
    effort = EFFORTS.get(settings.effort)
    try:
        hold(8 * COPIES * program.entries, "the tensors of one sample")
        passes = ROUNDED + (SEARCHED * effort.passes(radii=settings.radii) if effort else 0)
        multiply(passes * _pass(program, len(x)), "local bounds at one sample", share=SHARE)
    except LimitError as error:
        return None, str(error)
    shape, stretch = program.shapes[program.source], round_up(normalization.largest_scale)
    lower, upper = limits(normalization, shape, settings.pixel_range, settings.input_range)
    local = Local(
        program=normalizing(program, normalization),
        x=x[:, None],
        constants={name: round_up(bound * stretch) for name, bound in constants.up_to.items()},
        lower=lower,
        upper=upper,
        arithmetic=arithmetic,
        effort=effort,
        cubes=settings.norm == MAXIMUM,
    )
    return local, ""
