"""Named tensors to a `Network`: what a bare state dict says of layers, and what has to be assumed."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from convsv_cli.errors import UnreadableModelError, UsageError
from convsv_cli.loaders.adapters.config import configs_in
from convsv_cli.loaders.adapters.parts import is_adapter
from convsv_cli.loaders.adapters.rows import replacing, update_rows, whole_tensors
from convsv_cli.loaders.convolution import CONVOLUTION_AXES, NO_AXES
from convsv_cli.loaders.effective import effective
from convsv_cli.loaders.files import locating
from convsv_cli.loaders.loader import NamedTensors, StoredTensor, Usage, check_tensors
from convsv_cli.loaders.names import (
    begin_reading,
    is_called_weight,
    is_matrix,
    no_layer,
    notes_on,
    training_state,
    without_training_state,
)
from convsv_cli.loaders.quantised import assembled
from convsv_cli.loaders.quantised.config import Config
from convsv_cli.loaders.scaled import dequantised
from convsv_cli.loaders.transposed import oriented
from convsv_cli.model.layer import Geometry, Layer, UnsupportedLayer, layer_name
from convsv_cli.model.network import ADAPTER, InputSize, Network

_SCALE = re.compile(r"weight_(?:scale|zero_point)(?:_[a-z0-9]+)*$")
GEOMETRY = "stride 1, dilation 1, groups 1: the file does not say otherwise, and this overestimates the norm"
AS_LARGE = "the layer's input is {}, as large as the network's"
NO_LAYERS = "not treated as layers, because they shift or scale each element or are vectors: {} {} ({})"
NAMED = 4
LINEAR = "a linear layer, not an embedding table: the file does not say (--as-table does)"
WITH_BIAS = "a linear layer, judging by its bias, which no table has: the file does not say"
UNNAMED = "not named as a weight: the file does not say how it is used"
Tensors = Mapping[str, StoredTensor]
Tied = dict[Hashable, list[str]]
"""Names of tensors that are one in memory."""
Row = Layer | UnsupportedLayer


@locating
def network_of(path: Path, input_size: InputSize, read: Callable[[Path], NamedTensors], hint: str) -> Network:
    """The layers among the tensors of a file.

    Args:
        path: of the file.
        input_size: what the user asks for.
        read: gives the tensors.
        hint: what to do where no weights are among them.

    Raises:
        UsageError: named input shapes, which a state dict cannot have.
        UnreadableModelError: there are no weights; or as `read`.
        UnsafeModelError: more than any network has; or as `read`.
    """
    found = read(path)
    if input_size.shapes and found.format != "torchscript":
        instead = "leave --input-shape out" if input_size.size else "use --input-size"
        raise UsageError("a state dict or module has no named inputs", hint=instead)
    check_tensors((name, tensor.shape) for name, tensor in found.tensors.items())
    begin_reading(sum(map(len, found.tensors)), "its tensors")
    config = Config(path=path)
    changes = found.adapter is not None or is_adapter(found.tensors)
    updates, plain = _changes(found, input_size) if changes else ((), found.plain)
    real = dequantised(assembled(without_training_state(plain), config))
    tensors = oriented(effective(real))
    own = layers(tensors, input_size)
    rows = tuple(_unique(iter((*updates, *replacing(own))))) if changes else own
    if not rows:
        besides = f"; it {found.left_out[0]}" if found.left_out else ""
        raise UnreadableModelError(f"no weights found in this file{besides}", hint=hint)
    directions = notes_on(training_state(found.tensors))
    return Network(
        path=str(path),
        format=ADAPTER if changes else found.format,
        files=(path.name, *found.files, *config.files),
        layers=rows,
        notes=tuple(dict.fromkeys((*found.notes, *directions, *_no_layers(tensors, own)))),
        left_out=found.left_out,
    )


def _changes(found: NamedTensors, input_size: InputSize) -> tuple[tuple[Row, ...], Tensors]:
    """The rows of an adapter's updates, and the whole tensors that it replaces."""
    configs = configs_in(found.metadata) if found.adapter is None else {"": found.adapter}
    return update_rows(found.tensors, configs, input_size), whole_tensors(found.tensors, configs)


def layers(tensors: Tensors, input_size: InputSize) -> tuple[Row, ...]:
    """The layers among a state dict's tensors, in its order; tied weights once, with all their names."""
    tied: Tied = {}
    for name, tensor in tensors.items():
        tied.setdefault(_identity(name, tensor), []).append(name)
    return tuple(_unique(_layer(name, tensors, tied, input_size) for name in _candidates(tensors, tied)))


def _identity(name: str, tensor: StoredTensor) -> Hashable:
    return name if tensor.identity is None else (tensor.identity, tensor.shape, tensor.usage)


def _candidates(tensors: Tensors, tied: Tied) -> Iterator[str]:
    """Names of what may be a weight: no vectors, no scales, of tied tensors the first."""
    for name, tensor in tensors.items():
        is_first = tied[_identity(name, tensor)][0] == name
        is_named = tensor.usage is not None or is_called_weight(name)
        is_vector = sum(size != 1 for size in tensor.shape) <= 1 and not is_named
        is_scale = _SCALE.search(name) or (tensor.usage is None and _is_scale(name, tensors))
        if is_first and len(tensor.shape) >= 2 and not is_vector and not is_scale:
            yield name


def _is_scale(name: str, tensors: Tensors) -> bool:
    """Whether it scales or shifts each element, as LayerNorm does: weight and bias match."""
    twins = {"weight": "bias", "bias": "weight"}
    for ending, other in twins.items():
        twin = tensors.get(name.removesuffix(ending) + other) if name.endswith(ending) else None
        if twin is not None and twin.shape == tensors[name].shape:
            return True
    return False


def _no_layers(tensors: Tensors, rows: Sequence[Row]) -> Iterator[str]:
    """A note on tensors of two axes and more that are in no row, where there are any."""
    named = {name for row in rows for name in (row.weight, *row.aliases)}
    others = [name for name, tensor in tensors.items() if len(tensor.shape) >= 2 and name not in named]
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        yield NO_LAYERS.format(
            len(others), "tensor" if len(others) == 1 else "tensors", ", ".join(others[:NAMED]) + more
        )


def _layer(name: str, tensors: Tensors, tied: Tied, input_size: InputSize) -> Row:
    tensor, names = tensors[name], tied[_identity(name, tensors[name])]
    usage = tensor.usage or _presumed(names, tensors)
    reason = "" if usage.applicable else usage.reason
    reason = reason or tensor.unusable or usage.reason or tensor.fault
    if not reason:
        return _audited(names, tensor, usage, input_size)
    may_be = None if tensor.fault else _may_be(tensor, usage)
    return UnsupportedLayer(
        name=layer_name(name),
        weight=name,
        aliases=tuple(names[1:]),
        op=usage.op or usage.geometry.op,
        kernel_shape=tensor.shape,
        dtype=tensor.scheme or tensor.dtype,
        reason=reason,
        applicable=usage.applicable,
        layer=None if may_be is None else _audited(names, tensor, may_be, input_size),
    )


def _may_be(tensor: StoredTensor, usage: Usage) -> Usage | None:
    """What a user may know that it is: a table is a matrix if anything."""
    is_open = tensor.usage is None if usage.applicable else len(tensor.shape) == 2
    found = _matrix_or_kernel(tensor)
    return found if is_open and not found.reason else None


def _audited(names: list[str], tensor: StoredTensor, usage: Usage, input_size: InputSize) -> Layer:
    """The layer that uses a tensor so."""
    axes = len(tensor.shape) - 2
    size = input_size.for_axes(axes) if axes else ()
    assumed = [AS_LARGE.format("x".join(map(str, size)))] if size else []
    return Layer(
        name=layer_name(names[0]),
        weight=names[0],
        aliases=tuple(names[1:]),
        op=usage.op or usage.geometry.op,
        kernel_shape=tensor.shape,
        dtype=tensor.scheme or tensor.dtype,
        geometry=usage.geometry,
        input_size=size,
        assumed=(*tensor.assumed, *usage.assumed, *assumed),
        presumed=next((line for line in (LINEAR, WITH_BIAS) if line in usage.assumed), ""),
        read=tensor.read,
        home=tensor.home,
    )


def _presumed(names: list[str], tensors: Tensors) -> Usage:
    """How a tensor is used, by its names and what stands beside it, where the file does not say."""
    none = no_layer(names, tensors)
    if none is not None:
        return none
    found = _matrix_or_kernel(tensors[names[0]])
    if not any(map(is_called_weight, names)):
        return replace(found, reason=UNNAMED)
    is_known = LINEAR in found.assumed and is_matrix(names, tensors)
    return replace(found, assumed=(WITH_BIAS,)) if is_known else found


def _matrix_or_kernel(tensor: StoredTensor) -> Usage:
    """What a tensor of its axes is the weight of, if of a layer; a reason where no layer has such weights."""
    axes = len(tensor.shape) - 2
    if not axes:
        return Usage(assumed=(LINEAR,))
    geometry = Geometry(stride=(1,) * axes, dilation=(1,) * axes)
    if axes not in CONVOLUTION_AXES:
        return Usage(geometry=geometry, reason=NO_AXES.format(len(tensor.shape)))
    return Usage(geometry=geometry, assumed=(GEOMETRY,))


def _unique(rows: Iterator[Row]) -> Iterator[Row]:
    """Rows with short names where these are unique, else with the tensor's full name."""
    seen: set[str] = set()
    for row in rows:
        name = row.name if row.name not in seen else row.weight
        seen.add(name)
        yield replace(row, name=name)
