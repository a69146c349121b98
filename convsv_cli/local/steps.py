"""A graph as steps of two kinds, for which backward bounds have rules: affine, and functions of numbers."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsv_cli.local.maps import Map, Shape
from convsv_cli.local.pieces import Enclosure, identity
from convsv_cli.local.runtimes import OffAffine, OffElementwise

LIMITED = "limited"
"""The operator of `Program.limited`, which is none of ONNX's."""


class NoLocalCertificateError(Exception):
    """There are no local bounds of this network; which node is in the way, and why, in words."""


@dataclass(frozen=True, kw_only=True)
class Behind:
    """The tensor before the one that a step takes, where both steps together are one linear map.

    Attributes:
        start: name of the tensor before.
        middle: name of the one between them.
        norm: certified, of both maps together.
        rest: certified norm of the second one.
    """

    start: str
    middle: str
    norm: float
    rest: float


@dataclass(frozen=True, kw_only=True)
class Foldable:
    """A linear map before a step that scales channels, which runtimes may make one linear map.

    Attributes:
        start: name of the tensor that it takes.
        terms: products that are summed for one entry, at most.
        largest: absolute value of its weights.
    """

    start: str
    terms: int
    largest: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """The sum of linear maps of some tensors, and of a constant.

    Attributes:
        node: name of the node in the graph that it is, or is a part of.
        inputs: names of tensors, one for each of the maps.
        maps: from these to the output.
        norms: certified upper bounds of the Lipschitz constants (L2) of the maps, infinite for none.
        shift: the constant, to be broadcast to the output; None for 0.
        shift_error: bounds what rounding did to each entry of the constant.
        behind: what else is known of the norm.
        off: how far runtimes may be off; None for not at all.
        folded: the linear map that runtimes may fold it into; None for none.
        output: name of the tensor that it makes.
    """

    node: str
    inputs: tuple[str, ...]
    maps: tuple[Map, ...]
    norms: tuple[float, ...]
    shift: Tensor | None = None
    shift_error: Tensor | None = None
    behind: tuple[Behind, ...] = ()
    off: OffAffine | None = None
    folded: Foldable | None = None
    output: str

    @property
    def roundings(self) -> int:
        """That each entry of the output goes through in a row, at most."""
        return max(part.roundings for part in self.maps) + len(self.maps) + 1

    @property
    def rounds(self) -> bool:
        """Whether it computes anything, and does not only move or negate entries."""
        return any(part.roundings for part in self.maps) or len(self.maps) > 1 or self.shift is not None

    def forward(self, values: tuple[Tensor, ...]) -> Tensor:
        """Of tensors [n, *shape]: [n, *shape]."""
        linear = self.linear(values)
        return linear if self.shift is None else linear + self.shift

    def linear(self, values: tuple[Tensor, ...]) -> Tensor:
        """As `forward`, without the constant."""
        pairs = zip(self.maps, values, strict=True)
        return functools.reduce(operator.add, (part.forward(x) for part, x in pairs))

    def absolute(self, values: tuple[Tensor, ...]) -> Tensor:
        """As `linear`, by the absolute value of each entry of the maps."""
        pairs = zip(self.maps, values, strict=True)
        return functools.reduce(operator.add, (part.absolute.forward(x) for part, x in pairs))

    def counts(self, values: tuple[Tensor, ...]) -> Tensor:
        """As `linear`, with 1 for each entry of the maps that is not 0: how many terms there are."""
        pairs = zip(self.maps, values, strict=True)
        return functools.reduce(operator.add, (part.support.forward(x) for part, x in pairs))

    def renamed(self, old: str, new: str) -> Affine:
        """That takes another tensor."""
        return replace(self, inputs=tuple(new if name == old else name for name in self.inputs))

    def to(self, dtype: torch.dtype) -> Affine:
        """With weights of this type."""
        maps = tuple(part.weighted(lambda weight: weight.to(dtype)) for part in self.maps)
        return replace(self, maps=maps, shift=None if self.shift is None else self.shift.to(dtype))


@dataclass(frozen=True, kw_only=True, eq=False)
class Elementwise:
    """A function of each entry of a tensor.

    Attributes:
        node: name of the node in the graph.
        op: its operator.
        input, output: names of tensors of one shape.
        value: the function, of tensors [n, *shape].
        enclosure: two piecewise linear functions that it lies between, where entries lie between two ends,
            [n, *shape] each.
        lipschitz: of the function, everywhere.
        error: bounds what rounding does to each value, from the arguments and the values; None for nothing.
        off: how far runtimes may be off; None for not at all.
    """

    node: str
    op: str
    input: str
    output: str
    value: Callable[[Tensor], Tensor]
    enclosure: Callable[[Tensor, Tensor], Enclosure]
    lipschitz: float
    error: Callable[[Tensor, Tensor], Tensor] | None = None
    off: OffElementwise | None = None

    def renamed(self, old: str, new: str) -> Elementwise:
        """That takes another tensor."""
        return replace(self, input=new) if self.input == old else self


Step = Affine | Elementwise


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """The steps from one input to one output, in order.

    Attributes:
        source, output: names of tensors.
        shapes: of all tensors, with the graph's axis of length 1 for the batch.
        steps: in topological order.
        dtype: of their weights.
    """

    source: str
    output: str
    shapes: Mapping[str, Shape]
    steps: tuple[Step, ...]
    dtype: torch.dtype = torch.float64

    @functools.cached_property
    def activations(self) -> tuple[Elementwise, ...]:
        """The functions of numbers, in order."""
        return tuple(step for step in self.steps if isinstance(step, Elementwise))

    @functools.cached_property
    def entries(self) -> int:
        """Of all tensors of one sample together."""
        return sum(torch.Size(self.shapes[step.output]).numel() for step in self.steps)

    @functools.cached_property
    def work(self) -> int:
        """Multiplications of one direction of one sample, once through all steps."""
        return self.entries + sum(
            part.work for step in self.steps if isinstance(step, Affine) for part in step.maps
        )

    def to(self, dtype: torch.dtype) -> Program:
        """With weights of this type."""
        steps = tuple(step.to(dtype) if isinstance(step, Affine) else step for step in self.steps)
        return replace(self, steps=steps, dtype=dtype)

    def up_to(self, tensor: str) -> Program:
        """That ends at another tensor, with the steps that this depends on.

        Args:
            tensor: its name.
        """
        wanted, kept = {tensor}, []
        for step in reversed(self.steps):
            if step.output in wanted:
                wanted.update(step.inputs if isinstance(step, Affine) else (step.input,))
                kept.append(step)
        return replace(self, output=tensor, steps=tuple(reversed(kept)))

    def fresh(self, name: str) -> str:
        """A name that no tensor has: this one, or a longer one."""
        while name in self.shapes:
            name = f"{name}.new"
        return name

    def limited(self) -> Program:
        """With a step right behind the input that changes nothing, so that its box counts beside its ball."""
        name = self.fresh(f"{self.source}.limited")
        first = Elementwise(
            node=self.source,
            op=LIMITED,
            input=self.source,
            output=name,
            value=lambda x: x,
            enclosure=lambda _lower, _upper: identity(),
            lipschitz=1.0,
        )
        shapes = {**self.shapes, name: self.shapes[self.source]}
        others = tuple(step.renamed(self.source, name) for step in self.steps)
        output = name if self.output == self.source else self.output
        return replace(self, output=output, shapes=shapes, steps=(first, *others))

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """All tensors, [n, *shape] each, as they are computed in the type of the input.

        Args:
            x: [n, *shape of the source].
        """
        found = {self.source: x}
        for step in self.steps:
            if isinstance(step, Affine):
                found[step.output] = step.forward(tuple(found[name] for name in step.inputs))
            else:
                found[step.output] = step.value(found[step.input])
        return found
