"""What forms compute: normalization, norms, Softmax; whatever primitives they are written in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add

from convsv_cli.lipschitz.scalar.expressions import Expression, X
from convsv_cli.lipschitz.written_out.algebra import Algebra
from convsv_cli.lipschitz.written_out.forms import (
    CONSTANT,
    FUNCTION,
    MEAN,
    NOTHING,
    Atom,
    Form,
    Monomial,
    atom_form,
    is_constant,
    kept,
    number_form,
    reductions,
)

CLOSE = 1e-12
"""How far factors may differ that the graph has and that follow from sizes: they are rounded."""
EXP, LOG, INVERSE = X.apply("Exp"), X.apply("Log"), X.apply("Reciprocal")


@dataclass(frozen=True, kw_only=True)
class Radial:
    """phi(q) d, for the mean square q of d or of deviations from their mean; or of some tensors together.

    Attributes:
        source: d, or the tensor whose deviations d are.
        others: which together with d make up the length, where that is no mean along axes.
        function: phi(rho^2) with the factors of the form, as a function of rho.
        axes: along which the mean is taken; none where it is of tensors.
        square: q is the mean of so many times d^2.
        centred: whether d are deviations.
        scales: constants that the whole is multiplied by.
        level: what is added, constants.
    """

    source: str
    others: tuple[str, ...]
    function: Expression
    axes: tuple[int, ...]
    square: float
    centred: bool
    scales: tuple[str, ...]
    level: Form


@dataclass(frozen=True, kw_only=True)
class Length:
    """phi(q) alone.

    Attributes:
        sources: of whose squares, times `squares`, q is the sum; or the mean along axes.
        squares: a factor for each.
        axes: as of `Radial`.
        centred: whether q is the mean square of deviations.
        function: phi(rho^2), as a function of rho.
        shapes: that of the mean with its axes, and without them; none where there is no mean.
    """

    sources: tuple[str, ...]
    squares: tuple[float, ...]
    axes: tuple[int, ...]
    centred: bool
    function: Expression
    shapes: tuple[tuple[int | None, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """Softmax, LogSoftmax or ReduceLogSumExp.

    Attributes:
        op: which.
        source: what it is of.
        axes: along which.
    """

    op: str
    source: str
    axes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Squares:
    """A sum of squares q that a function is of.

    Attributes:
        parts: each with the factor of its square.
        mean: the atom, where it is the mean along axes of one square; None elsewhere.
    """

    parts: tuple[tuple[Form, float], ...]
    mean: Atom | None = None


class Reader:
    """Finds what forms compute.

    Args:
        algebra: the forms of a graph.
    """

    def __init__(self, algebra: Algebra) -> None:
        self._algebra = algebra

    def read(self, tensor: str) -> Radial | Length | Exponential | None:
        """What a tensor is, where that is one of these.

        Args:
            tensor: its name.
        """
        form = self._algebra.form(tensor)
        level = Form(frozenset(term for term in form.terms if is_constant(term[0])))
        core = form.minus(level)
        if not core.terms:
            return None
        exponential = self._exponential(tensor, form)
        if exponential is not None:
            return exponential
        for atom in _common_functions(core):
            rest = core.without(atom)
            found = None if rest is None else self._radial(tensor, atom, rest, level)
            if found is not None:
                return found
        single = core.single
        return None if single is None or level.terms else self._length(tensor, *single)

    def _radial(self, tensor: str, atom: Atom, rest: Form, level: Form) -> Radial | None:
        """The function `atom` times `rest`."""
        found = _function_of_squares(atom_form(atom))
        if found is None:
            return None
        squares, function = found
        for part, weight in squares.parts:
            split = _scaled(rest, part)
            if split is None or (squares.mean is not None and not squares.mean.kept):
                continue
            if squares.mean is None and len(squares.parts) == 1:  # a function of one number
                continue
            scales, factor = split
            source, centred, size = self._source(part, squares.mean, tensor)
            others = [self._name(other, tensor) for other, _ in squares.parts if other is not part]
            if source is None or None in others:
                continue
            if any(abs(each - weight) > CLOSE * weight for _, each in squares.parts):
                continue
            return Radial(
                source=source,
                others=tuple(name for name in others if name is not None),
                function=function * factor,
                axes=squares.mean.axes if squares.mean else (),
                square=weight * size * size,
                centred=centred,
                scales=scales,
                level=level,
            )
        return None

    def _length(self, tensor: str, monomial: Monomial, coefficient: float) -> Length | None:
        """A function of a sum of squares; of one that is no mean, only where it is of several tensors."""
        if len(monomial) != 1 or monomial[0].kind != FUNCTION:
            return None
        found = _function_of_squares(atom_form(monomial[0]))
        if found is None:
            return None
        squares, function = found
        shape, mean = self._algebra.shape(tensor), squares.mean
        if mean is None:
            names = [self._name(part, tensor) for part, _ in squares.parts]
            weights, centred = [weight for _, weight in squares.parts], False
            shapes: tuple[tuple[int | None, ...], ...] = ()
        else:
            ((part, weight),) = squares.parts
            source, centred, size = self._source(part, mean, None)
            names, weights, shapes = [source], [weight * size * size], (mean.reduced, mean.taken_out)
        if None in names or (mean is None and len(names) < 2) or (shapes and shape not in shapes):
            return None
        return Length(
            sources=tuple(name for name in names if name is not None),
            squares=tuple(weights),
            axes=mean.axes if mean else (),
            centred=centred,
            function=function * coefficient,
            shapes=shapes,
        )

    def _source(self, part: Form, mean: Atom | None, like: str | None) -> tuple[str | None, bool, float]:
        """The tensor of which a part is a multiple of the deviations, or the part; whether; the multiple."""
        if mean is not None:
            for atom, coefficient in _negative_means(part, mean.axes):
                whole = part.minus(atom_form(atom).times(coefficient))
                size = whole.multiple_of(atom.inner)
                name = self._name(atom.inner, like)
                if size is not None and abs(size + coefficient) <= CLOSE * abs(size) and name:
                    return name, True, size
        return self._name(part, like), False, 1.0

    def _name(self, form: Form, like: str | None) -> str | None:
        """The tensor that has a form, and the same shape as another one."""
        name = self._algebra.named.get(form)
        if name is None or like is None:
            return name
        shapes = [self._algebra.shape(each) for each in (name, like)]
        return name if shapes[0] is not None and shapes[0] == shapes[1] else None

    def _exponential(self, tensor: str, form: Form) -> Exponential | None:
        """By sums of exponentials: exp(z) / sum exp(z), z - log(sum exp(z)), and w + log(sum exp(x - w))."""
        single = form.single
        if single is not None and len(single[0]) == 2:
            for first, second in (single[0], single[0][::-1]):
                whole = second.inner.times(1 / single[1]) if second.expression == INVERSE else NOTHING
                found = _exponent_of_sum(whole)
                if found is not None and first.expression == EXP and first.inner == found[0]:
                    return self._normalised("Softmax", *found, tensor)
        for atom in form.atoms():
            found = _exponent_of_sum(atom.inner) if atom.expression == LOG else None
            if found is None:
                continue
            exponent, mean = found
            others = form.minus(atom_form(atom))
            if exponent == form + atom_form(atom) and mean.kept:
                return self._normalised("LogSoftmax", exponent, mean, tensor)
            whole = exponent + (others if mean.kept else kept(others) or others)
            name = self._name(whole, None)
            if name and _constant_along(others, mean.axes):
                return Exponential(op="ReduceLogSumExp", source=name, axes=mean.axes)
        return None

    def _normalised(self, op: str, exponent: Form, mean: Atom, tensor: str) -> Exponential | None:
        """What is subtracted of all entries alike does not matter."""
        if len(mean.axes) != 1 or not mean.kept:
            return None
        parts = [Form(frozenset((term,))) for term in exponent.terms]
        shifts = reduce(add, (part for part in parts if _constant_along(part, mean.axes)), NOTHING)
        for form in (exponent.minus(shifts), exponent):
            name = self._name(form, tensor)
            if name is not None:
                return Exponential(op=op, source=name, axes=mean.axes)
        return None


def _common_functions(form: Form) -> Iterator[Atom]:
    """The functions that vary and are in each term."""
    first, *_ = form.terms
    for atom in dict.fromkeys(first[0]):
        if atom.kind == FUNCTION and not atom.inner.constant:
            yield atom


def _function_of_squares(form: Form) -> tuple[_Squares, Expression] | None:
    """A function as one of rho, the root of a sum or mean of squares."""
    squares, expression = _unwrapped(form)
    if squares is None or expression is None:
        return None
    return squares, _of_root(expression.of(X.apply("Pow", 2.0)))


def _unwrapped(form: Form) -> tuple[_Squares | None, Expression | None]:
    """The innermost form, without its number, as a sum of squares; and the function that is of it."""
    number = dict(form.terms).get((), 0.0)
    core = form.minus(number_form(number))
    squares = _as_squares(core)
    if squares is not None:
        return squares, X + number if number else X
    single = core.single
    if single is None or len(single[0]) != 1 or single[0][0].kind != FUNCTION:
        return None, None
    (atom,), coefficient = single
    squares, inner = _unwrapped(atom.inner)
    if squares is None or inner is None or atom.expression is None:
        return None, None
    outer = atom.expression.of(inner)
    outer = outer if coefficient == 1 else outer * coefficient
    return squares, outer + number if number else outer


def _as_squares(form: Form) -> _Squares | None:
    single = form.single
    if single is not None and len(single[0]) == 1 and single[0][0].kind == MEAN and single[1] > 0:
        mean = single[0][0]
        root = _root_of(mean.inner)
        return None if root is None else _Squares(parts=((root[0], root[1] * single[1]),), mean=mean)
    parts = []
    for monomial, coefficient in form.terms:
        if len(monomial) != 2 or monomial[0] != monomial[1] or coefficient <= 0:
            return None
        parts.append((atom_form(monomial[0]), coefficient))
    return _Squares(parts=tuple(parts)) if parts and not form.constant else None


def _root_of(form: Form) -> tuple[Form, float] | None:
    """A form whose square, times a number, is this one: of monomials in it that are squares."""
    roots = []
    for monomial, coefficient in form.terms:
        half = monomial[::2]
        if len(monomial) % 2 == 0 and half == monomial[1::2] and coefficient > 0:
            roots.append((half, coefficient))
    if not roots or form.constant:
        return None
    first = Form(frozenset(((roots[0][0], 1.0),)))
    found = first
    for half, coefficient in roots[1:]:
        ratio = (coefficient / roots[0][1]) ** 0.5
        cross = dict(form.terms).get(tuple(sorted((*roots[0][0], *half), key=hash)), 0.0)
        found = found + Form(frozenset(((half, ratio if cross > 0 else -ratio),)))
    factor = form.multiple_of(found * found)
    return (found, factor) if factor is not None and factor > 0 else None


def _scaled(form: Form, part: Form) -> tuple[tuple[str, ...], float] | None:
    """Constants and a number by which a part is multiplied in a form."""
    constants = [atom for atom in dict.fromkeys(next(iter(form.terms))[0]) if atom.kind == CONSTANT]
    left = form
    for taken in range(2 ** min(len(constants), 3)):
        left, names = form, list[str]()
        for i, atom in enumerate(constants[:3]):
            rest = left.without(atom) if not taken >> i & 1 else None
            if rest is not None:
                left, names = rest, [*names, atom.name]
        factor = left.multiple_of(part)
        if factor is not None:
            return tuple(names), factor
    return None


def _negative_means(form: Form, axes: tuple[int, ...]) -> Iterator[tuple[Atom, float]]:
    for monomial, coefficient in form.terms:
        if len(monomial) == 1 and monomial[0].kind == MEAN and monomial[0].axes == axes and monomial[0].kept:
            yield monomial[0], coefficient


def _exponent_of_sum(form: Form) -> tuple[Form, Atom] | None:
    """The z of sum exp(z), and the mean of exp(z) that is a part of it."""
    single = form.single
    if single is None or len(single[0]) != 1 or single[0][0].kind != MEAN:
        return None
    (mean,), coefficient = single
    inner = mean.inner.single
    if mean.count is None or inner is None or inner[1] != 1:
        return None
    if not math.isclose(coefficient, mean.count, rel_tol=CLOSE):
        return None
    exponentials = [atom for atom in inner[0] if atom.expression == EXP]
    return (exponentials[0].inner, mean) if len(inner[0]) == len(exponentials) == 1 else None


def _constant_along(form: Form, axes: tuple[int, ...]) -> bool:
    """Whether all of it are numbers, or one for all entries along the axes."""
    atoms = list(form.atoms())
    return all(
        (atom.reduces and set(axes) <= set(atom.axes))
        or (atom.kind == FUNCTION and _constant_along(atom.inner, axes) and any(reductions(atom.inner)))
        for atom in atoms
    )


def _of_root(expression: Expression) -> Expression:
    """With the square root of a square as the absolute value."""
    operands = tuple(_of_root(operand) for operand in expression.operands)
    if expression.op == "Pow" and expression.numbers == (0.5,):
        (inner,) = operands
        if inner.op == "Pow" and inner.numbers == (2.0,):
            return inner.operands[0].apply("LeakyRelu", -1.0, 1.0)
        if inner.op == "Mul" and inner.operands[0].op == "Pow" and inner.operands[0].numbers == (2.0,):
            squared, factor = inner.operands
            if factor.constant and factor.numbers[0] > 0:
                return squared.operands[0].apply("LeakyRelu", -1.0, 1.0) * math.sqrt(factor.numbers[0])
    return Expression(op=expression.op, operands=operands, numbers=expression.numbers)
