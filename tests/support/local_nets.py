"""Random small networks with skips, pools and all kinds of activations, as ONNX models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx import NodeProto, helper

from convsv_cli.differentiable import differentiable
from convsv_cli.lipschitz.dependencies import relevant
from convsv_cli.lipschitz.norms import Norms, kernel_norm
from convsv_cli.loaders import load
from convsv_cli.local.lowering import lowered
from convsv_cli.local.steps import Program
from convsv_cli.model.graph import Graph
from tests.support.onnx_models import graph_model, saved

Shape = tuple[int, ...]


def _unknown() -> float:
    raise AssertionError("there are no rows")


def own_norms() -> Norms:
    """Of every linear map by itself, as there are no rows."""
    return Norms(rows={}, of_row=lambda _: _unknown(), of_kernel=kernel_norm)


class Net:
    """A network that grows by a node at a time."""

    def __init__(self, seed: int, shape: Shape) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.shapes: dict[str, Shape] = {"x": shape}
        self.last = "x"

    def weight(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = values
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        return self.weight((scale * self.rng.standard_normal(shape)).astype(np.float32))

    def add(self, op: str, *inputs: str, shape: Shape | None = None, **attributes: object) -> str:
        made = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [made], name=f"{op}_{made}", **attributes))
        self.shapes[made] = self.shapes[inputs[0]] if shape is None else shape
        self.last = made
        return made

    def graph(self, folder: Path) -> Graph:
        model = graph_model(self.nodes, {"x": self.shapes["x"]}, self.weights, (self.last,))
        graph = load(saved(model, folder)).graph
        assert graph is not None
        return graph


def convolved(net: Net) -> None:
    (_, c, h, w), k = net.shapes[net.last], int(net.rng.integers(1, 4))
    stride, out = int(net.rng.integers(1, 3)), int(net.rng.integers(1, 4))
    pads = [int(pad) for pad in net.rng.integers(0, 2, 4)]
    size = [(n + a + b - k) // stride + 1 for n, a, b in zip((h, w), pads[:2], pads[2:], strict=True)]
    if min(size) < 1:
        return
    weight, bias = net.normal(out, c, k, k, scale=1 / k), net.normal(out)
    more = {"pads": pads, "strides": [stride] * 2, "kernel_shape": [k] * 2}
    net.add("Conv", net.last, weight, bias, shape=(1, out, *size), **more)


def spread(net: Net) -> None:
    _, c, h, w = net.shapes[net.last]
    out = int(net.rng.integers(1, 3))
    weight = net.normal(c, out, 2, 2, scale=0.5)
    net.add("ConvTranspose", net.last, weight, shape=(1, out, h + 1, w + 1), kernel_shape=[2, 2])


def normalised(net: Net) -> None:
    c = net.shapes[net.last][1]
    scale, bias, mean = (net.normal(c) for _ in range(3))
    variance = net.weight((0.5 + net.rng.random(c)).astype(np.float32))
    net.add("BatchNormalization", net.last, scale, bias, mean, variance)


def skipped(net: Net) -> None:
    shape = net.shapes[net.last]
    others = [name for name, other in net.shapes.items() if other == shape]
    op = str(net.rng.choice(["Add", "Sub", "Max", "Min", "Sum"]))
    net.add(op, net.last, str(net.rng.choice(others)))


def joined(net: Net) -> None:
    shape = net.shapes[net.last]
    others = [name for name, other in net.shapes.items() if other[2:] == shape[2:]]
    other = str(net.rng.choice(others))
    made = (1, shape[1] + net.shapes[other][1], *shape[2:])
    net.add("Concat", net.last, other, shape=made, axis=1)


def pooled(net: Net) -> None:
    _, c, h, w = net.shapes[net.last]
    if min(h, w) < 2:
        return
    op, pad = str(net.rng.choice(["MaxPool", "AveragePool"])), int(net.rng.integers(0, 2))
    stride = int(net.rng.integers(1, 3))
    size = [(n + 2 * pad - 2) // stride + 1 for n in (h, w)]
    more = {"count_include_pad": int(net.rng.integers(0, 2))} if op == "AveragePool" else {}
    net.add(
        op,
        net.last,
        shape=(1, c, *size),
        kernel_shape=[2, 2],
        strides=[stride] * 2,
        pads=[pad] * 4,
        **more,
    )


def scaled(net: Net) -> None:
    c = net.shapes[net.last][1]
    op = str(net.rng.choice(["Mul", "Add", "Sub", "Div"]))
    values = net.rng.standard_normal((1, c, *(1 for _ in net.shapes[net.last][2:])))
    net.add(op, net.last, net.weight((values + 2 * np.sign(values)).astype(np.float32)))


def activated(net: Net) -> None:
    kinds: dict[str, Callable[[], dict[str, object]]] = {
        "Relu": dict,
        "LeakyRelu": lambda: {"alpha": float(net.rng.random())},
        "Abs": dict,
        "HardSigmoid": dict,
        "HardSwish": dict,
        "Sigmoid": dict,
        "Tanh": dict,
        "Elu": dict,
        "Softplus": dict,
    }
    op = str(net.rng.choice(["Relu"] * 4 + ["Clip", "PRelu", *kinds]))
    if op == "Clip":
        low, high = np.sort(net.rng.standard_normal(2)).astype(np.float32)
        net.add(op, net.last, net.weight(np.asarray(low)), net.weight(np.asarray(high)))
    elif op == "PRelu":
        c = net.shapes[net.last][1]
        net.add(op, net.last, net.normal(c, *(1 for _ in net.shapes[net.last][2:])))
    else:
        net.add(op, net.last, **kinds[op]())


def moved(net: Net) -> None:
    _, c, h, w = net.shapes[net.last]
    op = str(net.rng.choice(["Transpose", "Pad", "Slice", "Identity"]))
    if op == "Transpose":
        net.add(op, net.last, shape=(1, c, w, h), perm=[0, 1, 3, 2])
    elif op == "Pad":
        pads = net.weight(np.array([0, 0, 1, 0, 0, 0, 0, 1]))
        net.add(op, net.last, pads, shape=(1, c, h + 1, w + 1))
    elif op == "Slice" and h > 1:
        ends = [net.weight(np.array([value])) for value in (1, h, 2)]
        net.add(op, net.last, *ends, shape=(1, c, h - 1, w))
    else:
        net.add("Identity", net.last)


PARTS = (
    *(convolved, convolved, activated, activated, normalised, skipped),
    *(joined, pooled, scaled, moved, spread),
)


def random_net(seed: int) -> Net:
    """Parts in any order, then an average over images and two matrices."""
    rng = np.random.default_rng(seed)
    net = Net(seed, (1, int(rng.integers(1, 3)), int(rng.integers(3, 6)), int(rng.integers(3, 6))))
    for _ in range(int(rng.integers(3, 9))):
        part = PARTS[int(rng.integers(len(PARTS)))]
        part(net)
    _, c, h, w = net.shapes[net.last]
    if rng.random() < 0.5:
        net.add("GlobalAveragePool", net.last, shape=(1, c, 1, 1))
        h = w = 1
    net.add("Flatten", net.last, shape=(1, c * h * w))
    net.add("Gemm", net.last, net.normal(5, c * h * w, scale=0.5), net.normal(5), shape=(1, 5), transB=1)
    net.add("Relu", net.last)
    net.add("MatMul", net.last, net.normal(5, 3), shape=(1, 3))
    return net


def points_in_ball(x: torch.Tensor, radius: float, count: int, seed: int = 0) -> torch.Tensor:
    """Random points of a ball around one sample, on its surface for the most part: [count, *shape]."""
    generator = torch.Generator().manual_seed(seed)
    moves = torch.randn(count, *x.shape[1:], generator=generator, dtype=torch.float64)
    lengths = torch.rand(count, generator=generator, dtype=torch.float64) ** 0.1
    norms = moves.flatten(1).norm(dim=1)
    return x + moves * (radius * lengths / norms).reshape(-1, *(1 for _ in x.shape[1:]))


STARTS = 10
"""Of an attack."""


@dataclass(frozen=True)
class Attacked:
    """A network, as steps and as a function of samples [n, *shape] in single precision that has gradients."""

    program: Program
    function: Callable[[torch.Tensor], torch.Tensor]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Of samples [n, *shape], in double precision, with gradients in single precision."""
        values = self.program.values(x)[self.program.output].flatten(1).detach()
        single = self.function(x.float()).flatten(1).double()
        return values + (single - single.detach())

    def lowest(self, directions: torch.Tensor, x: torch.Tensor, radius: float, seed: int = 0) -> torch.Tensor:
        """The least of <direction, output> in a ball that gradients from some of its points lead to.

        All directions [rows, 1, *output] take the same steps at once; [rows].
        """
        at = points_in_ball(x, radius, STARTS, seed).tile(len(directions), *(1 for _ in x.shape[1:]))
        along = directions.flatten(1).repeat_interleave(STARTS, 0)
        best = torch.full((len(directions),), torch.inf, dtype=torch.float64)
        for _ in range(15):
            values = (self.program.values(at)[self.program.output].flatten(1) * along).sum(1)
            best = best.minimum(values.reshape(-1, STARTS).amin(1))
            single = at.float().requires_grad_()
            found = self.function(single).flatten(1)
            (slope,) = torch.autograd.grad((found * along.float()).sum(), single)
            moved = at - 0.3 * radius * slope.double() / _lengths(slope.double()).clamp_min(1e-30) - x
            at = x + moved * (radius / _lengths(moved).clamp_min(1e-30)).clamp_max(1.0) * (1 - 1e-12)
        return best


def attacked(net: Net, folder: Path) -> Attacked:
    graph = net.graph(folder)
    function = differentiable(graph, source="x", nodes=relevant(graph), output=net.last)
    return Attacked(program=lowered(graph, own_norms()), function=lambda samples: function(samples[:, 0]))


def self_attacked(net: Net, folder: Path) -> Attacked:
    """With the gradients of its own steps, where all of these are piecewise linear."""
    program = lowered(net.graph(folder), own_norms())

    def single(samples: torch.Tensor) -> torch.Tensor:
        return program.values(samples.double())[program.output][:, 0].float()

    return Attacked(program=program, function=single)


def _lengths(vectors: torch.Tensor) -> torch.Tensor:
    return vectors.flatten(1).norm(dim=1).reshape(-1, *(1 for _ in vectors.shape[1:]))
