"""The linear maps of a PyTorch module: which layers have one, and how its weight is applied."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from convsv_cli.errors import UsageError
from convsv_cli.network import Geometry

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LINEAR = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedLayer:
    """A layer that is being trained.

    Attributes:
        name: of the module in the model, as `named_modules` has it.
        module: one of `LINEAR`.
        geometry: how its weight is applied.
    """

    name: str
    module: nn.Module
    geometry: Geometry

    @property
    def weight(self) -> torch.Tensor:
        """What the layer multiplies by now, with any parametrisation."""
        return weight_of(self.module)


def trained_layers(model: nn.Module, *, exclude: Sequence[str] = ()) -> tuple[TrainedLayer, ...]:
    """The Linear and convolution layers in the order of the model, without those that a glob excludes.

    A model inside DataParallel, DistributedDataParallel or torch.compile is taken out, so that names do not
    depend on it. A module that is used several times counts once.

    Raises:
        UsageError: a glob matches no layer, or no layer is left.
    """
    found = tuple(_found(unwrapped(model)))
    for glob in exclude:
        matching(found, glob)
    kept = [layer for layer in found if not any(fnmatch.fnmatchcase(layer.name, glob) for glob in exclude)]
    if not kept:
        raise UsageError("the model has no Linear or convolution layer that is not excluded")
    return tuple(kept)


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
    """The layers of which the name matches; UsageError where there is none."""
    matches = [layer for layer in layers if fnmatch.fnmatchcase(layer.name, glob)]
    if not matches:
        raise UsageError(f"no layer matches {glob!r}", hint=f"there are {', '.join(x.name for x in layers)}")
    return matches


def weight_of(module: nn.Module) -> torch.Tensor:
    """The weight; UsageError where a lazy module has none yet."""
    weight = module.weight
    if not isinstance(weight, torch.Tensor) or isinstance(weight, nn.UninitializedParameter):
        raise UsageError("a layer has no weight yet", hint="run the model on a batch first")
    return weight


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    inner = model.module if isinstance(model, wrappers) else getattr(model, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def geometry_of(module: nn.Module) -> Geometry:
    """How the weight of one of `LINEAR` is applied; paddings are left out, for no norm here depends on them.

    Raises:
        UsageError: the module is none of these.
    """
    if isinstance(module, nn.Linear):
        return Geometry()
    if not isinstance(module, CONVOLUTIONS + TRANSPOSED):
        raise UsageError(f"{type(module).__name__} is no Linear or convolution layer")
    settings: Any = module
    return Geometry(
        stride=tuple(settings.stride),
        dilation=tuple(settings.dilation),
        groups=settings.groups,
        transposed=isinstance(module, TRANSPOSED),
    )


def _found(model: nn.Module) -> Iterator[TrainedLayer]:
    for name, module in model.named_modules():
        if isinstance(module, LINEAR):
            yield TrainedLayer(name=name, module=module, geometry=geometry_of(module))
