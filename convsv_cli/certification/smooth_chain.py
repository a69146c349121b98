"""Graphs that are a chain of linear layers with one smooth activation, as torch modules in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from convsv_cli.certification.classifier import Classifier, matrix_of
from convsv_cli.errors import UsageError
from convsv_cli.model.graph import Node, UnknownValueError
from convsv_cli.model.layer import CONV, Layer
from convsv_cli.model.linear_map import LinearMap, Unsupported
from convsv_cli.model.linear_maps import linear_maps
from convsv_cli.torch_modules.chain import chain_of

CHUNK = 64
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Sigmoid": nn.Sigmoid,
    "Softplus": lambda: nn.Softplus(threshold=50),
    "Tanh": nn.Tanh,
}
"""Softplus as it is, to the last bit: torch's own threshold of 20 makes it jump by 2.1e-9."""
SMALLEST_THRESHOLD = 10.0
MOST = 2**25
"""Entries of a tensor of samples, each with all of its other classes."""


class NoChainError(Exception):
    """The graph is no chain of layers with one smooth activation; why not, in words."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SmoothChain:
    """The chain.

    Attributes:
        model: an `nn.Sequential` in float64.
        logit_error: by how much the graph's logits may differ from the model's, in exact arithmetic.
        count: how many samples, with each of their other classes, have room in memory on every core.
    """

    model: nn.Sequential
    logit_error: float
    count: int

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Float64 [n, classes]."""
        with torch.no_grad():
            return torch.cat([self.model(part.double()) for part in torch.split(x, self.count)])


def smooth_chain_of(classifier: Classifier) -> SmoothChain:
    """The classifier as a chain.

    Raises:
        NoChainError: it is none.
    """
    return _Reading(
        classifier=classifier, nodes=list(classifier.nodes), shape=(1, *classifier.shape)
    ).result()


@dataclass(kw_only=True, eq=False)
class _Reading:
    """A graph that is read node by node.

    Attributes:
        classifier: whose graph it is.
        nodes: what is left of it, in order.
        shape: of what has been read so far gives, for one sample.
        parts: the modules so far.
        entries: the most of a tensor between them.
        jump: how far a threshold of Softplus may be off it.
    """

    classifier: Classifier
    nodes: list[Node]
    shape: tuple[int, ...]
    parts: list[nn.Module] = field(default_factory=list)
    entries: int = 0
    jump: float = 0.0

    def result(self) -> SmoothChain:
        tensor = self.classifier.source
        while self.nodes:
            tensor = self._next(tensor)
        head = self.parts[-1] if self.parts else None
        if tensor != self.classifier.output or not isinstance(head, nn.Linear):
            raise NoChainError("its last layer is not Linear")
        model = nn.Sequential(*self.parts).double().eval()
        try:
            chain = chain_of(model)
        except UsageError as error:
            raise NoChainError(error.what) from error
        if self.jump and len(chain.hidden) > 1:
            raise NoChainError("its Softplus is cut off before its last layers")
        entries = max(self.entries, math.prod(self.classifier.shape)) * (self.classifier.classes - 1)
        if entries > MOST:
            raise NoChainError(f"for each sample, its tensors have more than {MOST:,} entries")
        return SmoothChain(
            model=model,
            logit_error=self.jump * float(head.weight.detach().abs().sum(1).max()),
            count=min(CHUNK, MOST // entries),
        )

    def _next(self, tensor: str) -> str:
        """Take the nodes that use a tensor; what they make."""
        if [node.op for node in self.nodes[:2]] == ["Greater", "Softplus"]:
            self.nodes[:2] = self.nodes[1::-1]
        node = self.nodes.pop(0)
        if tensor not in node.inputs:
            raise NoChainError("it is not a chain of layers")
        found = linear_maps(node, self.classifier.graph)
        if found:
            if tensor != node.inputs[0]:
                raise NoChainError(f"{node.op} multiplies from the left")
            part, made = self._linear(node, found[0]), node.outputs[0]
            self._append(part, made)
            after = self._with_bias(node)
        elif node.op in ACTIVATIONS:
            self._append(ACTIVATIONS[node.op](), node.outputs[0])
            after = self._thresholded(node)
        elif node.op in ("Flatten", "Reshape"):
            self._append(nn.Flatten(), node.outputs[0])
            after = node.outputs[0]
        elif node.op == "Identity":
            after = node.outputs[0]
        else:
            raise NoChainError(f"{node.op} is neither a linear layer nor a smooth activation")
        self._check(after)
        return after

    def _append(self, part: Any, made: str) -> None:  # noqa: ANN401
        """One more module, if it makes of one sample what the graph does: more may vary than it says."""
        if isinstance(part, nn.Linear) and len(self.shape) != 2:
            raise NoChainError("one of its matrices is applied to more than one vector")
        try:
            weights = {
                name: torch.empty_like(value, device="meta") for name, value in part.named_parameters()
            }
            sample = torch.empty(self.shape, dtype=torch.float64, device="meta")
            shape = tuple(torch.func.functional_call(part, weights, (sample,)).shape)
        except RuntimeError as error:
            raise NoChainError("its shapes do not fit together") from error
        self.parts.append(part)
        self.shape = shape
        self.entries = max(self.entries, math.prod(shape))
        self._check(made)

    def _check(self, tensor: str) -> None:
        if self.classifier.graph.shapes.get(tensor) != self.shape:
            raise NoChainError("it is not a chain of layers that are each applied to one vector or image")

    def _linear(self, node: Node, found: LinearMap | Unsupported) -> Any:  # noqa: ANN401
        if node.op in ("Gemm", "MatMul"):
            weight = matrix_of(node, self.classifier.graph)
            if weight is None:
                raise NoChainError(f"the matrix of {node.name!r} is not known")
            layer: Any = nn.Linear(weight.shape[1], weight.shape[0]).double()
        elif node.op == CONV:
            row = self.classifier.row(found.key)
            if row is None:
                raise NoChainError(f"the kernel of {node.name!r} is in no row of the audit")
            if not isinstance(row, Layer) or not row.kernel_shape:
                raise NoChainError(f"{row.name} is not a layer that can be audited")
            layer, weight = _convolution(row), row.read()
        else:
            raise NoChainError(f"{node.op} is not among the layers whose curvature is bounded")
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.zero_()
        if isinstance(found, LinearMap) and found.bias is not None:
            name, factor = found.bias
            _bias(layer, factor * self._constant(name))
        return layer

    def _with_bias(self, node: Node) -> str:
        """A MatMul and the Add of a vector behind it are one layer."""
        made = node.outputs[0]
        if node.op != "MatMul" or not self.nodes or self.nodes[0].op != "Add":
            return made
        add = self.nodes.pop(0)
        others = [name for name in add.inputs if name != made]
        if len(others) != 1:
            raise NoChainError("it is not a chain of layers")
        _bias(self.parts[-1], self._constant(others[0]))
        return add.outputs[0]

    def _thresholded(self, node: Node) -> str:
        """Torch writes Softplus as Where(x > threshold, x, Softplus(x)): exact but for exp(-threshold)."""
        taken, made = node.inputs[0], node.outputs[0]
        if node.op != "Softplus" or len(self.nodes) < 2 or self.nodes[0].op != "Greater":
            return made
        greater, where = self.nodes.pop(0), self.nodes.pop(0)
        if greater.inputs[0] != taken or where.op != "Where":
            raise NoChainError("it is not a chain of layers")
        threshold = float(np.min(self._constant(greater.inputs[1])))
        if where.inputs != (greater.outputs[0], taken, made) or not threshold >= SMALLEST_THRESHOLD:
            raise NoChainError("its Softplus is cut off")
        self.jump = max(self.jump, math.exp(-threshold))
        return where.outputs[0]

    def _constant(self, name: str) -> np.ndarray:
        try:
            constant = self.classifier.graph.constant(name)
            if constant is None:
                raise NoChainError("it is not a chain of layers")
            return np.asarray(constant.read(), dtype=np.float64)
        except UnknownValueError as error:
            raise NoChainError(f"one of its constants is {error}") from error


def _convolution(row: Layer) -> Any:  # noqa: ANN401
    geometry, axes = row.geometry, len(row.kernel_shape) - 2
    pads = geometry.padding
    known = len(pads) == 2 * axes and axes <= len(CONVOLUTIONS) and geometry.padding_mode == "zeros"
    if not known or pads[:axes] != pads[axes:]:
        raise NoChainError(f"{row.name} is padded in a way that is not supported")
    make: Any = CONVOLUTIONS[axes - 1]
    return make(
        row.kernel_shape[1] * geometry.groups,
        row.kernel_shape[0],
        row.kernel_shape[2:],
        stride=geometry.stride,
        padding=pads[:axes],
        dilation=geometry.dilation,
        groups=geometry.groups,
    ).double()


def _bias(layer: Any, values: np.ndarray) -> None:  # noqa: ANN401
    if values.size not in (1, layer.bias.numel()):
        raise NoChainError("one of its biases is not a vector with one number per output")
    with torch.no_grad():
        layer.bias.add_(torch.from_numpy(np.array(values)).flatten())
