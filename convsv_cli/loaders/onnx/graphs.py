"""The whole computation of an ONNX model, for bounds of the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import onnx
from onnx import AttributeProto, ModelProto, NodeProto

from convsv_cli.graph import Body, Dims, Graph, Names, Node, Reader
from convsv_cli.loaders.onnx.constants import Constants, NotFoldableError
from convsv_cli.loaders.onnx.freezing import freeze
from convsv_cli.loaders.onnx.scopes import Scope, Source, bodies, scopes
from convsv_cli.loaders.onnx.shape_table import Shapes, dims
from convsv_cli.loaders.onnx.tensors import Array

Rows = Mapping[tuple[str, str], tuple[str, ...]]
"""Names of a node's rows in the audit, by its scope's path and its first output."""


def build(model: ModelProto, old: list[Scope], shapes: Shapes, constants: Constants, rows: Rows) -> Graph:
    """The graph of a model whose shapes are known for the scopes `old`.

    Shapes of tensors become constants first; the model is changed to say so.
    """
    freeze(old, shapes)
    return _Builder(list(scopes(model.graph)), old, shapes, constants, rows).graph()


class _Builder:
    """Names of inner scopes are made unique by the path to them."""

    def __init__(
        self, new: list[Scope], old: list[Scope], shapes: Shapes, constants: Constants, rows: Rows
    ) -> None:
        self._scopes, self._old, self._shapes = new, old, shapes
        self._constants, self._rows = constants, rows
        self._names = Names()
        self._bodies = {id(scope.graph): scope for scope in new}

    def graph(self) -> Graph:
        """All of it."""
        main = self._scopes[0]
        stored = {name for name, source in main.sources.items() if source is not None}
        return Graph(
            main=self._body(main),
            inputs=tuple(value.name for value in main.graph.input if value.name not in stored),
            constants=self._readers(),
            shapes=self._dims(),
            dtypes=self._dtypes(),
            opset=self._constants.opsets.get("", self._constants.opsets.get("ai.onnx", 1)),
            assumed=tuple(self._assumed(stored)),
        )

    def _assumed(self, stored: set[str]) -> Iterator[str]:
        """An open first axis is the batch, and one sample is looked at; defaults of inputs are kept."""
        main = self._old[0]
        for value in main.graph.input:
            first = dims(value)[:1]
            now = (self._shapes.find(main, value.name) or ())[:1]
            if value.name not in stored and first and not isinstance(first[0], int) and now == (1,):
                yield f"the open first axis of the input {value.name!r} is 1: the bound is for one sample"
            if value.name in stored:
                yield f"the input {value.name!r} has its stored value"

    def _body(self, scope: Scope) -> Body:
        nodes = (self._node(scope, node) for node in scope.graph.node if not _is_constant(scope, node))
        return Body(
            nodes=tuple(nodes),
            outputs=tuple(self._name(scope, output.name) for output in scope.graph.output),
        )

    def _node(self, scope: Scope, node: NodeProto) -> Node:
        domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
        first = next((name for name in node.output if name), "")
        return Node(
            op=domain + node.op_type,
            name=self._names.new(node.name or first or node.op_type),
            inputs=tuple(self._name(scope, name) if name else "" for name in node.input),
            outputs=tuple(_qualified(scope, name) if name else "" for name in node.output),
            attributes={a.name: _value(a) for a in node.attribute if not _holds_graphs(a)},
            bodies=tuple((name, self._body(self._bodies[id(body)])) for name, body in bodies(node)),
            layers=self._rows.get((scope.path, first), ()),
        )

    def _name(self, scope: Scope, name: str) -> str:
        """The unique name of what a name means in a scope."""
        return _qualified(scope.find(name)[0], name)

    def _readers(self) -> dict[str, Reader]:
        names = (
            (scope, name, source) for scope in self._scopes for name, source in scope.sources.items() if name
        )
        return {
            _qualified(scope, name): self._reader(scope, name)
            for scope, name, source in names
            if _known(scope, name, source)
        }

    def _reader(self, scope: Scope, name: str) -> Reader:
        def read() -> Array:
            constant = self._constants.find(scope, name)
            if constant is None:
                raise NotFoldableError("it depends on the network's input")
            return constant.read()

        return read

    def _dims(self) -> dict[str, Dims]:
        return {
            _qualified(scope, name): tuple(size if isinstance(size, int) else None for size in sizes)
            for scope, old in zip(self._scopes, self._old, strict=True)
            for name, sizes in self._shapes.by_scope[id(old)].items()
        }

    def _dtypes(self) -> dict[str, str]:
        return {
            _qualified(scope, name): dtype
            for scope, old in zip(self._scopes, self._old, strict=True)
            for name, dtype in self._shapes.dtypes[id(old)].items()
        }


def _known(scope: Scope, name: str, source: Source) -> bool:
    return source is not None and name not in scope.varying


def _is_constant(scope: Scope, node: NodeProto) -> bool:
    return not any(name in scope.varying for name in node.output)


def _qualified(scope: Scope, name: str) -> str:
    return f"{scope.path}/{name}" if scope.path else name


def _holds_graphs(attribute: AttributeProto) -> bool:
    return attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _value(attribute: AttributeProto) -> Any:  # noqa: ANN401  (what kind it is, each rule knows)
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in value)
    return value
