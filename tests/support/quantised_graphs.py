"""Quantised models: what onnxruntime writes of small networks, and random graphs of its pieces."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from tests.support.onnx_models import graph_model, saved

SHAPE = (1, 4, 6, 6)
BOX = (-1.0, 1.0)
node = helper.make_node


def scaled(draws: np.random.Generator, *shape: int) -> np.ndarray:
    """A weight that amplifies by about 1."""
    inputs = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
    return (draws.standard_normal(shape) / np.sqrt(inputs)).astype(np.float32)


def convolutional() -> ModelProto:
    """Two convolutions with biases, of which the first sees padding, a pool and a matrix."""
    draws = np.random.default_rng(1)
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], name="c1", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "w2", "b2"], ["c2"], name="c2", pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["c2"], ["r2"]),
        node("Flatten", ["r2"], ["f"]),
        node("MatMul", ["f", "m"], ["y"], name="fc"),
    ]
    weights = {"w1": scaled(draws, 6, 4, 3, 3), "w2": scaled(draws, 8, 6, 3, 3), "m": scaled(draws, 32, 5)}
    biases = {"b1": scaled(draws, 6, 1).ravel(), "b2": scaled(draws, 8, 1).ravel()}
    return graph_model(nodes, {"x": SHAPE}, weights | biases, opset=13)


def perceptron() -> ModelProto:
    """Three matrices, with a skip, and a Sigmoid before the last."""
    draws = np.random.default_rng(2)
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("MatMul", ["f", "a"], ["m1"], name="a"),
        node("Add", ["m1", "bias"], ["h1"]),
        node("Relu", ["h1"], ["r1"]),
        node("MatMul", ["r1", "b"], ["m2"], name="b"),
        node("Add", ["m2", "h1"], ["h2"]),
        node("Sigmoid", ["h2"], ["s"]),
        node("MatMul", ["s", "c"], ["y"], name="c"),
    ]
    weights = {"a": scaled(draws, 144, 16), "b": scaled(draws, 16, 16), "c": scaled(draws, 16, 3)}
    return graph_model(nodes, {"x": SHAPE}, weights | {"bias": scaled(draws, 16, 1).ravel()}, opset=13)


def static(model: ModelProto, folder: Path, **options: object) -> Path:
    """Quantised with scales from a few inputs, by onnxruntime."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            draws = np.random.default_rng(0)
            self._samples = iter([draws.uniform(*BOX, SHAPE).astype(np.float32) for _ in range(8)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self._samples, None)
            return None if sample is None else {"x": sample}

    logging.getLogger().setLevel(logging.ERROR)  # it recommends a step that these models do not need
    quantize_static(saved(model, folder), folder / "static.onnx", Reader(), **options)
    return folder / "static.onnx"


def dynamic(model: ModelProto, folder: Path, **options: object) -> Path:
    """Quantised with scales that are found while it runs, by onnxruntime."""
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)
    quantize_dynamic(saved(model, folder), folder / "dynamic.onnx", **options)
    return folder / "dynamic.onnx"


class Pieces:
    """A random graph from x [1, 4, 6, 6] to y, a vector."""

    def __init__(self, seed: int) -> None:
        self.draws = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.name, self.shape = "x", SHAPE
        self._count = 0

    def model(self) -> ModelProto:
        """One of three to six pieces and a matrix."""
        steps: list[Callable[[], None]] = [
            self.pair, self.pair_of_channels, self.moved, self.moved_channels, self.linear_conv,
            self.integer_conv, self.dynamic_conv, self.activation, self.skip,
        ]  # fmt: skip
        for index in self.draws.integers(0, len(steps), self.draws.integers(3, 7)):
            steps[index]()
        ends = [self.linear_matrix, self.dynamic_matrix, self.plain_matrix]
        ends[self.draws.integers(0, len(ends))]()
        self.nodes.append(node("Identity", [self.name], ["y"]))
        return graph_model(self.nodes, {"x": SHAPE}, self.weights, opset=21)

    def add(self, op: str, inputs: list[str], count: int = 1, **attributes: object) -> list[str]:
        self._count += 1
        results = [f"t{self._count}_{i}" for i in range(count)]
        self.nodes.append(node(op, inputs, results, name=f"n{self._count}", **attributes))
        return results

    def weight(self, values: np.ndarray) -> str:
        self._count += 1
        self.weights[f"w{self._count}"] = values
        return f"w{self._count}"

    def step(self, channels: int | None = None, *, kind: type[np.integer] = np.uint8) -> list[str]:
        """A scale, and a zero point near the middle."""
        info, count = np.iinfo(kind), () if channels is None else (channels,)
        middle = (info.min + info.max) // 2
        most = 0.05 if info.bits == 8 else 0.002
        scale = self.draws.uniform(0.2 * most, most, count).astype(np.float32)
        return [self.weight(scale), self.weight((middle + self.draws.integers(-9, 9, count)).astype(kind))]

    def kind(self, *kinds: type[np.integer]) -> type[np.integer]:
        return kinds[self.draws.integers(0, len(kinds))]

    def quantised(self, grid: list[str], **attributes: object) -> str:
        return self.add("QuantizeLinear", [self.name, *grid], **attributes)[0]

    def pair(self) -> None:
        grid = self.step(kind=self.kind(np.int8, np.uint8, np.int16, np.uint16))
        (self.name,) = self.add("DequantizeLinear", [self.quantised(grid), *grid])

    def pair_of_channels(self) -> None:
        axis = int(self.draws.integers(1, 4))
        grid = self.step(self.shape[axis], kind=self.kind(np.int8, np.uint8))
        (self.name,) = self.add("DequantizeLinear", [self.quantised(grid, axis=axis), *grid], axis=axis)

    def moved(self) -> None:
        """Codes that are moved, pooled and clipped, then real numbers, by their own scale or another one."""
        kind = self.kind(np.int8, np.uint8)
        grid = self.step(kind=kind)
        codes = self.quantised(grid)
        for choice in self.draws.permutation(7)[:3]:
            codes = self._move(int(choice), codes, kind)
        last = self.draws.integers(0, 3)
        if last == 2:
            (cast,) = self.add("Cast", [codes], to=TensorProto.FLOAT)
            (self.name,) = self.add("Mul", [cast, self.weight(np.float32(0.02))])
        else:
            other = grid if last else self.step(kind=kind)
            (self.name,) = self.add("DequantizeLinear", [codes, *other])

    def _move(  # noqa: PLR0911
        self, choice: int, codes: str, kind: type[np.integer]
    ) -> str:
        n, c, h, w = self.shape
        if choice == 0:
            self.shape = n, c, w, h
            return self.add("Transpose", [codes], perm=[0, 1, 3, 2])[0]
        if choice == 1 and h * w % 4 == 0 and min(h, w) > 1:
            self.shape = n, c, h * w // 2, 2
            return self.add("Reshape", [codes, self.weight(np.array(self.shape))])[0]
        if choice == 2 and h > 2:
            self.shape = n, c, h - 1, w
            ends = [self.weight(np.array([each])) for each in (1, h, 2)]
            return self.add("Slice", [codes, *ends])[0]
        if choice == 3:
            return self.add("MaxPool", [codes], kernel_shape=[3, 3], pads=[1] * 4)[0]
        if choice == 4:
            self.shape = n, 2 * c, h, w
            return self.add("Concat", [codes, codes], axis=1)[0]
        if choice == 5 and kind is np.int8:
            return self.add("Relu", [codes])[0]
        low, high = (self.weight(np.array(each, kind)) for each in (np.iinfo(kind).min + 9, 120))
        return self.add("Clip", [codes, low, high])[0]

    def moved_channels(self) -> None:
        n, c, h, w = self.shape
        grid = self.step(c, kind=self.kind(np.int8, np.uint8))
        codes = self.quantised(grid, axis=1)
        (codes,) = self.add("MaxPool", [codes], kernel_shape=[3, 3], pads=[1] * 4)
        (codes,) = self.add("Transpose", [codes], perm=[0, 2, 1, 3])
        (self.name,) = self.add("DequantizeLinear", [codes, *grid], axis=2)
        self.shape = n, h, c, w

    def kernel(self, kind: type[np.integer]) -> tuple[str, list[str], int]:
        """A quantised kernel [6, channels, 3, 3] of few bits, so that no sum in 16 bits overflows."""
        middle = 0 if kind is np.int8 else 128
        values = self.draws.integers(-40, 40, (6, self.shape[1], 3, 3)) + middle
        zero = self.weight(np.array(middle, kind))
        scale = np.float32(1 / (23 * np.sqrt(9 * self.shape[1])))
        return self.weight(values.astype(kind)), [self.weight(np.array(scale)), zero], 6

    def linear_conv(self) -> None:
        grid, result = self.step(), self.step()
        codes = self.quantised(grid)
        kernel, scales, channels = self.kernel(np.int8)
        bias = self.weight(self.draws.integers(-3000, 3000, channels).astype(np.int32))
        inputs = [codes, *grid, kernel, *scales, *result, bias]
        (codes,) = self.add("QLinearConv", inputs, pads=[1] * 4)
        (self.name,) = self.add("DequantizeLinear", [codes, *result])
        self.shape = 1, channels, *self.shape[2:]

    def integer_conv(self) -> None:
        grid = self.step()
        kernel, (scale, zero), channels = self.kernel(np.uint8)
        (sums,) = self.add("ConvInteger", [self.quantised(grid), kernel, grid[1], zero], pads=[1] * 4)
        (cast,) = self.add("Cast", [sums], to=TensorProto.FLOAT)
        both = self.weight(self.weights[grid[0]] * self.weights[scale])
        (self.name,) = self.add("Mul", [cast, both])
        self.shape = 1, channels, *self.shape[2:]

    def dynamic_conv(self) -> None:
        codes, found, middle = self.add("DynamicQuantizeLinear", [self.name], count=3)
        kernel, (scale, zero), channels = self.kernel(np.uint8)
        (sums,) = self.add("ConvInteger", [codes, kernel, middle, zero], pads=[1] * 4)
        (cast,) = self.add("Cast", [sums], to=TensorProto.FLOAT)
        (both,) = self.add("Mul", [found, scale])
        (product,) = self.add("Mul", [cast, both])
        bias = self.weight(self.draws.standard_normal((1, channels, 1, 1)).astype(np.float32))
        (self.name,) = self.add("Add", [product, bias])
        self.shape = 1, channels, *self.shape[2:]

    def activation(self) -> None:
        (self.name,) = self.add(("Relu", "Sigmoid", "HardSwish")[self.draws.integers(0, 3)], [self.name])

    def skip(self) -> None:
        before, shape = self.name, self.shape
        self.pair()
        (self.name,) = self.add("Add", [self.name, before])
        assert shape == self.shape

    def flat(self) -> int:
        (self.name,) = self.add("Flatten", [self.name])
        return int(np.prod(self.shape))

    def plain_matrix(self) -> None:
        matrix = self.weight(scaled(self.draws, self.flat(), 5))
        (self.name,) = self.add("MatMul", [self.name, matrix])

    def linear_matrix(self) -> None:
        count, grid, result = self.flat(), self.step(), self.step()
        codes = self.quantised(grid)
        matrix = self.weight(self.draws.integers(-40, 40, (count, 5)).astype(np.int8))
        scale = self.weight((self.draws.uniform(0.5, 1, 5) / (23 * np.sqrt(count))).astype(np.float32))
        inputs = [codes, *grid, matrix, scale, self.weight(np.zeros(5, np.int8)), *result]
        (codes,) = self.add("QLinearMatMul", inputs)
        (self.name,) = self.add("DequantizeLinear", [codes, *result])

    def dynamic_matrix(self) -> None:
        count = self.flat()
        codes, found, middle = self.add("DynamicQuantizeLinear", [self.name], count=3)
        matrix = self.weight((self.draws.integers(-40, 40, (count, 5)) + 128).astype(np.uint8))
        (sums,) = self.add("MatMulInteger", [codes, matrix, middle, self.weight(np.array(128, np.uint8))])
        (cast,) = self.add("Cast", [sums], to=TensorProto.FLOAT)
        scale = self.weight(np.array(1 / (23 * np.sqrt(count)), np.float32))
        (both,) = self.add("Mul", [found, scale])
        (self.name,) = self.add("Mul", [both, cast])


def near_steps(model: ModelProto, draws: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of inputs: far apart, close, and on both sides of the steps of the first quantiser."""
    scales = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    first = next((n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "x"), None)
    scale = scales[first.input[1]].min() if first is not None else 0.01
    while True:
        one = draws.uniform(*BOX, SHAPE).astype(np.float32)
        size = 10.0 ** draws.uniform(-6, 0)
        for other in (
            draws.uniform(*BOX, SHAPE),
            one + size * draws.standard_normal(SHAPE) / np.sqrt(one.size),
        ):
            yield one, np.clip(other, *BOX).astype(np.float32)
        middle = np.clip((np.floor(one / scale) + 0.5) * scale, BOX[0] + 1e-4, BOX[1] - 1e-4)
        signs = draws.choice([-1e-4, 1e-4], SHAPE)
        yield (middle + signs).astype(np.float32), (middle - signs).astype(np.float32)
