"""The program of covariance propagation through a module, as a function of its weights as they are now.

The graph is read, folded and lowered once, as an audit does it. What each linear map of the program is made
of is then known by its place: it leads from one field to another one, and so does a chain of nodes of the
graph before folding. Their composition, by torch's own functions of the module's tensors, is the map; where
it is not what the lowering has, which came to it another way, nothing is followed.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from convsv_cli.lipschitz import dependencies
from convsv_cli.lipschitz.bound import simplified
from convsv_cli.lipschitz.density.lowering import lowered, refused
from convsv_cli.lipschitz.density.program import Program, results, sources
from convsv_cli.lipschitz.density.steps import (
    Activation,
    Convolution,
    Functional,
    Linear,
    LinearPart,
    Scaling,
    Step,
)
from convsv_cli.lipschitz.fold import folded
from convsv_cli.model.graph import Graph, Node
from convsv_cli.model.network import Network
from convsv_cli.training.live_chains import VIEWS, Chain, Values, chain_of
from convsv_cli.training.live_tensors import Tensors, refusal

CLOSE = 1e-9
"""Of the norm of a map: what the lowering's and that of the live tensors differ by, both in float64."""
NO_STEPS = "no step of covariance propagation does what {} {!r} does"
NO_ENDS = "its inputs or outputs are not each a tensor of known channels"
NO_LAYER = "{!r} changes with the weights, and no layer next to it takes it in"
OTHERWISE = "{!r} is not the product of the weights that it is said to be of"


class LiveProgram:
    """A program whose linear maps follow a module's weights.

    Args:
        module: whose names for its tensors the graph has.
        network: with the graph, as it was read from the module; it is not needed afterwards.

    Attributes:
        program: with the weights of that time.

    Raises:
        UsageError: something in the module has no steps, or its steps cannot follow its weights; which.
    """

    def __init__(self, module: nn.Module, network: Network) -> None:
        if network.graph is None:
            raise refusal(network.no_graph or "it has no graph", module)
        self._module, self._graph = module, network.graph
        self._tensors = Tensors(module, network)
        better = simplified(folded(network.graph).graph)
        self.program = _lowered(better, module)
        self._places = _Places(self._graph, better, self.program)
        steps = enumerate(self.program.steps)
        chains = ((index, self._chain(step)) for index, step in steps)
        self._chains = {index: chain for index, chain in chains if chain is not None}
        operands = (name for chain in self._chains.values() for name in chain.operands)
        self._operands = tuple(dict.fromkeys(operands))
        self._check_factors()
        for step, before in zip(self.now().steps, self.program.steps, strict=True):
            if step is not before and not _alike(_values(step), _values(before)):
                raise refusal(OTHERWISE.format(results(step)[0]), module)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The module's tensors that the program depends on, by name."""
        return {k: v for name in self._operands for k, v in self._tensors.stored(name).items()}

    def now(self) -> Program:
        """The program with the weights of now, of which it is a differentiable function."""
        values = self._tensors.now(self._operands)
        steps = (
            _with(step, self._chains[index], values) if index in self._chains else step
            for index, step in enumerate(self.program.steps)
        )
        return replace(self.program, steps=tuple(steps))

    def _chain(self, step: Step) -> Chain | None:
        """How the map of a step follows from the weights; None where it does not change with them.

        Raises:
            UsageError: it changes with the weights in another way.
        """
        between = self._places.between(step)
        changing = [node for node in between if self._changes(node)]
        if not changing:
            return None
        single = len(sources(step)) == len(results(step)) == 1 and isinstance(step, Linear | Functional)
        chain = chain_of(between, self._graph) if single else None
        if chain is None:
            raise refusal(NO_LAYER.format(changing[0].name), self._module)
        return chain

    def _check_factors(self) -> None:
        """See that factors by themselves are one number each, and not 0.

        What else the lowering takes for factors of channels, or for nothing at all, may be so by its values.
        """
        values = self._tensors.now(self._operands)
        for chain in self._chains.values():
            odd = any(values[name].numel() > 1 or not values[name].any() for name in chain.operands)
            if odd and not chain.maps:
                raise refusal(NO_LAYER.format(chain.links[0][0].name), self._module)

    def _changes(self, node: Node) -> bool:
        constants = (name for name in node.inputs if name in self._graph.constants)
        return any(self._tensors.stored(name) for name in constants)


def _with(step: Step, chain: Chain, values: Values) -> Step:
    """A step of one map with what that is for these values."""
    if isinstance(step, Functional):
        return replace(step, kernel=chain.kernel(values, step.kernel.shape))
    assert isinstance(step, Linear)  # noqa: S101 - no other step has a chain
    ((output, ((name, part),)),) = step.outputs.items()
    new: LinearPart = part
    if isinstance(part, Convolution):
        new = replace(part, kernel=chain.kernel(values, part.kernel.shape))
    elif isinstance(part, Scaling):
        new = replace(part, factors=chain.factors(values, part.factors.shape))
    return replace(step, outputs={output: ((name, new),)})


def _values(step: Step) -> torch.Tensor:
    """The entries of the map of a step that has a chain."""
    if isinstance(step, Functional):
        return step.kernel.detach()
    assert isinstance(step, Linear)  # noqa: S101 - see above
    (((_, part),),) = step.outputs.values()
    assert isinstance(part, Convolution | Scaling)  # noqa: S101 - other parts have no constants
    return (part.kernel if isinstance(part, Convolution) else part.factors).detach()


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).norm() <= CLOSE * other.norm())


def _lowered(graph: Graph, module: nn.Module) -> Program:
    """All of a graph, from its inputs to its outputs.

    Raises:
        UsageError: a node has no steps.
    """
    starts, nodes = dependencies.sources(graph), graph.main.nodes
    first = nodes[0]
    if first.op in VIEWS and graph.users[first.inputs[0]] == (first,) and starts == (first.inputs[0],):
        starts, nodes = first.outputs[:1], nodes[1:]  # another shape of the input has the same length
    found = lowered(graph, starts, [(nodes, dependencies.real_outputs(graph))], {})
    if found:
        return found[0]
    node = refused(graph, starts)
    raise refusal(NO_ENDS if node is None else NO_STEPS.format(node.op, node.name), module)


class _Places:
    """Where the fields of a program are in the graph before folding.

    What folding puts in are shifts only: a field that they have is that of the tensor that they lead to. A
    field that is no tensor is another one, cut to its window.
    """

    def __init__(self, graph: Graph, better: Graph, program: Program) -> None:
        self._graph, self._better = graph, better
        self._cut = {
            step.output: step.source
            for step in program.steps
            if isinstance(step, Activation) and step.output not in better.makers
        }

    def between(self, step: Step) -> list[Node]:
        """The nodes that do what a step does, in order; none where its field is another one, cut.

        Those of an activation begin after the shifts before it, of which its slopes know nothing.
        """
        begin, ends = sources(step), [name for name in results(step) if name not in self._cut]
        if isinstance(step, Activation) and ends:
            inputs = self._better.makers[step.output].inputs
            begin = tuple(name for name in inputs if name and name not in self._better.constants)
        first, pending = {self._tensor(name) for name in begin}, [self._tensor(name) for name in ends]
        found: dict[str, Node] = {}
        while pending:
            node = self._graph.makers.get(name) if (name := pending.pop()) not in first else None
            if node is not None and node.name not in found:
                found[node.name] = node
                pending.extend(each for each in node.inputs if each and each not in self._graph.constants)
        return [node for node in self._graph.main.nodes if node.name in found]

    def _tensor(self, field: str) -> str:
        name = self._cut.get(field, field)
        while name not in self._graph.makers and name in self._better.makers:
            (user,) = self._better.users[name]
            name = user.outputs[0]
        return name
