"""An ONNX file to a `Network`, with its own weights or with those of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from convsv_cli.confinement import lacking
from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.loaders.effective import effective
from convsv_cli.loaders.loader import NamedTensors, StoredTensor, is_real
from convsv_cli.loaders.names import without_training_state
from convsv_cli.loaders.onnx import contributed
from convsv_cli.loaders.onnx.constants import Constants
from convsv_cli.loaders.onnx.graphs import build
from convsv_cli.loaders.onnx.protobuf import HERE, check_wire, outlined
from convsv_cli.loaders.onnx.scopes import Scope, scopes
from convsv_cli.loaders.onnx.shape_inference import infer
from convsv_cli.loaders.onnx.shapes import dims, impossible, inputs_of
from convsv_cli.loaders.onnx.tensors import external_file, stored_parts
from convsv_cli.loaders.onnx.unfolding import inlined
from convsv_cli.loaders.quantised import assembled
from convsv_cli.loaders.quantised.config import Config
from convsv_cli.loaders.rows import Found, found_in, rows_of
from convsv_cli.loaders.scaled import dequantised
from convsv_cli.model.home import Home
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.network import InputSize, Network
from convsv_cli.names import counterparts
from convsv_cli.remote.files import whole

KEPT = "the graph is from {graph}, with {replaced} tensors from the checkpoint and {kept} of its own"
LISTED = 4
"""The first IR version in which an initializer that is no input is allowed, so that one means a default."""
FOLDED_HINT = "export the graph with BatchNorm and parameter names kept, from the same architecture"


def read(path: Path, input_size: InputSize) -> Network:
    """The layers of an ONNX graph, in the order of its nodes, bodies of nodes after their graph.

    Raises:
        UnreadableModelError: damaged, or no ONNX model; its external data are missing.
        UsageError: the network cannot have that input size.
        UnsafeModelError: it wants files outside its folder, or unfolds without bounds.
    """
    return network_of(_parsed(path, outlined), path, input_size)


def network_of(
    model: ModelProto,
    path: Path,
    input_size: InputSize,
    homes: Mapping[str, Callable[[], Home]] | None = None,
) -> Network:
    """The same of a model that has been read from `path`; `homes` as of `Constants`.

    Raises:
        UnreadableModelError, UsageError, UnsafeModelError: as `read`.
    """
    with _damage(path):
        whole = inlined(model)
        contributed.read(whole)
        return _network(whole, path, input_size, homes)


def parts(path: Path) -> tuple[str, ...]:
    """Names of the files next to a model that hold its external data.

    Raises:
        UnreadableModelError, UnsafeModelError: as `read`.
    """
    model = _parsed(path, outlined)
    with _damage(path):
        return tuple(_external_files(list(scopes(model.graph))))


def transplanted(
    path: Path,
    found: NamedTensors,
    graph: tuple[Path, ModelProto],
    input_size: InputSize,
    further: tuple[str, ...],
) -> Network:
    """The network of a graph with each stored tensor replaced that the checkpoint has by name and shape.

    Names are compared without wrappers around parts of either network.

    Args:
        path: the checkpoint.
        found: its tensors.
        graph: a file, and the ONNX model that it is, which is changed.
        input_size: as in `read`.
        further: files next to the checkpoint that hold more of its tensors.

    Raises:
        UsageError: a tensor of the checkpoint has no place in the graph, so that the network would not be
            the checkpoint's: a graph with BatchNorm folded in, or another architecture.
        UnreadableModelError, UnsafeModelError: as `read`.
    """
    place, model = graph
    known = dequantised(assembled(without_training_state(found.tensors), Config(path=path)))
    stored = {initializer.name: initializer for initializer in model.graph.initializer}
    wanted, homes, strangers = _placed(known, stored)
    if strangers:  # a graph that does not compute it from the parts holds what a layer multiplies by
        wanted, homes, strangers = _placed(effective(known), stored)
    unusable = [f"{name} ({tensor.unusable})" for name, tensor in wanted.items() if tensor.unusable]
    if unusable:
        raise UsageError(f"it has no values for {unusable[0]}", where=str(path))
    if strangers or not wanted:
        more = f" and {len(strangers) - 3:,} more" if len(strangers) > 3 else ""
        named = ", ".join(strangers[:3]) + more or "any weight"
        raise UsageError(
            f"{place.name} has no tensor with the name and shape of {named}",
            where=str(path),
            hint=FOLDED_HINT,
        )
    for name, tensor in wanted.items():
        _replace(homes[name], tensor)
    origins = {homes[name].name: tensor.home for name, tensor in wanted.items()}
    network = network_of(model, place, input_size, origins)
    note = KEPT.format(graph=place.name, replaced=len(wanted), kept=len(stored) - len(wanted))
    return replace(
        network,
        path=str(path),
        format="checkpoint",
        files=(path.name, *network.files, *further),
        sources=(path, *(place for _ in network.files), *(path for _ in further)),
        notes=(*network.notes, note, *found.notes, *_assumed(wanted)),
        left_out=found.left_out,
    )


def _placed(
    known: Mapping[str, StoredTensor], stored: Mapping[str, TensorProto]
) -> tuple[dict[str, StoredTensor], dict[str, TensorProto], list[str]]:
    """What replaces tensors of the graph, these by the names of those, and names of what has no place."""
    tensors = {name: tensor for name, tensor in known.items() if tensor.shape}
    parameters = [name for name, tensor in tensors.items() if _is_parameter(tensor)]
    homes = {name: stored[home] for name, home in counterparts(stored, parameters).items()}
    homes |= {name: stored[name] for name in tensors if name in stored and name not in homes}
    wanted = {name: tensor for name, tensor in tensors.items() if _counts(tensor, homes.get(name))}
    return wanted, homes, [name for name, tensor in wanted.items() if not _fits(tensor, homes.get(name))]


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Have errors say which file they are about; whatever is wrong with a graph is one of them."""
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
    return _parsed(path, Path.read_bytes)


def _parsed(path: Path, content: Callable[[Path], bytes]) -> ModelProto:
    """The model in a file, from all of its bytes, or from its outline."""
    whole(path)
    check_wire(path)
    try:
        model: ModelProto = ModelProto.FromString(content(path))
    except Exception as error:
        raise UnreadableModelError(
            "the file is damaged or not an ONNX model", where=str(path), hint="export or download it again"
        ) from error
    if not model.graph.node:
        raise UnreadableModelError("the ONNX model has no nodes", where=str(path), hint="export it again")
    return model


def _network(
    model: ModelProto, path: Path, input_size: InputSize, homes: Mapping[str, Callable[[], Home]] | None
) -> Network:
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    constants = Constants(model=path, opsets=opsets, defaults=_defaults(model), homes=homes)
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
        inputs=shapes.inputs,
        layers=rows_of(found),
        notes=(*shapes.notes, *lacking()),
        graph=graph,
    )


def _defaults(model: ModelProto) -> frozenset[str]:
    """The initializers that are defaults of inputs; in files of before IR version 4, all were listed so."""
    if model.ir_version < LISTED:
        return frozenset()
    stored = {tensor.name for tensor in model.graph.initializer}
    return frozenset(value.name for value in model.graph.input if value.name in stored)


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


def _external_files(all_scopes: list[Scope]) -> list[str]:
    sources = (source for scope in all_scopes for source in scope.sources.values())
    tensors = [part for source in sources for part in stored_parts(source)]
    names = (external_file(tensor) for tensor in tensors)
    return list(dict.fromkeys(name for name in names if name and name != HERE))


def _is_parameter(tensor: StoredTensor) -> bool:
    """Whether it is one for sure: tables of indices hold no real numbers."""
    return is_real(tensor.dtype) or bool(tensor.unusable)


def _counts(tensor: StoredTensor, home: TensorProto | None) -> bool:
    """Whether it is a parameter, for sure or because it would replace one."""
    replaces = home is not None and tensor_dtype_to_np_dtype(home.data_type).kind == "f"
    return replaces or _is_parameter(tensor)


def _fits(tensor: StoredTensor, home: TensorProto | None) -> bool:
    fits = home is not None and not tensor.unusable and tuple(home.dims) == tensor.shape
    return fits and is_real(tensor.dtype)


def _assumed(tensors: Mapping[str, StoredTensor]) -> list[str]:
    """What was assumed about their values."""
    return [f"{name}: {line}" for name, tensor in tensors.items() for line in tensor.assumed]


def _replace(home: TensorProto, tensor: StoredTensor) -> None:
    """Replace the values, in the data type that the graph stores."""
    dtype = tensor_dtype_to_np_dtype(home.data_type)
    values = tensor.read().double().numpy().astype(dtype)
    home.CopyFrom(onnx.numpy_helper.from_array(values, home.name))
