"""Documents of `certify`, schema 1.2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from convsv_cli import report
from convsv_cli.wire.certification_settings import Arithmetic, Positive, Settings
from convsv_cli.wire.form import (
    ADDED,
    Count,
    Digest,
    Finite,
    Form,
    Norm,
    Shape,
    Share,
    Text,
    Texts,
    Tool,
    identifier,
    members,
)
from convsv_cli.wire.network import Obstacle, Status

SCHEMA_VERSION = "1.2"
RouteName = Literal["margin", "curvature", "local"]
SCHEMA = identifier("certification", SCHEMA_VERSION)


class Input(Form, frozen=True, kw_only=True):
    """An input of the graph."""

    name: str
    shape: Shape


class Model(Form, frozen=True, kw_only=True):
    """The file."""

    path: str
    format: str
    sha256: Digest
    files: Texts
    opset: Count | None
    inputs: tuple[Input, ...]


class Level(Form, frozen=True, kw_only=True):
    """How many samples are right and stay so at a radius, and which share of all samples they are.

    Attributes:
        attacked: How many are right, and were attacked successfully; null without an attack.
        undecided: How many are right, and neither certified nor attacked successfully.
        gap: The robust accuracy less the certified one: the share of all samples that is undecided.
    """

    eps: Positive
    certified: Count
    certified_accuracy: Share
    robust: Count | None
    robust_accuracy: Share | None
    attacked: Count | None
    undecided: Count
    gap: Share | None


class Radius(Form, frozen=True, kw_only=True):
    """The radius that at least such a share of the samples that are right is within."""

    share: Share
    radius: Norm


class Point(Form, frozen=True, kw_only=True):
    """A point of the curve."""

    radius: Finite
    certified: Share


class Route(Form, frozen=True, kw_only=True):
    """A way to a radius.

    Attributes:
        reason: Why it leads nowhere.
        constants: What it rests on.
        best: For how many samples it gave the largest radius.
        arithmetic: Of the network that its radii hold for.
    """

    name: RouteName
    used: bool
    reason: Text
    constants: dict[str, float | None]
    best: Count
    arithmetic: Arithmetic


class Sample(Form, frozen=True, kw_only=True):
    """A sample, in the order of the data.

    Attributes:
        radius: No input that is nearer has another class; null where no class ever changes.
        route: That the radius comes from; null where it is 0.
        broken: The smallest radius asked for at which the attack found another class; null for none.
        ended: Whether all has been tried; else the radius holds, and may grow.
    """

    label: int
    predicted: Count
    radius: Norm
    route: RouteName | None
    broken: Norm
    ended: bool


class Block(Form, frozen=True, kw_only=True):
    """A piece of the graph that everything passes.

    Attributes:
        factor: What it multiplies the bound by.
        route: By rules, the factor is a certified bound of the block by itself. By covariance, several blocks
            were bounded at once: only the product of their factors is a bound.
    """

    name: str
    factor: Norm
    share: float | None
    route: Literal["rules", "covariance"]


class Network(Form, frozen=True, kw_only=True):
    """What is proven of the network.

    Attributes:
        effort: How long a small bound was searched for.
    """

    status: Status
    lipschitz: Norm
    log10: float | None
    blocks: tuple[Block, ...]
    obstacles: tuple[Obstacle, ...]
    effort: str


class Attack(Form, frozen=True, kw_only=True):
    """What was tried against the samples that are right.

    Attributes:
        steps: Of projected gradient descent.
        failure: Why nothing was tried.
    """

    steps: int
    restarts: int
    seconds: float
    failure: Text


class Summary(Form, frozen=True, kw_only=True):
    """The run."""

    seconds: float


class Certification(Form, frozen=True, kw_only=True):
    """Certified accuracy and radii of a classifier at samples.

    Attributes:
        schema: What the schema of the document is called.
        correct: Samples that the network gets right.
        levels: At each radius asked for, ascending: certified from below, robust to the attack from above
            (null without one).
        radii: Quantiles of the certified radii of the samples that are right; null where no class ever
            changes.
        curve: Share of all samples that is right and certified at a radius.
        complete: Whether this is all that there will be; else it is what was known by then.
        interrupted: Whether it is not complete because somebody ended the work.
        timed_out: Whether it is not complete because --time-limit ended the work; absent where it did not.
        unfinished: Samples of which not all has been tried, so that more may be proven.
        each: All samples.
        reasons: Why (almost) nothing is certified; empty where that is not so.
    """

    schema: Annotated[str, ADDED, Meta(extra_json_schema={"const": SCHEMA})] = field(
        name="$schema", default=SCHEMA
    )
    schema_version: Annotated[str, Meta(pattern=r"^1\.")]
    tool: Tool
    command: Literal["certify"]
    model: Model
    settings: Settings
    samples: Annotated[int, Meta(ge=1)]
    complete: bool
    interrupted: bool
    unfinished: Count
    timed_out: bool | UnsetType = UNSET
    correct: Count
    accuracy: Share
    levels: tuple[Level, ...]
    radii: tuple[Radius, ...]
    curve: tuple[Point, ...]
    each: tuple[Sample, ...]
    routes: tuple[Route, ...]
    network: Network
    attack: Attack | None
    reasons: Texts
    notes: Texts
    summary: Summary


def document(
    found: report.Certification, *, curve: Iterable[tuple[float, float]], reasons: Iterable[str]
) -> dict[str, Any]:
    """The JSON object.

    Args:
        found: what it is about.
        curve: radii, and the shares of all samples that are right and certified there.
        reasons: why (almost) nothing is certified.
    """
    total = len(found.samples)
    form = Certification.of(
        found,
        schema=SCHEMA,
        schema_version=SCHEMA_VERSION,
        tool=Tool(version=found.version),
        command="certify",
        model=Model.of(
            found.model,
            inputs=tuple(Input(name=name, shape=shape) for name, shape in found.model.input_shape),
        ),
        samples=total,
        timed_out=found.timed_out or UNSET,
        accuracy=found.correct / total,
        levels=tuple(_level(level, total) for level in found.levels),
        radii=tuple(Radius(share=share, radius=radius) for share, radius in found.quantiles),
        curve=tuple(Point(radius=radius, certified=share) for radius, share in curve),
        each=tuple(Sample.of(sample, route=sample.route or None) for sample in found.samples),
        routes=tuple(Route.of(route, used=not route.reason) for route in found.routes),
        network=Network.of(found.bound),
        reasons=tuple(reasons),
        summary=Summary(seconds=found.seconds),
    )
    return members(form)


def _level(level: report.Level, total: int) -> Level:
    return Level.of(
        level,
        certified_accuracy=level.certified / total,
        robust_accuracy=None if level.robust is None else level.robust / total,
        gap=None if level.robust is None else level.undecided / total,
    )
