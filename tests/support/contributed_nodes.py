"""Nodes that onnxruntime contributes, with random weights: what they are, and what they compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convsv_cli.loaders.onnx import contributed
from tests.support import runtime

MICROSOFT, INTERNAL = "com.microsoft", "com.ms.internal.nhwc"
KINDS = {"f": TensorProto.FLOAT, "i": TensorProto.INT32, "l": TensorProto.INT64}
Reference = Callable[..., np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A node.

    Attributes:
        inputs: in order: a shape of what varies, an array that is stored, or None for one left out.
        reference: the same by numpy, where onnxruntime has no kernel for processors.
        feeds: values of inputs that are no real numbers, by index.
    """

    op: str
    inputs: tuple[tuple[int, ...] | np.ndarray | None, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("y",)
    reference: Reference | None = None
    feeds: Mapping[int, np.ndarray] = field(default_factory=dict)
    domain: str = MICROSOFT
    opset: int = 23

    @property
    def moving(self) -> dict[str, tuple[int, ...]]:
        """The inputs that vary, by name."""
        return {f"x{i}": each for i, each in enumerate(self.inputs) if isinstance(each, tuple)}

    def model(self, opset: int | None = None) -> ModelProto:
        """Of the node alone."""
        names = ["" if each is None else f"x{i}" for i, each in enumerate(self.inputs)]
        node = helper.make_node(self.op, names, self.outputs, "node", domain=self.domain, **self.attributes)
        fed = [(n, TensorProto.FLOAT, shape) for n, shape in self.moving.items()]
        kinds = {f"x{i}": values for i, values in self.feeds.items()}
        fed = [
            (n, helper.np_dtype_to_tensor_dtype(kinds[n].dtype) if n in kinds else kind, shape)
            for n, kind, shape in fed
        ]
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info(*each) for each in fed],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.outputs if name],
            [
                numpy_helper.from_array(each, f"x{i}")
                for i, each in enumerate(self.inputs)
                if isinstance(each, np.ndarray)
            ],
        )
        imports = [
            helper.make_opsetid("", opset or self.opset),
            helper.make_opsetid(MICROSOFT, 1),
            helper.make_opsetid(INTERNAL, opset or self.opset),
        ]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)

    def sample(self, random: np.random.Generator, scale: float = 1.0) -> dict[str, np.ndarray]:
        """Values of what varies."""
        drawn = {n: (scale * random.standard_normal(s)).astype(np.float32) for n, s in self.moving.items()}
        return drawn | {f"x{i}": values for i, values in self.feeds.items()}

    def computed(self) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
        """What the node computes, by onnxruntime or the reference."""
        if self.reference is None:
            return evaluator(self.model())
        stored = {f"x{i}": each for i, each in enumerate(self.inputs) if isinstance(each, np.ndarray)}

        def run(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            values = {**stored, **feeds}
            given = [values.get(f"x{i}") for i in range(len(self.inputs))]
            found = self.reference(*[None if v is None else v.astype(np.float64) for v in given])
            return list(found) if isinstance(found, tuple) else [found]

        return run

    def read(self) -> ModelProto:
        """The model as convsv reads it; all of it are ONNX's own operators."""
        model = self.model()
        contributed.read(model)
        strangers = [node.op_type for node in model.graph.node if node.domain]
        assert not strangers, (strangers, [a for node in model.graph.node for a in node.attribute][-1:])
        return model


def case(
    op: str,
    *inputs: tuple[int, ...] | np.ndarray | None,
    reference: Reference | None = None,
    outputs: tuple[str, ...] = ("y",),
    feeds: Mapping[int, np.ndarray] | None = None,
    domain: str = MICROSOFT,
    opset: int = 23,
    **attributes: object,
) -> Case:
    """A node with these inputs and attributes."""
    return Case(
        op=op,
        inputs=inputs,
        attributes=attributes,
        outputs=outputs,
        reference=reference,
        feeds=feeds or {},
        domain=domain,
        opset=opset,
    )


def evaluator(model: ModelProto) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """By onnxruntime, else by the reference implementation."""
    try:
        session = runtime.session(model, rewritten=False)
    except Exception:  # noqa: BLE001
        reference = ReferenceEvaluator(model)
        return lambda feeds: list(reference.run(None, dict(feeds)))
    return lambda feeds: list(session.run(None, dict(feeds)))


_random = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return _random.standard_normal(shape).astype(np.float32)


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def fast_gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def softmax(x: np.ndarray, axes: tuple[int, ...] = (-1,)) -> np.ndarray:
    powers = np.exp(x - x.max(axes, keepdims=True))
    return powers / powers.sum(axes, keepdims=True)


def conv(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, **options: int) -> np.ndarray:
    import torch

    bias = None if b is None else torch.tensor(b)
    return torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w), bias, **options).numpy()


def first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


def group_norm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, groups: int, *, silu: bool = False
) -> np.ndarray:
    """Of images with channels last."""
    n, h, w, c = x.shape
    parts = x.reshape(n, h * w, groups, c // groups)
    mean, var = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
    y = ((parts - mean) / np.sqrt(var + 1e-5)).reshape(x.shape) * gamma + beta
    return y / (1 + np.exp(-y)) if silu else y


def split_gelu(x: np.ndarray, b: np.ndarray) -> np.ndarray:
    left, right = np.split(x + b, 2, axis=-1)
    return left * gelu(right)


def packed_attention(x: np.ndarray) -> np.ndarray:
    q, k, v = (x[:, :, :, i].transpose(0, 2, 1, 3) for i in range(3))
    found = softmax(q @ k.swapaxes(-1, -2) / 2) @ v
    return found.transpose(0, 2, 1, 3).reshape(1, 4, 8)
