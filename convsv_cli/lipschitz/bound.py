"""The certified Lipschitz bound of a network, and where it comes from."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convsv_cli.lipschitz.blocks import logarithm, summarised
from convsv_cli.lipschitz.collapse import collapsed
from convsv_cli.lipschitz.composition import Composed, Segment, compose
from convsv_cli.lipschitz.density.ranges import alike, ranges_of
from convsv_cli.lipschitz.density.route import Routed, routed
from convsv_cli.lipschitz.dependencies import ending_at, needs, real, real_outputs, relevant, sources
from convsv_cli.lipschitz.effort import DEFAULT, Effort
from convsv_cli.lipschitz.fold import folded
from convsv_cli.lipschitz.norms import Norms
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.lipschitz.undefined import defined
from convsv_cli.lipschitz.written_out import read_back
from convsv_cli.model.graph import Graph, Node
from convsv_cli.numerics.intervals import ANYTHING, Range
from convsv_cli.numerics.rounding import UP, times
from convsv_cli.report import BOUNDED, UNKNOWN, NetworkBound

if TYPE_CHECKING:
    import torch

PLURALS = {
    "skip": "skips",
    "sum": "sums",
    "branch": "branches",
    "BatchNorm": "BatchNorms",
    "concatenation": "concatenations",
    "pooling layer": "pooling layers",
}
NO_INPUT = "no input is of real numbers, so there is nothing to perturb"
NO_OUTPUT = "no output is of real numbers"
LEFT_OUT = "outputs that are not real numbers ({}) do not count"
HELD = "inputs that are not real numbers ({}) are held fixed"
ARITHMETIC = "the network computes in real numbers: its own rounding is not counted"


def network_bound(
    graph: Graph,
    norms: Norms,
    input_range: tuple[float, float] | None = None,
    effort: Effort = DEFAULT,
) -> NetworkBound:
    """Bound the Lipschitz constant (L2) from all real inputs together to all real outputs together.

    Args:
        graph, norms, input_range, effort: as of `composition_of`, but the graph may have no input or output
            of real numbers; then that is the answer.
    """
    if not sources(graph) or not real_outputs(graph):
        reason = NO_OUTPUT if sources(graph) else NO_INPUT
        return NetworkBound(status=UNKNOWN, reason=reason, effort=effort.level)
    return composition_of(graph, norms, input_range, effort).bound()


@dataclass(frozen=True, kw_only=True, eq=False)
class Composition:
    """A graph of which every piece is bounded, as it is and folded.

    Norms have some width, so that now and then a piece has a smaller bound as it is; then that is taken.

    Attributes:
        graph: as it is, at one input size.
        input_range: what the entries of its inputs are known to be in; None for anything.
        rows: the rows of the audit that each of its nodes is, by the node's name, which folding keeps.
        plain: its segments.
        folded: those of what folding makes of it, and every node that has no bound.
        together: the segments of that, where runs of them were bounded by covariance propagation.
        output: a valid covariance of the network's one output, float64 [c, c]: no v' output has a Lipschitz
            constant of more than sqrt(v' output v). None where there is none.
        notes: what folding did, in words.
        seconds: wall time.
        effort: with which it was bounded, one of `EFFORTS`.
    """

    graph: Graph
    input_range: tuple[float, float] | None
    rows: Mapping[str, tuple[str, ...]]
    plain: Composed
    folded: Composed
    together: tuple[Segment, ...]
    output: torch.Tensor | None
    notes: tuple[str, ...]
    seconds: float
    effort: str

    def bound(self) -> NetworkBound:
        """Of the Lipschitz constant (L2) from all real inputs together to all real outputs together."""
        best = _best(_best(self.plain.segments, self.folded.segments), self.together)
        bound = summarised(best, self.folded.offences, self.rows)
        return replace(
            defined(bound, self.graph),
            input_range=self.input_range,
            structure=_structure(self.graph),
            folded=self.notes,
            assumptions=_assumptions(self.graph),
            seconds=self.seconds,
            effort=self.effort,
        )

    def up_to(self, tensor: str) -> float | None:
        """Bound of the Lipschitz constant from all real inputs together to a tensor; infinite for no bound.

        None where that is no end of a segment: some path leads around it, or folding has merged what comes
        before it with what comes after.

        Args:
            tensor: its name.
        """
        plain = _up_to(tensor, self.plain.segments, self.graph)
        folding = _up_to(tensor, self.folded.segments, self.graph)
        if plain is None or folding is None:
            return None
        bound = summarised(_best(plain, folding), (), self.rows)
        bound = defined(bound, ending_at(self.graph, tensor))
        return bound.lipschitz if bound.status == BOUNDED else math.inf


def composition_of(
    graph: Graph,
    norms: Norms,
    input_range: tuple[float, float] | None = None,
    effort: Effort = DEFAULT,
) -> Composition:
    """Bound the pieces of a graph; linear ones are folded and element-wise sub-graphs collapsed first.

    Args:
        graph: at one input size, with an input and an output of real numbers.
        norms: of its linear maps, and of those that folding makes.
        input_range: what the entries of the inputs are known to be in.
        effort: how long is searched.
    """
    start = time.perf_counter()
    box = ANYTHING if input_range is None else Range(lower=input_range[0], upper=input_range[1])
    folding, as_it_is = folded(graph), _simplified(graph)
    plain = by_rules = compose(as_it_is, RULES, norms, box)
    better = as_it_is
    if folding.graph is not graph:
        better = _simplified(folding.graph)
        by_rules = compose(better, RULES, norms, box)
    together = _together(better, by_rules, box, effort)
    return Composition(
        graph=graph,
        input_range=input_range,
        rows={node.name: norms.names(node, graph) for node in graph.main.nodes},
        plain=plain,
        folded=by_rules,
        together=together.segments,
        output=_whole(together),
        notes=folding.notes,
        seconds=time.perf_counter() - start,
        effort=effort.level,
    )


def _simplified(graph: Graph) -> Graph:
    """With what is written out in primitives as operators, and functions of one number as one node each."""
    return collapsed(read_back(graph))


def _together(graph: Graph, known: Composed, box: Range, effort: Effort) -> Routed:
    """Runs of segments bounded by covariance propagation, in a graph that bears it."""
    if not effort.bears(sum(len(each.nodes) for each in known.segments)):
        return Routed(segments=known.segments)
    return routed(graph, known.segments, effort, ranges_of(graph, alike(graph, box), known.ranges))


def _whole(together: Routed) -> torch.Tensor | None:
    """The covariance of the output from the inputs on, not from where the last run begins."""
    before = times(*(segment.factor for segment in together.segments[:-1]))
    if together.output is None or not math.isfinite(before):
        return None
    return together.output * times(before, before, UP)


def _up_to(tensor: str, segments: Sequence[Segment], graph: Graph) -> Sequence[Segment] | None:
    """The segments before a tensor; None where it is the end of none."""
    if tensor in sources(graph):
        return ()
    ends = [segment.end for segment in segments]
    return segments[: ends.index(tensor) + 1] if tensor in ends else None


def _best(first: Sequence[Segment], second: Sequence[Segment]) -> tuple[Segment, ...]:
    """Between the bottlenecks that two graphs of one network share, the segments of the one with the less.

    Where one of them shows that nothing is amplified at all, there is no more to say.
    """
    for constant in (first, second):
        if any(segment.factor == 0 for segment in constant):
            return tuple(constant)
    common = {segment.end for segment in first} & {segment.end for segment in second}
    pairs = zip(_runs(first, common), _runs(second, common), strict=True)
    return tuple(
        segment for one, other in pairs for segment in (one if logarithm(one) < logarithm(other) else other)
    )


def _runs(segments: Sequence[Segment], ends: set[str]) -> list[list[Segment]]:
    """The segments, a run up to each of the ends."""
    runs: list[list[Segment]] = [[]]
    for segment in segments:
        runs[-1].append(segment)
        if segment.end in ends:
            runs.append([])
    return [run for run in runs if run]


def _structure(graph: Graph) -> tuple[str, ...]:
    """What a product over layers does not see."""
    counts: Counter[str] = Counter()
    origins = {name: {name} for name in sources(graph)}
    for node in relevant(graph):
        counts.update(_kinds(graph, node, origins))
        all_ = set[str]().union(*(origins.get(name, ()) for name in needs(node)))
        origins |= dict.fromkeys(node.outputs, all_)
    return tuple(f"{count} {kind if count == 1 else PLURALS[kind]}" for kind, count in counts.items())


def _kinds(graph: Graph, node: Node, origins: Mapping[str, set[str]]) -> list[str]:
    """What a node is to a reader; a sum is a skip where some input comes to it on two ways."""
    names = {
        "Concat": "concatenation",
        "If": "branch",
        "BatchNormalization": "BatchNorm",
        "MaxPool": "pooling layer",
        "AveragePool": "pooling layer",
        "GlobalAveragePool": "pooling layer",
    }
    varying = [name for name in node.inputs if name and name not in graph.constants]
    if node.op in ("Add", "Sub", "Sum") and len(varying) > 1:
        ways = Counter(origin for name in varying for origin in origins.get(name, ()))
        return ["skip" if max(ways.values(), default=2) > 1 else "sum"]
    return [names[node.op]] if node.op in names else []


def _assumptions(graph: Graph) -> tuple[str, ...]:
    held = [name for name in graph.inputs if not real(graph, name)]
    lines = [HELD.format(", ".join(held))] if held and sources(graph) else []
    left = [name for name in graph.main.outputs if not real(graph, name)]
    if left:
        lines.append(LEFT_OUT.format(", ".join(left)))
    return (*graph.assumed, *lines, ARITHMETIC)
