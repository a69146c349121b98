"""Shapes and types of all tensors of a model, by scope."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import GraphProto, TensorProto, ValueInfoProto

from convsv_cli.loaders.onnx.scopes import Scope

Dims = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shapes:
    """Dimensions and types by name, for each scope by its path; unknown dimensions are names or "?".

    `notes` say, in plain words, why some are not known.
    """

    inputs: tuple[tuple[str, Dims], ...]
    by_scope: dict[str, dict[str, Dims]]
    dtypes: dict[str, dict[str, str]]
    notes: tuple[str, ...] = ()

    def find(self, scope: Scope, name: str) -> Dims | None:
        """The dimensions of the tensor that a name means in a scope; None where nothing is known."""
        home, _ = scope.find(name)
        return self.by_scope[home.path].get(name)

    def dtype(self, scope: Scope, name: str) -> str | None:
        """The element type of the tensor that a name means in a scope; None where it is not known."""
        home, _ = scope.find(name)
        return self.dtypes[home.path].get(name)

    @property
    def complete(self) -> bool:
        """Whether every dimension of every tensor that inference met is known."""
        tables = self.by_scope.values()
        return all(isinstance(size, int) for table in tables for dims in table.values() for size in dims)


def shapes_of(inferred: list[Scope], scopes: list[Scope], inputs: set[str]) -> Shapes:
    """What inference says of a model, for its scopes before; `inputs` are what users feed."""
    main = inferred[0].graph
    return Shapes(
        inputs=tuple((value.name, dims(value)) for value in main.input if value.name in inputs),
        by_scope={own.path: _table(each.graph) for own, each in zip(scopes, inferred, strict=True)},
        dtypes={own.path: _dtypes(each.graph) for own, each in zip(scopes, inferred, strict=True)},
    )


def dims(value: ValueInfoProto) -> Dims:
    """A tensor's dimensions: numbers, names, or "?"."""
    shape = value.type.tensor_type.shape
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in shape.dim)


def _table(graph: GraphProto) -> dict[str, Dims]:
    values = [*graph.input, *graph.value_info, *graph.output]
    table = {value.name: dims(value) for value in values if value.type.tensor_type.HasField("shape")}
    return {tensor.name: tuple(tensor.dims) for tensor in graph.initializer} | table


def _dtypes(graph: GraphProto) -> dict[str, str]:
    values = [*graph.input, *graph.value_info, *graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: TensorProto.DataType.Name(kind).lower() for name, kind in types.items() if kind}
