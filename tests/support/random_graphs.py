"""Random ONNX graphs of 5-25 nodes, from every operator with a Lipschitz rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Shape = tuple[int, ...]
T = TypeVar("T")
OPSETS = (11, 13, 17, 18, 20, 21)
SINGLE_ONLY = frozenset(
    (
        "Asinh",
        "Atan",
        "AveragePool",
        "Celu",
        "Clip",
        "Conv",
        "ConvTranspose",
        "Cosh",
        "Elu",
        "Erf",
        "GRU",
        "Gelu",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GroupNormalization",
        "HardSigmoid",
        "HardSwish",
        "InstanceNormalization",
        "LRN",
        "LSTM",
        "LeakyRelu",
        "Mean",
        "Mish",
        "PRelu",
        "RNN",
        "Resize",
        "Selu",
        "Sinh",
        "Softplus",
        "Softsign",
    )
)
"""Operators that onnxruntime has in single precision only."""
MAX_INPUT, MAX_ELEMENTS = 60, 500


class UnsuitableError(Exception):
    """The operator cannot follow in this graph."""


class Builder:
    """A graph that grows by a node at a time; onnx infers the shapes.

    Attributes:
        double: it is to run in double precision.
        shapes, kinds: dimensions and element types of all tensors but stored constants.
        real: tensors that further nodes may take.
    """

    def __init__(self, seed: int, opset: int, double: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset, self.double = opset, double
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: dict[str, Shape] = {}
        self.shapes: dict[str, Shape] = {}
        self.kinds: dict[str, int] = {}
        self.real: list[str] = []
        self._taken: set[str] = set()

    def integer(self, low: int, high: int) -> int:
        """Both ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """A constant."""
        return self.constant(scale * self.rng.standard_normal(shape))

    def constant(self, values: np.ndarray | Sequence[int]) -> str:
        """Whole numbers become int64."""
        array = np.asarray(values)
        name = f"c{len(self.constants)}"
        self.constants[name] = array.astype(np.int64) if array.dtype.kind == "i" else array
        return name

    def input(self, shape: Shape) -> None:
        name = f"x{len(self.inputs)}"
        self.kinds[name] = TensorProto.FLOAT
        self.inputs[name] = self.shapes[name] = shape
        self.real.append(name)

    def pick(self, suits: Callable[[Shape], bool] = lambda _: True) -> str:
        """A real tensor, preferably a late one that nothing uses yet."""
        names = [name for name in self.real if suits(self.shapes[name])]
        if not names:
            raise UnsuitableError
        weights = np.array(
            [(4.0 if name not in self._taken else 1) * (1 + i) for i, name in enumerate(names)]
        )
        return str(self.rng.choice(names, p=weights / weights.sum()))

    def add(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: object) -> list[str]:
        """Append a node; undone where onnx finds it invalid or its result is too large."""
        if self.double and op in SINGLE_ONLY:
            raise UnsuitableError
        names = [f"t{len(self.shapes) + i}" for i in range(outputs)]
        node = helper.make_node(op, list(inputs), names, name=f"n{len(self.nodes)}", **attributes)
        inferred = self._inferred(node)
        for shape, _ in inferred.values():
            if 0 in shape or np.prod(shape) > MAX_ELEMENTS or len(shape) > 5:
                raise UnsuitableError
        self.nodes.append(node)
        self._taken.update(inputs, _inside(node))
        for name, (shape, kind) in inferred.items():
            self.shapes[name], self.kinds[name] = shape, kind
            if kind == TensorProto.FLOAT:
                self.real.append(name)
        return names

    def one(self, op: str, *inputs: str, **attributes: object) -> str:
        """Append a node with one output."""
        return self.add(op, inputs, **attributes)[0]

    def part(self, op: str, *inputs: str, **attributes: object) -> str:
        """Append a node whose result only its own activation takes."""
        name = self.one(op, *inputs, **attributes)
        self.real.remove(name)
        return name

    def _inferred(self, node: NodeProto) -> dict[str, tuple[Shape, int]]:
        used = [name for name in node.input if name]
        free = set(_inside(node))
        graph = helper.make_graph(
            [node],
            "one",
            [self._value(n) for n in dict.fromkeys([*used, *sorted(free)]) if n in self.shapes],
            [onnx.ValueInfoProto(name=name) for name in node.output],
            [self._tensor(n, np.float32) for n in {*used, *free} & self.constants.keys()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        try:
            found = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output
        except (onnx.shape_inference.InferenceError, RuntimeError) as error:
            raise UnsuitableError from error
        result = {}
        for value in found:
            kind = value.type.tensor_type
            if not kind.HasField("shape"):
                raise UnsuitableError
            if not all(d.HasField("dim_value") and d.dim_value >= 0 for d in kind.shape.dim):
                raise UnsuitableError
            result[value.name] = tuple(d.dim_value for d in kind.shape.dim), kind.elem_type
        return result

    def _value(self, name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, self.kinds[name], self.shapes[name])

    def _tensor(self, name: str, dtype: type) -> TensorProto:
        array = self.constants[name]
        return numpy_helper.from_array(array.astype(dtype) if array.dtype.kind == "f" else array, name)

    def model(self) -> ModelProto:
        """All inputs, and what nothing uses as outputs."""
        ends = [name for name in self.real if name not in self._taken] or self.real[-1:]
        return self._model(self.nodes, list(self.inputs), ends)

    def nodes_alone(self) -> Iterator[ModelProto]:
        """A model of each node that maps real tensors to real ones; these are its inputs and outputs.

        Products are parts of activations here, and have no bound alone.
        """
        for node in self.nodes:
            sources = [name for name in dict.fromkeys(node.input) if name in self.real or name in self.inputs]
            ends = [name for name in node.output if name in self.real]
            stored = all(name in self.constants for name in node.input if name and name not in sources)
            if sources and ends and stored and (node.op_type, len(sources)) != ("Mul", 2):
                yield self._model([node], sources, ends)

    def _model(self, nodes: Sequence[NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> ModelProto:
        kinds = {TensorProto.FLOAT: TensorProto.DOUBLE if self.double else TensorProto.FLOAT}
        used = {name for node in nodes for name in node.input} | {n for node in nodes for n in _inside(node)}
        values = [
            [helper.make_tensor_value_info(n, kinds[self.kinds[n]], self.shapes[n]) for n in names]
            for names in (inputs, outputs)
        ]
        constants = [
            self._tensor(name, np.float64 if self.double else np.float32)
            for name in self.constants
            if name in used
        ]
        graph = helper.make_graph(nodes, "random", *values, constants)
        imports = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        onnx.checker.check_model(model)
        return model


def _inside(node: NodeProto) -> Iterator[str]:
    """What the bodies of a node take."""
    return (name for attribute in node.attribute for inner in attribute.g.node for name in inner.input)


Operator = Callable[[Builder], None]


def random_graph(seed: int, families: Sequence[Sequence[Operator]]) -> Builder:
    """5-25 nodes, each from a family with equal chance; half of the graphs in double precision."""
    b = Builder(seed, OPSETS[seed // 2 % len(OPSETS)], double=seed % 2 == 0)
    for _ in range(1 + b.chance(0.2)):
        b.input(_input_shape(b))
    wanted, patience = b.integer(5, 22), 300
    while len(b.nodes) < wanted and patience:
        patience -= 1
        with suppress(UnsuitableError):
            b.choice(b.choice(families))(b)
    return b


def _input_shape(b: Builder) -> Shape:
    while True:
        rank = b.choice((2, 3, 4, 4, 4))
        shape = (b.choice((1, 1, 2)), *(b.integer(1, 4 + (i > 1) * 2) for i in range(1, rank)))
        if 2 <= np.prod(shape) <= MAX_INPUT:
            return shape
