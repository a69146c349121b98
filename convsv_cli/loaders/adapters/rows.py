"""The rows of an adapter: one for each module that it changes, and those of the weights that it replaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch

from convsv_cli.loaders.adapters.config import Config, config_for
from convsv_cli.loaders.adapters.kinds import Kind, MisfitError, kind_of
from convsv_cli.loaders.adapters.parts import (
    ALPHA,
    DORA_SCALE,
    MAGNITUDE,
    PREFIX,
    Module,
    may_be_part,
    modules,
)
from convsv_cli.loaders.convolution import CONVOLUTION_AXES, NO_AXES
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.model.layer import Geometry, Layer, Rescale, UnsupportedLayer, Update
from convsv_cli.model.network import InputSize

Tensors = Mapping[str, StoredTensor]
Configs = Mapping[str, Config]
Row = Layer | UnsupportedLayer
BASE = ".base_layer."
NO_CONFIG = (
    "its scale is in adapter_config.json, which is not beside its weights (save_pretrained writes both; "
    "merge_and_unload gives the model with the sum)"
)
NEEDS_BASE = "DoRA rescales the sum with the base's weight: --base MODEL says what that is"
FLAT = "the kernel of a convolution, whose size its factors do not tell: --base MODEL does"
AS_MATRIX = "of a linear layer: factors of a convolution may look the same (--base MODEL tells)"
NO_ALPHA = "the update is not scaled: the file has no alpha for it"
WHOLE = "saved whole by the adapter: it takes the place of the base's weight"
OF_TABLE = "of an embedding table, which amplifies nothing: the norm says how far its rows can move"
GEOMETRY = (
    "stride 1, dilation 1, groups 1: the adapter does not say otherwise, and this overestimates the norm"
)
TOKENS = "rows that replace some of an embedding table: looked up, they amplify nothing"
UNKNOWN_PART = "a part of an update that convsv does not know"
NO_MAGNITUDE = "its magnitudes, {}, do not fit its update, {}"
TWO_ALPHAS = "it has an alpha of its own beside that of adapter_config.json"
EMPTY = "its factors are empty"
TWICE = "its update has two tensors for one part: {!r} is the second"
_NUMBERS = ("float", "bfloat", "int", "uint")
_TOKENS = "trainable_tokens_"


def update_rows(tensors: Tensors, configs: Configs, input_size: InputSize) -> tuple[Row, ...]:
    """A row for each module that is changed, in the order of the file; those with the same name are numbered.

    Args:
        tensors: of the adapter.
        configs: what its configurations say, by the part of a pipeline that each is for.
        input_size: what the user asks for.
    """
    found, others = modules(tensors)
    rows = [_row(module, *config_for(module.name, configs), input_size) for module in found]
    rows += [_unknown(name, others[name], configs) for name in others if not _is_whole(name, configs)]
    return tuple(rows)


def whole_tensors(tensors: Tensors, configs: Configs) -> dict[str, StoredTensor]:
    """The tensors of an adapter that are whole parameters of the network, by their names in that."""
    _, others = modules(tensors)
    return {
        name.removeprefix(PREFIX).replace(".modules_to_save.", "."): tensor
        for name, tensor in others.items()
        if _is_whole(name, configs)
    }


def _is_whole(name: str, configs: Configs) -> bool:
    """Whether a tensor that is no part of a known update is none of an unknown one either."""
    return not may_be_part(name) and not ("" in configs and configs[""].reason)


def replacing(rows: tuple[Row, ...]) -> Iterator[Row]:
    """Rows of whole weights, which say that an adapter replaces the base's by them.

    Beside a `base_layer`, which PEFT calls a weight that it wraps, they are those of the base itself.
    """
    with_base = any(BASE in f".{row.weight}" for row in rows)
    for row in rows:
        yield row if with_base or not isinstance(row, Layer) else replace(row, assumed=(*row.assumed, WHOLE))


def _row(module: Module, name: str, config: Config | None, input_size: InputSize) -> Row:
    reason = _fault(module, config)
    try:
        kind = kind_of(module.parts, of_peft=config is not None)
    except MisfitError as error:
        return _none(module, reason or str(error))
    scale, assumed = _scale(module, kind, name, config)
    if isinstance(scale, str) or reason:
        return _none(module, reason or str(scale), kind)
    magnitude = module.parts.get(MAGNITUDE)
    if magnitude is not None and math.prod(magnitude.shape) != kind.shape[_axis(module, kind)]:
        return _none(module, NO_MAGNITUDE.format(_times(magnitude.shape), _times(kind.shape)), kind)
    update = Update(
        module=module.name,
        kind="DoRA" if MAGNITUDE in module.parts and kind.name == "LoRA" else kind.name,
        rank=kind.rank,
        scale=scale,
        factors=partial(kind.factors, scale),
        rescale=_rescale(module, kind),
        flat=kind.flat,
        transposed=config is not None and config.transposed and not kind.table,
        no_base=config.no_base if config else "",
    )
    return _layer(module, kind, update, assumed, input_size)


def _layer(
    module: Module, kind: Kind, update: Update, assumed: tuple[str, ...], input_size: InputSize
) -> Row:
    axes = len(kind.shape) - 2
    reason = NEEDS_BASE if update.rescale else ""
    if kind.flat and "conv" in module.name.lower():
        reason = reason or FLAT
    if axes and axes not in CONVOLUTION_AXES:
        reason = reason or NO_AXES.format(len(kind.shape))
    if reason:
        return replace(_none(module, reason, kind), update=update)
    said = [OF_TABLE] if kind.table else [GEOMETRY] if axes else [AS_MATRIX] if kind.flat else []
    geometry = Geometry(stride=(1,) * axes, dilation=(1,) * axes)
    return Layer(
        name=_name(module),
        weight=_first(module.names),
        op=geometry.op,
        kernel_shape=kind.shape,
        dtype=_dtype(module),
        geometry=geometry,
        input_size=input_size.for_axes(axes) if axes else (),
        assumed=(*assumed, *said),
        update=update,
        read=lambda: update.factors().dense(),
    )


def _scale(
    module: Module, kind: Kind, name: str, config: Config | None
) -> tuple[float | str, tuple[str, ...]]:
    """What the factors are multiplied by, or why that is not known; and what was taken for granted."""
    alpha = module.parts.get(ALPHA)
    if config is not None:
        return (config.scale(name, kind.rank) if alpha is None else TWO_ALPHAS), ()
    if module.stored.startswith(PREFIX):
        return NO_CONFIG, ()
    if kind.rank is None or alpha is None:  # LyCORIS scales none whose factors are whole
        return 1.0, () if kind.rank is None else (NO_ALPHA,)
    if alpha.shape not in ((), (1,)) or alpha.unusable or not alpha.dtype.startswith(_NUMBERS):
        return "its alpha is no number", ()
    value = float(alpha.read().reshape(()))
    return (value / kind.rank if math.isfinite(value) else f"its alpha is {value}"), ()


def _rescale(module: Module, kind: Kind) -> Rescale | None:
    """What DoRA (Liu et al. 2024) multiplies a sum by: each of its slices gets the length that is stored.

    The slices are along the axis on which the magnitude has as many entries as the sum: outputs as a rule;
    of an embedding table its columns.
    """
    magnitude = module.parts.get(MAGNITUDE)
    if magnitude is None:
        return None

    def factors(whole: torch.Tensor) -> torch.Tensor:
        lengths: torch.Tensor = magnitude.read().to(whole.dtype)
        others = [other for other in range(whole.ndim) if other != axis]
        norms = torch.linalg.vector_norm(whole, dim=others, keepdim=True)
        shape = [-1 if other == axis else 1 for other in range(whole.ndim)]
        found: torch.Tensor = lengths.reshape(shape) / norms
        return found

    axis = _axis(module, kind)
    return factors


def _axis(module: Module, kind: Kind) -> int:
    """The axis of the sum that magnitudes are along: outputs; a table's columns; LyCORIS' shapes tell it."""
    shape = module.parts[MAGNITUDE].shape
    of_inputs = module.names[MAGNITUDE].endswith(DORA_SCALE) and len(shape) > 1 and shape[0] == 1
    return int(kind.table or (of_inputs and kind.shape[0] != 1))


def _fault(module: Module, config: Config | None) -> str:
    """Why the parts are no update, whatever they are; empty where they may be one."""
    if config is not None and config.reason:
        return config.reason
    if module.twice:
        return TWICE.format(module.twice[0])
    if any(0 in part.shape for part in module.parts.values()):
        return EMPTY
    faults = (part.fault for name, part in module.parts.items() if name != ALPHA)
    return next(filter(None, faults), "")


def _none(module: Module, reason: str, kind: Kind | None = None) -> UnsupportedLayer:
    return UnsupportedLayer(
        name=_name(module),
        weight=_first(module.names),
        op=Geometry(stride=(1,) * (len(kind.shape) - 2)).op if kind else "",
        kernel_shape=kind.shape if kind else (),
        dtype=_dtype(module),
        reason=reason,
    )


def _unknown(name: str, tensor: StoredTensor, configs: Configs) -> UnsupportedLayer:
    """The row of a tensor that is of an update of a kind that is not known, or of another thing."""
    tokens, config = _TOKENS in name, configs.get("")
    return UnsupportedLayer(
        name=name.removeprefix(PREFIX),
        weight=name,
        op="Gather" if tokens else "",
        kernel_shape=tensor.shape,
        dtype=tensor.dtype,
        reason=TOKENS if tokens else (config.reason if config else "") or UNKNOWN_PART,
        applicable=not tokens,
    )


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _name(module: Module) -> str:
    return f"{module.name} ({module.adapter})" if module.adapter else module.name


def _dtype(module: Module) -> str:
    return _first({name: part.dtype for name, part in module.parts.items()})


def _first(said: Mapping[str, str]) -> str:
    """What is said of the first part that is no number."""
    return next((each for part, each in said.items() if part != ALPHA), next(iter(said.values())))
