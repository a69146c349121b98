"""The result of an audit: plain frozen values, no arrays, nothing that knows a file or a format."""

from __future__ import annotations

import math
from dataclasses import dataclass

ESTIMATE, UPPER, EXACT, CERTIFIED, PADDED = "estimate", "upper", "exact", "certified", "padded"
AUDITED, UNSUPPORTED, INVALID = "audited", "unsupported", "invalid"
BOUNDED, UNBOUNDED, UNKNOWN = "bounded", "unbounded", "unknown"
ERROR, WARNING, NOTE = "error", "warning", "note"
TOLERANCE = 1e-4
WORK_LIMIT = 5e10


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A proven enclosure `lower <= x <= upper` of a norm; one end may say nothing."""

    lower: float = 0.0
    upper: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.lower <= self.upper:
            raise ValueError(f"not an interval of norms: [{self.lower}, {self.upper}]")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one calculator says about one layer.

    Attributes:
        value: the figure to print.
        enclosure: what is proven about the layer's norm; None where `value` is an estimate.
        parts: the figures that `value` was chosen from, by name.
        size: the circular input size that `value` is for; None where it is for every size.
        seconds: wall time.
    """

    value: float
    enclosure: Interval | None = None
    parts: tuple[tuple[str, float], ...] = ()
    size: tuple[int, ...] | None = None
    seconds: float = 0.0

    @property
    def relative_width(self) -> float:
        """Of the enclosure, beside its upper end; 0 for a norm that is proven to be zero."""
        if self.enclosure is None or not self.enclosure.upper:
            return 0.0
        return 1 - self.enclosure.lower / self.enclosure.upper


@dataclass(frozen=True, kw_only=True)
class LayerAudit:
    """One row: a layer, and either its measurements by calculator name or why there are none."""

    name: str
    weight: str
    aliases: tuple[str, ...] = ()
    op: str
    kernel_shape: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False
    padding: tuple[int, ...] = ()
    padding_mode: str = "zeros"
    input_size: tuple[int, ...] | None = None
    dtype: str
    assumed: tuple[str, ...] = ()
    status: str = AUDITED
    reason: str = ""
    measurements: tuple[tuple[str, Measurement], ...] = ()

    def measurement(self, calculator: str) -> Measurement | None:
        """What the named calculator said; None where it did not run."""
        return dict(self.measurements).get(calculator)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that a reader or a gate should act on, tied to a layer or node."""

    rule: str
    severity: str
    node: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Model:
    """The audited file. `input_shape`: name and dimensions of each graph input."""

    path: str
    format: str
    sha256: str
    files: tuple[str, ...]
    opset: int | None
    input_shape: tuple[tuple[str, tuple[int | str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user asked for, as far as it decides the figures.

    Attributes:
        tolerance: relative width of an enclosure that is good enough.
        work_limit: multiplications after which each search stops with the enclosure that it has.
        input_range: what the entries of the network's inputs are known to be in; None: anything.
        empirical: "random" or a file of inputs at which to look at the network; empty for not at all.
    """

    exact: bool = False
    input_size: tuple[int, ...] | None = None
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    layers: tuple[str, ...] = ()
    as_stride_1: bool = False
    device: str = "cpu"
    tolerance: float = TOLERANCE
    work_limit: float = WORK_LIMIT
    input_range: tuple[float, float] | None = None
    empirical: str = ""
    dtype: str = "float64"


@dataclass(frozen=True, kw_only=True)
class NetworkTotals:
    """Figures over all audited layers.

    Attributes:
        product: by calculator, the product of the layers' figures. It ignores skips, normalisation
            and pooling: *not* a bound of the network. None where a layer lacks the figure.
        coverage: share of the weight layers that were audited.
        assumptions: each thing that was taken for granted, once.
    """

    product: tuple[tuple[str, float | None], ...]
    coverage: float
    assumptions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """A node of the graph that has no Lipschitz bound, and why."""

    node: str
    op: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Block:
    """A piece of the graph that everything passes, from one tensor to another.

    Attributes:
        name: what users know it by.
        ops: operator types, in order, each once.
        layers: rows that its weights are.
        start, end: the tensors between which it lies; empty for all inputs, and for all outputs.
        factor: certified Lipschitz bound between them; infinite where there is none.
        share: of the logarithm of the network's bound, which all shares add up to 1 of; None without one.
    """

    name: str
    ops: tuple[str, ...]
    layers: tuple[str, ...]
    start: str
    end: str
    factor: float
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """Blocks in a row that have a bound, where the whole network has none."""

    start: str
    end: str
    blocks: int
    lipschitz: float


@dataclass(frozen=True, kw_only=True)
class Empirical:
    """The largest ratio |f(x) - f(y)| / |x - y| that was found: an estimate from below, no bound.

    Attributes:
        ratio: that ratio.
        pairs, directions: how many pairs of inputs, and directions around inputs, were tried.
        source: "random", or the data file.
        seconds: wall time.
    """

    ratio: float
    pairs: int
    directions: int
    source: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class NetworkBound:
    """What is proven of the whole network, from all its inputs to all its outputs, in the Euclidean norm.

    Attributes:
        status: `BOUNDED`, `UNBOUNDED` where `obstacles` have no bound, or `UNKNOWN` for the `reason`.
        reason: why there is nothing to say; empty else.
        lipschitz: the certified upper bound; infinite where there is none, or it is beyond 1e308.
        log10: its logarithm; None where there is none.
        input_range: what the bound takes the inputs to be in; None: anything.
        blocks: what the bound is the product of.
        obstacles: every node without a bound.
        parts: where there is no bound of the whole.
        structure: what a product over layers would not see, such as "9 skips".
        folded: what was folded exactly before the rest was bounded, such as "21 BatchNorms folded".
        assumptions: what was taken for granted.
        empirical: what was seen; None where nobody looked.
        seconds: wall time.
    """

    status: str
    reason: str = ""
    lipschitz: float = math.inf
    log10: float | None = None
    input_range: tuple[float, float] | None = None
    blocks: tuple[Block, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    parts: tuple[Part, ...] = ()
    structure: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    empirical: Empirical | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Method:
    """A calculator, as a reader meets it.

    Attributes:
        name: of its JSON field and its product.
        column: heading in the table; empty where it has no column there, and no product.
        kind: `ESTIMATE` (proves nothing), `UPPER` (a certified upper bound for every input size), `CERTIFIED`
            (such a bound that is nearly attained), `EXACT` or `PADDED` (enclosed from both sides at one input
            size, with circular padding or the layer's own).
        proves: what a reader may conclude from the figure, one line.
        reference: where the method is from.
        cost: as a function of the layer's and the input's size.
    """

    name: str
    column: str
    kind: str
    proves: str
    reference: str
    cost: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that a renderer needs, in a deterministic order.

    `methods` are all that exist; a layer has the measurements of those that ran.
    """

    version: str
    model: Model
    settings: Settings
    methods: tuple[Method, ...]
    layers: tuple[LayerAudit, ...]
    network: NetworkTotals
    bound: NetworkBound
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def audited(self) -> int:
        """Number of layers that were audited."""
        return sum(layer.status == AUDITED for layer in self.layers)
