"""The constants of a module's graph, as torch computes them from its tensors as they are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import torch
from torch import nn

from convsv_cli.differentiable import OPERATORS
from convsv_cli.differentiable.operators import Values
from convsv_cli.errors import UsageError
from convsv_cli.model.graph import Node, UnknownValueError
from convsv_cli.model.network import Network

NOT_FOLLOWED = "the network's bound cannot be followed: {}"
TRY = "LipschitzPenalty adds up the norms of layers of any network"


class Tensors:
    """The constants of a graph, float64 on the CPU, from a module's parameters and buffers.

    Buffers are copied, for BatchNorm changes its own in place; they have no gradients.

    Args:
        module: whose names for them the graph has.
        network: with the graph, and how its other constants are computed.
    """

    def __init__(self, module: nn.Module, network: Network) -> None:
        self._module = module
        content = network.executable() if network.executable else b""
        nodes = onnx.load_from_string(content).graph.node
        self._makers = {name: _node(node) for node in nodes for name in node.output}
        self._graph, self._fixed = network.graph, dict[str, torch.Tensor]()

    def stored(self, name: str) -> Mapping[str, torch.Tensor]:
        """The module's tensors that a constant comes from, by name: none where it never changes."""
        live = self._live()
        found, pending = dict[str, torch.Tensor](), [name]
        while pending:
            each = pending.pop()
            if each in live:
                found[each] = live[each]
            elif each in self._makers:
                pending.extend(filter(None, self._makers[each].inputs))
        return found

    def now(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Their values."""
        live, known = self._live(), dict[str, torch.Tensor]()
        for name in names:
            self._value(name, live, known)
        return known

    def _live(self) -> dict[str, torch.Tensor]:
        kinds = self._module.named_buffers, self._module.named_parameters
        return {name: each for kind in kinds for name, each in kind(remove_duplicate=False)}

    def _value(
        self, name: str, live: Mapping[str, torch.Tensor], known: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        if name not in known:
            known[name] = self._computed(name, live, known)
        return known[name]

    def _computed(
        self, name: str, live: Mapping[str, torch.Tensor], known: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        if name in live:
            tensor = live[name]
            kept = tensor if isinstance(tensor, nn.Parameter) else tensor.detach().clone()
            return kept.to("cpu", torch.float64) if kept.is_floating_point() else kept.cpu()
        if not self.stored(name):
            return self._unchanged(name)
        node = self._makers[name]
        if node.op not in OPERATORS:
            raise refusal(f"{name!r} is computed from weights by {node.op}", self._module)
        inputs = tuple(self._value(each, live, known) if each else None for each in node.inputs)
        found = OPERATORS[node.op](Values(node=node, inputs=inputs))
        assert isinstance(found, torch.Tensor)  # noqa: S101 - none of them has several results
        return found

    def _unchanged(self, name: str) -> torch.Tensor:
        if name not in self._fixed:
            read = self._graph.reader(name) if self._graph is not None else None
            try:
                values = torch.as_tensor(read()) if read is not None else None
            except UnknownValueError as error:
                raise refusal(f"{name!r} is {error}", self._module) from error
            if values is None:
                raise refusal(f"{name!r} is not known", self._module)
            self._fixed[name] = values.double() if values.is_floating_point() else values
        return self._fixed[name]


def _node(node: onnx.NodeProto) -> Node:
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}
    return Node(
        op=node.op_type, name=node.name, inputs=(*node.input,), outputs=(*node.output,), attributes=plain
    )


def refusal(reason: str, module: nn.Module) -> UsageError:
    """What is raised where the bound of a module cannot be a function of its weights."""
    return UsageError(NOT_FOLLOWED.format(reason), where=type(module).__name__, hint=TRY)
