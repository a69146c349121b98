"""One node with random attributes: its matrix or Jacobian by onnxruntime, and what its rule says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convsv_cli.lipschitz.operation import Operation, Tensor
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.loaders.onnx.history import as_newest
from convsv_cli.loaders.onnx.rewriting import Reading
from convsv_cli.model.graph import Names, Node
from convsv_cli.numerics.intervals import ANYTHING, Range
from tests.support import runtime

Value = np.ndarray | None
FLOATS = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("float64"): TensorProto.DOUBLE}


@dataclass(kw_only=True)
class Single:
    """A node; arrays in `constants` are constant inputs, at their index, and shapes in `moving` vary."""

    op: str
    moving: Mapping[int, tuple[int, ...]]
    constants: Mapping[int, np.ndarray] = field(default_factory=dict)
    attributes: Mapping[str, object] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 20
    dtype: str = "float64"

    def __post_init__(self):
        count = 1 + max([*self.moving, *self.constants])
        known = {*self.moving, *self.constants}
        self.names = [f"x{i}" if i in known else "" for i in range(count)]
        results = [f"y{i}" for i in range(self.outputs)]
        node = helper.make_node(self.op, self.names, results, **self.attributes)
        kind = FLOATS[np.dtype(self.dtype)]
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info(f"x{i}", kind, shape) for i, shape in self.moving.items()],
            [helper.make_tensor_value_info("y0", kind, None)],
            [numpy_helper.from_array(array, f"x{i}") for i, array in self.constants.items()],
        )
        imports = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=10)
        self.session = runtime.session(model)
        self.node = model.graph.node[0]
        self.result_shape = self.run(np.zeros(self.length)).shape

    @property
    def length(self) -> int:
        return sum(int(np.prod(shape)) for shape in self.moving.values())

    def run(self, flat: np.ndarray) -> np.ndarray:
        """The first output, of all varying inputs one after the other."""
        feed, start = {}, 0
        for i, shape in self.moving.items():
            size = int(np.prod(shape))
            feed[f"x{i}"] = flat[start : start + size].reshape(shape).astype(self.dtype)
            start += size
        return self.session.run(["y0"], feed)[0].astype(np.float64)

    def matrix(self) -> np.ndarray:
        """Of a linear node, [outputs, inputs]."""
        zero = self.run(np.zeros(self.length)).ravel()
        columns = [self.run(unit).ravel() - zero for unit in np.eye(self.length)]
        return np.stack(columns, 1) if columns else np.zeros((zero.size, 0))

    def norm(self) -> float:
        matrix = self.matrix()
        return float(np.linalg.norm(matrix, 2)) if matrix.size else 0.0

    def jacobian_norm(self, flat: np.ndarray, step: float = 1e-6) -> float:
        return float(np.linalg.norm(self.jacobian(flat, step), 2))

    def jacobian(self, flat: np.ndarray, step: float = 1e-6) -> np.ndarray:
        """By central differences, [outputs, inputs]."""
        columns = [
            (self.run(flat + step * unit) - self.run(flat - step * unit)).ravel() / (2 * step)
            for unit in np.eye(self.length)
        ]
        return np.stack(columns, 1)

    def rule(self, **changes: object) -> float:
        operation = self.operation(**changes)
        return RULES[operation.node.op].lipschitz(operation)

    def range(self, known: Range) -> Range:
        operation = self.operation(known=known)
        return RULES[operation.node.op].range(operation)

    def operation(
        self,
        *,
        known: Range = ANYTHING,
        shapes: Mapping[int, tuple[int | None, ...] | None] | None = None,
        discrete: Sequence[int] = (),
        bound: float = 1.0,
        result: bool = True,
    ) -> Operation:
        """As rules see it; `shapes` are what is known instead, `discrete` constants vary instead."""

        def tensor(i: int) -> Tensor | None:
            if i in self.moving:
                shape = (shapes or {}).get(i, self.moving[i])
                return Tensor(name=f"x{i}", bound=bound, known=known, shape=shape)
            if i not in self.constants:
                return None
            if i in discrete:
                return Tensor(name=f"x{i}", bound=bound, discrete=True, shape=self.constants[i].shape)
            return known_tensor(f"x{i}", self.constants[i])

        newest = self.newest()
        given = {name: tensor(i) for i, name in enumerate(self.names) if name}
        given |= {name: known_tensor(name, array) for name, array in newest.constants.items()}
        node = Node(
            op=newest.main.op_type,
            name="n",
            inputs=tuple(newest.main.input),
            outputs=("y0",),
            attributes={a.name: plain(a) for a in newest.main.attribute},
        )
        return Operation(
            node=node,
            inputs=tuple(given.get(name) for name in node.inputs),
            outputs=(("y0", self.result_shape if result else None),),
            norms=lambda: (1.0, 1.0),
        )

    def newest(self) -> Reading:
        """The node as rules know it."""
        known = {**self.moving, **{i: array.shape for i, array in self.constants.items()}}
        shapes = [known.get(i) for i in range(len(self.names))]
        reading = as_newest(self.node, self.opset, shapes=shapes, new=Names(self.names).new)
        assert reading.nodes == (reading.main,)
        return reading


def known_tensor(name: str, array: np.ndarray) -> Tensor:
    return Tensor(name=name, bound=0.0, shape=array.shape, read=lambda: array)


def plain(attribute: onnx.AttributeProto) -> object:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, (int, float)) else tuple(value)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def check_linear(single: Single, *, exact: bool = True, tolerance: float = 1e-6) -> None:
    """The rule is not below the norm of the matrix, and equal to it; the range holds what comes out."""
    norm, bound = single.norm(), single.rule()
    assert bound >= norm * (1 - (1e-12 if single.dtype == "float64" else 1e-6)), single
    if exact:
        assert bound <= norm * (1 + tolerance) + 1e-9, (bound, norm, single)
    check_range(single)


def check_range(single: Single, low: float = -0.5, high: float = 2.0, count: int = 5) -> None:
    known, random = single.range(Range(lower=low, upper=high)), np.random.default_rng(0)
    for _ in range(count):
        values = single.run(random.choice([low, high], single.length))
        if values.size:
            assert known.lower - 1e-5 <= values.min(), single
            assert values.max() <= known.upper + 1e-5, single


def check_jacobian(single: Single, points: Sequence[np.ndarray], attained: np.ndarray | None = None) -> None:
    """The rule is not below the norm of the Jacobian at some points, and equal to it at the last."""
    bound = single.rule()
    for point in points:
        assert bound >= single.jacobian_norm(point) - 1e-6, single
    if attained is not None:
        assert abs(bound - single.jacobian_norm(attained)) < 1e-6 * bound, single
    check_range(single)
