"""One row of an audit: what is proven of a layer's norm, an adapter's update, and what may be concluded."""

from __future__ import annotations

import math
from dataclasses import dataclass

AUDITED, UNSUPPORTED, INVALID = "audited", "unsupported", "invalid"
NOT_APPLICABLE = "not_applicable"
"""The status of what is stored like a weight and is no layer, such as an embedding table."""
MOST_ENTRIES = 2**63 - 1
"""Whatever has more is no figure of a network that anyone has."""
BEYOND = "it is beyond all bounds"
MATRIX_AXES = 2
"""Of the weight of a layer without spatial axes."""
DEQUANTISED = "dequantised weights"
"""How what was taken for granted begins where the weights are those that codes stand for."""
PLAIN = frozenset(("float64", "float32", "float16", "bfloat16"))
ESTIMATE, UPPER, EXACT, CERTIFIED, PADDED = "estimate", "upper", "exact", "certified", "padded"
SPIKE = 0.95
"""The share of an update's squared Frobenius norm from which on one singular value is nearly all of it."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A proven enclosure `lower <= x <= upper` of a norm; one end may say nothing.

    Attributes:
        lower: 0 where nothing is proven from below.
        upper: infinite where nothing is proven from above.

    Raises:
        ValueError: the ends are in the wrong order, negative or NaN.
    """

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
        """Of the enclosure, relative to its upper end; 0 for a norm that is proven to be zero."""
        if self.enclosure is None or not self.enclosure.upper:
            return 0.0
        return 1 - self.enclosure.lower / self.enclosure.upper


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
class Spread:
    """How the singular values of a weight spread, each figure enclosed by proofs.

    Attributes:
        frobenius: |W|_F, the root of the sum of the squares of all entries.
        stable_rank: (|W|_F / |W|)^2, about how many values matter; None for a convolution, of which all
            values depend on the input size.
        smallest: of the min(m, n) singular values of [m, n]; None likewise, or where that takes too much.
    """

    frobenius: Interval
    stable_rank: Interval | None = None
    smallest: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product of two matrices of one head of attention.

    Attributes:
        attention: the name of its module.
        kind: "qk" for W_q^T W_k, by which x^T W_q^T W_k y compares tokens x and y, before any rotation or
            scale; "vo" for W_o W_v, which values pass.
        head: of the queries, from 0; -1 where a reason is that of all heads.
        norm: the spectral norm, enclosed.
        reason: why there is none; empty where there is.
    """

    attention: str
    kind: str
    head: int = -1
    norm: Interval | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Methods:
    """All calculators.

    Attributes:
        version: of convsv.
        methods: in the order of the columns.
    """

    version: str
    methods: tuple[Method, ...]


@dataclass(frozen=True, kw_only=True)
class LayerAudit:
    """One row: a layer, and either its measurements by calculator name or why there are none.

    Attributes:
        name: unique in the network.
        weight: name of the weight tensor in the file.
        aliases: further names of the same layer.
        op: ONNX operator type.
        kernel_shape: [c_out, c_in / groups, *k]; [c_in, c_out / groups, *k] where transposed.
        stride, dilation: one entry per spatial axis; empty for a matrix.
        groups: number of diagonal blocks in which channels are mapped.
        transposed: the layer is the adjoint of the convolution with these weights.
        padding: at the beginning of each axis, then at the end of each; empty where unknown.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        output_padding: of a transposed layer, further outputs at the end of each axis; empty for none.
        input_size: spatial size of the layer's input; None where unknown.
        dtype: as stored, e.g. "float16".
        assumed: what the file does not say and was taken for granted, in plain words.
        weight_sha256: of the shape and the values (see `auditing.guarding`), whatever file and precision they
            are stored in; empty where the weight was not read.
        status: "audited", or why it has no figures: "unsupported", "invalid".
        reason: the same in words; empty where it was audited.
        measurements: by the calculator's name, in the order of the report's columns.
        update: of the adapter whose row it is; None for the row of a weight itself.
        spread: of the singular values, where it was asked for.
    """

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
    output_padding: tuple[int, ...] = ()
    input_size: tuple[int, ...] | None = None
    dtype: str
    assumed: tuple[str, ...] = ()
    weight_sha256: str = ""
    status: str = AUDITED
    reason: str = ""
    measurements: tuple[tuple[str, Measurement], ...] = ()
    update: Update | None = None
    spread: Spread | None = None

    @property
    def parameters(self) -> int | None:
        """Entries of the weight, without a bias; None where it has no shape, or one that no file can hold."""
        found = math.prod(self.kernel_shape) if self.kernel_shape else None
        return found if found is None or found <= MOST_ENTRIES else None

    @property
    def is_quantised(self) -> bool:
        """Whether its weight is what codes in the file stand for."""
        return any(line.startswith(DEQUANTISED) for line in self.assumed)

    @property
    def scheme(self) -> str:
        """How a quantised weight is stored, where the file says; empty for others."""
        return self.dtype if self.is_quantised and self.dtype not in PLAIN else ""

    @property
    def macs(self) -> int | None:
        """Multiplications, each with an addition, that one sample takes; of a matrix, one vector.

        Taps that fall on the padding count, as they do in all such figures. None where it is not known; see
        `no_macs`.
        """
        return None if self.no_macs else self._macs

    @property
    def _macs(self) -> int:
        """Where all is known that decides it."""
        weights, axes = math.prod(self.kernel_shape), self.input_size or ()
        if len(self.kernel_shape) == MATRIX_AXES:
            return weights
        if self.transposed:  # each entry of the input meets each tap once
            return weights * math.prod(axes)
        pads = zip(self.padding[: len(axes)], self.padding[len(axes) :], strict=True)
        ends = zip(axes, self.kernel_shape[2:], self.stride, self.dilation, pads, strict=True)
        outputs = ((n + sum(pad) - d * (k - 1) - 1) // s + 1 for n, k, s, d, pad in ends)
        return weights * math.prod(max(0, size) for size in outputs)

    @property
    def no_macs(self) -> str:
        """Why `macs` is None, in plain words; empty where it is known."""
        axes = len(self.kernel_shape) - MATRIX_AXES
        if self.status == NOT_APPLICABLE or axes < 0:
            return "it is no layer"
        if self.parameters is None:
            return BEYOND
        if not axes:
            return ""
        if self.input_size is None or len(self.input_size) != axes:
            return "the size of its input is not known"
        geometry = (len(self.stride), len(self.dilation), len(self.padding))
        if not self.transposed and (geometry != (axes, axes, 2 * axes) or not all(self.stride)):
            return "its padding is not known"
        return BEYOND if self._macs > MOST_ENTRIES else ""

    def measurement(self, calculator: str) -> Measurement | None:
        """What the named calculator said; None where it did not run.

        Args:
            calculator: "heuristic", "exact", "certified", "zero_padded" or "bound"; see `convsv methods`.
        """
        return dict(self.measurements).get(calculator)


@dataclass(frozen=True, kw_only=True)
class Update:
    """What is added to a layer's weight; the row's figures are those of what is added.

    Attributes:
        kind: "LoRA", "DoRA", "LoHa", "LoKr" or "full".
        rank: of the factors; None where these are whole.
        scale: what their product is multiplied by.
        frobenius: the Frobenius norm; None where the row has no figures.
        stable_rank: |D|_F^2 / |D|^2 of the update as a matrix, c_out x (c_in prod k); None for one that is 0.
        base: name of the weight in the base that it is added to; empty without one.
        base_norm: of that weight, as the row's certified one; None where it is not known.
        share: the update's norm over that of the base's weight.
        merged: of the sum, formed in float64.
        no_base: why the three are not known, where a base was given; empty else.
    """

    kind: str
    rank: int | None = None
    scale: float = 1.0
    frobenius: Interval | None = None
    stable_rank: Interval | None = None
    base: str = ""
    base_norm: Interval | None = None
    share: Interval | None = None
    merged: Interval | None = None
    no_base: str = ""

    @property
    def is_spike(self) -> bool:
        """Whether it is proven that one singular value is nearly all of it, though its rank may be more."""
        found = self.stable_rank
        return self.rank != 1 and found is not None and found.upper * SPIKE <= 1
