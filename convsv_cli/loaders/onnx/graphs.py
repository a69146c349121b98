"""The whole computation of an ONNX model, for bounds of the network."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial

from onnx import ModelProto, NodeProto

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.onnx.constants import Constants
from convsv_cli.loaders.onnx.costs import Growth
from convsv_cli.loaders.onnx.evaluation import applied
from convsv_cli.loaders.onnx.history import as_newest, own, unchanged
from convsv_cli.loaders.onnx.rewriting import Reading
from convsv_cli.loaders.onnx.scopes import Scope, Source, bodies, scopes
from convsv_cli.loaders.onnx.shapes import Shapes, dims, freeze
from convsv_cli.loaders.onnx.signatures import UnreadableNodeError, attributes_of
from convsv_cli.loaders.onnx.tensors import Array, numpy_type, type_name
from convsv_cli.model.graph import UNREADABLE, Body, Constant, Dims, Graph, Names, Node, UnknownValueError

Find = Callable[[], Constant]
RESERVED = "convsv."
"""Domains in which graphs say what ONNX has no operators for."""
LARGEST_SIZE = 2**40
"""Of a dimension: no tensor has more entries along an axis."""


def build(model: ModelProto, own: list[Scope], shapes: Shapes, constants: Constants) -> Graph:
    """The graph of a model whose shapes are known for its own scopes.

    Shapes of tensors become constants first; the model is changed to say so.
    """
    freeze(own, shapes)
    return _Builder(list(scopes(model.graph)), shapes, constants).graph()


class _Builder:
    """Names of inner scopes are made unique by the path to them."""

    def __init__(self, all_scopes: list[Scope], shapes: Shapes, constants: Constants) -> None:
        self._scopes, self._shapes, self._constants = all_scopes, shapes, constants
        self._names = Names()
        self._found, self._dims, self._dtypes = self._stored(), self._sizes(), self._types()

    def graph(self) -> Graph:
        """All of it."""
        main = self._scopes[0]
        stored = {name for name, source in main.sources.items() if source is not None}
        return Graph(
            main=self._body(main),
            inputs=tuple(value.name for value in main.graph.input if value.name not in stored),
            constants=self._found,
            shapes=self._dims,
            dtypes=self._dtypes,
            assumed=tuple(self._assumed(stored)),
        )

    def _assumed(self, stored: set[str]) -> Iterator[str]:
        """An open first axis is the batch, and one sample is looked at; defaults of inputs are kept."""
        main = self._scopes[0]
        for value in main.graph.input:
            first = dims(value)[:1]
            now = (self._shapes.find(main, value.name) or ())[:1]
            if value.name not in stored and first and not isinstance(first[0], int) and now == (1,):
                yield f"the open first axis of the input {value.name!r} is 1: the bound is for one sample"
            if value.name in stored:
                yield f"the input {value.name!r} has its stored value"

    def _body(self, scope: Scope) -> Body:
        return Body(
            nodes=tuple(
                made
                for node, inner in scope.with_bodies()
                if not _is_constant(scope, node)
                for made in self._nodes(scope, node, inner)
            ),
            outputs=tuple(self._name(scope, output.name) for output in scope.graph.output),
            path=scope.path,
        )

    def _nodes(self, scope: Scope, node: NodeProto, inner: Sequence[Scope]) -> Iterator[Node]:
        """A node in the newest operator set; one that cannot be read as one that has no rule."""
        try:
            newest = self._newest(scope, node)
        except UnreadableNodeError as error:
            version = f" of opset {self._constants.opset}" if own(node) else ""
            reason = f"a {node.op_type}{version}, {error}"
            as_it_is = self._node(scope, node, node, inner, {"ops": (node.op_type,), "reason": reason})
            yield replace(as_it_is, op=UNREADABLE + node.op_type)
            return
        self._add(scope, node, newest)
        for step in newest.nodes:
            if step is newest.main:
                yield self._node(scope, step, node, inner, attributes_of(step))
            elif not self._computed(scope, step):
                yield self._node(scope, step, step, (), attributes_of(step))

    def _add(self, scope: Scope, node: NodeProto, newest: Reading) -> None:
        """What is known of the tensors that a node in the newest operator set has beside its own."""
        for name, values in newest.constants.items():
            self._found[_qualified(scope, name)] = _known_values(name, (scope.path, name), values)
            self._dims[_qualified(scope, name)] = values.shape
            self._dtypes[_qualified(scope, name)] = type_name(values.dtype)
        whole = {name for step in newest.nodes if step.op_type == "Shape" for name in step.output}
        for name, shape in newest.shapes.items():
            self._dims[_qualified(scope, name)] = shape
            same = self._dtypes.get(self._name(scope, node.input[0]), "float")
            self._dtypes[_qualified(scope, name)] = "int64" if name in whole else same

    def _newest(self, scope: Scope, node: NodeProto) -> Reading:
        same = unchanged(node, self._constants.opset)
        if same is not None:
            return same
        names = [self._name(scope, name) if name else "" for name in node.input]
        return as_newest(
            node,
            self._constants.opset,
            shapes=[self._dims.get(name) for name in names],
            dtypes=[numpy_type(self._dtypes.get(name, "float")) for name in names],
            new=self._new_tensors.new,
        )

    @cached_property
    def _new_tensors(self) -> Names:
        """Names of tensors, of which no other is taken."""
        return Names(name for scope in self._scopes for name in scope.sources)

    def _computed(self, scope: Scope, step: NodeProto) -> bool:
        """Whether a step takes constants only; its result is one from now on."""
        operands = [self._found.get(self._name(scope, name)) for name in step.input]
        known = [find for find in operands if find is not None]
        output, opset = step.output[0], self._constants.opset

        def find() -> Constant:
            values = [operand().read() for operand in known]
            Growth(stored=sum(each.size for each in values)).charge(step, values)
            return _known_values(output, (scope.path, output), applied(step, values, opset)[output])()

        if len(known) == len(operands):
            self._found[_qualified(scope, output)] = find
        return len(known) == len(operands)

    def _node(
        self,
        scope: Scope,
        node: NodeProto,
        origin: NodeProto,
        inner: Sequence[Scope],
        attributes: Mapping[str, object],
    ) -> Node:
        """A node; its name and bodies are those of the one in the file that it comes from."""
        domain = "" if own(node) else f"{node.domain}."
        if domain.startswith(RESERVED):
            raise UnreadableModelError(f"the domain {node.domain!r} is convsv's own", hint="rename it")
        first = next((name for name in origin.output if name), "")
        return Node(
            op=domain + node.op_type,
            name=self._names.new(origin.name or first or origin.op_type),
            label=origin.name,
            inputs=tuple(self._name(scope, name) if name else "" for name in node.input),
            outputs=tuple(_qualified(scope, name) if name else "" for name in node.output),
            attributes=attributes,
            bodies=tuple(
                (name, self._body(body)) for (name, _), body in zip(bodies(origin), inner, strict=True)
            ),
        )

    def _name(self, scope: Scope, name: str) -> str:
        """The unique name of what a name means in a scope."""
        return _qualified(scope.find(name)[0], name)

    def _stored(self) -> dict[str, Find]:
        names = (
            (scope, name, source) for scope in self._scopes for name, source in scope.sources.items() if name
        )
        return {
            _qualified(scope, name): cache(partial(self._find, scope, name))  # rules ask again and again
            for scope, name, source in names
            if _known(scope, name, source)
        }

    def _find(self, scope: Scope, name: str) -> Constant:
        constant = self._constants.find(scope, name)
        if constant is None:
            raise UnknownValueError("it depends on the network's input")
        return constant

    def _sizes(self) -> dict[str, Dims]:
        return {
            _qualified(scope, name): tuple(_size(size) for size in sizes)
            for scope in self._scopes
            for name, sizes in self._shapes.by_scope[scope.path].items()
        }

    def _types(self) -> dict[str, str]:
        return {
            _qualified(scope, name): dtype
            for scope in self._scopes
            for name, dtype in self._shapes.dtypes[scope.path].items()
        }


def _size(size: int | str) -> int | None:
    """A dimension; None for one that is unknown, or that no tensor has."""
    return size if isinstance(size, int) and 0 <= size <= LARGEST_SIZE else None


def _known(scope: Scope, name: str, source: Source) -> bool:
    return source is not None and name not in scope.varying


def _known_values(name: str, identity: Hashable, values: Array) -> Find:
    values.flags.writeable = False  # each reader gets the same
    constant = Constant(
        name=name, shape=values.shape, dtype=str(values.dtype), identity=identity, read=lambda: values
    )
    return lambda: constant


def _is_constant(scope: Scope, node: NodeProto) -> bool:
    return not any(name in scope.varying for name in node.output)


def _qualified(scope: Scope, name: str) -> str:
    return f"{scope.path}/{name}" if scope.path else name
