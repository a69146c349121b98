"""The layers of a PyTorch model that a penalty counts, and what else has weights there."""

from __future__ import annotations

import difflib
import fnmatch
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import nn
from torch.nn.utils import parametrize

from convsv_cli.errors import UsageError
from convsv_cli.model.layer import Geometry, layer_name
from convsv_cli.names import glob_forms
from convsv_cli.torch_modules.modules import (
    PARAMETRISATIONS,
    PARTS,
    has_packed_weights,
    is_matrix,
    linear_maps,
    modules_of,
    tensors_in,
    unknown_form,
    weight_of,
)

SHOWN = 10  # names in an error or a warning
SHARDED = "_flat_param"
"""What a module has whose parameters FullyShardedDataParallel keeps in pieces."""
SPREAD = "the weights are spread over processes"


@dataclass(frozen=True, kw_only=True, eq=False)
class Weight:
    """A weight of a model.

    Attributes:
        name: as an audit has it: of the module alone where that has one weight.
        aliases: of a module with several weights, and of further places of the same one.
        module: that holds it.
    """

    name: str
    aliases: tuple[str, ...] = ()
    module: nn.Module

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the first one first."""
        return (self.name, *self.aliases)

    def matches(self, globs: Iterable[str]) -> bool:
        """Whether one of its names does."""
        forms = [form for glob in globs for form in glob_forms(glob)]
        return any(fnmatch.fnmatchcase(name, form) for form in forms for name in self.names)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedLayer(Weight):
    """A linear map that is being trained.

    Attributes:
        parameter: name of the weight in its module.
        geometry: how it is applied.
    """

    parameter: str = "weight"
    geometry: Geometry

    @property
    def weight(self) -> torch.Tensor:
        """What the layer multiplies by now, with any parametrisation, which may move on by that.

        A DTensor, as of fully_shard, is put together: all processes have to ask for it. Each then has the
        gradient of its own part.
        """
        weight = weight_of(self.module, self.parameter)
        return weight.full_tensor() if _is_part(weight) else weight  # type: ignore[attr-defined]

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.module.parameters()).device


@dataclass(frozen=True, kw_only=True, eq=False)
class LeftOut(Weight):
    """A weight that is applied in no way that is known, or has no dense array of real numbers.

    Attributes:
        form: its type or layout, where that is what stands in the way.
    """

    geometry: None = None
    form: str = ""

    def __str__(self) -> str:
        kind = parametrize.type_before_parametrizations(self.module).__name__
        return f"{self.name} ({kind} of {self.form})" if self.form else f"{self.name} ({kind})"


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a model multiplies by.

    Attributes:
        layers: of which norms are known, in the order of the model; a tied weight once.
        left_out: all other matrices and kernels among its parameters.
    """

    layers: tuple[TrainedLayer, ...]
    left_out: tuple[LeftOut, ...]


def surveyed(model: nn.Module, *, exclude: Sequence[str] = ()) -> Survey:
    """What the model multiplies by, without what a glob excludes by one of its names.

    A model inside DataParallel, DistributedDataParallel or torch.compile is taken out, and so are modules in
    it, so that names do not depend on it. A weight that is used several times in the same way counts once,
    and one without entries not at all.

    Raises:
        UsageError: a glob matches nothing, a lazy module has no weight yet, no layer is left, or
            FullyShardedDataParallel has them in pieces.
    """
    if _is_in_pieces(model):
        raise UsageError(SPREAD, hint="shard them with fully_shard")
    weights = list(_weights_of(model))
    for glob in exclude:
        check_glob(glob, weights)
    kept = [each for each in weights if not each.matches(exclude)]
    layers = [each for each in kept if isinstance(each, TrainedLayer)]
    left_out = [each for each in kept if isinstance(each, LeftOut)]
    for layer in layers.copy():
        form = unknown_form(weight := layer.weight)
        if form or not weight.numel():
            layers.remove(layer)
        if form:
            left_out.append(LeftOut(name=layer.name, module=layer.module, form=form))
    if not layers:
        raise UsageError(
            "the model has no Linear or convolution layer, and no other linear map, that is not excluded",
            hint=f"there are {listed(list(map(str, left_out)))}" if left_out else "",
        )
    return Survey(layers=tuple(layers), left_out=tuple(left_out))


def watched(model: nn.Module, globs: Sequence[str] = ()) -> tuple[TrainedLayer, ...]:
    """The layers that a glob matches, or all, with a warning that names what is left out of these.

    Raises:
        UsageError: as of `surveyed`, or a weight is spread over processes.
    """
    check_whole(model)
    with untouched(model.modules()):
        found = surveyed(model)
    for glob in globs:
        check_glob(glob, (*found.layers, *found.left_out))
    chosen = [each for each in (*found.layers, *found.left_out) if not globs or each.matches(globs)]
    layers = tuple(each for each in chosen if isinstance(each, TrainedLayer))
    left_out = [str(each) for each in chosen if isinstance(each, LeftOut)]
    if not layers:
        raise UsageError(f"no norms are known of {listed(left_out)}")
    if left_out:
        warnings.warn(f"norms are not known of {listed(left_out)}", stacklevel=3)
    return layers


def check_whole(model: nn.Module) -> None:
    """See that each weight is all here.

    Raises:
        UsageError: some are spread over processes.
    """
    if _is_in_pieces(model) or any(map(_is_part, model.parameters())):
        raise UsageError(SPREAD, hint="audit a checkpoint that has all of them")


@contextmanager
def untouched(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put back what parametrisations in training mode move on whenever they are asked for a weight."""
    parametrised = {module for module in modules if parametrize.is_parametrized(module)}
    buffers = [buffer for each in parametrised for buffer in each.get_submodule(PARAMETRISATIONS).buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, old in zip(buffers, before, strict=True):
                buffer.copy_(old)


def stacks(layers: Sequence[TrainedLayer]) -> tuple[tuple[TrainedLayer, ...], ...]:
    """The layers by shape, geometry, type and device, in the order of the first of each kind."""
    kinds: dict[object, list[TrainedLayer]] = defaultdict(list)
    for layer in layers:
        weight = layer.weight
        kinds[weight.shape, layer.geometry, weight.dtype, weight.device].append(layer)
    return tuple(map(tuple, kinds.values()))


def stacked(stack: Sequence[TrainedLayer]) -> torch.Tensor:
    """Their weights, one after the other: [layers * c, *shape[1:]]."""
    return torch.cat([layer.weight for layer in stack])


def matching(layers: Sequence[TrainedLayer], glob: str) -> list[TrainedLayer]:
    """The layers of which a name matches; UsageError where there is none."""
    check_glob(glob, layers)
    return [layer for layer in layers if layer.matches([glob])]


def check_glob(glob: str, weights: Sequence[Weight]) -> None:
    """See that it matches one of the weights.

    Raises:
        UsageError: it does not; with the name that is nearest to it.
    """
    if not any(each.matches([glob]) for each in weights):
        near = difflib.get_close_matches(glob, [name for each in weights for name in each.names], n=1)
        known = f"there are {listed([each.name for each in weights])}"
        raise UsageError(f"no layer matches {glob!r}", hint=f"did you mean {near[0]}?" if near else known)


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many there are besides."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _weights_of(model: nn.Module) -> Iterator[Weight]:
    """Each tensor once for each way in which it is applied, under all its names: tied weights are one."""
    tensors: dict[int, dict[Geometry | None, TrainedLayer | LeftOut]] = {}
    for name, module in modules_of(model):
        for source, each in _weights_in(name, module):
            ways = tensors.setdefault(id(source), {})
            first = ways.setdefault(each.geometry, each)
            if first is not each:
                ways[each.geometry] = replace(first, aliases=(*first.aliases, *each.names))
    for ways in tensors.values():
        unknown = ways.pop(None).names if None in ways and len(ways) > 1 else ()
        yield from (replace(each, aliases=(*each.aliases, *unknown)) for each in ways.values())


def _weights_in(name: str, module: nn.Module) -> Iterator[tuple[object, TrainedLayer | LeftOut]]:
    """Those of the module alone, each with what is the same object where weights are tied."""
    maps, tensors = linear_maps(module), tensors_in(module)
    parts = {parameter: (parameter, *(parameter + part for part in PARTS)) for parameter in maps}
    for parameter, geometry in maps.items():
        source = next((tensors[part] for part in parts[parameter] if part in tensors), module)
        own = name if parameter == "weight" else _named(name, parameter)
        aliases = () if own == name else (name,)
        yield (
            source,
            TrainedLayer(name=own, aliases=aliases, module=module, parameter=parameter, geometry=geometry),
        )
    known = set(chain.from_iterable(parts.values()))
    for parameter in tensors:
        if parameter not in known and is_matrix(parameter, tensors):
            yield tensors[parameter], LeftOut(name=_named(name, parameter), module=module)
    if not maps and has_packed_weights(module):
        yield module, LeftOut(name=name, module=module)


def _is_in_pieces(model: nn.Module) -> bool:
    return any(hasattr(module, SHARDED) for module in model.modules())


def _is_part(weight: torch.Tensor) -> bool:
    """Whether it is a DTensor, as of fully_shard and tensor parallelism."""
    return hasattr(weight, "full_tensor")


def _named(module: str, parameter: str) -> str:
    return layer_name(f"{module}.{parameter}".lstrip("."))
