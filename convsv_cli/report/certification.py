"""What is proven of a classifier at real inputs: how far each may move before its class can change."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from convsv_cli.digits import short
from convsv_cli.report.audit import TOLERANCE, Model
from convsv_cli.report.network import EFFORTS, NORMAL, NetworkBound
from convsv_cli.report.shown import Shown

MARGIN, CURVATURE, LOCAL = "margin", "curvature", "local"
REAL, FLOAT32, FLOAT16, BFLOAT16 = ARITHMETICS = ("real", "float32", "float16", "bfloat16")
"""In which a network is run: radii hold however a runtime of that format rounds."""
EUCLIDEAN, MAXIMUM = NORMS = ("2", "inf")
"""In which distances between inputs are measured."""
NONE, *_ = LOCAL_EFFORTS = ("none", *EFFORTS)
"""How long is searched for local certificates."""
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True, kw_only=True)
class CertifySettings:
    """What the user asked for.

    Attributes:
        data: the file of samples.
        eps: radii at which accuracy is certified, ascending, in units of the data before any normalization.
        input_mean, input_std: of the normalization before the network, one entry or one per channel; empty
            for none.
        normalized: the data have been normalized already.
        limit: only this many samples, the first ones; None for all.
        attack: whether to look for adversarial inputs at each of the radii, too.
        input_range: what all inputs of the network are known to be in; None: anything.
        tolerance: of norms, relative.
        device: where norms are computed.
        graph: the file with the graph of a checkpoint; empty for none.
        network_effort: how long is searched for a small bound of the network, one of `EFFORTS`.
        effort: how long is searched for local certificates, one of `LOCAL_EFFORTS`.
        arithmetic: in which the network is run, one of `ARITHMETICS`; empty for the type of its input.
        pixel_range: what all samples are known to be in before any normalization; None: anything.
        radii: whether radii are looked for, and not only decided whether `eps` are certified.
        norm: in which distances are measured, one of `NORMS`.
        source, target: the input that takes the samples and the output that holds the logits; empty for the
            only one that can.
        eps_given: each of `eps` as it was written, such as "36/255"; none in values that no user wrote.
    """

    data: str
    eps: tuple[float, ...] = (0.5,)
    input_mean: tuple[float, ...] = ()
    input_std: tuple[float, ...] = ()
    normalized: bool = False
    limit: int | None = None
    attack: bool = False
    input_range: tuple[float, float] | None = None
    tolerance: float = TOLERANCE
    device: str = "cpu"
    graph: str = ""
    network_effort: str = NORMAL
    effort: str = NORMAL
    arithmetic: str = ""
    pixel_range: tuple[float, float] | None = None
    radii: bool = True
    norm: str = EUCLIDEAN
    source: str = ""
    target: str = ""
    eps_given: tuple[str, ...] = ()

    def spelled(self, eps: float) -> str:
        """A radius in six digits; one that was given as a fraction as it was written, and its value.

        Args:
            eps: one of the radii.
        """
        given = dict(zip(self.eps, self.eps_given, strict=False)).get(eps, "")
        return f"{given} ({short(eps)})" if "/" in given else short(eps)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A way to a radius.

    Attributes:
        name: `MARGIN`, `CURVATURE` or `LOCAL`.
        reason: why it leads nowhere; empty where it does not.
        constants: what it rests on: name and proven value.
        best: for how many samples it gave the largest radius.
        arithmetic: of the network that its radii hold for, one of `ARITHMETICS`.
    """

    name: str
    reason: str = ""
    constants: tuple[tuple[str, float], ...] = ()
    best: int = 0
    arithmetic: str = REAL


@dataclass(frozen=True, kw_only=True)
class SampleRadius:
    """One sample.

    Attributes:
        label: its true class.
        predicted: what the network says.
        radius: no input that is nearer than this, in the norm asked for, has another class than `predicted`.
        broken: the smallest radius asked for at which the attack found another class, infinite for none of
            them; None where it was not attacked.
        route: the name of the route that the radius comes from; empty where it is 0.
        ended: whether all routes have been tried to their ends; else the radius may still grow.
    """

    label: int
    predicted: int
    radius: float
    broken: float | None = None
    route: str = ""
    ended: bool = True

    @property
    def correct(self) -> bool:
        """Whether the network is right."""
        return self.label == self.predicted


@dataclass(frozen=True, kw_only=True)
class Level:
    """How many samples are right and stay so at a radius.

    Attributes:
        eps: the radius.
        spelled: the same for people.
        correct: how many are right without a perturbation.
        certified: how many certainly stay so.
        robust: how many do as far as an attack sees; None where none was made.
    """

    eps: float
    spelled: str
    correct: int
    certified: int
    robust: int | None

    @property
    def attacked(self) -> int | None:
        """How many are right, and were attacked successfully; None where no attack was made."""
        return None if self.robust is None else self.correct - self.robust

    @property
    def undecided(self) -> int:
        """How many are right, and neither certified nor attacked successfully."""
        return (self.correct if self.robust is None else self.robust) - self.certified


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What was tried against the samples that are right.

    Attributes:
        steps: of projected gradient descent.
        restarts: how often it began.
        seconds: wall time.
        failure: why nothing was tried; empty where something was.
    """

    steps: int = 0
    restarts: int = 0
    seconds: float = 0.0
    failure: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Certification(Shown):
    """Everything that a renderer needs.

    Attributes:
        version: of convsv.
        model: the file.
        settings: what was asked for.
        samples: in the order of the data.
        routes: each way to a radius, whether it leads somewhere or not.
        bound: of the whole network.
        attack: None where none was asked for.
        typical_margin: the largest logit less the second, median of the samples that are right.
        notes: what was taken for granted, or done to the data.
        seconds: wall time.
        complete: whether this is all that there will be; else it is what was known by then, which holds.
        interrupted, timed_out: whether it is not complete because Ctrl-C, or the clock, ended the work.
    """

    version: str
    model: Model
    settings: CertifySettings
    samples: tuple[SampleRadius, ...]
    routes: tuple[Route, ...]
    bound: NetworkBound
    attack: Attack | None
    typical_margin: float | None
    notes: tuple[str, ...]
    seconds: float
    complete: bool = True
    interrupted: bool = False
    timed_out: bool = False

    @cached_property
    def radii(self) -> tuple[float, ...]:
        """Of the samples that are right, ascending."""
        return tuple(sorted(sample.radius for sample in self.samples if sample.correct))

    @property
    def correct(self) -> int:
        """Number of samples that are right."""
        return len(self.radii)

    @property
    def unfinished(self) -> int:
        """Number of samples whose radii may still grow."""
        return sum(not sample.ended for sample in self.samples)

    def certified(self, eps: float) -> int:
        """Number of samples that are right and stay so wherever they move by at most a radius.

        Args:
            eps: the radius, in units of the data before any normalization.
        """
        return self.correct - bisect_right(self.radii, eps)

    @property
    def levels(self) -> tuple[Level, ...]:
        """At each radius asked for."""
        return tuple(
            Level(
                eps=eps,
                spelled=self.settings.spelled(eps),
                correct=self.correct,
                certified=self.certified(eps),
                robust=self.robust(eps),
            )
            for eps in self.settings.eps
        )

    @property
    def quantiles(self) -> tuple[tuple[float, float], ...]:
        """Shares, and the radius that at least so large a share of the samples that are right is within."""
        last = self.correct - 1
        return tuple((share, self.radii[math.floor(share * last)]) for share in SHARES if self.radii)

    def robust(self, eps: float) -> int | None:
        """Number of samples that are right, and were not attacked successfully within a radius.

        Args:
            eps: the radius; None is returned where no attack was made.
        """
        if self.attack is None or self.attack.failure:
            return None
        return sum(sample.broken is not None and sample.broken > eps for sample in self.samples)
