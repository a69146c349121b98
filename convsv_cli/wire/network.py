"""What is said of the whole network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from convsv_cli import report
from convsv_cli.digits import short
from convsv_cli.report import AUDITED, BOUNDED, COVARIANCE, RULES, UNKNOWN, LayerAudit
from convsv_cli.wire.form import (
    Count,
    Finite,
    Form,
    Norm,
    Pair,
    Share,
    Text,
    Texts,
    in_order,
)
from convsv_cli.wire.layer import KINDS

METHODS = {
    False: "certified norms, composed over the graph in topological order",
    True: "covariances per frequency, through several blocks at once, and certified norms, composed likewise",
}
"""By whether there are blocks that were bounded at once."""
LARGEST_LOG10 = 1e9
"""Of a bound: as many layers as a report has, each of the largest norm that there is, come to less."""
UNTOLD = "the report does not say"
PRODUCTS = Meta(extra_json_schema={"required": ["heuristic", "exact", "certified", "bound"]})
Status = Literal["bounded", "unbounded", "unknown"]


class Empirical(Form, frozen=True, kw_only=True):
    """What was seen of the network where it was run."""

    ratio: Finite
    pairs: Count = 0
    directions: Count = 0
    source: str = ""
    seconds: Finite = 0.0


class Block(Form, frozen=True, kw_only=True):
    """A piece of the graph that everything passes.

    Attributes:
        factor: What it multiplies the bound by.
        share: Of the logarithm of the product of all factors above 1; null for one that amplifies nothing.
        route: By rules, the factor is a certified bound of the block by itself. By covariance, several blocks
            were bounded at once: only the product of their factors is a bound. In reports without it: rules.
    """

    name: str
    ops: Texts = ()
    layers: Texts = ()
    start: Text = field(name="from", default=None)
    end: Text = field(name="to", default=None)
    factor: Norm = None
    share: float | None = None
    route: Annotated[str, Meta(extra_json_schema={"enum": [RULES, COVARIANCE]})] = RULES


class Obstacle(Form, frozen=True, kw_only=True):
    """A node without a bound."""

    node: str
    op: str
    reason: str = ""


class Part(Form, frozen=True, kw_only=True):
    """Blocks in a row that have a bound."""

    start: Text = field(name="from", default=None)
    end: Text = field(name="to", default=None)
    blocks: Count = 0
    lipschitz: Norm = field(name="lipschitz_upper", default=None)


class PairBound(Form, frozen=True, kw_only=True):
    """From one tensor to another.

    Attributes:
        lipschitz: Certified upper bound; null where there is none.
        reason: Why there is none, or why it is 0.
    """

    start: str = field(name="from")
    end: str = field(name="to")
    lipschitz: Norm = field(name="lipschitz_upper")
    reason: Text = None


class Quantised(Form, frozen=True, kw_only=True):
    """|f(x) - f(y)| <= lipschitz_upper |x - y| + added_upper, for a network that rounds.

    Attributes:
        lipschitz: Certified factor; null where there is no such bound.
        added: Certified upper bound of what the steps of all quantisers make of the outputs; null likewise.
        quantisers: How many there are.
        reason: Why there is no such bound.
    """

    lipschitz: Norm = field(name="lipschitz_upper", default=None)
    added: Norm = field(name="added_upper", default=None)
    quantisers: Count = 0
    reason: Text = None


class Network(Form, frozen=True, kw_only=True):
    """The network from all its inputs to all its outputs, or between the tensors that were asked for.

    Attributes:
        status: Whether the network has a certified Lipschitz bound, has none because of the nodes in
            unbounded, or was not looked at for the reason.
        lipschitz: Certified upper bound of the Lipschitz constant (L2) from all real inputs to all real
            outputs; null where there is none, or it is beyond 1e308.
        input_range: What the bound takes the inputs to be in; null: anything.
        empirical_lower: The largest ratio that was seen: an estimate from below.
        blocks: Pieces that everything passes; the bound is the product of their factors.
        obstacles: Every node without a bound.
        parts: Runs of blocks that have a bound, where the whole network has none.
        product: Products of the layers' figures; not bounds of the network.
        coverage: Share of the layers that were audited; rows that are not applicable are none.
        unrefined: The bound before it was refined to decide about a limit: what other
            networks' bounds may be held against. Absent where it was not refined.
        effort: How long a small bound was searched for; null in reports of versions that did not search.
        pairs: Bounds from one input to one output, the other inputs held fixed: where there are several, and
            of those pairs that a budget is for.
        left_out: Inputs that are held fixed and outputs that do not count, a line each, with the reason.
        quantised: What is proven of a network that is unbounded as it rounds; null for another one.
    """

    status: Status = "unknown"
    reason: Text = None
    lipschitz: Norm = field(name="lipschitz_upper", default=None)
    log10: float | None = field(name="log10_lipschitz_upper", default=None)
    certified: bool = False
    method: str = METHODS[False]
    input_range: Pair | None = None
    empirical_lower: Norm = None
    empirical: Empirical | None = None
    blocks: tuple[Block, ...] = ()
    obstacles: tuple[Obstacle, ...] = field(name="unbounded", default=())
    parts: tuple[Part, ...] = ()
    structure: Texts = ()
    folded: Texts = ()
    product: Annotated[dict[str, Norm], PRODUCTS] = field(default_factory=dict)
    coverage: Share = 1.0
    assumptions: Texts = ()
    seconds: Finite = 0.0
    unrefined: Norm | UnsetType = field(name="lipschitz_upper_unrefined", default=UNSET)
    effort: Text = None
    pairs: tuple[PairBound, ...] = ()
    left_out: Texts = ()
    quantised: Quantised | None = None

    def __post_init__(self) -> None:
        if self.input_range:
            in_order(*self.input_range, of="of input_range ")

    @classmethod
    def filled(cls, totals: report.NetworkTotals, bound: report.NetworkBound) -> Network:
        """The form of what is said of a network."""
        return cls.of(
            bound,
            certified=bound.status == BOUNDED,
            method=METHODS[any(block.route == COVARIANCE for block in bound.blocks)],
            empirical_lower=bound.empirical and bound.empirical.ratio,
            product=dict(totals.product),
            coverage=totals.coverage,
            assumptions=(*totals.assumptions, *bound.assumptions),
        )

    def totals(self, layers: tuple[LayerAudit, ...], columns: Iterable[str]) -> report.NetworkTotals:
        """Figures over all layers.

        Args:
            layers: the rows.
            columns: the methods that have a product.
        """
        names = dict.fromkeys([*self.product, *columns])
        return report.NetworkTotals(
            product=tuple((name, self._product(name, layers)) for name in names),
            coverage=self.coverage,
            assumptions=self.assumptions[: self._of_layers(layers)],
        )

    def bound(self, layers: tuple[LayerAudit, ...]) -> report.NetworkBound:
        """What is proven of the network; unknown where the report is from before there were such bounds.

        Args:
            layers: the rows.

        Raises:
            ValueError: it is beyond what any network has.
        """
        if self.log10 is not None and abs(self.log10) > LARGEST_LOG10:
            raise ValueError(f"network: a logarithm beyond {short(LARGEST_LOG10)}")
        return self.made(
            report.NetworkBound,
            reason=self.reason or (UNTOLD if self.status == UNKNOWN else ""),
            assumptions=self.assumptions[self._of_layers(layers) :],
        )

    def _of_layers(self, layers: tuple[LayerAudit, ...]) -> int:
        """How many of the assumptions are the layers', which come first; all where that is unclear."""
        ours = tuple(dict.fromkeys(line for layer in layers for line in layer.assumed))
        return len(ours) if self.assumptions[: len(ours)] == ours else len(self.assumptions)

    def _product(self, name: str, layers: tuple[LayerAudit, ...]) -> float | None:
        """A product that is null is infinite where every layer has the figure."""
        product = self.product.get(name)
        if product is not None or name not in KINDS:
            return product
        audited = [layer.measurement(name) for layer in layers if layer.status == AUDITED]
        return math.inf if name in self.product and audited and None not in audited else None
