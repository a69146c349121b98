"""The unfoldings of layers of one shape, and what is kept of each from step to step, or for later."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import torch
from torch import nn

from convsv_cli.errors import UsageError
from convsv_cli.model.kernel import reduced_weight, unfolded
from convsv_cli.model.layer import Geometry
from convsv_cli.spectral.norms import splits
from convsv_cli.torch_modules.modules import modules_of
from convsv_cli.training import power

WARM_UP = 30
ROUNDING = 1e-5  # of norms in float32, relative


def folded(matrices: torch.Tensor, shape: tuple[int, ...], rows: tuple[int, ...]) -> torch.Tensor:
    """The kernels [blocks, c_out, c_in, *k] of that shape of which `unfolded` makes these matrices."""
    columns = [axis for axis in range(len(shape) - 3) if axis not in rows]
    order = [0, 1, *(3 + axis for axis in rows), 2, *(3 + axis for axis in columns)]
    back = [order.index(axis) for axis in range(len(shape))]
    return matrices.reshape([shape[axis] for axis in order]).permute(back)


class Unfoldings(nn.Module):
    """The matrices of layers of one shape, and directions that are kept of each, as buffers.

    Several layers are one layer with several times the groups, so that one product serves them all.

    The buffers are in no `state_dict`, for they are no weights: `PowerState` has them. Where the weights have
    been replaced before the first step, as by those of a checkpoint, the directions are found anew.

    Args:
        weight: of all the layers, one after the other: [layers * c_out, c_in / groups, *k], where transposed
            [layers * c_in, c_out / groups, *k]; it is not kept.
        geometry: of each.
        layers: how many there are.
        heuristic: only T, and without a factor (Miyato et al., ICLR 2018); else every unfolding, with
            sqrt(prod k).
    """

    _norms: tuple[float, ...] | None = None
    """Those that the warm-up found, as long as no step has followed; None from then on."""

    def __init__(
        self, weight: torch.Tensor, geometry: Geometry, *, layers: int = 1, heuristic: bool = False
    ) -> None:
        super().__init__()
        self._geometry, self._layers = replace(geometry, groups=geometry.groups * layers), layers
        with torch.no_grad():
            self._shape = tuple(reduced_weight(weight, self._geometry).shape)
            spatial = self._shape[3:]
            wide = [axis for axis, k in enumerate(spatial) if k > 1]  # others make unfoldings coincide
            self._rows = [()] if heuristic else splits(wide)
            self._factor = 1.0 if heuristic else math.sqrt(math.prod(spatial))
            matrices = self.matrices(weight)
        for name, matrix in zip(self._names(), matrices, strict=True):
            self.register_buffer(name, power.start(matrix), persistent=False)
        self._warm_up(matrices)

    @torch.no_grad()
    def matrices(self, weight: torch.Tensor) -> list[torch.Tensor]:
        """Each unfolding [layers * groups, p, q], in float32 or float64."""
        reduced = self._reduced(weight)
        return [unfolded(reduced, rows) for rows in self._rows]

    def directions(self, matrices: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What is kept of each of `matrices`, [layers * groups, p, 3], with its singular vector first."""
        expected = None if torch.compiler.is_compiling() else self._norms
        if expected is not None and not _close(expected, self._found(matrices)):
            self._warm_up(matrices)
        if self.training:
            self._norms = None
        return self._kept(matrices)

    def forget(self) -> None:
        """Find the directions anew when they are next asked for, if not compiled."""
        self._norms = ()

    @torch.no_grad()
    def keep(self, directions: Sequence[torch.Tensor]) -> None:
        """Keep these for the next step."""
        for name, each in zip(self._names(), directions, strict=True):
            self.get_buffer(name).copy_(each)

    @torch.no_grad()
    def restore(self, directions: Mapping[str, torch.Tensor]) -> bool:
        """Go on from these, by the names of the buffers; False where they are of other matrices."""
        fits = all(
            name in directions and directions[name].shape == self.get_buffer(name).shape
            for name in self._names()
        )
        if fits:
            self.keep([directions[name] for name in self._names()])
            self._norms = None
        return fits

    def values(
        self, weight: torch.Tensor, matrices: Sequence[torch.Tensor], directions: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Of each layer the largest over its groups, then the least over the unfoldings: [layers].

        They are the products <K, P> of the reduced kernels with patterns that are constant for autograd, the
        foldings of sqrt(prod k) u v^T: so a step back costs no more than a product with P.
        """
        with torch.no_grad():
            pattern = self._pattern(matrices, directions)
        products = (self._reduced(weight) * pattern).flatten(1).sum(1)
        return products.view(self._layers, -1).sum(1)

    def _warm_up(self, matrices: Sequence[torch.Tensor]) -> None:
        directions = [power.start(matrix) for matrix in matrices]
        for _ in range(WARM_UP):
            directions = power.step(matrices, directions)
        self._kept(matrices)
        self.keep(directions)
        self._norms = self._found(matrices)

    def _kept(self, matrices: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The buffers, where the matrices are and in their type."""
        first = self.get_buffer(self._names()[0])
        if (first.device, first.dtype) != (matrices[0].device, matrices[0].dtype):
            self.to(matrices[0])
        return [self.get_buffer(name) for name in self._names()]

    @torch.no_grad()
    def _found(self, matrices: Sequence[torch.Tensor]) -> tuple[float, ...]:
        """The norms of all matrices along the directions: other numbers where the weights are others."""
        pairs = zip(matrices, self._kept(matrices), strict=True)
        return tuple(norm for m, x in pairs for norm in power.triple(m, x[..., :1])[0].tolist())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Also of modules that were pickled when the directions were in every `state_dict`."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._non_persistent_buffers_set.update(self._names())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        """Take directions from a state dict in which they still were; forget them where there are none."""
        found = {name: state_dict.pop(prefix + name, None) for name in self._names()}
        if not self.restore({name: each for name, each in found.items() if each is not None}):
            self.forget()
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _pattern(self, matrices: Sequence[torch.Tensor], directions: Sequence[torch.Tensor]) -> torch.Tensor:
        """[layers * groups, c_out, c_in, *k]; zero for all groups of a layer but the one that counts."""
        found = [power.triple(m, x[..., :1]) for m, x in zip(matrices, directions, strict=True)]
        sigmas = torch.stack([sigma for sigma, _ in found]).view(len(found), self._layers, -1)
        largest, group = sigmas.max(2)
        least = largest.argmin(0)
        chosen = torch.zeros_like(sigmas).scatter_(2, group[..., None], self._factor)
        chosen *= torch.zeros_like(largest).scatter_(0, least[None], 1.0)[..., None]
        parts = []
        for rows, kept, (_, v), factor in zip(self._rows, directions, found, chosen, strict=True):
            parts.append(folded(factor.reshape(-1, 1, 1) * kept[..., :1] * v.mT, self._shape, rows))
        return torch.stack(parts).sum(0)

    def _reduced(self, weight: torch.Tensor) -> torch.Tensor:
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
        return reduced_weight(wide, self._geometry)

    def _names(self) -> list[str]:
        return ["_".join(["kept", *map(str, rows)]) for rows in self._rows]


def norms(stacks: Iterable[nn.Module], weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What `Unfoldings.values` gives for each stack of layers, [layers]: differentiable in the weights.

    In training mode the directions of all of them take one step first.
    """
    states = [each for each in stacks if isinstance(each, Unfoldings)]
    matrices = [state.matrices(weight) for state, weight in zip(states, weights, strict=True)]
    directions = [state.directions(some) for state, some in zip(states, matrices, strict=True)]
    if states[0].training:
        moved = iter(power.step(list(chain(*matrices)), list(chain(*directions))))
        directions = [list(islice(moved, len(some))) for some in directions]
        for state, some in zip(states, directions, strict=True):
            state.keep(some)
    parts = zip(states, weights, matrices, directions, strict=True)
    return [state.values(weight, some, kept) for state, weight, some, kept in parts]


class UnfoldingsOfStacks(nn.ModuleList):
    """Those of several stacks of layers, in the order of `layers.stacks`."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        """Leave directions to their stacks, or drop them all where they are of others.

        Older versions counted fewer layers, so that the numbers of the stacks in their checkpoints may be
        those of others here.
        """
        expected = {prefix + name: tensor.shape for name, tensor in self.named_buffers()}
        found = {name: tensor.shape for name, tensor in state_dict.items() if name.startswith(prefix)}
        if found != expected:
            for name in found:
                del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _close(some: Sequence[float], others: Sequence[float]) -> bool:
    """Whether they differ by no more than what rounding makes of the same weights."""
    return len(some) == len(others) and all(
        math.isclose(one, other, rel_tol=ROUNDING) for one, other in zip(some, others, strict=True)
    )


class PowerState:
    """The directions that a module keeps from step to step: its state in addition to its `state_dict`.

    A checkpoint needs none of it: the first call after loading finds them anew, in thirty steps. It is for
    trainings that are to end, interrupted, as they would have ended otherwise, to the last bit. It is kept as
    that of an optimiser is:

        checkpoint = {"model": model.state_dict(), "penalty": PowerState(penalty).state_dict()}
        ...
        model.load_state_dict(checkpoint["model"])
        PowerState(penalty).load_state_dict(checkpoint["penalty"])

    Args:
        module: a `LipschitzPenalty`, `CurvatureBound` or `CurvatureLoss`, or a model with layers of
            `limit_norm`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The directions by name, [layers * groups, rows, 3] each."""
        return {
            f"{name}.{own}": tensor.detach()
            for name, each in self._unfoldings()
            for own, tensor in each.named_buffers()
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from there; of a model with layers of `limit_norm`, load its weights first.

        Args:
            state: what `state_dict` gave, [layers * groups, rows, 3] each.

        Raises:
            UsageError: it is of other layers; nothing is changed then but what fits.
        """
        for name, each in self._unfoldings():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items()}
            if not each.restore(own):
                raise UsageError(f"no directions for {name} that fit", hint="are the layers the same?")

    def forget(self) -> None:
        """Find the directions anew at the next call: weights were replaced in the middle of a training."""
        for _, each in self._unfoldings():
            each.forget()

    def _unfoldings(self) -> Iterator[tuple[str, Unfoldings]]:
        """Each once, under a name that does not depend on wrappers."""
        seen: set[Unfoldings] = set()
        for name, each in modules_of(self._module, parts=True):
            if isinstance(each, Unfoldings) and each not in seen:
                seen.add(each)
                yield name, each
