"""What lies between a tensor and those computed from it, as views, and steps between these."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from convsv_cli import limits
from convsv_cli.lipschitz.disjoint import Step, Use, least_bound
from convsv_cli.lipschitz.operands import optional_integers
from convsv_cli.lipschitz.operation import MALFORMED, Operation, Rule, UnboundedError
from convsv_cli.lipschitz.views import View, pick_of_gather, viewed
from convsv_cli.model.graph import Dims, UnknownValueError
from convsv_cli.model.layer import CONV
from convsv_cli.model.linear_map import LinearMap

BASE, END = ("base",), ("end",)
HELD = 1e-300
"""More than inputs move that are held fixed."""
PART_OF_SORTED = {"Max": 1, "Min": 0, "ReduceMax": 1, "ReduceMin": 0}
"""Which part of sorted numbers they give."""
LOST = (UnboundedError, UnknownValueError, limits.LimitError, *MALFORMED)
Norm = Callable[[LinearMap], float]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Link:
    """A tensor and the views that it is computed from, with the constants in each of these once asked for."""

    result: Hashable
    views: tuple[View, ...]
    gains: Callable[[], tuple[float, ...]]
    apart: bool = True

    def step(self) -> Step:
        """With the constants; raises `UnboundedError` where there is none."""
        uses = zip(self.views, self.gains(), strict=True)
        return Step(
            result=self.result,
            uses=tuple(Use(view=view, gain=gain) for view, gain in uses if gain > 0),
            apart=self.apart,
        )


class Paths:
    """The paths from a base on, node by node.

    Args:
        base: the tensors that move, together by 1, and their dimensions.
        norm: of a linear map, at every input size; raises `UnboundedError`.
    """

    def __init__(self, base: Mapping[str, Dims | None], norm: Norm) -> None:
        self._norm = norm
        self._links: dict[Hashable, _Link] = {}
        self._nodes, self._torus = 0, False
        self._views = {
            name: View(root=BASE, part=i if len(base) > 1 else None, shape=shape)
            for i, (name, shape) in enumerate(base.items())
        }

    def add(self, operation: Operation, rule: Rule, gain: float) -> None:
        """Take a node that has a bound; nothing is known of one with inputs that were not added.

        Args:
            operation: the node.
            rule: of the node.
            gain: its constant in the input that varies, where one does.
        """
        names = dict.fromkeys(tensor.name for tensor in operation.varying)
        if not names.keys() <= self._views.keys() or any(tensor.discrete for tensor in operation.varying):
            return
        self._nodes += 1
        found = None
        with suppress(*LOST):
            found = viewed(operation, self._views) or self._sorted(operation)
        if found is None:
            found = self._computed(operation, rule, gain, tuple(names))
        self._views.update(zip(operation.node.outputs, found, strict=False))

    def circular(self, tensor: str) -> bool:
        """Whether a tensor is circular padding of what some convolution may take as its input."""
        view = self._views.get(tensor)
        return view is not None and bool(_circular_axes(view))

    def bound(self, ends: Iterable[str], known: float) -> float:
        """The Lipschitz constant from the base to some tensors together, from above.

        Args:
            ends: names of tensors.
            known: that by one number for each tensor.

        Returns:
            At most `known`.
        """
        names = list(ends)
        if not 0 < known < math.inf or not self._views.keys() >= set(names):
            return known
        views = tuple(self._views[name] for name in names)
        links = self._needed(_Link(result=END, views=views, gains=partial(tuple, (1.0,) * len(views))))
        used: dict[Hashable, list[View]] = {}
        for link in links:
            for view in link.views:
                used.setdefault(view.root, []).append(view)
        if not self._torus and not any(map(_differ, used.values())):
            return known
        with suppress(*LOST):
            steps = [link.step() for link in links]
            return min(known, least_bound(BASE, steps, roundings=16 * self._nodes))
        return known

    def _needed(self, last: _Link) -> list[_Link]:
        """The links that lead to the last one, and that."""
        needed, found = {view.root for view in last.views}, [last]
        for root, link in reversed(self._links.items()):
            if root in needed:
                needed.update(view.root for view in link.views)
                found.append(link)
        return found[::-1]

    def _computed(self, operation: Operation, rule: Rule, gain: float, names: tuple[str, ...]) -> list[View]:
        """The outputs as tensors of their own."""
        views, gains = tuple(self._views[name] for name in names), partial(_gains, operation, rule, names)
        if len(names) == 1:
            view = views[0]
            with suppress(*LOST):
                view, gain = _picked(operation, view) or self._wrapped(operation, view, gain)
            views, gains = (view,), partial(tuple, (gain,))
        for name in filter(None, operation.node.outputs):
            self._links[name] = _Link(result=name, views=views, gains=gains, apart=rule.apart)
        found = zip(operation.node.outputs, operation.outputs, strict=True)
        return [View(root=name, shape=shape) for name, (_, shape) in found]

    def _sorted(self, operation: Operation) -> list[View] | None:
        """The larger and the smaller of two tensors, entry by entry; the largest and the least along axes."""
        op, names = operation.node.op, frozenset(tensor.name for tensor in operation.given)
        if op not in PART_OF_SORTED or len(operation.node.outputs) != 1:
            return None
        key: tuple[Hashable, ...] = ("sorted", names)
        if op in ("Max", "Min"):
            shapes = {tensor.sizes() for tensor in operation.given} | {operation.output_shape()}
            if len(names) != 2 or len(operation.given) != 2 or len(shapes) != 1:
                return None
        else:
            axes, sizes = optional_integers(operation, 1), operation.input(0).sizes()
            kept = operation.attribute("keepdims", 1)  # axes of another shape are others to views
            key = ("sorted", operation.input(0).name, axes, kept)
            alone = not axes and operation.attribute("noop_with_empty_axes", 0)  # it is the identity
            if alone or math.prod(sizes[axis] for axis in axes or range(len(sizes))) < 2:
                return None
        views = tuple(self._views[tensor.name] for tensor in operation.varying)
        self._links.setdefault(key, _Link(result=key, views=views, gains=partial(tuple, (1.0,) * len(views))))
        return [View(root=key, part=PART_OF_SORTED[op], shape=operation.outputs[0][1])]

    def _wrapped(self, operation: Operation, view: View, gain: float) -> tuple[View, float]:
        """A convolution of circular padding, where its results are some of those of one on a torus.

        The norm of that is the largest singular value of the kernel's symbol at the torus's frequencies, and
        no more than that at all frequencies, which bounds it with zeros along other axes as well.
        """
        axes = _circular_axes(view)
        if operation.node.op != CONV or not axes:
            return view, gain
        map_ = next(found for found in operation.maps() if isinstance(found, LinearMap))
        axes = {axis for axis in axes if _fits(map_, view, axis)}
        whole = replace(view, picks={axis: at for axis, at in view.picks.items() if axis not in axes})
        norm = self._norm(map_)
        if not norm**2 * _most(whole) < gain**2 * _most(view):
            return view, gain
        self._torus = True
        return whole, norm


def _picked(operation: Operation, view: View) -> tuple[View, float] | None:
    """The entries that a Gather looks up, in any shape."""
    found = pick_of_gather(operation)
    if found is None:
        return None
    axis, indices = found
    return view.picked(axis, indices.ravel(), operation.input(0).sizes()[axis]), 1.0


def _gains(operation: Operation, rule: Rule, names: tuple[str, ...]) -> tuple[float, ...]:
    """The constant in each input alone: as it moves by 1, and the others, which do not, by less than HELD."""
    count = len(names) * len(operation.inputs)
    limits.spend(limits.OBJECT * count, "weighing the inputs of a node", share=0.5)
    moved, held = (operation.moving(dict.fromkeys(names, bound)).inputs for bound in (1.0, HELD))
    found = []
    for name in names:
        inputs = (
            one if one is not None and one.name == name else other
            for one, other in zip(moved, held, strict=True)
        )
        found.append(rule.lipschitz(replace(operation, inputs=tuple(inputs))))
    return tuple(found)


def _differ(views: Sequence[View]) -> bool:
    """Whether no entry may move all of these views of one tensor as far as any entry can."""
    if any(view.picks or view.part is not None for view in views):
        return True
    most = [max(map(abs, view.sides)) for view in views]
    return all([abs(view.sides[side]) for view in views] != most for side in (0, 1))


def _circular_axes(view: View) -> set[int]:
    """The axes along which it goes around the tensor more than once."""
    return {
        axis for axis, at in view.picks.items() if len(at) > (view.size(axis) or 0) and view.circular(axis)
    }


def _fits(map_: LinearMap, view: View, axis: int) -> bool:
    """Whether an unpadded convolution along an axis has some of the results of one on a torus of its size.

    It has no more results than the tensor has entries, and its stride leads around to where it began.
    """
    geometry, spatial = map_.geometry, axis - 2
    count = len(geometry.dilation)
    if spatial < 0 or len(geometry.padding) != 2 * count or any(geometry.padding[spatial::count]):
        return False
    reach = (map_.kernel_shape[axis] - 1) * geometry.dilation[spatial]
    size = view.size(axis) or 0
    return len(view.picks[axis]) - reach <= size and size % geometry.stride[spatial] == 0


def _most(view: View) -> float:
    """The largest number of copies of an entry."""
    return math.prod(float(np.bincount(at).max()) for at in view.picks.values() if len(at))
