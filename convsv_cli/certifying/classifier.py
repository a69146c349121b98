"""A network as a classifier: what it takes, and where its logits come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from convsv_cli.certifying.samples import Samples
from convsv_cli.errors import UsageError
from convsv_cli.graph import Body, Graph, Node
from convsv_cli.lipschitz.dependencies import real_outputs, relevant, sources, wanted
from convsv_cli.network import InputSize, Layer, Network

PROBABILITIES = frozenset(("Softmax", "Sigmoid"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The last layer, where it is Linear: its row, and the tensor [1, features] that it takes."""

    layer: Layer
    features: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """A graph with one input of real numbers and one output.

    Attributes:
        network: what it is of.
        graph: of the network.
        source: name of the input.
        shape: of one sample.
        output: name of the logits, [1, classes].
        classes: number of them.
    """

    network: Network
    graph: Graph
    source: str
    shape: tuple[int, ...]
    output: str
    classes: int

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Between the two, in order."""
        return relevant(self.graph)

    @property
    def gives_probabilities(self) -> bool:
        """Whether its last operator squeezes the logits."""
        return self.nodes[-1].op in PROBABILITIES

    def up_to(self, tensor: str) -> Network:
        """The network with another output."""
        main = Body(nodes=wanted(self.graph.main.nodes, (tensor,)), outputs=(tensor,))
        return replace(self.network, graph=replace(self.graph, main=main))

    def head(self) -> Head | None:
        """The last layer, behind a bias at most; None where the logits come from anything else."""
        nodes = self.nodes
        makers = {name: node for node in nodes for name in node.outputs}
        varying = {self.source, *makers}
        node = makers.get(self.output)
        while node is not None and node.op in ("Identity", "Add"):
            inputs = [name for name in node.inputs if name in varying]
            node = makers.get(inputs[0]) if len(inputs) == 1 else None
        if node is None or node.op not in ("Gemm", "MatMul") or len(node.layers) != 1:
            return None
        if varying.intersection(node.inputs) != {node.inputs[0]}:  # the C of a Gemm may vary, too
            return None
        layer = next((row for row in self.network.layers if row.name == node.layers[0]), None)
        features = self.graph.shapes.get(node.inputs[0])
        if not isinstance(layer, Layer) or len(layer.kernel_shape) != 2:
            return None
        fits = layer.kernel_shape[0] == self.classes and features == (1, layer.kernel_shape[1])
        return Head(layer=layer, features=node.inputs[0]) if fits else None


def at_size(load: Callable[[InputSize], Network], samples: Samples) -> Network:
    """A network at the size that its file says, or else at that of the samples."""
    network = load(InputSize())
    if len(network.inputs) != 1:
        return network
    name, shape = network.inputs[0]
    if all(isinstance(size, int) for size in shape):
        return network
    return load(InputSize(shapes=((name, (1, *samples.shape_like(shape[1:]))),)))


def classifier_of(network: Network) -> Classifier:
    """The network, if it maps a sample to the logits of at least two classes.

    Raises:
        UsageError: it does not, or it is a file without a graph.
    """
    graph = network.graph
    if graph is None:
        hint = "export the model to ONNX, or give its export with --graph"
        raise UsageError(
            f"a {network.format} file holds weights, but no graph", where=network.path, hint=hint
        )
    inputs, outputs = sources(graph), real_outputs(graph)
    if len(inputs) != 1 or len(outputs) != 1:
        what = f"certificates need one input and one output, not {len(inputs)} and {len(outputs)}"
        raise UsageError(what, where=network.path)
    taken, given = graph.shapes.get(inputs[0]), graph.shapes.get(outputs[0])
    if taken is None or given is None or None in (*taken[1:], *given[1:]):
        raise UsageError("the shapes of its input and output are not known", where=network.path)
    if taken[:1] != (1,) or len(given) != 2 or given[0] != 1 or (given[1] or 0) < 2:
        shown = "x".join(map(str, given))
        raise UsageError(
            f"its output is {shown} for an input of {'x'.join(map(str, taken))}, not 1 x classes",
            where=network.path,
            hint="certificates need one sample at a time, and one logit a class",
        )
    return Classifier(
        network=network,
        graph=graph,
        source=inputs[0],
        shape=tuple(size or 0 for size in taken[1:]),
        output=outputs[0],
        classes=given[1] or 0,
    )
