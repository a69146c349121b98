"""How far the weights of two models are apart, layer by layer: certified norms of the differences.

For the map with weight W, and that with weight W', the map with weight W - W' is their difference, so its
norm is the largest distance of what both make of one input of length 1. It is found as all norms are, and
the subtraction is accounted for: each entry of fl(W - W') is within a relative u of W - W'. Let E be what
is missing, with taps E_t. At every frequency, the symbol of E is at most sum_t |E_t|_F <= sqrt(T) |E|_F <=
sqrt(T) u' |fl(W - W')|_F for T taps and u' = u / (1 - u); twice that is taken, which leaves room for the
rounding of the sum of squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from convsv_cli import deadline
from convsv_cli.auditing import loaded
from convsv_cli.auditing.guarding import guarded, weight_of
from convsv_cli.auditing.plan import Meter, Task, chosen_layers, declared, resolve_device
from convsv_cli.auditing.updates import lost_of
from convsv_cli.calculators.certified import CALCULATOR
from convsv_cli.limits import allowing
from convsv_cli.model.kernel import reduce_kernel
from convsv_cli.model.layer import OTHER_ORDER, Layer
from convsv_cli.model.network import Network
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, round_down, round_up
from convsv_cli.remote import is_remote
from convsv_cli.remote.mirror import mirrored
from convsv_cli.report import Audit, Change, Difference, Interval, Settings
from convsv_cli.report.comparison import BY_SHAPE, SAME
from convsv_cli.spectral.cores import one_thread_each

OTHER_SHAPE = "its weights have other shapes, or are applied in other ways"
GUESSED = "which layers are one is a guess"
ENDED = "the run was to end"
NOTHING = Interval(lower=0.0, upper=0.0)


def is_quantised(audit: Audit) -> bool:
    """Whether some of its weights stand for others, so that users will want to know how far off these are."""
    return any(layer.is_quantised for layer in audit.layers)


def with_distances(
    difference: Difference,
    old: Path,
    new: Path,
    settings: Settings,
    progress: Callable[[str, float], None] | None = None,
) -> Difference:
    """The difference of two models, with the distances of the layers that are in both.

    Args:
        difference: of the audits of these models.
        old, new: paths, or addresses.
        settings: as these were audited.
        progress: called with the layer that is being worked on, and the share of all that is done.

    Raises:
        ConvsvError: as `loaded`.
    """
    meter = Meter(progress, len(difference.changes))
    with ExitStack() as stack:
        before, after = (_layers(stack, path, settings) for path in (old, new))
        stack.enter_context(allowing())
        stack.enter_context(one_thread_each())
        changes = []
        for change in difference.changes:
            meter.start(change.name)
            changes.append(_with_distance(change, before, after, settings))
            meter.advance(1)
    return replace(difference, changes=tuple(changes))


def _layers(stack: ExitStack, path: Path, settings: Settings) -> Mapping[str, Layer]:
    file = stack.enter_context(mirrored(path)).path if is_remote(path) else path
    network: Network = declared(loaded(file, settings), settings)
    rows = chosen_layers(network, settings, sizes_for="")
    return {row.name: row for row in rows if isinstance(row, Layer)}


def _with_distance(
    change: Change, before: Mapping[str, Layer], after: Mapping[str, Layer], settings: Settings
) -> Change:
    """The change of a layer with the distance, or why there is none; any other change as it is."""
    old, new = before.get(change.before), after.get(change.name)
    if old is None or new is None or not change.matched:
        return change
    if change.kind == SAME:
        return replace(change, distance=NOTHING)
    why = _incomparable(change, old, new)
    if why:
        return replace(change, no_distance=why)
    return guarded(
        lambda: replace(change, distance=_distance(old, new, settings)),
        lambda reason: replace(change, no_distance=reason),
    )


def _incomparable(change: Change, old: Layer, new: Layer) -> str:
    """Why a distance of both would say nothing; empty where it says something."""
    if deadline.ended():
        return ENDED
    if change.matched == BY_SHAPE:
        return GUESSED
    other_order = {line for layer in (old, new) for line in layer.assumed if line in OTHER_ORDER}
    return min(other_order, default="") or ("" if _kernel(old) == _kernel(new) else OTHER_SHAPE)


def _kernel(layer: Layer) -> tuple[object, ...]:
    """What makes, with the weight, the linear map on the infinite lattice, whatever the padding."""
    geometry = layer.geometry
    return layer.kernel_shape, geometry.stride, geometry.dilation, geometry.groups, geometry.transposed


def _distance(old: Layer, new: Layer, settings: Settings) -> Interval:
    """The norm of the difference, enclosed."""
    apart = weight_of(old).clone()
    apart -= weight_of(new)
    if not apart.isfinite().all():
        raise ValueError("a weight holds NaN or infinity")
    taps = math.prod(apart.shape[2:])
    lost = 2 * UNIT_ROUNDOFF * float(torch.linalg.vector_norm(apart)) + lost_of(old) + lost_of(new)
    margin = math.sqrt(taps) * lost
    kernel = reduce_kernel(apart.to(resolve_device(settings.device)), old.geometry)
    measured = CALCULATOR.calculate(Task(layer=old, settings=settings).problem(kernel))
    found = measured.enclosure or Interval()
    return Interval(
        lower=max(0.0, round_down(found.lower) - round_up(margin)), upper=round_up(found.upper + margin)
    )
