"""A network as a classifier: its input, its logits, and how fast these can come together."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from convsv_cli.auditing.measure import WHOLE, norms_on_demand
from convsv_cli.auditing.plan import Meter, plan, resolve_device
from convsv_cli.errors import UsageError
from convsv_cli.limits import expect
from convsv_cli.lipschitz.bound import Composition, composition_of
from convsv_cli.lipschitz.dependencies import ending_at, real_outputs, relevant, sources
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.lipschitz.ends import FROM, TO, Ends, between
from convsv_cli.lipschitz.norms import Norms
from convsv_cli.local.lowering import lowered
from convsv_cli.local.steps import NoLocalCertificateError, Program
from convsv_cli.model.graph import Graph, Node, UnknownValueError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.linear_maps import linear_maps
from convsv_cli.model.network import Network
from convsv_cli.report import BOUNDED, QUICK, CertifySettings, NetworkBound, Settings
from convsv_cli.spectral.cores import one_thread_each

HELD = "the other inputs ({}) are held at 0"
LOGITS = "the logits are the output {!r}; other outputs ({}) do not count"
FEW = 4
PROBABILITIES = frozenset(("Softmax", "Sigmoid"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The last layer, where it is Linear: its weight [classes, features], and the tensor that it takes."""

    weight: torch.Tensor
    features: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """A graph with one input of real numbers and one output.

    Attributes:
        network: as a loader gave it.
        graph: the network's.
        source: name of the input, [1, *shape].
        shape: that of one sample.
        output: name of the logits, [1, classes].
        classes: how many there are.
        notes: which of several inputs and outputs these are.
    """

    network: Network
    graph: Graph
    source: str
    shape: tuple[int, ...]
    output: str
    classes: int
    notes: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Between the two, in order."""
        return relevant(self.graph)

    @property
    def gives_probabilities(self) -> bool:
        """Whether its last operator squeezes the logits."""
        return self.nodes[-1].op in PROBABILITIES

    @property
    def rounds_constants(self) -> bool:
        """Whether it computes a constant by operators that round, or in a way that is not known."""
        names = {name for node in self.nodes for name in node.inputs if name}
        return any(_rounds(name, self.graph) for name in names)

    def row(self, key: Hashable) -> Layer | UnsupportedLayer | None:
        """The row of the linear map that has this key; None where no row is known to be that."""
        return next((row for row in self.network.layers if row.key == key), None)

    def head(self) -> Head | None:
        """The last layer, behind a bias at most; None where the logits come from anything else."""
        nodes = self.nodes
        makers = {name: node for node in nodes for name in node.outputs}
        varying = {self.source, *makers}
        node = makers.get(self.output)
        while node is not None and node.op in ("Identity", "Add"):
            inputs = [name for name in node.inputs if name in varying]
            node = makers.get(inputs[0]) if len(inputs) == 1 else None
        if node is None or node.op not in ("Gemm", "MatMul"):
            return None
        if varying.intersection(node.inputs) != {node.inputs[0]}:  # the C of a Gemm may vary, too
            return None
        weight, features = matrix_of(node, self.graph), self.graph.shapes.get(node.inputs[0])
        if weight is None or weight.shape[0] != self.classes or features != (1, weight.shape[1]):
            return None
        return Head(weight=weight, features=node.inputs[0])


def matrix_of(node: Node, graph: Graph) -> torch.Tensor | None:
    """What a node multiplies its first input by: float64 [c_out, c_in]; None where it is no such matrix."""
    found = [item for item in linear_maps(node, graph) if isinstance(item, LinearMap)]
    if len(found) != 1 or found[0].data != 0 or len(found[0].constant.shape) != 2:
        return None
    try:
        return torch.from_numpy(np.array(found[0].kernel(), dtype=np.float64))
    except UnknownValueError:
        return None


def _rounds(name: str, graph: Graph) -> bool:
    try:
        found = graph.constant(name)
    except UnknownValueError:
        return True
    return found is not None and found.rounds


def classifier_of(network: Network, source: str = "", target: str = "") -> Classifier:
    """The network, if it maps a sample to the logits of at least two classes.

    Args:
        network: as a loader gave it.
        source, target: the input that takes the sample and the output that holds the logits; empty where the
            network has only one that can.

    Raises:
        UsageError: it does not, or it is a file without a graph; there is no such input or output, or it
            takes a user to tell which.
    """
    graph = network.graph
    if graph is None:
        hint = "export the model to ONNX, or give its export with --graph"
        raise UsageError(network.graph_missing, where=network.path, hint=hint)
    inputs, outputs = sources(graph), real_outputs(graph)
    taken = _chosen(FROM, source, inputs, inputs, network)
    given = _chosen(TO, target, outputs, [name for name in outputs if _holds_logits(graph, name)], network)
    part = between(graph, Ends(sources=(taken,), targets=(given,)))
    return Classifier(
        network=network,
        graph=graph if (inputs, outputs) == ((taken,), (given,)) else part,
        source=taken,
        shape=_sample_shape(graph, taken, given, network.path),
        output=given,
        classes=_sizes(graph, given)[1],
        notes=_notes(graph, taken, given),
    )


def _chosen(option: str, name: str, every: Sequence[str], fit: Sequence[str], network: Network) -> str:
    """The input or output that an option names, or else the only one, or the only one that fits."""
    kind = "input" if option == FROM else "output"
    if name:
        if name not in every:
            near = difflib.get_close_matches(name, every, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(every[:FEW]) or 'none'}"
            what = f"{option} {name!r}: the network has no such {kind} of real numbers"
            raise UsageError(what, where=network.path, hint=hint)
        return name
    if len(every) == 1:
        return every[0]
    if len(fit) == 1:
        return fit[0]
    if not every:
        raise UsageError(f"the network has no {kind} of real numbers", where=network.path)
    names = ", ".join(fit[:FEW] or every[:FEW]) + (", ..." if len(fit or every) > FEW else "")
    can = "takes the sample" if option == FROM else "holds the logits"
    what = f"certificates need one {kind}, and the network has {len(every)}, of which {len(fit)} may be it"
    raise UsageError(what, where=network.path, hint=f"{option} says which one {can}: {names}")


def _holds_logits(graph: Graph, name: str) -> bool:
    sizes = graph.shapes.get(name, ())
    return len(sizes) == 2 and sizes[0] == 1 and (sizes[1] or 0) >= 2


def _sizes(graph: Graph, name: str) -> tuple[int, ...]:
    return tuple(size or 0 for size in graph.shapes.get(name, ()))


def _sample_shape(graph: Graph, source: str, output: str, path: str) -> tuple[int, ...]:
    """Of one sample, where the network takes one at a time, and gives the logits of it."""
    taken, given = graph.shapes.get(source), graph.shapes.get(output)
    if taken is None or given is None or None in (*taken[1:], *given[1:]):
        raise UsageError("the shapes of its input and output are not known", where=path)
    if taken[:1] != (1,) or not _holds_logits(graph, output):
        shown = "x".join(map(str, given))
        raise UsageError(
            f"its output is {shown} for an input of {'x'.join(map(str, taken))}, not 1 x classes",
            where=path,
            hint="certificates need one sample at a time, and one logit per class",
        )
    return _sizes(graph, source)[1:]


def _notes(graph: Graph, source: str, output: str) -> tuple[str, ...]:
    """Which of several inputs and outputs are taken, and what becomes of the others."""
    held = [name for name in graph.inputs if name != source]
    left = [name for name in dict.fromkeys(graph.main.outputs) if name != output]
    lines = [HELD.format(", ".join(held))] if held else []
    return (*lines, *([LOGITS.format(output, ", ".join(left))] if left else []))


@dataclass(frozen=True, kw_only=True, eq=False)
class Constants:
    """What is known of how fast logits can come together.

    Attributes:
        bound: of the whole network.
        before_head: up to the input of the last layer; infinite where there is none, or it is not Linear.
        head: weight of the last layer, float64 [classes, features]; None where nothing is known before it.
        covariance: of the logits, as of `margin_radii`; None where none is known.
        program: the network as steps that have local bounds; None where it has none.
        no_program: why it has none; empty where it does.
        up_to: certified Lipschitz constants from the input to tensors of the program, by name.
    """

    bound: NetworkBound
    before_head: float
    head: torch.Tensor | None
    covariance: torch.Tensor | None
    program: Program | None
    no_program: str
    up_to: Mapping[str, float]

    @property
    def lipschitz(self) -> float:
        """Of the network; infinite where there is no bound."""
        return self.bound.lipschitz if self.bound.status == BOUNDED else math.inf


def constants_of(
    classifier: Classifier, settings: CertifySettings, progress: Callable[[str, float], None]
) -> Constants:
    """From the certified norms of the rows that bounds of the network rest on.

    Args:
        classifier: the network.
        settings: how wide norms may be, where they are computed, what inputs are known to be in, and how long
            is searched for a small bound.
        progress: called with the row that is being measured, or the whole network, and the share of all work.

    Raises:
        UsageError: no such device.
    """
    asked = Settings(device=settings.device, tolerance=settings.tolerance, input_range=settings.input_range)
    device, tasks = resolve_device(asked.device), plan(classifier.network, asked)
    effort = Effort(level=settings.network_effort, work=sum(task.work for task in tasks))
    expect(effort.patience)
    meter = Meter(progress, effort.work + effort.planned)
    norms = norms_on_demand(classifier.network, tasks, asked, device, meter)

    def compose(graph: Graph, effort: Effort) -> Composition:
        return composition_of(graph, norms, asked.input_range, effort)

    with one_thread_each():
        told = replace(effort, progress=meter.part(WHOLE, effort.planned))
        composition, head, before = compose(classifier.graph, told), classifier.head(), math.inf
        if head is not None:
            known = composition.up_to(head.features)
            if known is None:  # folding has merged the last layer with what comes before it
                before_head = ending_at(classifier.graph, head.features)
                known = compose(before_head, Effort(level=QUICK)).bound().lipschitz
            before = known
        program, reason = _program(classifier.graph, norms)
    weight = head.weight if head is not None and math.isfinite(before) else None
    bound = composition.bound()
    covariance = composition.output if bound.status == BOUNDED else None
    return Constants(
        bound=bound,
        before_head=before,
        head=weight,
        covariance=covariance,
        program=program,
        no_program=reason,
        up_to={} if program is None else _up_to(program, composition),
    )


def _program(graph: Graph, norms: Norms) -> tuple[Program | None, str]:
    """The network as steps that have local bounds; or None, and why."""
    try:
        return lowered(graph, norms), ""
    except NoLocalCertificateError as error:
        return None, str(error)


def _up_to(program: Program, composition: Composition) -> dict[str, float]:
    """What is known of the tensors that functions of numbers are of, and of the logits."""
    names = {step.input for step in program.activations} | {program.output}
    known = {name: composition.up_to(name) for name in names}
    return {name: bound for name, bound in known.items() if bound is not None and math.isfinite(bound)}
