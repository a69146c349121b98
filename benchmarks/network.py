"""What the bound of a whole network costs beside the norms of its layers.

    python benchmarks/network.py [--json FILE]

Audits a ResNet-50 at random initialisation, its BatchNorms in the graph or folded into the kernels as
exporters do, and graphs of up to a thousand nodes: skips, and activations in a row, whole or taken apart.
`composition` is all that comes after the norms of the layers and of the kernels that folding made. Norms stop
early, at a work limit, for they are not what is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
WORK_LIMIT = 1e9
DEPTHS = (100, 300, 1000)


class ResNet50Graph:
    """Nodes and random weights of a ResNet-50 as torchvision names them."""

    def __init__(self, *, normalised: bool) -> None:
        self.normalised = normalised
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self._generator = np.random.default_rng(0)

    def build(self) -> str:
        """Add all nodes; the name of the output."""
        x = self._relu(self._conv("conv1", "image", (64, 3, 7), stride=2))
        x = self._node("MaxPool", "maxpool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        width = 64
        for stage, (channels, depth) in enumerate(STAGES, 1):
            for block in range(depth):
                stride = 2 if block == 0 and stage > 1 else 1
                x = self._block(f"layer{stage}.{block}", x, width, channels, stride)
                width = 4 * channels
        x = self._node("Flatten", "flatten", self._node("GlobalAveragePool", "avgpool", x))
        return self._node("Gemm", "fc", x, self._weight("fc.weight", 1000, width), transB=1)

    def _block(self, name: str, x: str, width: int, channels: int, stride: int) -> str:
        inner = self._relu(self._conv(f"{name}.conv1", x, (channels, width, 1)))
        inner = self._relu(self._conv(f"{name}.conv2", inner, (channels, channels, 3), stride=stride))
        inner = self._conv(f"{name}.conv3", inner, (4 * channels, channels, 1))
        if width != 4 * channels:
            x = self._conv(f"{name}.downsample.0", x, (4 * channels, width, 1), stride=stride)
        return self._relu(self._node("Add", f"{name}.add", inner, x))

    def _conv(self, name: str, x: str, kernel: tuple[int, int, int], stride: int = 1) -> str:
        c_out, c_in, k = kernel
        weight = self._weight(f"{name}.weight", c_out, c_in, k, k)
        x = self._node("Conv", name, x, weight, strides=[stride] * 2, pads=[k // 2] * 4)
        if not self.normalised:
            return x
        parts = [self._vector(f"{name}.bn.{part}", c_out) for part in ("weight", "bias", "mean", "var")]
        return self._node("BatchNormalization", f"{name}.bn", x, *parts)

    def _relu(self, x: str) -> str:
        return self._node("Relu", f"{x}.relu", x)

    def _weight(self, name: str, *shape: int) -> str:
        values = self._generator.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        self.weights[name] = values.astype(np.float32)
        return name

    def _vector(self, name: str, size: int) -> str:
        self.weights[name] = (0.5 + self._generator.random(size)).astype(np.float32)
        return name

    def _node(self, op: str, name: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}.out"], name=name, **attributes))
        return f"{name}.out"


def skips(depth: int) -> tuple[list[NodeProto], dict[str, np.ndarray], str]:
    """Matrices with skips over skips: `depth` nodes, and as many paths as 2^(depth / 3)."""
    nodes, x = [], "image"
    for i in range(depth // 3):
        nodes += [
            helper.make_node("MatMul", [x, "w"], [f"m{i}"]),
            helper.make_node("Relu", [f"m{i}"], [f"r{i}"]),
            helper.make_node("Add", [x, f"r{i}"], [f"a{i}"]),
        ]
        x = f"a{i}"
    return nodes, {"w": np.eye(8, dtype=np.float32) / 8}, x


def tanhs(depth: int) -> tuple[list[NodeProto], dict[str, np.ndarray], str]:
    """`depth` Tanh in a row."""
    names = ["image", *(f"t{i}" for i in range(depth))]
    nodes = [helper.make_node("Tanh", [names[i]], [names[i + 1]]) for i in range(depth)]
    return nodes, {}, names[-1]


def hard_swishes(depth: int) -> tuple[list[NodeProto], dict[str, np.ndarray], str]:
    """`depth` HardSwish in a row, each taken apart into four nodes."""
    nodes, x = [], "image"
    for i in range(depth):
        nodes += [
            helper.make_node("Add", [x, "three"], [f"a{i}"]),
            helper.make_node("Clip", [f"a{i}", "zero", "six"], [f"c{i}"]),
            helper.make_node("Mul", [x, f"c{i}"], [f"m{i}"]),
            helper.make_node("Div", [f"m{i}", "six"], [f"d{i}"]),
        ]
        x = f"d{i}"
    numbers = {"zero": 0, "three": 3, "six": 6}
    return nodes, {name: np.array(value, np.float32) for name, value in numbers.items()}, x


def save(
    path: Path, nodes: list[NodeProto], weights: dict[str, np.ndarray], shape: list[int], output: str
) -> None:
    """Write a model with one image as its input."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def measure(name: str, path: Path) -> dict[str, object]:
    """Audit once, and take the times that the audit reports."""
    from convsv_cli import audit

    with _timed_folding() as folded:
        report = audit(path, work_limit=WORK_LIMIT)
    layers, composition = report.seconds - report.bound.seconds, report.bound.seconds - sum(folded)
    return {
        "graph": name,
        "nodes": len(onnx.load(path).graph.node),
        "layers": len(report.layers),
        "log10 L": report.bound.log10,
        "layer norms s": layers,
        "folded norms s": sum(folded),
        "composition s": composition,
        "composition / norms": composition / (layers + sum(folded)),
    }


@contextmanager
def _timed_folding() -> Iterator[list[float]]:
    """The seconds that each norm of a folded kernel takes."""
    from convsv_cli.auditing import measure

    seconds, original = [], measure.kernel_norm

    def timed(*arguments: object, **options: object) -> float:
        start = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            seconds.append(time.perf_counter() - start)

    measure.kernel_norm = timed
    try:
        yield seconds
    finally:
        measure.kernel_norm = original


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure all, print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for normalised in (False, True):
            graph, path = ResNet50Graph(normalised=normalised), Path(folder) / f"resnet50-{normalised}.onnx"
            save(path, graph.nodes, graph.weights, [1, 3, 224, 224], graph.build())
            rows.append(measure("ResNet-50" + (" with BatchNorms" if normalised else ""), path))
        chains = [(f"{depth // 3} skips in a row", skips(depth)) for depth in DEPTHS]
        chains += [("1000 Tanh in a row", tanhs(1000)), ("30 HardSwish in parts", hard_swishes(30))]
        for name, (nodes, weights, output) in chains:
            path = Path(folder) / "chain.onnx"
            save(path, nodes, weights, [1, 8], output)
            rows.append(measure(name, path))
    for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]:
        print(*(f"{_cell(value):<26}" for value in row.values()))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
