"""Element-wise sub-graphs of one input, each made one node, whatever else uses their parts.

Exporters take activations apart: SiLU is `Mul(x, Sigmoid(x))`. A product of two activations has no Lipschitz
constant, but one function of one number has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from convsv_cli import limits
from convsv_cli.digits import short
from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.dependencies import needs, real
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar.expressions import Expression, X, number
from convsv_cli.lipschitz.scalar.operators import BUILDERS, COLLAPSED
from convsv_cli.lipschitz.scalar.steepness import steepness
from convsv_cli.lipschitz.scalar.switches import LOGICAL, SWITCHES, continuous, expressed, jump
from convsv_cli.model.graph import Body, Graph, Node, UnknownValueError

APPLIED = 8 * limits.OBJECT  # steps of the model's allowance, for each node of each sub-graph
MOST_NODES = 48  # of one sub-graph
MOST_PARTS = 96  # of one expression, written out
MOST_TRIALS = 3  # of the largest sub-graphs with the same last node, and of the smallest
JUMP = "{!r} jumps by at most {}, which single precision does not tell from no jump"
LINEAR = frozenset(("Add", "Sub", "Mul", "Div", "Neg", "Identity", "Cast", "Dropout"))


def collapsed(graph: Graph) -> Graph:
    """The same computation with `convsv.Elementwise` nodes, where these may have smaller bounds.

    Shapes of the tensors that remain are as before, as are all that are used elsewhere. As it is where that
    takes more steps than the model may.
    """
    with suppress(LimitError):
        collapse = _Collapse(graph)
        main = collapse.body(graph.main)
        return replace(graph, main=main, assumed=(*graph.assumed, *collapse.jumps))
    return graph


@dataclass(frozen=True, kw_only=True)
class _Region:
    """Nodes between one tensor and the last node's result, in no order.

    Attributes:
        source: the tensor.
        nodes: the last one first.
        shared: whether something else uses a result of one of them, but for the last.
    """

    source: str
    nodes: tuple[Node, ...]
    shared: bool = False


class _LargeError(UnboundedError):
    """An expression that is too large to bound."""


class _Collapse:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._uses = Counter(_uses(graph.main))
        self._producers = {name: node for node in _all_nodes(graph.main) for name in node.outputs if name}
        self._gaining: dict[int, bool] = {}
        self.jumps: list[str] = []
        self._position = {name: i for i, name in enumerate(self._producers)}

    def body(self, body: Body) -> Body:
        """With its nodes collapsed, from the last to the first, and those of bodies inside it.

        A node stays where something outside its region needs it, too.
        """
        own = {id(node) for node in body.nodes}
        absorbed: set[int] = set()
        needed, kept = set(body.outputs), list[Node]()
        for node in reversed(body.nodes):
            if id(node) in absorbed and not needed.intersection(node.outputs):
                continue
            found = self._best(node, own)
            if found is None:
                bodies = tuple((name, self.body(inner)) for name, inner in node.bodies)
                kept.append(replace(node, bodies=bodies) if bodies else node)
            else:
                region, expression = found
                size = jump(expression)
                self.jumps.extend([JUMP.format(node.name, short(size, 2))] if size else [])
                absorbed.update(id(each) for each in region.nodes)
                attributes = {"expression": expression, "ops": tuple(n.op for n in region.nodes[::-1])}
                kept.append(
                    Node(
                        op=COLLAPSED,
                        name=node.name,
                        inputs=(region.source,),
                        outputs=node.outputs[:1],
                        attributes=attributes,
                    )
                )
            needed.update(needs(kept[-1]))
        return replace(body, nodes=tuple(reversed(kept)))

    def _best(self, node: Node, own: set[int]) -> tuple[_Region, Expression] | None:
        """The largest region that ends with a node, of those that are functions with bounded slopes.

        First of those that nothing outside uses parts of, so that as much as possible goes through few
        tensors; then of all. Only the first few are tried, from the largest on: where these have no bound,
        the smallest. Where there is none, the largest with a node that has none of its own either: over a
        known range, one function still varies less than the parts that it is made of.
        """
        if not self._absorbable(node, own) or not real(self._graph, node.outputs[0]):
            return None
        other = None
        found = list(self._functions(node, own))
        private = [each for each in found if not each[0].shared]
        for tried in (private[::-1], private, found[::-1], found):
            for region, expression in tried[:MOST_TRIALS]:
                if math.isfinite(steepness(expression)):
                    return region, expression
                if other is None and any(self._endless(each) for each in region.nodes):
                    other = region, expression
        return other

    def _functions(self, node: Node, own: set[int]) -> Iterator[tuple[_Region, Expression]]:
        """The regions that end with a node and are continuous functions, ever larger ones."""
        for region in self._regions(node, own):
            if not self._same_shape(region.source, node):
                continue
            try:
                expression = self._expression(node.outputs[0], region)
            except _LargeError:
                return
            except UnboundedError:
                continue
            if continuous(expression):
                yield region, expression

    def _gains(self, node: Node) -> bool:
        """Whether two functions meet in it, or it has no bounded slope; else its own bound says as much."""
        if len(self._varying(node)) > 1:
            return True
        if id(node) not in self._gaining:
            self._gaining[id(node)] = node.op not in LINEAR and self._endless(node)
        return self._gaining[id(node)]

    def _endless(self, node: Node) -> bool:
        """Whether a node has no bounded slope, whatever its input is in."""
        varying = set(self._varying(node))
        if len(varying) > 1:
            return node.op in ("Mul", "Div")
        region = _Region(source=varying.pop(), nodes=(node,))
        with suppress(UnboundedError):
            return not math.isfinite(steepness(self._expression(node.outputs[0], region)))
        return False

    def _regions(self, last: Node, own: set[int]) -> Iterator[_Region]:
        """Ever larger ones, from which something is gained.

        The input computed latest is replaced by what it is computed from.
        """
        nodes, shared = [last], False
        used = Counter(self._varying(last))
        gains = self._gains(last)
        while used and len(nodes) <= MOST_NODES:
            latest = max(used, key=lambda name: self._position.get(name, -1))
            if gains and len(used) == 1 and len(nodes) > 1 and real(self._graph, latest):
                yield _Region(source=latest, nodes=tuple(nodes), shared=shared)
            producer = self._producers.get(latest)
            if producer is None or not self._absorbable(producer, own):
                return
            shared = shared or used[latest] != self._uses[latest]
            del used[latest]
            nodes.append(producer)
            gains = gains or self._gains(producer)
            used.update(self._varying(producer))

    def _absorbable(self, node: Node, own: set[int]) -> bool:
        """Whether it is element-wise, with one result that is real or a condition, and in the same body."""
        if id(node) not in own or not (node.op in BUILDERS or node.op in SWITCHES) or node.bodies:
            return False
        first, *others = node.outputs
        known = bool(first) and (real(self._graph, first) or node.op in LOGICAL)
        return known and not any(self._uses[name] for name in others if name)

    def _varying(self, node: Node) -> list[str]:
        return [name for name in node.inputs if name and name not in self._graph.constants]

    def _same_shape(self, source: str, last: Node) -> bool:
        before, after = (self._graph.shapes.get(name) for name in (source, last.outputs[0]))
        return before is not None and after is not None and len(before) == len(after)

    def _expression(self, result: str, region: _Region) -> Expression:
        inside = {node.outputs[0]: node for node in region.nodes}
        known: dict[str, Expression] = {region.source: X}

        def find(name: str) -> Expression | None:
            if not name:
                return None
            if name not in known:
                node = inside.get(name)
                known[name] = self._number(name) if node is None else apply(node)
            return known[name]

        def apply(node: Node) -> Expression:
            limits.spend(APPLIED, "looking for functions of one number", share=0.5)
            result = expressed(node, [find(name) for name in node.inputs])
            if result.count() > MOST_PARTS:
                raise _LargeError("a large expression")
            return result

        return apply(inside[result])

    def _number(self, name: str) -> Expression:
        """A constant of one entry."""
        sizes = self._graph.shapes.get(name)
        if sizes is not None and None not in sizes and math.prod(size or 0 for size in sizes) != 1:
            raise UnboundedError("a constant of several numbers")
        try:
            value = self._graph.constants[name]().read()
        except UnknownValueError as error:
            raise UnboundedError(str(error)) from error
        if value.size != 1 or not np.isrealobj(value) or value.dtype.kind not in "fiub":
            raise UnboundedError("a constant of several numbers")
        return number(float(value.reshape(-1)[0]))


def _all_nodes(body: Body) -> Iterator[Node]:
    for node in body.nodes:
        for _, inner in node.bodies:
            yield from _all_nodes(inner)
        yield node


def _uses(body: Body) -> Iterator[str]:
    """Each tensor as often as it is used: by nodes, by bodies that take it from outside, and as an output."""
    for node in body.nodes:
        inputs = [name for name in node.inputs if name]
        yield from inputs
        own = set(inputs)
        yield from (name for name in needs(node) if name not in own)
        for _, inner in node.bodies:
            yield from _uses(inner)
    yield from body.outputs
