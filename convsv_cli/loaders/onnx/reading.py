"""An ONNX file to a `Network`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from convsv_cli.errors import ConvsvError, UnreadableModelError
from convsv_cli.loaders.onnx.constants import Constants
from convsv_cli.loaders.onnx.graphs import build
from convsv_cli.loaders.onnx.scopes import Scope, scopes
from convsv_cli.loaders.onnx.shape_inference import infer
from convsv_cli.loaders.onnx.shapes import Shapes, dims, impossible, inputs_of
from convsv_cli.loaders.onnx.tensors import external_file, stored_parts
from convsv_cli.loaders.onnx.unfolding import check_wire, inlined
from convsv_cli.loaders.rows import Found, found_in, rows_of
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.network import InputSize, Network


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
    graph = build(model, all_scopes, shapes, constants)
    found = found_in(graph)
    if input_size.size or input_size.shapes:
        _check_sizes(found, input_size, path)
    return Network(
        path=str(path),
        format="onnx",
        files=(path.name, *_external_files(all_scopes)),
        opset=opsets.get("", opsets.get("ai.onnx")),
        inputs=_inputs(shapes),
        layers=rows_of(found),
        notes=shapes.notes,
        graph=graph,
    )


def _check_sizes(found: list[Found], input_size: InputSize, path: Path) -> None:
    """Inference lets convolutions pass whose kernel does not fit; the user's size is to blame for those."""
    for each in found:
        item = each.item
        if not isinstance(item, LinearMap) or item.geometry.transposed or not item.input_size:
            continue
        axes = len(item.input_size)
        pads = np.add(item.geometry.padding[:axes], item.geometry.padding[axes:])
        extent = np.multiply(item.geometry.dilation, np.subtract(item.kernel_shape[2:], 1)) + 1
        if (np.add(item.input_size, pads) < extent).any() or min(item.input_size) < 1:
            seen = "x".join(map(str, item.input_size))
            raise impossible(input_size, path, f"the kernel of {each.label!r} does not fit its {seen} input")


def _inputs(shapes: Shapes) -> tuple[tuple[str, tuple[int | str, ...]], ...]:
    return tuple((name, dims) for name, dims in shapes.inputs)


def _external_files(all_scopes: list[Scope]) -> list[str]:
    sources = (source for scope in all_scopes for source in scope.sources.values())
    tensors = [part for source in sources for part in stored_parts(source)]
    names = (external_file(tensor) for tensor in tensors)
    return list(dict.fromkeys(name for name in names if name))
