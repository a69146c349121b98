"""What is said of the network as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

BOUNDED, UNBOUNDED, UNKNOWN = "bounded", "unbounded", "unknown"
RULES, COVARIANCE = "rules", "covariance"
"""Routes to the factor of a block."""
EFFORTS = QUICK, NORMAL, THOROUGH = "quick", "normal", "thorough"
"""How long is searched for a small bound of a network: same file, settings and effort, same bound."""


@dataclass(frozen=True, kw_only=True)
class NetworkTotals:
    """Figures over all audited layers.

    Attributes:
        product: by calculator, the product of the layers' figures. It knows nothing of what is between and
            around them: *not* a bound of the network. None where a layer lacks the figure.
        coverage: share of the weight layers that were audited, tables and the like aside.
        assumptions: each thing that was taken for granted, once.
    """

    product: tuple[tuple[str, float | None], ...]
    coverage: float
    assumptions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """A node of the graph that has no Lipschitz bound.

    Attributes:
        node: its name.
        op: ONNX operator type.
        reason: why it has none.
    """

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
        factor: what it multiplies the bound by; infinite where there is none. By `RULES`, that is a certified
            Lipschitz bound between its ends. By `COVARIANCE`, the network was bounded through several blocks
            at once: the bound up to its end over that up to its start, which proves nothing of the block.
        share: of the logarithm of the product of all factors that are not below 1; None for those that are,
            and where there is no bound or nothing is amplified. All shares add up to 1.
        route: `RULES` or `COVARIANCE`.
    """

    name: str
    ops: tuple[str, ...]
    layers: tuple[str, ...]
    start: str
    end: str
    factor: float
    share: float | None = None
    route: str = RULES


def shared(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """The blocks with their shares: a block that shrinks takes from the bound, and has none of it."""
    logs = [math.log10(block.factor) if block.factor > 1 else 0.0 for block in blocks]
    whole = math.fsum(logs)
    bounded = math.isfinite(whole) and not any(block.factor == 0 for block in blocks)
    shares = (
        log / whole if bounded and whole and block.factor >= 1 else None
        for block, log in zip(blocks, logs, strict=True)
    )
    return tuple(replace(block, share=share) for block, share in zip(blocks, shares, strict=True))


@dataclass(frozen=True, kw_only=True)
class Part:
    """Blocks in a row that have a bound, where the whole network has none.

    Attributes:
        start, end: the tensors between which they lie; empty for all inputs, and for all outputs.
        blocks: how many there are.
        lipschitz: certified bound between both.
    """

    start: str
    end: str
    blocks: int
    lipschitz: float


@dataclass(frozen=True, kw_only=True)
class PairBound:
    """The bound from one tensor to another, where others are held fixed, or are not looked at.

    Attributes:
        start, end: the tensors.
        lipschitz: certified bound; infinite where there is none.
        reason: why there is none, or why it is 0; empty else.
    """

    start: str
    end: str
    lipschitz: float
    reason: str = ""


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
class Quantised:
    """What is proven of a network that rounds: |f(x) - f(y)| <= lipschitz |x - y| + added, for all x and y.

    No Lipschitz constant describes it, for it jumps; of the network without its steps, `lipschitz` is one.

    Attributes:
        lipschitz: certified factor of |x - y|; infinite where there is no such bound.
        added: certified upper bound of what all steps together make of the outputs; infinite likewise.
        quantisers: how many there are whose steps reach the outputs.
        reason: why there is no such bound; empty else.
    """

    lipschitz: float
    added: float
    quantisers: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class NetworkBound:
    """What is proven of a network, from all its inputs together to all its outputs, in the Euclidean norm.

    Where the user has chosen tensors, these stand for the inputs or the outputs.

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
        unrefined: the upper bound before it was refined to decide about a limit; None where it was not.
        effort: one of `EFFORTS`; empty in reports of versions that knew the rules alone.
        pairs: from one input to one output, all others held fixed: of all pairs where there is more than one,
            and of those that a budget is for.
        left_out: what is no part of the constant, a line each, with the reason.
        quantised: what is proven instead of a network that is unbounded as it rounds; None for another one.
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
    unrefined: float | None = None
    effort: str = NORMAL
    pairs: tuple[PairBound, ...] = ()
    left_out: tuple[str, ...] = ()
    quantised: Quantised | None = None

    @property
    def at_settings(self) -> float:
        """The upper bound that the settings alone lead to, to be held against that of another network."""
        return self.lipschitz if self.unrefined is None else self.unrefined
