"""What rules of operators see of a graph, and the steps that they add."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from convsv_cli.lipschitz.norms import Norms
from convsv_cli.lipschitz.operation import Operation, UnboundedError
from convsv_cli.lipschitz.operation import Tensor as Known
from convsv_cli.local.maps import Contraction, Convolution, Map, Product, Scaling, Selection, Shape
from convsv_cli.local.pieces import Enclosure
from convsv_cli.local.runtimes import OffAffine, OffElementwise, products
from convsv_cli.local.steps import (
    Affine,
    Behind,
    Elementwise,
    Foldable,
    NoLocalCertificateError,
    Program,
    Step,
)
from convsv_cli.model.graph import Graph, Names, Node, UnknownValueError
from convsv_cli.numerics.rounding import UP, root

Rule = Callable[[Node, "Lowering"], None]
Table = Mapping[str, Rule]
MOST = 2**23
"""Entries of a tensor of one sample."""


class Lowering:
    """Steps that are being made.

    Args:
        graph: at the size of one sample.
        norms: certified, of its linear maps.
        source: the only tensor that varies by itself.
    """

    def __init__(self, graph: Graph, norms: Norms, source: str) -> None:
        self.graph, self.norms = graph, norms
        self._source = source
        self._steps: list[Step] = []
        self._names = Names({source, *graph.shapes})
        self._shapes: dict[str, Shape] = {source: self._declared(source)}

    def program(self, output: str) -> Program:
        """What has been made, up to a tensor.

        Args:
            output: its name.
        """
        whole = Program(source=self._source, output=output, shapes=self._shapes, steps=tuple(self._steps))
        return whole.up_to(output)

    def varies(self, name: str) -> bool:
        """Whether a tensor depends on the source."""
        return name in self._shapes

    def shape(self, name: str) -> Shape:
        """Of a tensor that varies, or is declared."""
        found = self._shapes.get(name)
        return self._declared(name) if found is None else found

    def maker(self, name: str) -> Step | None:
        """The step that makes a tensor."""
        return next((step for step in reversed(self._steps) if step.output == name), None)

    def constant(self, name: str) -> Tensor:
        """The values of a tensor that does not vary: float64, or int64.

        Raises:
            NoLocalCertificateError: they are not known.
        """
        try:
            found = self.graph.constant(name)
            if found is None:
                raise NoLocalCertificateError(f"{name!r} is not known before the network runs")
            values = np.asarray(found.read())
        except UnknownValueError as error:
            raise NoLocalCertificateError(f"its constant {name!r} is {error}") from error
        whole = values.dtype.kind in "iub"
        return torch.from_numpy(np.array(values, dtype=np.int64 if whole else np.float64))

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The values of a constant; None where it is left out."""
        return tuple(int(value) for value in self.constant(name).flatten()) if name else None

    def operation(self, node: Node) -> Operation:
        """A node as Lipschitz rules see it: of its inputs, nothing is known but shapes and constants."""
        inputs = tuple(self._known(name) if name else None for name in node.inputs)
        outputs = tuple((name, self.graph.shapes.get(name)) for name in node.outputs)
        return Operation(node=node, inputs=inputs, outputs=outputs)

    def norm(self, node: Node) -> float:
        """A certified norm of the linear map that a node is; infinite where there is none."""
        try:
            found = self.norms(node, self.graph)
        except UnboundedError:
            return math.inf
        return found[0] if len(found) == 1 else math.inf

    def affine(
        self,
        node: Node,
        parts: Sequence[tuple[str, Map, float]],
        *,
        output: str = "",
        shift: Tensor | None = None,
        shift_error: Tensor | None = None,
        behind: tuple[Behind, ...] = (),
        off: OffAffine | None = None,
        folded: Foldable | None = None,
    ) -> str:
        """Add the sum of maps of tensors, each with its norm; the name of what it makes."""
        made = output or self._names.new(f"{node.outputs[0]}.part")
        inputs, maps, norms = zip(*parts, strict=True)
        self._shapes[made] = maps[0].given
        step = Affine(
            node=node.name,
            inputs=inputs,
            maps=maps,
            norms=norms,
            shift=shift,
            shift_error=shift_error,
            behind=behind,
            off=off,
            folded=folded,
            output=made,
        )
        self._steps.append(step)
        return made

    def foldable(self, name: str) -> Foldable | None:
        """The linear map with weights that makes a tensor; None where it is made in another way."""
        step = self.maker(name)
        if not isinstance(step, Affine) or len(step.maps) > 1:
            return None
        (map_,) = step.maps
        if isinstance(map_, Convolution | Product):
            largest = float(map_.weight.abs().max())
        elif isinstance(map_, Contraction):
            largest = math.prod(float(factor.abs().max()) for _, factor in map_.factors)
        else:
            return None
        return Foldable(start=step.inputs[0], terms=map_.roundings, largest=largest)

    def select(self, node: Node, name: str, index: Tensor, given: Shape, *, output: str = "") -> str:
        """Add sums of entries of a tensor: of `index` [terms, entries of the result], -1 for none."""
        part = self.selection(name, index, given)
        off = products(1.0) if len(index) > 1 else None
        return self.affine(node, [part], output=output, off=off)

    def selection(self, name: str, index: Tensor, given: Shape) -> tuple[str, Map, float]:
        """Sums of entries of a tensor, as a part of `affine`."""
        map_ = Selection(taken=self.shape(name), given=given, roundings=0, index=index)
        most = map_.most
        exact = Selection(taken=map_.taken, given=given, roundings=max(*most, 1) - 1, index=index)
        return name, exact, root(most[0] * most[1])

    def scaling(self, name: str, factor: Tensor, *, roundings: int = 1) -> tuple[str, Map, float]:
        """A tensor times factors that fit its shape, as a part of `affine`."""
        shape = self.shape(name)
        if np.broadcast_shapes(shape, factor.shape) != shape:
            raise NoLocalCertificateError("its tensor is repeated to fit a constant")
        map_ = Scaling(taken=shape, given=shape, roundings=roundings, weight=factor)
        return name, map_, float(factor.abs().max()) * UP ** (roundings > 0)

    def copy(self, name: str, sign: float = 1.0) -> tuple[str, Map, float]:
        """A tensor as it is, or negated, as a part of `affine`."""
        return self.scaling(name, torch.full((), sign, dtype=torch.float64), roundings=0)

    def elementwise(
        self,
        node: Node,
        name: str,
        value: Callable[[Tensor], Tensor],
        enclosure: Callable[[Tensor, Tensor], Enclosure],
        *,
        lipschitz: float,
        error: Callable[[Tensor, Tensor], Tensor] | None = None,
        off: OffElementwise | None = None,
        output: str = "",
    ) -> str:
        """Add a function of each entry of a tensor; the name of what it makes."""
        made = output or self._names.new(f"{node.outputs[0]}.part")
        self._shapes[made] = self.shape(name)
        step = Elementwise(
            node=node.name,
            op=node.op,
            input=name,
            output=made,
            value=value,
            enclosure=enclosure,
            lipschitz=lipschitz,
            error=error,
            off=off,
        )
        self._steps.append(step)
        return made

    def _known(self, name: str) -> Known:
        varies, shape = self.varies(name), self.graph.shapes.get(name)
        return Known(name=name, bound=float(varies), shape=shape, read=self.graph.reader(name))

    def _declared(self, name: str) -> Shape:
        dims = self.graph.shapes.get(name)
        if dims is None or None in dims:
            raise NoLocalCertificateError(f"the shape of {name!r} is not known")
        return tuple(size or 0 for size in dims)


def check_gaps(node: Node, size: int, count: int, step: int, reach: int) -> None:
    """That runtimes agree on where windows start, where padding is automatic.

    With gaps between windows, less than nothing is to be padded; some then leave out entries at the start.

    Args:
        node: with windows that slide.
        size: of the image along an axis.
        count: of the windows along it.
        step: from one window to the next.
        reach: of a window.

    Raises:
        NoLocalCertificateError: they do not.
    """
    if node.attribute("auto_pad", "").startswith("SAME") and size - (count - 1) * step - reach > 1:
        raise NoLocalCertificateError("runtimes do not agree on its padding")
