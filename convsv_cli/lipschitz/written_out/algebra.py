"""The normal form of every tensor of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from operator import add

from convsv_cli import limits
from convsv_cli.lipschitz.dependencies import real
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar.expressions import Expression, X, number
from convsv_cli.lipschitz.scalar.operators import BUILDERS, expressed
from convsv_cli.lipschitz.written_out.forms import (
    CONSTANT,
    FUNCTION,
    LARGEST,
    MEAN,
    TENSOR,
    Atom,
    Form,
    atom_form,
    function_of,
    is_constant,
    kept,
    number_form,
    reductions,
    with_variances,
)
from convsv_cli.model.graph import Graph, Node, UnknownValueError

ENTERED = 20 * limits.OBJECT  # steps of the model's allowance for each node
MOST_PARTS = 48  # of a function
SQUARE, ROOT, INVERSE = X.apply("Pow", 2.0), X.apply("Pow", 0.5), X.apply("Reciprocal")


class Algebra:
    """Forms by tensor, for the nodes of a graph's main body.

    Args:
        graph: at one input size.

    Attributes:
        named: the tensor that was found first to have a form, by the form.

    Raises:
        LimitError: the model's steps are used up.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._forms: dict[str, Form] = {}
        self.named: dict[Form, str] = {}
        for name in graph.inputs:
            self._keep(name, _tensor(name))
        for node in graph.main.nodes:
            limits.spend(ENTERED, "looking for what is written out in primitives", share=0.5)
            form = self._found(node)
            for name in filter(None, node.outputs):
                self._keep(name, _tensor(name))
            if form is not None and form.fits:
                self._keep(node.outputs[0], form)

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

    def _keep(self, name: str, form: Form) -> None:
        self._forms[name] = form
        self.named.setdefault(form, name)

    def _constant(self, name: str) -> Form:
        """A number, where it is one."""
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
        if not node.inputs or not node.outputs or not real(self._graph, node.outputs[0]):
            return None
        if node.op in ("Add", "Sub", "Sum", "Mul", "Div"):
            return _combined(node.op, [self.form(name) for name in node.inputs])
        if node.op in REDUCTIONS:
            return self._reduced(node)
        if node.op in ("Reshape", "Squeeze", "Unsqueeze", "Expand"):
            return self._viewed(node)
        if node.op in ("Identity", "Dropout", "Cast") and real(self._graph, node.inputs[0]):
            return self.form(node.inputs[0])
        return self._applied(node)

    def _applied(self, node: Node) -> Form | None:
        """A function of one tensor, with numbers as other operands."""
        if node.op not in BUILDERS:
            return None
        forms = [self.form(name) if name else None for name in node.inputs]
        varying = [form for form in forms if form is not None and not form.constant]
        if len(varying) != 1:
            return None
        try:
            operands = [None if form is None else _operand(form) for form in forms]
            expression = expressed(node, operands)
        except UnboundedError:
            return None
        if expression == SQUARE:
            return _product(varying[0], varying[0])
        return function_of(expression, varying[0]) if expression.count() <= MOST_PARTS else None

    def _reduced(self, node: Node) -> Form | None:
        """Along axes that are known: a mean, or what is made of one; the largest entry."""
        shape, axes = self.shape(node.inputs[0]), self._axes(node)
        if shape is None or axes is None:
            return None
        here = bool(node.attribute("keepdims", 1)) or len(axes) == len(shape)

        def reduction(kind: str, form: Form) -> Form:
            return atom_form(Atom(kind=kind, of=form, axes=axes, shape=shape, kept=here))

        return REDUCTIONS[node.op](
            reduction, self.form(node.inputs[0]), math.prod(shape[a] or 0 for a in axes)
        )

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
        if found is None or shape is None:
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


def _tensor(name: str) -> Form:
    return atom_form(Atom(kind=TENSOR, name=name))


def _operand(form: Form) -> Expression:
    value = form.number
    if value is not None:
        return number(value)
    if form.constant:
        raise UnboundedError("a constant of several numbers")
    return X


def _combined(op: str, forms: list[Form]) -> Form | None:
    """A sum, difference, product or quotient."""
    first, *others = forms
    if op == "Mul":
        return _product(first, others[0])
    if op == "Div":
        inverse = _inverse(others[0])
        return None if inverse is None else _product(first, inverse)
    if op == "Sub":
        others = [others[0].times(-1.0)]
    if sum(not _is_part(form) for form in forms) > 1:  # a residual stream stays one atom
        return None
    return with_variances(reduce(add, others, first))


def _is_part(form: Form) -> bool:
    """Whether sums with it are worth expanding: a constant, or one with means or products in each term."""
    return all(
        is_constant(monomial) or len(monomial) > 1 or any(_has_reduction(atom) for atom in monomial)
        for monomial, _ in form.terms
    )


def _has_reduction(atom: Atom) -> bool:
    return atom.reduces or (atom.kind == FUNCTION and any(True for _ in reductions(atom.inner)))


def _product(first: Form, second: Form) -> Form | None:
    if len(first.terms) * len(second.terms) > MOST_PARTS:
        return None
    return with_variances(first * second)


def _inverse(form: Form) -> Form | None:
    """1 / form: of each factor of a product, else a function of the sum."""
    value, single = form.number, form.single
    if value is not None:
        return None if value == 0 else number_form(1 / value)
    if single is None:
        return function_of(INVERSE, form)
    monomial, coefficient = single
    factors = [function_of(INVERSE, atom_form(atom)) for atom in monomial]
    return reduce(lambda a, b: a * b, factors, number_form(1 / coefficient))


Reduce = Callable[[str, Form], Form]
REDUCTIONS: Mapping[str, Callable[[Reduce, Form, int], Form | None]] = {
    "ReduceMean": lambda over, form, _: over(MEAN, form),
    "GlobalAveragePool": lambda over, form, _: over(MEAN, form),
    "ReduceSum": lambda over, form, n: over(MEAN, form).times(float(n)) if n else None,
    "ReduceSumSquare": lambda over, form, n: over(MEAN, form * form).times(float(n)) if n else None,
    "ReduceL2": lambda over, form, n: (
        function_of(ROOT, over(MEAN, form * form).times(float(n))) if n else None
    ),
    "ReduceMax": lambda over, form, _: over(LARGEST, form),
}
