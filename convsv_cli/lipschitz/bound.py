"""The certified Lipschitz bound of a network, and where it comes from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from convsv_cli.digits import short
from convsv_cli.lipschitz.collapse import collapsed
from convsv_cli.lipschitz.composition import compose
from convsv_cli.lipschitz.density.ranges import alike, hulls, ranges_of
from convsv_cli.lipschitz.density.route import Routed, routed
from convsv_cli.lipschitz.dependencies import ending_at, real_outputs, relevant, sources
from convsv_cli.lipschitz.effort import DEFAULT, Effort
from convsv_cli.lipschitz.ends import WHOLE, Ends, about, between, depends, no_ends
from convsv_cli.lipschitz.fold import folded
from convsv_cli.lipschitz.norms import Norms
from convsv_cli.lipschitz.pairs import Remembered, apart, norm_of_pairs, pair_bounds, skipped, tightened
from convsv_cli.lipschitz.quantised import BEHIND, ROUNDS, SECOND, Bounds, quantised
from convsv_cli.lipschitz.reported import defined, structure_of, summarised
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.lipschitz.segments import Composed, Segment, best, up_to
from convsv_cli.lipschitz.whole_numbers import as_real
from convsv_cli.lipschitz.written_out import extremes, read_back
from convsv_cli.lipschitz.written_out.heads import ATTENTION, DISTANCES
from convsv_cli.model.graph import Graph, Node
from convsv_cli.numerics.intervals import ANYTHING, Range
from convsv_cli.numerics.rounding import UP, times
from convsv_cli.report import BOUNDED, QUICK, UNKNOWN, NetworkBound

if TYPE_CHECKING:
    import torch

PRODUCTS = frozenset(("Mul", "Div", "MatMul", "Gemm", "Einsum", ATTENTION, DISTANCES))
SAME = 1 + 1e-9
"""Ratio of two bounds that differ by rounding alone."""
ARITHMETIC = "the network computes in real numbers: its own rounding is not counted"
INNER = "{!r} stays between {} and {}, as the network computes it from inputs in their range"


def network_bound(
    graph: Graph,
    norms: Norms,
    input_range: tuple[float, float] | None = None,
    effort: Effort = DEFAULT,
    ends: Ends = WHOLE,
) -> NetworkBound:
    """Bound the Lipschitz constant (L2) from all real inputs together to all real outputs together.

    Where there are several of either, each pair of an input and an output has a bound of its own, too, and
    the constant of all is at most the norm of the table of these (see `norm_of`).

    Args:
        graph, norms, effort: as of `composition_of`, but the graph may have no input or output of real
            numbers; then that is the answer.
        input_range: what the entries of the graph's inputs are known to be in, and those of chosen tensors
            that no real input leads to; of others that is known which the network makes of it.
        ends: tensors of the graph that stand for its inputs or outputs, as `check_ends` lets them pass.
    """
    norms = Remembered.of(norms)
    graph = graph if ends.sources else as_real(graph, ranged=input_range is not None)
    part = between(graph, ends)
    notes = about(graph, ends)
    if not sources(part) or not real_outputs(part):
        return NetworkBound(status=UNKNOWN, reason=no_ends(graph, part), effort=effort.level, left_out=notes)
    part, known = _with_ranges(part, graph, norms, input_range)
    found = composition_of(part, norms, input_range, effort)
    bound = _with_pairs(found.bound(), found)
    if bound.status != BOUNDED:
        bound = replace(bound, quantised=quantised(part, _bounds(norms, input_range, effort)))
    rounds = (ROUNDS,) if bound.quantised else ()
    return replace(
        bound,
        left_out=(*notes, *skipped(part, len(bound.pairs))),
        assumptions=(*dict.fromkeys((*graph.assumed, *found.assumed)), *known, *rounds, ARITHMETIC),
    )


def _bounds(norms: Norms, input_range: tuple[float, float] | None, effort: Effort) -> Bounds:

    def whole(graph: Graph, effort: Effort) -> NetworkBound:
        return composition_of(graph, norms, input_range, effort).bound()

    return Bounds(
        whole=partial(whole, effort=effort),
        quick=partial(whole, effort=Effort(level=QUICK)),
        simplify=lambda graph: simplified(folded(graph).graph),
        compose=partial(compose, rules=RULES, norms=norms, input_range=_box(input_range)),
        tensors=BEHIND[effort.level],
        patience=SECOND * effort.patience,
    )


def _with_ranges(
    part: Graph, graph: Graph, norms: Norms, input_range: tuple[float, float] | None
) -> tuple[Graph, tuple[str, ...]]:
    """A part of a graph, with what is known of tensors where it begins or that are held fixed; that in words.

    A tensor inside the graph is in what the network makes of its inputs' range, if these lead to it.
    """
    if not part.held:
        return part, ()
    box, lines, ranges = _box(input_range), [], dict(part.ranges)
    for name in sources(part) if input_range else ():
        if name not in graph.inputs and depends(graph, sources(graph), name):
            before = collapsed(ending_at(graph, name))
            ranges[name] = found = compose(before, RULES, norms, box).ranges.get(name, ANYTHING)
            ends = short(found.lower, 7), short(found.upper, 7)
            lines += [INNER.format(name, *ends)] if found.finite else []
    free = collapsed(replace(part, ranges=ranges, held=frozenset()))
    return replace(part, ranges={**compose(free, RULES, norms, box).ranges, **ranges}), tuple(lines)


def _with_pairs(bound: NetworkBound, found: Composition) -> NetworkBound:
    """The bound with those of its pairs, and no larger than these allow together."""
    pairs = pair_bounds(found.graph, found.parts, bound.lipschitz)
    norm = norm_of_pairs(pairs, found.graph)
    if not norm < bound.lipschitz:
        return replace(bound, pairs=pairs)
    nodes = relevant(found.graph)
    together = summarised([Segment(start="", end="", nodes=nodes, factor=norm)], (), found.rows)
    return replace(
        bound,
        status=BOUNDED,
        lipschitz=together.lipschitz,
        log10=together.log10,
        blocks=bound.blocks if bound.lipschitz < norm * SAME else together.blocks,
        obstacles=(),
        parts=(),
        pairs=pairs,
    )


def _box(input_range: tuple[float, float] | None) -> Range:
    return ANYTHING if input_range is None else Range(lower=input_range[0], upper=input_range[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Composition:
    """A graph of which every piece is bounded, as it is and folded.

    Norms have some width, so that now and then a piece has a smaller bound as it is; then that is taken.

    Attributes:
        graph: as it is, at one input size.
        input_range: what the entries of its inputs are known to be in; None for anything.
        parts: the graph as its pieces were bounded, element-wise sub-graphs collapsed, and each of these with
            one input perturbed and the others held fixed.
        rows: the rows of the audit that each of its nodes is, by the node's name, which folding keeps.
        plain: its segments.
        folded: those of what folding makes of it, and every node that has no bound.
        together: the segments of that, where runs of them were bounded by covariance propagation.
        output: a valid covariance of the network's one output, float64 [c, c]: no v' output has a Lipschitz
            constant of more than sqrt(v' output v). None where there is none.
        notes: what folding did, in words.
        assumed: what was taken for granted, in words.
        seconds: wall time.
        effort: with which it was bounded, one of `EFFORTS`.
    """

    graph: Graph
    input_range: tuple[float, float] | None
    parts: Mapping[Graph, Sequence[Composed]]
    rows: Mapping[str, tuple[str, ...]]
    plain: Composed
    folded: Composed
    together: tuple[Segment, ...]
    output: torch.Tensor | None
    notes: tuple[str, ...]
    assumed: tuple[str, ...]
    seconds: float
    effort: str

    def bound(self) -> NetworkBound:
        """Of the Lipschitz constant (L2) from all real inputs together to all real outputs together."""
        segments = best(best(self.plain.segments, self.folded.segments), self.together)
        bound = summarised(segments, self.folded.offences, self.rows)
        return replace(
            defined(bound, self.graph),
            input_range=self.input_range,
            structure=structure_of(self.graph),
            folded=self.notes,
            assumptions=(*self.assumed, ARITHMETIC),
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
        plain = up_to(tensor, self.plain.segments, sources(self.graph))
        folding = up_to(tensor, self.folded.segments, sources(self.graph))
        if plain is None or folding is None:
            return None
        bound = summarised(best(plain, folding), (), self.rows)
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
    box = _box(input_range)
    again = partial(compose, rules=RULES, norms=Remembered.of(norms), input_range=box)
    folding = folded(graph)
    better, plain, alone = _by_rules(simplified(graph), box, again)
    by_rules, parts = plain, {better: alone}
    if folding.graph is not graph:
        better, by_rules, alone = _by_rules(simplified(folding.graph), box, again)
        parts[better] = alone
    together = _together(better, by_rules, box, effort)
    return Composition(
        graph=graph,
        input_range=input_range,
        parts=parts,
        rows={node.name: norms.names(node, graph) for node in graph.main.nodes},
        plain=plain,
        folded=by_rules,
        together=together.segments,
        output=_whole(together),
        notes=folding.notes,
        assumed=better.assumed,
        seconds=time.perf_counter() - start,
        effort=effort.level,
    )


def simplified(graph: Graph) -> Graph:
    """With what is written out in primitives as operators, and functions of one number as one node each."""
    return collapsed(read_back(extremes(graph)))


def _by_rules(
    graph: Graph, box: Range, again: Callable[[Graph], Composed]
) -> tuple[Graph, Composed, tuple[Composed, ...]]:
    """A graph composed with all inputs perturbed, and with each alone, by which the former is no larger.

    Where tensors are multiplied, once more with what their channels are in, which is less wide than what
    whole tensors are in, and needs a pass of its own; the graph says so then.
    """
    whole = again(graph)
    if whole.ranges and any(_multiplies(node, graph) for node in relevant(graph)):
        entries = ranges_of(graph, alike(graph, box), whole.ranges)
        graph = replace(graph, ranges={**hulls(entries), **graph.ranges})
        whole = again(graph)
    alone = apart(graph, whole, again)
    return graph, tightened(graph, whole, alone), alone


def _multiplies(node: Node, graph: Graph) -> bool:
    """Whether the range of one of its inputs decides on how much a node amplifies another."""
    varying = {name for name in node.inputs if name and name not in graph.constants}
    return node.op in PRODUCTS and (len(varying) > 1 or node.inputs[0] == node.input(1))


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
