"""The result of an audit: plain frozen values, no arrays, nothing that knows a file or a format."""

from __future__ import annotations

import math
from dataclasses import dataclass

ESTIMATE, UPPER, EXACT, CERTIFIED, PADDED = "estimate", "upper", "exact", "certified", "padded"
AUDITED, UNSUPPORTED, INVALID = "audited", "unsupported", "invalid"
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
    """

    exact: bool = False
    input_size: tuple[int, ...] | None = None
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    layers: tuple[str, ...] = ()
    as_stride_1: bool = False
    device: str = "cpu"
    tolerance: float = TOLERANCE
    work_limit: float = WORK_LIMIT
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
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def audited(self) -> int:
        """Number of layers that were audited."""
        return sum(layer.status == AUDITED for layer in self.layers)
