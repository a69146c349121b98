"""Random small convolutional networks twice: as ONNX models, and as maps of tangents by torch.

The second form knows nothing of convsv: it pushes differences of two runs through the network, with a slope
in the activation's interval for each entry, whatever values would have to be there. No bound that only knows
the intervals may be below what it finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch.nn import functional

Tensor = torch.Tensor
Slopes = Mapping[str, Tensor]
"""By the name of the tensor that an activation makes: [channels, *window], or the choice of a pooling."""
T = TypeVar("T")
MOST = 120  # entries of a tensor


class UnsuitableError(Exception):
    """The operator cannot follow in this network."""


@dataclass
class Network:
    """A network that grows by a node at a time.

    Attributes:
        windows: positions of each tensor along each axis; None where it is [1, features].
        channels: of each tensor, or its features.
        slopes: the interval of each activation, two tensors [channels, *window].
        choices: the number of entries in the windows of each MaxPool, for a random one of them.
    """

    seed: int
    rank: int = 2
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: list[object] = field(default_factory=list)
    steps: list[tuple[tuple[str, ...], tuple[str, ...], Callable]] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    windows: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    slopes: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    choices: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * self.rng.standard_normal(shape)).astype(np.float32)

    def constant(self, values: np.ndarray | Sequence[int]) -> str:
        array = np.asarray(values)
        name = f"c{len(self.constants)}"
        self.constants[name] = array.astype(np.int64) if array.dtype.kind == "i" else array.astype(np.float32)
        return name

    def input(self, channels: int, window: tuple[int, ...] | None) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        self.channels[name], self.windows[name] = channels, window
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """Without the batch."""
        return (self.channels[name], *(self.windows[name] or ()))

    def add(
        self,
        op: str,
        sources: Sequence[str],
        constants: Sequence[str],
        step: Callable,
        outputs: int = 1,
        **attributes,
    ) -> list[str]:
        """Append a node; `step` maps the sources, [batch, channels, *window], to a list of outputs.

        Args:
            step: called with the tensors, and whether biases count.
        """
        names = [f"t{len(self.windows) + i}" for i in range(outputs)]
        zeros = [torch.zeros(1, *self.shape(name), dtype=torch.float64) for name in sources]
        try:
            found = step(zeros, False)
        except RuntimeError as error:  # kernels larger than their padded input
            raise UnsuitableError from error
        if any(math.prod(each.shape) > MOST or 0 in each.shape for each in found):
            raise UnsuitableError
        self.nodes.append(
            helper.make_node(op, [*sources, *constants], names, name=f"n{len(self.nodes)}", **attributes)
        )
        self.steps.append((tuple(sources), tuple(names), step))
        self.used.update(sources)
        for name, each in zip(names, found, strict=True):
            self.channels[name] = each.shape[1]
            self.windows[name] = tuple(each.shape[2:]) if each.ndim > 2 else None
        return names

    def activated(
        self, op: str, source: str, lower: Tensor, upper: Tensor, function, constants=(), **attributes
    ) -> str:
        """Append an activation with slopes between [channels, 1, ...] tensors."""
        name = f"t{len(self.windows)}"
        shape = self.shape(source)

        def step(tensors: Sequence[Tensor], _: bool) -> list[Tensor]:
            return [tensors[0]]

        self.add(op, [source], constants, step, **attributes)
        self.slopes[name] = lower.expand(shape).clone(), upper.expand(shape).clone()
        self.steps[-1] = ((source,), (name,), function)
        return name

    def pooled(self, source: str, kernel, stride, padding) -> str:
        """MaxPool, as the choice of one entry in each window."""
        name = f"t{len(self.windows)}"
        count = math.prod(kernel)

        def patches(x: Tensor, outside: float = 0.0) -> Tensor:
            wide = functional.pad(x, [p for pair in reversed(padding) for p in pair], value=outside)
            for axis, (k, s) in enumerate(zip(kernel, stride, strict=True), 2):
                wide = wide.unfold(axis, k, s)
            return wide.flatten(2 + self.rank)

        def step(tensors: Sequence[Tensor], _: bool) -> list[Tensor]:
            return [patches(tensors[0])[..., 0]]

        attributes = {"kernel_shape": kernel, "strides": stride, "pads": pads_of(padding)}
        self.add("MaxPool", [source], [], step, **attributes)
        self.choices[name] = count
        self.steps[-1] = ((source,), (name,), patches)
        return name

    def _each(self, feeds: Mapping[str, Tensor], slopes: Slopes | None) -> dict[str, Tensor]:
        values = dict(feeds)
        for sources, names, step in self.steps:
            tensors = [values[source] for source in sources]
            if names[0] in self.slopes:
                found = [step(tensors[0]) if slopes is None else tensors[0] * slopes[names[0]]]
            elif names[0] in self.choices:
                if slopes is None:
                    found = [step(tensors[0], -math.inf).amax(-1)]
                else:
                    parts = step(tensors[0])
                    found = [parts.gather(-1, slopes[names[0]].expand(parts.shape[:-1])[..., None])[..., 0]]
            else:
                found = step(tensors, slopes is None)
            values.update(zip(names, found, strict=True))
        return values

    def tangents(self, x: Tensor, slopes: Slopes | None) -> Tensor:
        """Images of differences of the inputs, [batch, all entries] -> [batch, all entries of the outputs].

        Args:
            x: one difference a row; or inputs, where there are no slopes: these give what the network does.
            slopes: of every activation, and the choices of every pooling.
        """
        parts = x.split([math.prod(self.shape(name)) for name in self.inputs], 1)
        feeds = {n: p.reshape(len(x), *self.shape(n)) for n, p in zip(self.inputs, parts, strict=True)}
        values = self._each(feeds, slopes)
        return torch.cat([values[name].flatten(1) for name in self.outputs], 1)

    @property
    def size(self) -> int:
        """Entries of all inputs."""
        return sum(math.prod(self.shape(name)) for name in self.inputs)

    def drawn_slopes(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Random ones, mostly at the ends of their intervals."""
        found = {}
        for name, (lower, upper) in self.slopes.items():
            share = (1.4 * torch.rand(lower.shape, generator=generator, dtype=torch.float64) - 0.2).clamp(
                0, 1
            )
            found[name] = lower + share.round() * (upper - lower)
        for name, count in self.choices.items():
            found[name] = torch.randint(count, self.shape(name), generator=generator)
        return found

    def steepest(self, starts: int = 2, rounds: int = 12) -> float:
        """The largest norm of a Jacobian that a search over slopes finds, each as its derivative says."""
        generator = torch.Generator().manual_seed(self.seed)
        best = 0.0
        for start in range(starts):
            slopes = self.drawn_slopes(generator)
            if not start:
                slopes |= {name: upper.clone() for name, (_, upper) in self.slopes.items()}
            for _ in range(rounds):
                matrix = self.tangents(torch.eye(self.size, dtype=torch.float64), slopes)
                _, values, right = torch.linalg.svd(matrix.mT, full_matrices=False)
                norm = float(values[0])
                if norm <= best * (1 + 1e-9):
                    break
                best = norm
                free = {n: slopes[n].clone().requires_grad_() for n in self.slopes}
                if not free:
                    break
                image = self.tangents(right[:1], slopes | free).square().sum()
                rates = torch.autograd.grad(image, list(free.values()), allow_unused=True)
                for (name, (lower, upper)), rate in zip(self.slopes.items(), rates, strict=True):
                    if rate is not None:
                        slopes[name] = torch.where(
                            rate > 0, upper, torch.where(rate < 0, lower, slopes[name])
                        )
        return best

    def model(self) -> ModelProto:
        """In single precision, and opset 20."""
        values = [
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, *self.shape(n))) for n in names]
            for names in (self.inputs, self.outputs)
        ]
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "drawn", *values, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def pads_of(padding: Sequence[tuple[int, int]]) -> list[int]:
    """As ONNX has them: all beginnings, then all ends."""
    return [before for before, _ in padding] + [after for _, after in padding]


def double(array: np.ndarray) -> Tensor:
    """In double precision."""
    return torch.from_numpy(np.asarray(array, np.float64))
