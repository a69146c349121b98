"""What the rules of operators write into: the steps so far, and which field each tensor is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from convsv_cli import limits
from convsv_cli.lipschitz.density.lowering.constants import extremes, values_of
from convsv_cli.lipschitz.density.lowering.views import NoRowError, View, known
from convsv_cli.lipschitz.density.program import Program, results, sources
from convsv_cli.lipschitz.density.ranges import Ranges
from convsv_cli.lipschitz.density.steps import Activation, Field, Functional, Gain, Linear, LinearPart, Step
from convsv_cli.lipschitz.dependencies import real
from convsv_cli.lipschitz.operation import Operation, Tensor
from convsv_cli.model.graph import Graph, Node
from convsv_cli.numerics.intervals import Intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_CHANNELS = 2**14
"""Of a field: a covariance has the square of them, and what holds more is not planned anyway (`plan`)."""
MOST_ENTRIES, BYTES = 2**28, 24
"""Of the kernels of one program together: 2 GB; and bytes that each takes while it is worked with."""
FURTHER = "convsv:"
"""Begins the name of a field that would otherwise be that of another one."""
CROPPED = ".cropped"
"""Ends the name of a field that is another one, with zeros outside the window."""


class Lowering:
    """Steps of a run of nodes.

    Args:
        graph: that the nodes are in.
        ranges: what is known of tensors.
        reading: whether kernels are read; else they have shapes alone, on torch's device `meta`.

    Attributes:
        graph, reading: as given.
        steps: in order.
        fields: by name.
        views: by the name of the tensor.
        sources: tensors that the covariance starts at.
    """

    def __init__(self, graph: Graph, ranges: Ranges, *, reading: bool = True) -> None:
        self.graph, self._ranges, self.reading = graph, ranges, reading
        self.steps: list[Step] = []
        self.fields: dict[str, Field] = {}
        self.views: dict[str, View] = {}
        self.sources: list[str] = []
        self._crops: dict[str, str] = {}
        self._entries = 0
        self._tensors = {
            *graph.inputs,
            *graph.constants,
            *(x for node in graph.main.nodes for x in node.outputs),
        }

    def source(self, tensor: str, *, last: bool) -> None:
        """Let the covariance start at a tensor.

        Args:
            tensor: its name.
            last: its channels are along the last axis.

        Raises:
            NoRowError: its shape is not known, or it holds indices, which have no distances.
        """
        shape = self.shape(tensor)
        if not shape or not real(self.graph, tensor):
            raise NoRowError
        self.sources.append(tensor)
        if len(shape) == 1 or last:
            self.new(tensor, Field(channels=known(shape[-1:])[0]), View(field=tensor, last=True))
            return
        channels, *window = known(shape[1:])
        self.new(tensor, Field(channels=channels, window=tuple(window)), View(field=tensor))

    def shape(self, tensor: str) -> tuple[int | None, ...]:
        """The dimensions of a tensor.

        Raises:
            NoRowError: not even their number is known.
        """
        found = self.graph.shapes.get(tensor)
        if found is None:
            raise NoRowError
        return found

    def view(self, tensor: str) -> View:
        """How a tensor that varies shows a field.

        Raises:
            NoRowError: it does not vary.
        """
        if tensor not in self.views:
            raise NoRowError
        return self.views[tensor]

    def varies(self, tensor: str) -> bool:
        """Whether a tensor depends on the fields."""
        return tensor in self.views

    def field_of(self, view: View) -> Field:
        """The field that is shown."""
        return self.fields[view.field]

    def new(self, tensor: str, field: Field, view: View) -> None:
        """A tensor that shows a new field.

        Args:
            tensor: its name.
            field: what it shows, with the window as its reach where it has none.
            view: how, and the name of the field.

        Raises:
            NoRowError: there is nothing in it, or too much.
        """
        if not 0 < field.channels <= MOST_CHANNELS or 0 in field.window:
            raise NoRowError
        self.fields[view.field] = replace(field, reach=field.reach or field.window)
        self.views[tensor] = view

    def reaches(self, name: str, reach: Sequence[int]) -> None:
        """A torus of the field needs at least so many positions."""
        field = self.fields[name]
        largest = tuple(max(a, b) for a, b in zip(field.reach, reach, strict=True))
        self.fields[name] = replace(field, reach=largest)

    def linear(
        self,
        tensor: str,
        terms: Sequence[tuple[str, LinearPart]],
        field: Field,
        *,
        view: View,
        stride: tuple[int, ...] = (),
        upward: bool = False,
    ) -> None:
        """A tensor that is a sum of linear maps of fields.

        Args:
            tensor: its name.
            terms: names of fields, and what maps them.
            field: what it shows.
            view: how, and the name of the field.
            stride: by which it is coarser than the fields, along each axis; () for none.
            upward: it is finer by that.
        """
        moves = stride if any(s > 1 for s in stride) else ()
        self.steps.append(
            Linear(outputs={view.field: tuple(terms)}, stride=moves, upward=upward and bool(moves))
        )
        self.new(tensor, field, view)

    def activation(self, tensor: str, source: View, lower: torch.Tensor, upper: torch.Tensor) -> None:
        """A tensor that is a function of each entry, and zero outside the window.

        Args:
            tensor: its name, and that of its field.
            source: what the function is of.
            lower, upper: what the difference quotients lie in, float64 [channels].
        """
        inside = lower, upper
        if not source.cropped:
            lower, upper = lower.clamp_max(0.0), upper.clamp_min(0.0)
        step = Activation(source=source.field, output=tensor, lower=lower, upper=upper, inside=inside)
        self.steps.append(step)
        field = self.field_of(source)
        self.new(tensor, replace(field, reach=()), replace(source, field=tensor, cropped=True))

    def gain(self, tensor: str, source: View, kappa: torch.Tensor, field: Field) -> None:
        """A tensor that is known by its gain.

        Args:
            tensor: its name, and that of its field.
            source: what has the gain.
            kappa: its square, float64 [1] or one per channel.
            field: what the tensor shows.
        """
        self.steps.append(Gain(source=source.field, output=tensor, kappa=kappa))
        self.new(tensor, field, replace(source, field=tensor, cropped=True))

    def functional(self, tensor: str, step: Functional, field: Field, view: View) -> None:
        """A tensor of one position that is a sum over the window.

        Args:
            tensor: its name.
            step: which sum.
            field: what it shows.
            view: how, and the name of the field.
        """
        self.steps.append(step)
        self.reaches(step.source, self.fields[step.source].window)
        self.new(tensor, field, view)

    def fresh(self, name: str) -> str:
        """The name of a field that is no tensor of the graph: this one, or a longer one."""
        while name in self._tensors or name in self.fields:
            name = f"{FURTHER}{name}"
        return name

    def cropped(self, view: View) -> View:
        """The same with zeros outside the window."""
        if view.cropped:
            return view
        if view.field not in self._crops:
            field, name = self.field_of(view), self.fresh(f"{view.field}{CROPPED}")
            ones = torch.ones(field.channels, dtype=torch.float64)
            self.activation(name, view, ones, ones)
            self._crops[view.field] = name
        return replace(view, field=self._crops[view.field], cropped=True)

    def program(self, starts: Sequence[str], ends: Sequence[str]) -> Program:
        """The steps so far.

        Args:
            starts, ends: names of tensors.

        Raises:
            NoRowError: an end does not vary, or two of them show one field.
        """
        outputs = tuple(self.view(end).field for end in ends)
        if len(set(outputs)) < len(outputs):  # they count as often as they are there
            raise NoRowError
        steps = tuple(self.steps)
        used = {*starts, *(name for step in steps for name in (*sources(step), *results(step)))}
        fields = {name: field for name, field in self.fields.items() if name in used}
        return Program(steps=steps, fields=fields, sources=tuple(starts), outputs=outputs)

    def reads(self, entries: int, channels: int) -> None:
        """Before a kernel of so many entries, to so many channels, is read.

        Raises:
            NoRowError: they are too many, the entries with those of the kernels so far.
        """
        self._entries += entries
        fits = self._entries <= MOST_ENTRIES and limits.fits(BYTES * self._entries)
        if not fits or channels > MOST_CHANNELS:
            raise NoRowError

    def constant(self, tensor: str) -> NDArray[np.float64]:
        """The values of a constant, an array of its shape.

        Raises:
            NoRowError: it is none, or has too many entries, or some that are no finite numbers.
        """
        return values_of(self.graph, tensor, self.shape(tensor))

    def per_channel(self, values: NDArray[np.float64], like: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The least and largest entries that a constant has at each channel of a tensor: two of [channels].

        Args:
            values: of the constant, of a shape that is broadcast.
            like: name of the tensor.

        Raises:
            NoRowError: the tensor shows no field, or its shape is not known.
        """
        view = self.view(like)
        return extremes(values, view, len(self.shape(like)), self.field_of(view).channels)

    def range_of(self, tensor: str) -> Intervals:
        """What the entries of each channel of a tensor are known to be in: arrays [channels]."""
        found = self._ranges.get(tensor)
        if found is None:
            anything = np.full(self.field_of(self.view(tensor)).channels, np.inf)
            return Intervals(-anything, anything)
        lower, _ = self.per_channel(found.lower, tensor)
        _, upper = self.per_channel(found.upper, tensor)
        return Intervals(lower.numpy(), upper.numpy())

    def operation(self, node: Node) -> Operation:
        """The node as the rules of numbers see it, with inputs of which nothing is known but their shapes."""
        inputs = (self._tensor(name) if name else None for name in node.inputs)
        outputs = tuple((name, self.graph.shapes.get(name)) for name in node.outputs)
        return Operation(node=node, inputs=tuple(inputs), outputs=outputs)

    def _tensor(self, name: str) -> Tensor:
        bound = 1.0 if self.varies(name) else 0.0
        return Tensor(name=name, bound=bound, shape=self.graph.shapes.get(name), read=self.graph.reader(name))


Lower = Callable[[Node, Lowering], None]
"""Adds the steps of a node; raises `NoRowError`, `UnboundedError`, or what malformed attributes lead to."""
Table = Mapping[str, Lower]
