"""The rules of all nodes, composed: one upper bound a tensor, in topological order.

Everything passes the `bottlenecks`, so that the bound of the network is the product of the bounds from each
of them to the next; where one of these has none, the others still say something.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from functools import partial

from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.dependencies import (
    RANDOM,
    bottlenecks,
    branches,
    consumed,
    has_static_shape,
    held,
    is_constant,
    needs,
    possible,
    real,
    real_outputs,
    relevant,
    sources,
    wanted,
)
from convsv_cli.lipschitz.lengths import NO_LENGTHS
from convsv_cli.lipschitz.norms import Norms
from convsv_cli.lipschitz.operation import (
    MALFORMED,
    RANGE,
    SIZES,
    Lengths,
    Operation,
    Rule,
    Rules,
    Tensor,
    UnboundedError,
)
from convsv_cli.lipschitz.paths import Paths
from convsv_cli.lipschitz.segments import Composed, Offence, Segment
from convsv_cli.model.graph import FOREIGN, UNREADABLE, Body, Graph, Node, UnknownValueError
from convsv_cli.model.linear_maps import linear_maps
from convsv_cli.numerics.intervals import ANYTHING, Range, range_of_type
from convsv_cli.numerics.rounding import root_of_squares, times

BEYOND = "its bound, times those before it, is beyond 1e308"
CONTRADICTION = "its attributes, inputs and shapes do not fit together"
CHANCE = "it draws random numbers, so that equal inputs have different results"
UNKNOWN = "no Lipschitz rule for this operator"
ROUNDING = frozenset(("DequantizeLinear", "DynamicQuantizeLinear"))
JUMPS = "its codes jump with the network's input"


def compose(
    graph: Graph,
    rules: Rules,
    norms: Norms,
    input_range: Range = ANYTHING,
) -> Composed:
    """Bound the Lipschitz constant (L2) from all real inputs together to all real outputs together.

    Args:
        graph: at one input size; inputs that are not real are held fixed.
        rules: by operator type.
        norms: of the graph's linear maps.
        input_range: what the inputs are known to be in.
    """
    return _Composition(graph, rules, norms, input_range).result()


class _Composition:
    def __init__(self, graph: Graph, rules: Rules, norms: Norms, input_range: Range) -> None:
        self._graph, self._rules = graph, rules
        self._norms, self._input_range = norms, input_range
        self._consumed = consumed(graph.main)
        self._tensors: dict[str, Tensor] = {}
        self._offences: list[Offence] = []
        for name in filter(partial(real, graph), graph.inputs):
            bound, range_ = float(name not in graph.held), graph.ranges.get(name, input_range)
            self._tensors[name] = self._tensor(name, bound=bound, range_=range_)
        self._paths = self._from(*sources(graph))

    def _from(self, *names: str) -> Paths:
        """What begins at some tensors."""
        return Paths({name: self._graph.shapes.get(name) for name in names}, self._norms.of_kernel)

    def result(self) -> Composed:
        nodes = relevant(self._graph)
        for node in held(self._graph, nodes):
            self._hold(node)
        cuts = bottlenecks(self._graph, nodes)
        segments: list[Segment] = []
        start, inside = next(iter(cuts.intersection(sources(self._graph))), ""), []
        for node in nodes:
            inside.append(node)
            self._run(node)
            for end in cuts.intersection(node.outputs):
                if self._paths.circular(end):
                    continue
                segments.append(self._segment(start, end, inside))
                start, inside = end, []
        outputs = {name: self._find(name).bound for name in real_outputs(self._graph)}
        outputs = {name: self._paths.bound([name], bound) for name, bound in outputs.items()}
        varying = list(filter(None, outputs.values()))
        if inside or len(varying) != 1:
            names = [name for name, bound in outputs.items() if bound]
            factor = self._paths.bound(names, root_of_squares(varying))
            segments.append(Segment(start=start, end="", nodes=tuple(inside), factor=factor))
        known = {name: tensor.known for name, tensor in self._tensors.items() if tensor.known != ANYTHING}
        found = tuple(self._offences)
        return Composed(segments=tuple(segments), offences=found, ranges=known, outputs=outputs)

    def _segment(self, start: str, end: str, nodes: list[Node]) -> Segment:
        """Close one; what follows is bounded from its end."""
        tensor = self._tensors[end]
        factor = self._paths.bound([end], tensor.bound)
        if not tensor.constant and not tensor.discrete:
            self._tensors[end] = replace(tensor, bound=1.0)
        self._paths = self._from(end)
        return Segment(start=start, end=end, nodes=tuple(nodes), factor=factor)

    def _hold(self, node: Node) -> None:
        """What is known of a node's results, which do not vary; its inputs may be anything in their range."""
        operation = self._operation(node).letting_vary()
        range_, lengths = self._range(operation), self._lengths(operation)
        for name in filter(None, node.outputs):
            self._tensors[name] = self._tensor(name, bound=0.0, range_=range_, lengths=lengths)

    def _run(self, node: Node) -> None:
        """Bound the outputs of a node."""
        operation = self._operation(node)
        varying = [self._find(name) for name in needs(node)]
        static_shape = has_static_shape(operation, varying)
        lengths = self._lengths(operation)
        if is_constant(node, varying, self._graph.constants, bounded=not self._offences):
            bound, range_ = 0.0, self._range(operation)
        elif branches(node):
            self._branch(node)
            return
        else:
            bound, range_ = self._bounded(operation)
        for name in filter(None, node.outputs):
            self._tensors[name] = self._tensor(
                name, bound=bound, range_=range_, lengths=lengths, static_shape=static_shape
            )

    def _bounded(self, operation: Operation) -> tuple[float, Range]:
        node = operation.node
        if not any(real(self._graph, name) for name in node.outputs if name):
            return math.inf, ANYTHING
        rule = self._rules.get(node.op)
        if rule is None:
            self._offences.append(Offence(node=node, reason=_without_rule(node)))
            return math.inf, ANYTHING
        range_ = self._range(operation)
        try:
            return _told(self._amplified(operation, rule), operation), range_
        except UnboundedError as error:
            reason = f"{error}{self._hint(error.lacks)}"
        except LimitError as error:
            reason = str(error)
        except MALFORMED as error:
            reason = f"{CONTRADICTION}: {error}"
        self._offences.append(Offence(node=node, reason=reason))
        return math.inf, range_

    def _amplified(self, operation: Operation, rule: Rule) -> float:
        """The bound of the outputs; of one input, its own times the constant in that."""
        bounds = {tensor.name: tensor.bound for tensor in operation.varying}
        if len(bounds) == 1:
            gain = rule.lipschitz(operation.moving(dict.fromkeys(bounds, 1.0)))
            bound = times(gain, *bounds.values())
        else:
            gain, bound = math.inf, rule.lipschitz(operation)
        if math.isfinite(bound):
            self._paths.add(operation, rule, gain)
        return bound

    def _range(self, operation: Operation) -> Range:
        """Of the outputs, as far as there is a rule for it."""
        rule = self._rules.get(operation.node.op)
        with contextlib.suppress(UnboundedError, UnknownValueError, LimitError, *MALFORMED):
            return ANYTHING if rule is None else rule.range(operation)
        return ANYTHING

    def _lengths(self, operation: Operation) -> Lengths:
        """Of the vectors of the outputs, as far as there is a rule for them."""
        rule = self._rules.get(operation.node.op)
        with contextlib.suppress(UnboundedError, UnknownValueError, LimitError, *MALFORMED):
            return NO_LENGTHS if rule is None else rule.lengths(operation)
        return NO_LENGTHS

    def _hint(self, lacks: str) -> str:
        """What a user might tell, as far as it is open: nobody is to give what is there already."""
        if lacks == RANGE and not self._input_range.finite:
            return ": --input-range may help"
        shapes = {name: self._graph.shapes.get(name) for name in self._graph.inputs}
        open_ = [name for name, shape in shapes.items() if shape is None or None in shape]
        if lacks == SIZES and open_:
            return f": the size of the input {open_[0]!r} is open; --input-shape sets it"
        return ""

    def _branch(self, node: Node) -> None:
        """If: the larger of both branches, as long as the condition does not vary."""
        condition = self._find(node.inputs[0])
        if not condition.constant:
            self._offences.append(Offence(node=node, reason="which branch is taken varies with the input"))
        results = [self._inside(body) for body in possible(condition, node)]
        for i, name in enumerate(node.outputs):
            ends = [outputs[i] for outputs in results]
            bound = max(end.bound for end in ends) if condition.constant else math.inf
            hull = ends[0].range.hull(*(end.range for end in ends))
            static_shape = condition.constant and all(end.static_shape for end in ends)
            self._tensors[name] = self._tensor(name, bound=bound, range_=hull, static_shape=static_shape)

    def _inside(self, body: Body) -> list[Tensor]:
        for node in wanted(body.nodes, body.outputs):
            self._run(node)
        return [self._find(name) for name in body.outputs]

    def _operation(self, node: Node) -> Operation:
        return Operation(
            node=node,
            inputs=tuple(self._find(name) if name else None for name in node.inputs),
            outputs=tuple(
                (name if name in self._consumed else "", self._graph.shapes.get(name))
                for name in node.outputs
            ),
            maps=partial(linear_maps, node, self._graph),
            norms=partial(self._norms, node, self._graph),
        )

    def _find(self, name: str) -> Tensor:
        """What is known of a tensor; what no relevant node computes does not vary."""
        if name not in self._tensors:
            self._tensors[name] = self._tensor(name, bound=0.0, range_=self._graph.ranges.get(name, ANYTHING))
        return self._tensors[name]

    def _tensor(
        self,
        name: str,
        *,
        bound: float,
        range_: Range,
        lengths: Lengths = NO_LENGTHS,
        static_shape: bool = True,
    ) -> Tensor:
        longest = min(lengths.values(), default=math.inf)  # no entry is larger than its vector is long
        known = self._graph.ranges.get(name, ANYTHING)
        range_ = Range(
            lower=max(range_.lower, known.lower, -longest), upper=min(range_.upper, known.upper, longest)
        )
        return Tensor(
            name=name,
            bound=bound,
            static_shape=static_shape,
            discrete=bound > 0 and not real(self._graph, name),
            known=range_ if real(self._graph, name) else range_of_type(self._graph.dtypes[name]),
            lengths=lengths if real(self._graph, name) else NO_LENGTHS,
            shape=self._graph.shapes.get(name),
            read=self._graph.reader(name),
        )


def _without_rule(node: Node) -> str:
    """Why a node has no rule."""
    if node.op.startswith((UNREADABLE, FOREIGN)):
        return node.attribute("reason", UNKNOWN)
    if node.op in ROUNDING:
        return JUMPS
    return CHANCE if node.op in RANDOM else UNKNOWN


def _told(bound: float, operation: Operation) -> float:
    """What a rule gives; where its arithmetic has left the floating-point numbers, that is no bound."""
    if math.isfinite(bound):
        return bound
    if all(tensor is None or math.isfinite(tensor.bound) for tensor in operation.inputs):
        raise UnboundedError(BEYOND)
    return math.inf
