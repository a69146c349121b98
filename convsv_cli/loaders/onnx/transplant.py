"""The weights of a checkpoint in the graph of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from convsv_cli.errors import UsageError
from convsv_cli.loaders.loader import NamedTensors, StoredTensor, is_real
from convsv_cli.loaders.names import without_training_state
from convsv_cli.loaders.onnx.reading import network_of, parse
from convsv_cli.loaders.scaled import dequantised
from convsv_cli.model.network import InputSize, Network
from convsv_cli.names import counterparts

KEPT = "the graph is from {graph}, with {replaced} tensors from the checkpoint and {kept} of its own"
FOLDED_HINT = "export the graph with BatchNorm and parameter names kept, from the same architecture"


def transplanted(
    path: Path,
    found: NamedTensors,
    graph: Path,
    input_size: InputSize,
    parts: tuple[str, ...] = (),
) -> Network:
    """The network of `graph` with each stored tensor replaced that the checkpoint has by name and shape.

    Names are compared without wrappers around parts of either network. `parts` are further files of tensors.

    Raises:
        UsageError: a tensor of the checkpoint has no place in the graph, so that the network would not be
            the checkpoint's: a graph with BatchNorm folded in, or another architecture.
        UnreadableModelError, UnsafeModelError: as `reading.read`.
    """
    model = parse(graph)
    known = dequantised(without_training_state(found.tensors))
    tensors = {name: tensor for name, tensor in known.items() if tensor.shape}
    stored = {initializer.name: initializer for initializer in model.graph.initializer}
    parameters = [name for name, tensor in tensors.items() if _is_parameter(tensor)]
    homes = {name: stored[home] for name, home in counterparts(stored, parameters).items()}
    homes |= {name: stored[name] for name in tensors if name in stored and name not in homes}
    wanted = {name: tensor for name, tensor in tensors.items() if _counts(tensor, homes.get(name))}
    strangers = [name for name, tensor in wanted.items() if not _fits(tensor, homes.get(name))]
    unusable = [f"{name} ({tensor.unusable})" for name, tensor in wanted.items() if tensor.unusable]
    if unusable:
        raise UsageError(f"it has no values for {unusable[0]}", where=str(path))
    if strangers or not wanted:
        more = f" and {len(strangers) - 3:,} more" if len(strangers) > 3 else ""
        named = ", ".join(strangers[:3]) + more or "any weight"
        raise UsageError(
            f"{graph.name} has no tensor with the name and shape of {named}",
            where=str(path),
            hint=FOLDED_HINT,
        )
    for name, tensor in wanted.items():
        _replace(homes[name], tensor)
    network = network_of(model, graph, input_size)
    note = KEPT.format(graph=graph.name, replaced=len(wanted), kept=len(stored) - len(wanted))
    return replace(
        network,
        path=str(path),
        format="checkpoint",
        files=(path.name, *network.files, *parts),
        sources=(path, *(graph for _ in network.files), *(path for _ in parts)),
        notes=(*network.notes, note, *found.notes, *_assumed(wanted)),
        left_out=found.left_out,
    )


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
