"""The normal form of every tensor of a graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convsv_cli import limits
from convsv_cli.lipschitz.dependencies import branches, passes, real
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar.expressions import Expression, X, number
from convsv_cli.lipschitz.scalar.operators import BUILDERS
from convsv_cli.lipschitz.scalar.switches import LOGICAL, SWITCHES, expressed, jump
from convsv_cli.lipschitz.written_out.arithmetic import (
    EXP,
    INVERSE,
    LOG,
    MOST_PARTS,
    REDUCTIONS,
    combined,
    function,
    of_mean,
)
from convsv_cli.lipschitz.written_out.forms import (
    CONSTANT,
    MEAN,
    NOTHING,
    TENSOR,
    Atom,
    Form,
    atom_form,
    function_of,
    kept,
    number_form,
    reductions,
)
from convsv_cli.model.graph import Body, Dims, Graph, Node, UnknownValueError

ENTERED = 20 * limits.OBJECT  # steps of the model's allowance for each node


Scopes = tuple[int, ...]
"""The main graph and the bodies inside each other that a tensor is in, by number; from the outermost on."""


class Algebra:
    """Forms by tensor, for the nodes of a graph, and of the branches of If in it.

    Those of other bodies, such as Loop's, are left out: what their inputs are varies from run to run.
    Tensors have one name each in the whole graph, so that forms may be of tensors of several bodies; a tensor
    that stands for a form is only taken where it is seen, see `tensor`.

    Args:
        graph: at one input size.

    Raises:
        LimitError: the model's steps are used up.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._forms: dict[str, Form] = {}
        self._switching: dict[str, _Part] = {}
        self._named: dict[tuple[int, Form], str] = {}
        self._places: dict[str, tuple[Scopes, int]] = {}
        self._count = 0
        for name in graph.inputs:
            self._keep(name, _tensor(name), (0,))
        self._enter(graph.main, (0,))

    def _enter(self, body: Body, scopes: Scopes) -> None:
        for node in body.nodes:
            limits.spend(ENTERED, "looking for what is written out in primitives", share=0.5)
            for _, inner in node.bodies if branches(node) else ():
                self._count += 1
                self._enter(inner, (*scopes, self._count))
            form = self._found(node)
            for name in filter(None, node.outputs):
                self._keep(name, _tensor(name), scopes)
            if form is not None and form.fits:
                self._keep(node.outputs[0], form, scopes)

    def form(self, name: str) -> Form:
        """What a tensor is.

        Args:
            name: of the tensor.
        """
        found = self._forms.get(name)
        if found is None:
            found = self._forms[name] = self._constant(name)
        return found

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """The dimensions of a tensor.

        Args:
            name: of the tensor.
        """
        return self._graph.shapes.get(name)

    def tensor(self, form: Form, shape: Dims | None, at: str) -> str | None:
        """A tensor that has a form and a shape: tensors of one form may be broadcast to several.

        None where there is none, or the shape is not known. It is computed before another one, in its body or
        in one around that.

        Args:
            form: what it is.
            shape: its dimensions.
            at: the other tensor.
        """
        scopes, place = self._places.get(at, ((), 0))
        for scope in scopes:
            name = self._named.get((scope, form))
            seen = name is not None and self._places[name][1] < place
            if name and seen and shape is not None and self.shape(name) == shape:
                return name
        return None

    def _keep(self, name: str, form: Form, scopes: Scopes) -> None:
        """The first tensor of a body that has a form stands for it there."""
        self._count += 1
        self._forms[name] = form
        self._places.setdefault(name, (scopes, self._count))
        self._named.setdefault((scopes[-1], form), name)

    def _constant(self, name: str) -> Form:
        """A number, where it is one."""
        if name not in self._graph.constants:  # such as what a body is given from outside
            return _tensor(name)
        whole = atom_form(Atom(kind=CONSTANT, name=name))
        sizes = self._graph.shapes.get(name)
        if sizes is None or None in sizes or math.prod(size or 0 for size in sizes) != 1:
            return whole
        try:
            value = self._graph.constants[name]().read()
        except (UnknownValueError, KeyError):
            return whole
        known = value.dtype.kind in "fiub" and math.isfinite(value.reshape(-1)[0])
        return number_form(float(value.reshape(-1)[0])) if known else whole

    def _found(self, node: Node) -> Form | None:
        """The form of a node's first output; None where that is an atom."""
        if not node.inputs or not node.outputs:
            return None
        if not real(self._graph, node.outputs[0]):
            return self._applied(node) if node.op in LOGICAL else None
        found: Form | None = None
        if node.op in ("Add", "Sub", "Sum", "Mul", "Div"):
            found = combined(node.op, [self.form(name) for name in node.inputs])
        elif node.op in REDUCTIONS:
            found = self._reduced(node)
        elif node.op in ("Softmax", "LogSoftmax"):
            found = self._normalised(node)
        elif node.op in ("Reshape", "Squeeze", "Unsqueeze", "Expand"):
            found = self._viewed(node)
        elif passes(node, self._graph):
            found = self.form(node.inputs[0])
        else:
            found = self._applied(node)
        return found

    def _applied(self, node: Node) -> Form | None:
        """A function of one form, with numbers as other operands; of conditions, too, but without jumps."""
        if node.op not in BUILDERS and node.op not in SWITCHES:
            return None
        try:
            parts = [self._part(name) if name else None for name in node.inputs]
            if len({part.of for part in parts if part is not None and part.of is not None}) > 1:
                parts = [None if part is None else part.unwrapped for part in parts]
            varying = {part.of for part in parts if part is not None and part.of is not None}
            expression = expressed(node, [None if part is None else part.expression for part in parts])
        except UnboundedError:
            return None
        if len(varying) != 1 or expression.count() > MOST_PARTS:
            return None
        whole = _Part(expression=expression, of=varying.pop())
        if node.op in LOGICAL or jump(expression):
            self._switching[node.outputs[0]] = whole
            return None
        return function(expression, whole.of or NOTHING)

    def _part(self, name: str) -> _Part:
        """A tensor as a function of a form.

        Raises:
            UnboundedError: it is a constant of several numbers.
        """
        found, form = self._switching.get(name), self.form(name)
        if found is not None:
            return found
        value = form.number
        if value is not None:
            return _Part(expression=number(value), of=None)
        if form.constant:
            raise UnboundedError("a constant of several numbers")
        return _Part(expression=X, of=form)

    def _reduced(self, node: Node) -> Form | None:
        """Along axes that are known: a mean, or what is made of one; the largest entry."""
        shape, axes = self.shape(node.inputs[0]), self._axes(node)
        if shape is None or axes is None:
            return None
        here = bool(node.attribute("keepdims", 1)) or len(axes) == len(shape)

        def reduction(kind: str, form: Form) -> Form:
            merged = of_mean(kind, form, axes, len(shape), kept=here)
            if merged is not None:
                return merged
            return atom_form(Atom(kind=kind, of=form, axes=axes, shape=shape, kept=here))

        return REDUCTIONS[node.op](
            reduction, self.form(node.inputs[0]), math.prod(shape[a] or 0 for a in axes)
        )

    def _normalised(self, node: Node) -> Form | None:
        """Softmax and LogSoftmax, in exponentials, so that they are known where they are taken further."""
        shape, axis = self.shape(node.inputs[0]), node.attribute("axis", -1)
        size = shape[axis] if shape and -len(shape) <= axis < len(shape) else None
        if shape is None or not size:
            return None
        form = self.form(node.inputs[0])
        power = function_of(EXP, form)
        mean = Atom(kind=MEAN, of=power, axes=(axis % len(shape),), shape=shape)
        if node.op == "Softmax":
            return power * function_of(INVERSE, atom_form(mean)).times(1 / size)
        return form.minus(function_of(LOG, atom_form(mean).times(float(size))))

    def _axes(self, node: Node) -> tuple[int, ...] | None:
        """Along which a node reduces, ascending; None where that is not known."""
        rank = len(self.shape(node.inputs[0]) or ())
        if node.op == "GlobalAveragePool":
            return tuple(range(2, rank))
        name = node.input(1)
        axes: tuple[int, ...] = node.attribute("axes", ())
        if name:
            try:
                axes = tuple(int(value) for value in self._graph.constants[name]().read().reshape(-1))
            except (UnknownValueError, KeyError):
                return None
        if not axes:
            return None if node.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
        return tuple(sorted({axis % rank for axis in axes})) if rank else None

    def _viewed(self, node: Node) -> Form | None:
        """Axes taken out, or put back, along which means were taken; a mean repeated along them."""
        form, shape = self.form(node.inputs[0]), self.shape(node.outputs[0])
        found = None if form.constant or shape is None else kept(form)
        if found is None or shape is None or not self._viewable(node, form):
            return None
        if all(shape == atom.taken_out for atom in reductions(found)):
            return kept(form, kept=False)
        whole = [atom.shape if node.op == "Expand" else atom.reduced for atom in reductions(found)]
        fits = all(len(full) == len(shape) for full in whole) and None not in shape
        fits = fits and all(
            size in (one, full[axis])
            for atom, full in zip(reductions(found), whole, strict=True)
            for axis, (size, one) in enumerate(zip(shape, atom.reduced, strict=True))
        )
        return found if fits else None

    def _viewable(self, node: Node, form: Form) -> bool:
        """Whether means are where a view looks for them: on their axes, or each of their entries once."""
        if node.op == "Expand":  # without these axes, they would be repeated along others
            return kept(form) == form
        before = self.shape(node.inputs[0])
        if before is None or None in before:
            return False
        sizes = [math.prod(size or 0 for size in shape) for shape in (before, *_reduced_shapes(form))]
        return len(set(sizes)) == 1


def _reduced_shapes(form: Form) -> list[Dims]:
    return [atom.reduced for atom in reductions(form)]


def _tensor(name: str) -> Form:
    return atom_form(Atom(kind=TENSOR, name=name))


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A function of a form, or a number, of none."""

    expression: Expression
    of: Form | None

    @property
    def unwrapped(self) -> _Part:
        """As one of what the form itself is a function of, where it is one."""
        single = None if self.of is None else self.of.single
        if single is None or len(single[0]) != 1:
            return self
        (atom,), coefficient = single
        if atom.expression is None:
            return self
        inner = atom.expression if coefficient == 1 else atom.expression * coefficient
        return _Part(expression=self.expression.of(inner), of=atom.inner)
