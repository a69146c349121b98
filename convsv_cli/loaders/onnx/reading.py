"""An ONNX file to a `Network`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto

from convsv_cli.errors import ConvsvError, UnreadableModelError
from convsv_cli.loaders.onnx.constants import Constants
from convsv_cli.loaders.onnx.evaluation import NotFoldableError
from convsv_cli.loaders.onnx.functions import inlined
from convsv_cli.loaders.onnx.graphs import Rows, build
from convsv_cli.loaders.onnx.linear_maps import linear_maps
from convsv_cli.loaders.onnx.node import LinearMap, Site, Unsupported
from convsv_cli.loaders.onnx.scopes import Scope, scopes
from convsv_cli.loaders.onnx.shape_table import Shapes, dims
from convsv_cli.loaders.onnx.shapes import impossible, infer
from convsv_cli.loaders.onnx.skeleton import inputs_of
from convsv_cli.loaders.onnx.sparse import stored_parts
from convsv_cli.loaders.onnx.tensors import Array, external_file
from convsv_cli.loaders.onnx.wire import check_wire
from convsv_cli.loaders.row_names import layer_name, unique
from convsv_cli.model.layer import Geometry, Layer, UnsupportedLayer
from convsv_cli.model.network import InputSize, Network

GATE_WEIGHT = r"\.weight_[ih]h\w*$"
Found = tuple[Site, LinearMap | Unsupported]


def read(path: Path, input_size: InputSize) -> Network:
    """The layers of an ONNX graph, in the order of its nodes, bodies of nodes after their graph.

    Raises:
        UnreadableModelError: damaged, or no ONNX model; its external data are missing.
        UsageError: the network cannot have that input size.
        UnsafeModelError: it wants files outside its folder, or unfolds without bounds.
    """
    return network_of(parse(path), path, input_size)


def parts(path: Path) -> tuple[str, ...]:
    """Names of the files beside a model that hold its external data.

    Raises:
        UnreadableModelError, UnsafeModelError: as `parse`.
    """
    model = parse(path)
    with _damage(path):
        return tuple(_external_files(list(scopes(model.graph))))


def network_of(model: ModelProto, path: Path, input_size: InputSize) -> Network:
    """The same of a model that was read from `path`.

    Raises:
        UnreadableModelError, UsageError, UnsafeModelError: as `read`.
    """
    with _damage(path):
        return _network(inlined(model), path, input_size)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Errors that say which file they are about; whatever is wrong with a graph is one of them."""
    try:
        yield
    except ConvsvError as error:
        raise type(error)(error.what, where=error.where or str(path), hint=error.hint) from error
    except Exception as error:
        raise UnreadableModelError(
            f"the graph is damaged: {type(error).__name__}: {error}",
            where=str(path),
            hint="export the model again",
        ) from error


def parse(path: Path) -> ModelProto:
    """The model in a file, without its external data.

    Raises:
        UnreadableModelError: damaged, or no ONNX model.
        UnsafeModelError: see `check_wire`.
    """
    check_wire(path)
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except Exception as error:
        raise UnreadableModelError(
            "the file is damaged or no ONNX model", where=str(path), hint="export or download it again"
        ) from error
    if not model.graph.node:
        raise UnreadableModelError("the ONNX model has no nodes", where=str(path), hint="export it again")
    return model


def _network(model: ModelProto, path: Path, input_size: InputSize) -> Network:
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    constants = Constants(model=path, opsets=opsets)
    all_scopes = list(scopes(model.graph))
    fed = inputs_of(model.graph)
    input_size = input_size.of_inputs([(v.name, dims(v)) for v in model.graph.input if v.name in fed])
    shapes = infer(model, all_scopes, input_size, path)
    sites = [
        Site(node=node, scope=scope, constants=constants, shapes=shapes)
        for scope in all_scopes
        for node in scope.graph.node
    ]
    found = [(site, item) for site in sites for item in _maps(site)]
    if input_size.size or input_size.shapes:
        _check_sizes(found, input_size, path)
    named = _named(found)
    return Network(
        path=str(path),
        format="onnx",
        files=(path.name, *_external_files(all_scopes)),
        opset=opsets.get("", opsets.get("ai.onnx")),
        inputs=_inputs(shapes),
        layers=tuple(_layer(name, group) for name, group in named),
        notes=shapes.notes,
        graph=build(model, all_scopes, shapes, constants, _rows(found, named)),
    )


def _maps(site: Site) -> list[LinearMap | Unsupported]:
    try:
        return linear_maps(site)
    except NotFoldableError as error:
        return [Unsupported(reason=str(error))] if site.varies else []


def _check_sizes(found: list[Found], input_size: InputSize, path: Path) -> None:
    """Inference lets convolutions pass whose kernel does not fit; the user's size is to blame for those."""
    for site, item in found:
        if not isinstance(item, LinearMap) or item.geometry.transposed or not item.input_size:
            continue
        axes = len(item.input_size)
        pads = np.add(item.geometry.padding[:axes], item.geometry.padding[axes:])
        extent = np.multiply(item.geometry.dilation, np.subtract(item.kernel_shape[2:], 1)) + 1
        if (np.add(item.input_size, pads) < extent).any() or min(item.input_size) < 1:
            seen = "x".join(map(str, item.input_size))
            name = site.node.name or site.node.output[0]
            raise impossible(input_size, path, f"the kernel of {name!r} does not fit its {seen} input")


def _named(found: list[Found]) -> list[tuple[str, list[Found]]]:
    """The rows: one for nodes that share weight, geometry and input size; the further ones become aliases."""
    rows: dict[object, list[Found]] = {}
    for site, item in found:
        rows.setdefault(_row_key(site, item), []).append((site, item))
    firsts = [group[0] for group in rows.values()]
    names = unique((site.scope.path, _name(site, item)) for site, item in firsts)
    return list(zip(names, rows.values(), strict=True))


def _rows(found: list[Found], named: list[tuple[str, list[Found]]]) -> Rows:
    """In the order of a node's inputs, also where another node shares one of its weights."""
    names = {_row_key(*group[0]): name for name, group in named}
    rows: dict[tuple[str, str], tuple[str, ...]] = {}
    for site, item in found:
        key = site.scope.path, next((output for output in site.node.output if output), "")
        rows[key] = (*rows.get(key, ()), names[_row_key(site, item)])
    return rows


def _row_key(site: Site, item: LinearMap | Unsupported) -> object:
    if isinstance(item, Unsupported):
        return id(site.node)
    kernel = item.constant.identity, item.variant, item.kernel_shape
    return kernel, site.node.op_type, item.geometry, item.input_size


def _name(site: Site, item: LinearMap | Unsupported) -> str:
    weight = item.constant.name if item.constant else ""
    name = layer_name(weight, site.node.name, site.node.op_type, next(iter(site.node.output), ""))
    role = item.role if isinstance(item, LinearMap) else ""
    return f"{re.sub(GATE_WEIGHT, '', name)}.{role}" if role else name


def _layer(name: str, group: list[Found]) -> Layer | UnsupportedLayer:
    site, item = group[0]
    aliases = tuple(other.node.name or other.node.output[0] for other, _ in group[1:])
    constant = item.constant
    weight = constant.name if constant else next(iter(site.node.input[1:2]), "")
    reason = item.reason if isinstance(item, Unsupported) else _unreal(item.constant.dtype)
    if isinstance(item, Unsupported) or reason:
        return UnsupportedLayer(
            name=name,
            weight=weight,
            aliases=aliases,
            op=site.node.op_type,
            kernel_shape=constant.shape if constant else (),
            dtype=constant.dtype if constant else "",
            reason=reason,
            applicable=not isinstance(item, Unsupported) or item.applicable,
            layer=_as_matrix(name, aliases, item),
        )
    return Layer(
        name=name,
        weight=weight,
        aliases=aliases,
        op=site.node.op_type,
        kernel_shape=item.kernel_shape,
        dtype=item.constant.dtype,
        geometry=item.geometry,
        input_size=item.input_size if min(item.input_size or (1,)) > 0 else None,
        assumed=(*item.constant.assumed, *item.assumed),
        read=lambda: _tensor(item.arrange(item.constant.read())),
    )


def _as_matrix(name: str, aliases: tuple[str, ...], item: LinearMap | Unsupported) -> Layer | None:
    """What users may say that a table is; None for what the graph uses otherwise, or is no real matrix.

    Bounds of the network take the norms of rows for those of their nodes; of a table's, none asks.
    """
    constant = item.constant
    if constant is None or isinstance(item, LinearMap) or item.applicable:
        return None
    if len(constant.shape) != 2 or _unreal(constant.dtype):
        return None
    return Layer(
        name=name,
        weight=constant.name,
        aliases=aliases,
        op="MatMul",
        kernel_shape=constant.shape,
        dtype=constant.dtype,
        geometry=Geometry(),
        input_size=(),
        assumed=constant.assumed,
        read=lambda: _tensor(constant.read()),
    )


def _unreal(dtype: str) -> str:
    """Why the values are no real numbers that stand for themselves; empty where they are."""
    return (
        "" if dtype.startswith(("float", "bfloat")) else f"{dtype} weights: what they stand for is not known"
    )


def _tensor(values: Array) -> torch.Tensor:
    """A copy as torch has it; types that numpy borrows from ml_dtypes become float32, which is exact."""
    native = values.dtype.kind == "f" and values.dtype.itemsize in (2, 4, 8) and values.dtype.isbuiltin
    return torch.from_numpy(
        np.array(values, dtype=values.dtype.newbyteorder("=") if native else np.float32, order="C")
    )


def _inputs(shapes: Shapes) -> tuple[tuple[str, tuple[int | str, ...]], ...]:
    return tuple((name, dims) for name, dims in shapes.inputs)


def _external_files(all_scopes: list[Scope]) -> list[str]:
    sources = (source for scope in all_scopes for source in scope.sources.values())
    tensors = [part for source in sources for part in stored_parts(source)]
    names = (external_file(tensor) for tensor in tensors)
    return list(dict.fromkeys(name for name in names if name))
