"""Channels put together, taken apart and left out; windows that are cut, padded or moved; other shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from convsv_cli.lipschitz.density.lowering.context import Lowering
from convsv_cli.lipschitz.density.lowering.views import NoRowError, View, known
from convsv_cli.lipschitz.density.steps import Convolution, Field, LinearPart, Placement
from convsv_cli.lipschitz.operands import integers, optional_integers, slices
from convsv_cli.model.graph import Node


def joined(node: Node, to: Lowering) -> None:
    """Concat of channels; constants among them do not vary."""
    output = node.outputs[0]
    views = [to.view(name) for name in node.inputs if to.varies(name)]
    if not views:
        raise NoRowError
    axis, window = _channel_axis(node, views[0], to, output), to.field_of(views[0]).window
    if any(view.flat or view.last != views[0].last or to.field_of(view).window != window for view in views):
        raise NoRowError
    (channels,) = known(to.shape(output)[axis : axis + 1])
    terms: dict[str, LinearPart] = {}
    start = 0
    for name in node.inputs:
        (count,) = known(to.shape(name)[axis : axis + 1])
        if to.varies(name):
            terms[to.view(name).field] = _placed(range(count), start, channels)
        start += count
    if len(terms) != len(views):  # a field that is there twice
        raise NoRowError
    shown = replace(views[0], field=output, cropped=all(view.cropped for view in views))
    to.linear(output, [*terms.items()], Field(channels=channels, window=window), view=shown)


def split(node: Node, to: Lowering) -> None:
    """Split of channels."""
    view = to.view(node.inputs[0])
    axis, start = _channel_axis(node, view, to, node.inputs[0]), 0
    for output in node.outputs:
        (count,) = known(to.shape(output)[axis : axis + 1])
        if output:
            _taken(output, view, range(start, start + count), to)
        start += count


def _channel_axis(node: Node, view: View, to: Lowering, tensor: str) -> int:
    """That of a tensor, which is also that of the node."""
    rank = len(to.shape(tensor))
    axis = view.channel_axis(rank)
    if view.flat or node.attribute("axis", 0) % rank != axis:
        raise NoRowError
    return axis


def _placed(taken: range, start: int, channels: int) -> Placement:
    """Some channels at others, from `start` on, among so many."""
    return Placement(
        sources=torch.tensor([*taken]).long(),
        targets=torch.arange(start, start + len(taken)),
        channels=channels,
    )


def _taken(output: str, view: View, channels: range, to: Lowering) -> None:
    """Some of the channels."""
    field = Field(channels=len(channels), window=to.field_of(view).window)
    place = _placed(channels, 0, len(channels))
    to.linear(output, [(view.field, place)], field, view=replace(view, field=output))


def sliced(node: Node, to: Lowering) -> None:
    """Slice of channels, and of positions, every stride-th of them."""
    view, output = to.view(node.inputs[0]), node.outputs[0]
    ranges, window = _ranges(node, to), to.field_of(view).window
    axis = view.channel_axis(len(to.shape(node.inputs[0])))
    channels = ranges.pop(axis, None)
    if not ranges:
        _taken(output, view, channels or range(to.field_of(view).channels), to)
        return
    middle = to.fresh(f"{output}.channels") if channels else output
    _moved(middle, view, [ranges.get(2 + i, range(n)) for i, n in enumerate(window)], to)
    if channels:
        _taken(output, to.views[middle], channels, to)


def _ranges(node: Node, to: Lowering) -> dict[int, range]:
    """What a Slice takes along each axis but that of copies, of which it takes all."""
    operation, shape, view = to.operation(node), to.shape(node.inputs[0]), to.view(node.inputs[0])
    taken = {axis % len(shape): at for axis, at in slices(operation)}
    if view.flat or (view.last and any(axis != len(shape) - 1 for axis in taken)):
        raise NoRowError
    if view.spatial and 0 in taken:
        del taken[0]
        if shape[0] is None or to.shape(node.outputs[0])[0] != shape[0]:
            raise NoRowError
    found = {axis: range(*at.indices(known(shape[axis : axis + 1])[0])) for axis, at in taken.items()}
    if any(each.step < 1 or not each for each in found.values()):
        raise NoRowError
    return found


def _moved(output: str, view: View, ranges: Sequence[range], to: Lowering) -> None:
    """Positions along each axis: x(start), x(start + stride), ...; those outside the window are zeros."""
    field = to.field_of(view)
    stride = tuple(each.step for each in ranges)
    window = tuple(len(each) for each in ranges)
    part = Convolution(
        kernel=torch.ones(field.channels, 1, 1, *(1,) * len(window), dtype=torch.float64),
        offsets=tuple((each.start,) for each in ranges),
        stride=stride,
    )
    reach = [
        max(n, n - min(each.start, 0), each[-1] + 1) for each, n in zip(ranges, field.window, strict=True)
    ]
    source = to.cropped(view) if tuple(reach) != field.window else view
    to.reaches(source.field, reach)
    made, shown = Field(channels=field.channels, window=window), View(field=output, cropped=False)
    to.linear(output, [(source.field, part)], made, view=shown, stride=stride)


def padded(node: Node, to: Lowering) -> None:
    """Pad by constants: of channels, and of positions."""
    output, view = node.outputs[0], to.view(node.inputs[0])
    ends, field = _pads(node, to), to.field_of(view)
    around = ends.get(1, (0, 0))
    spatial = [ends.get(2 + i, (0, 0)) for i in range(len(field.window))]
    if any(map(any, spatial)) or not any(around):
        ranges = [range(-before, n + after) for (before, after), n in zip(spatial, field.window, strict=True)]
        if not all(ranges):
            raise NoRowError
        middle = to.fresh(f"{output}.positions") if any(around) else output
        _moved(middle, view, ranges, to)
        view = to.views[middle]
    if any(around):
        before, after = around
        kept = range(max(0, -before), field.channels - max(0, -after))
        made = Field(channels=field.channels + sum(around), window=to.field_of(view).window)
        place = _placed(kept, max(0, before), made.channels)
        to.linear(output, [(view.field, place)], made, view=replace(view, field=output))


def _pads(node: Node, to: Lowering) -> Mapping[int, tuple[int, int]]:
    """Before and after each axis but that of copies, which is not padded."""
    operation, view, rank = to.operation(node), to.view(node.inputs[0]), len(to.shape(node.inputs[0]))
    constant = node.attribute("mode", "constant") == "constant"
    if not constant or any(to.varies(name) for name in node.inputs[1:] if name):
        raise NoRowError
    pads, axes = integers(operation, 1, "pads"), optional_integers(operation, 3)
    axes = tuple(range(rank)) if axes is None else tuple(axis % rank for axis in axes)
    ends = {axis: (pads[i], pads[len(axes) + i]) for i, axis in enumerate(axes)}
    if not view.spatial or any(ends.get(0, (0, 0))):
        raise NoRowError
    return ends


def reshaped(node: Node, to: Lowering) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze: where channels and positions stay, or become one axis."""
    output, view = node.outputs[0], to.view(node.inputs[0])
    field, before, after = to.field_of(view), to.shape(node.inputs[0]), to.shape(output)
    whole = field.channels * math.prod(field.window)
    if view.last:
        if after[-1:] != before[-1:]:
            raise NoRowError
        to.views[output] = view
        return
    one_position = whole == field.channels and after[1:2] == (whole,) and set(after[2:]) <= {1}
    if after[1:] == (field.channels, *field.window):
        shown = replace(view, flat=False)
    elif after[1:] == (whole,):
        shown = replace(view, flat=whole != field.channels)
    elif one_position and not field.window:
        _taken(output, view, range(whole), to)
        return
    else:
        raise NoRowError
    if before[0] != after[0] and None not in (before[0], after[0]):
        raise NoRowError
    to.views[output] = shown


ROWS = {
    "Concat": joined,
    "Split": split,
    "Slice": sliced,
    "Pad": padded,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), reshaped),
}
