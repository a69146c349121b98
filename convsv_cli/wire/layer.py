"""One row of an audit, and the methods that its figures are by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType, field

from convsv_cli import report
from convsv_cli.names import LONGEST_NAME
from convsv_cli.report import ESTIMATE, EXACT, PADDED, UPPER, Interval, Measurement
from convsv_cli.wire.form import (
    Count,
    Counts,
    Digest,
    Ends,
    Finite,
    Form,
    Norm,
    Text,
    Texts,
    in_order,
    infinite,
)

KINDS = {
    "heuristic": "estimate",
    "exact": "exact",
    "certified": "certified",
    "zero_padded": "padded",
    "bound": "upper",
}
"""What the figures that a layer has fields for are, by the method's name."""
MOST_AXES = 64
LayerStatus = Literal["audited", "unsupported", "invalid", "not_applicable"]


class Method(Form, frozen=True, kw_only=True):
    """A calculator.

    Attributes:
        name: Of its field in layers and of its product.
        column: Heading in the table; empty where it has no column.
    """

    name: str
    column: str = ""
    kind: Literal["estimate", "upper", "exact", "certified", "padded"]
    proves: str = ""
    reference: str = ""
    cost: str = ""

    @property
    def method(self) -> report.Method:
        """As a value.

        Raises:
            ValueError: figures by that name are of another kind.
        """
        if self.kind != KINDS[self.name]:
            raise ValueError(f"methods: {self.name} is of the kind {KINDS[self.name]}, not {self.kind}")
        return self.made(report.Method)


class Exact(Form, frozen=True, kw_only=True):
    """A norm at one input size: lower <= norm <= upper.

    Attributes:
        size: The circular input size that the figures are for.
    """

    value: Norm
    lower: Norm
    upper: Norm
    size: Counts | None = None

    def __post_init__(self) -> None:
        in_order(self.lower, self.upper)


class Update(Form, frozen=True, kw_only=True):
    """What an adapter adds to a layer's weight, of which the figures of the row are.

    Attributes:
        kind: LoRA, DoRA, LoHa, LoKr or full.
        rank: Of the factors; null where these are whole.
        scale: What their product is multiplied by.
        frobenius: The Frobenius norm; null where the row has no figures.
        stable_rank: |D|_F^2 / |D|^2 of the update as a matrix, c_out x (c_in prod k); null for one that is 0.
        base: Name of the weight in the base that it is added to; null without one.
        base_norm: Of that weight.
        share: The norm of the update over that of the base's weight.
        merged: Of the sum.
        no_base: Why these three are not known, where a base was given.
    """

    kind: str
    rank: Count | None = None
    scale: float = 1.0
    frobenius: Ends | None = None
    stable_rank: Ends | None = None
    base: Text = None
    base_norm: Ends | None = None
    share: Ends | None = None
    merged: Ends | None = None
    no_base: Text = None


class Spread(Form, frozen=True, kw_only=True):
    """How the singular values of a weight spread.

    Attributes:
        frobenius: Root of the sum of the squares of all entries.
        stable_rank: Square of that over the norm; null for a convolution, whose values depend on its input.
        smallest: Of the min(m, n) singular values of an m x n matrix; null likewise, or where it would take
            too much.
    """

    frobenius: Ends
    stable_rank: Ends | None = None
    smallest: Ends | None = None


class Product(Form, frozen=True, kw_only=True):
    """A product of two matrices of one head of attention.

    Attributes:
        attention: Name of its module.
        kind: qk: W_q^T W_k, by which tokens are compared, before any rotation or scale; vo: W_o W_v.
        head: Of the queries, from 0; -1 where a reason is that of all heads.
        norm: The spectral norm; null where the reason says why.
    """

    attention: str
    kind: Literal["qk", "vo"]
    head: int = -1
    norm: Ends | None = None
    reason: Text = None


class Layer(Form, frozen=True, kw_only=True):
    """A row.

    Attributes:
        name: Unique in the document.
        weight: Name of the weight tensor in the file.
        aliases: Further names of the same layer: tied weights, shared nodes.
        op: ONNX operator type.
        kernel_shape: [c_out, c_in / groups, *k]; [c_in, c_out / groups, *k] where transposed.
        padding: At the beginning of each axis, then at the end of each.
        output_padding: Further outputs of a transposed layer at the end of each axis; empty for none.
        input_size: Spatial size of the layer's input; null where unknown.
        dtype: As stored.
        parameters: Entries of the weight, without a bias; null where it has no shape.
        macs: Multiplications, each with an addition, that one sample takes; of a matrix, one vector. Null
            where the input size or the padding is not known.
        assumed: What the file does not say and was taken for granted.
        weight_sha256: Of the shape and the values of the effective weight, the same in every format; null
            where it was not read.
        status: audited; unsupported: a layer that convsv could not audit; invalid: its weight is no kernel;
            not_applicable: no layer, such as an embedding table. The reason says more.
        reason: Why the layer was not audited.
        heuristic: Estimate: norm of the kernel reshaped to c_out x (c_in prod k). Proves nothing.
        exact: Norm at `size` with circular padding, lower <= norm <= upper; null without --exact.
        certified: Supremum over all input sizes, circular or zero padding: lower <= supremum <= upper.
        zero_padded: Norm at input_size with the layer's own zero padding; null without --exact, or where the
            padding is unknown.
        bound: Certified upper bound for every input size (Singla & Feizi).
        bounds: The bound from each unfolding: R, S, T, U for images.
        seconds: Wall time of each calculator that ran.
        update: Of an adapter; absent where the row is of a weight itself.
        spread: With --spread, how the singular values spread.
    """

    CONDITION: ClassVar[Mapping[str, Any]] = {
        "if": {"properties": {"status": {"const": "audited"}}},
        "then": {"properties": {"reason": {"type": "null"}}, "required": ["bounds"]},
        "else": {
            "properties": {
                "reason": {"type": "string"},
                **{name: {"type": "null"} for name in ("heuristic", "bound", "exact")},
            }
        },
    }

    name: str
    weight: str = ""
    aliases: Texts = ()
    op: str
    kernel_shape: Counts = ()
    stride: Counts = ()
    dilation: Counts = ()
    groups: Annotated[int, Meta(ge=0, extra_json_schema={"minimum": 1})] = 1
    transposed: bool = False
    padding: tuple[int, ...] = ()
    padding_mode: Annotated[
        str, Meta(extra_json_schema={"enum": ["zeros", "reflect", "replicate", "circular"]})
    ] = "zeros"
    output_padding: Counts = ()
    input_size: Counts | None = None
    dtype: str = ""
    parameters: Count | None = None
    macs: Count | None = None
    assumed: Texts = ()
    weight_sha256: Digest | None = None
    status: LayerStatus = "audited"
    reason: Text = None
    heuristic: Norm = None
    exact: Exact | None = None
    certified: Ends | None = None
    zero_padded: Ends | None = None
    bound: Norm = None
    bounds: dict[str, Norm] | UnsetType = UNSET
    seconds: dict[str, Finite] = field(default_factory=dict)
    update: Update | UnsetType = UNSET
    spread: Spread | UnsetType = UNSET

    @classmethod
    def filled(cls, layer: report.LayerAudit) -> Layer:
        """The form of a row."""
        measured = dict(layer.measurements)
        return cls.of(
            layer,
            **{name: _figure(kind, measured.get(name)) for name, kind in KINDS.items()},
            update=UNSET if layer.update is None else Update.of(layer.update),
            bounds=(dict(measured["bound"].parts) or UNSET) if "bound" in measured else UNSET,
            seconds={name: found.seconds for name, found in measured.items()},
            spread=UNSET if layer.spread is None else Spread.of(layer.spread),
        )

    def layer(self, methods: Collection[str]) -> report.LayerAudit:
        """As a value, with the figures of these methods.

        Raises:
            ValueError: it is none that convsv writes: a table is as wide as its widest cell.
        """
        if max(map(len, (self.name, self.weight, self.op))) > LONGEST_NAME:
            raise ValueError(f"layers: a name longer than {LONGEST_NAME} characters")
        if max(map(len, (self.kernel_shape, self.stride, self.dilation, self.input_size or ()))) > MOST_AXES:
            raise ValueError(f"layers: more than {MOST_AXES} axes")
        known = [name for name in self._ran if name in KINDS and name in methods]
        return self.made(
            report.LayerAudit,
            measurements=tuple((name, self._measurement(name)) for name in known),
            spread=None if self.spread is UNSET else self.spread.made(report.Spread),
        )

    @property
    def _ran(self) -> Collection[str]:
        """The calculators that did, which are those that took time: a figure that is null may be infinite."""
        return self.seconds or [name for name in KINDS if getattr(self, name) is not None]

    def _measurement(self, name: str) -> Measurement:
        kind, figure, seconds = KINDS[name], getattr(self, name), self.seconds.get(name, 0.0)
        if kind == ESTIMATE:
            return Measurement(value=infinite(figure), seconds=seconds)
        if kind == UPPER:
            upper = infinite(figure)
            return Measurement(
                value=upper, enclosure=Interval(upper=upper), parts=self._parts, seconds=seconds
            )
        proven = figure.made(Interval) if figure else Interval()
        if kind == EXACT and figure:
            return Measurement(
                value=infinite(figure.value), enclosure=proven, size=figure.size, seconds=seconds
            )
        size = self.input_size if kind == PADDED else None
        return Measurement(value=proven.upper, enclosure=proven, size=size, seconds=seconds)

    @property
    def _parts(self) -> tuple[tuple[str, float], ...]:
        bounds = {} if self.bounds is UNSET else self.bounds
        return tuple((name, infinite(norm)) for name, norm in bounds.items())


def _figure(kind: str, found: Measurement | None) -> float | Exact | Ends | None:
    if found is None:
        return None
    if kind in (ESTIMATE, UPPER):
        return found.value
    proven = found.enclosure or Interval()
    if kind == EXACT:
        return Exact(value=found.value, lower=proven.lower, upper=proven.upper, size=found.size)
    return Ends(lower=proven.lower, upper=proven.upper)
