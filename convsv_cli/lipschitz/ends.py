"""From which tensors, and to which: a graph cut down to what lies between them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from convsv_cli.errors import UsageError
from convsv_cli.lipschitz.dependencies import (
    by_chance,
    ending_at,
    needs,
    real,
    real_outputs,
    relevant,
    sources,
    wanted,
)
from convsv_cli.model.graph import Body, Graph, Names, Node
from convsv_cli.report import Settings

T = TypeVar("T")
FROM, TO = "--from", "--to"
COMPARED, LONGEST, FEW = 20_000, 200, 4
"""Tensors that a wrong name is compared with, characters of one that is, and how many are named."""
NO_INPUT = "no input is of real numbers, so there is nothing to perturb"
NO_OUTPUT = "no output is of real numbers"
BEGIN, STOP = (
    "; --from {!r} begins at its first tensor of real numbers",
    "; --to {!r} is its last tensor of some",
)
JUMPS = "it is of {}, not of real numbers: it jumps, so that no Lipschitz constant describes it"
INPUT = "held fixed: the input {!r}, which is of {}, so that there are no small perturbations of it"
OUTPUT = "left out: the output {!r}, which is of {}: it jumps, so that no Lipschitz constant describes it"
PERTURBED = "only {} {} perturbed: all else that the outputs depend on is held fixed"
INDEPENDENT = "{!r} does not depend on {}, so that nothing is amplified on that way"
START = "nothing to perturb: {!r} is constant"
INSIDE = "it is inside the {} {!r}: only tensors of the main graph can be chosen"


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Which Lipschitz constant is meant.

    Attributes:
        sources: the tensors that are perturbed; empty for all inputs of real numbers.
        targets: those that are looked at; empty for all outputs of real numbers.
    """

    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Ends:
        """Those that a user asks for."""
        return cls(sources=settings.sources, targets=settings.targets)

    def __bool__(self) -> bool:
        return bool(self.sources or self.targets)


WHOLE = Ends()


def check_ends(graph: Graph, ends: Ends, where: str) -> None:
    """See that there are such tensors, that they are of real numbers, and that none of the first is constant.

    Args:
        graph: that they are to be of.
        ends: their names.
        where: the file, for messages.

    Raises:
        UsageError: what is wrong with one of them, and which may have been meant.
    """
    for option, names in ((FROM, ends.sources), (TO, ends.targets)):
        for name in names:
            what, hint = fault_of(graph, name, perturbed=option == FROM)
            if what:
                raise UsageError(f"{option} {name!r}: {what}", where=where, hint=hint)


def fault_of(graph: Graph, name: str, *, perturbed: bool) -> tuple[str, str]:
    """Why a tensor can be no end, and what to do; both empty where it can.

    Args:
        graph: that it is to be of.
        name: its name.
        perturbed: whether it is to be perturbed, so that it must not be constant.
    """
    known = dict.fromkeys(_tensors(graph))
    inner = next(_inside(graph.main, name), None) if name not in known else None
    if inner is not None:
        return INSIDE.format(inner.op, inner.name), ""
    if name not in known and name not in graph.constants:
        return "there is no such tensor", _instead_of(name, graph, known)
    if perturbed and name in graph.constants:
        return START.format(name), ""
    if not real(graph, name):
        return JUMPS.format(graph.dtypes[name]), ""
    return "", ""


def fault_of_pair(graph: Graph, start: str, end: str) -> str:
    """Why there is no bound from one tensor to another, and what to do; empty where there may be one."""
    for name, perturbed in ((start, True), (end, False)):
        what, hint = fault_of(graph, name, perturbed=perturbed)
        if what:
            return f"{name!r}: {what}{hint and f' ({hint})'}"
    return ""


def between(graph: Graph, ends: Ends) -> Graph:
    """The graph from some tensors to others: it begins at the former, and all other inputs are held fixed.

    Args:
        graph: at one input size.
        ends: tensors of it, as `check_ends` lets them pass.
    """
    if not ends:
        return graph
    starts, targets = ends.sources or sources(graph), ends.targets or real_outputs(graph)
    inner = tuple(dict.fromkeys(name for name in starts if name not in graph.inputs))
    names = Names({*graph.inputs, *graph.shapes, *(name for n in graph.main.nodes for name in n.outputs)})
    anew = {name: names.new(name) for name in inner}
    nodes = [_renamed(node, anew) for node in graph.main.nodes]
    return replace(
        graph,
        main=Body(nodes=wanted(nodes, targets), outputs=targets),
        inputs=(*graph.inputs, *inner),
        shapes=_of_new(graph.shapes, anew),
        dtypes=_of_new(graph.dtypes, anew),
        held=frozenset(graph.inputs).difference(starts),
    )


def only(graph: Graph, *sources: str) -> Graph:
    """The graph, in which some of its inputs are perturbed and all others are held fixed."""
    return replace(graph, held=frozenset(graph.inputs).difference(sources))


def depends(graph: Graph, starts: Sequence[str], end: str) -> bool:
    """Whether a tensor is one of the inputs `starts`, or a path leads from these, or from chance, to it."""
    return end in starts or bool(relevant(ending_at(only(graph, *starts), end)))


def about(graph: Graph, ends: Ends) -> tuple[str, ...]:
    """What is held fixed or left out, a line each, with the reason.

    Args:
        graph: the whole.
        ends: that were chosen.
    """
    lines: list[str] = []
    if ends.sources:
        names = ", ".join(map(repr, dict.fromkeys(ends.sources)))
        lines.append(PERTURBED.format(names, "is" if len(set(ends.sources)) == 1 else "are"))
    elif sources(graph):
        held = dict.fromkeys(name for name in graph.inputs if not real(graph, name))
        lines += [INPUT.format(name, graph.dtypes[name]) for name in held]
    if not ends.targets:
        left = dict.fromkeys(name for name in graph.main.outputs if not real(graph, name))
        lines += [OUTPUT.format(name, graph.dtypes[name]) for name in left]
    return (*lines, *_independent(between(graph, ends)))


def _independent(graph: Graph) -> Iterator[str]:
    """The outputs that none of the inputs reaches which are perturbed, nor chance."""
    starts = sources(graph)
    reached = set(starts)
    for node in graph.main.nodes:
        if by_chance(node) or not reached.isdisjoint(needs(node)):
            reached.update(node.outputs)
    for name in real_outputs(graph) if starts else ():
        if name not in reached:
            yield INDEPENDENT.format(name, ", ".join(map(repr, starts)))


def no_ends(graph: Graph, part: Graph) -> str:
    """What a network lacks that has no inputs or no outputs of real numbers, and where one may begin or stop.

    Args:
        graph: the whole.
        part: between the ends that were chosen.
    """
    if not sources(part):
        first = first_real(graph)
        return NO_INPUT + (BEGIN.format(first) if first else "")
    last = last_real(graph)
    return NO_OUTPUT + (STOP.format(last) if last else "")


def first_real(graph: Graph) -> str:
    """The first tensor of real numbers that a look-up gives, or else any operator; empty for none."""
    nodes = wanted(graph.main.nodes, graph.main.outputs)
    looked_up = (node for node in nodes if node.op == "Gather")
    return next((name for some in (looked_up, nodes) for name in _computed(some, graph)), "")


def last_real(graph: Graph) -> str:
    """The last tensor of real numbers that the outputs depend on; empty where there is none."""
    return next(_computed(reversed(wanted(graph.main.nodes, graph.main.outputs)), graph), "")


def _computed(nodes: Iterable[Node], graph: Graph) -> Iterator[str]:
    for node in nodes:
        for name in filter(None, node.outputs):
            if name not in graph.constants and name in graph.dtypes and real(graph, name):
                yield name


def _tensors(graph: Graph) -> Iterator[str]:
    yield from graph.inputs
    for node in graph.main.nodes:
        yield from filter(None, node.outputs)


def _inside(body: Body, name: str) -> Iterator[Node]:
    """The nodes of a body in whose own bodies the tensor is."""
    for node in body.nodes:
        inner = (each for _, bodies in node.bodies for each in bodies.all_bodies())
        if any(name in made.outputs for each in inner for made in each.nodes):
            yield node


def _instead_of(name: str, graph: Graph, known: Collection[str]) -> str:
    """What may have been meant, or what there is."""
    short = [each for each in islice(known, COMPARED) if len(each) <= LONGEST]
    near = difflib.get_close_matches(name[:LONGEST], short, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    ends = list(dict.fromkeys((*graph.inputs, *graph.main.outputs)))
    return f"its inputs and outputs are {', '.join(ends[:FEW])}{', ...' if len(ends) > FEW else ''}"


def _of_new(known: Mapping[str, T], anew: Mapping[str, str]) -> Mapping[str, T]:
    """What is known of tensors, and of those that have new names."""
    return {**known, **{new: known[old] for old, new in anew.items() if old in known}}


def _renamed(node: Node, anew: Mapping[str, str]) -> Node:
    """The node, whose outputs have other names where the graph now begins at them."""
    if not anew.keys() & set(node.outputs):
        return node
    return replace(node, outputs=tuple(anew.get(name, name) for name in node.outputs))
