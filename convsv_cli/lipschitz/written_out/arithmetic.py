"""Sums, products and functions of forms, and means of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from operator import add

from convsv_cli.lipschitz.scalar.expressions import Expression, X
from convsv_cli.lipschitz.written_out.forms import (
    LARGEST,
    MEAN,
    MOST_SUM,
    NOTHING,
    Form,
    Monomial,
    atom_form,
    function_of,
    is_constant,
    number_form,
    with_variances,
)

MOST_PARTS = 48  # of a function, and products of terms
SQUARE, ROOT, INVERSE = X.apply("Pow", 2.0), X.apply("Pow", 0.5), X.apply("Reciprocal")
EXP, LOG = X.apply("Exp"), X.apply("Log")


def of_mean(kind: str, form: Form, axes: tuple[int, ...], rank: int, *, kept: bool) -> Form | None:
    """The mean of a mean along other axes, as one along all of them; None where it is none.

    Args:
        kind: `MEAN`, or something else.
        form: that is reduced.
        axes: along which.
        rank: of the tensor that is reduced; broadcasting may have given it more axes than the mean has.
        kept: whether the axes are there afterwards.
    """
    single = form.single
    if kind != MEAN or single is None or len(single[0]) != 1 or single[0][0].kind != MEAN:
        return None
    (mean,), coefficient = single
    if not mean.kept or len(mean.shape) != rank or set(mean.axes) & set(axes):
        return None
    whole = replace(mean, axes=tuple(sorted((*mean.axes, *axes))), kept=kept)
    return atom_form(whole).times(coefficient)


def combined(op: str, forms: list[Form]) -> Form | None:
    """A sum, difference, product or quotient; None where it is better an atom.

    Args:
        op: the operator.
        forms: of its operands.
    """
    first, *others = forms
    if op == "Mul":
        return product(first, others[0])
    if op == "Div":
        second = _inverse(others[0])
        return None if second is None else product(first, second)
    if op == "Sub":
        others = [others[0].times(-1.0)]
    if not all(_belongs(form, first) for form in others):
        return None
    whole = with_variances(reduce(add, others, first))
    return whole if len(whole.terms) <= MOST_SUM else None


def _belongs(form: Form, other: Form) -> bool:
    """Whether a sum of two forms is worth expanding; that of a residual stream stays one atom.

    They are made of the same tensors, as x and its mean are, or one is constant, or both are products.
    """
    products = all(is_constant(m) or len(m) > 1 for each in (form, other) for m, _ in each.terms)
    return form.constant or other.constant or products or bool(form.tensors & other.tensors)


def product(first: Form, second: Form) -> Form | None:
    """The product; None where it has too many terms.

    Args:
        first, second: the factors.
    """
    if len(first.terms) * len(second.terms) > MOST_PARTS:
        return None
    return with_variances(_without_roots(first * second))


def _without_roots(form: Form) -> Form:
    """With what was a square root before it was squared."""
    found = form
    for monomial, coefficient in form.terms:
        if len(monomial) == 2 and monomial[0] == monomial[1] and monomial[0].expression == ROOT:
            square = Form(frozenset(((monomial, coefficient),)))
            found = found.minus(square) + monomial[0].inner.times(coefficient)
    return found


def function(expression: Expression, form: Form) -> Form | None:
    """A function of a form: as a form where it is a multiple or a square, or undoes the form's last one.

    Args:
        expression: the function.
        form: what it is of.
    """
    if expression.op == "Mul" and expression.operands[0] == X and expression.operands[1].constant:
        return form.times(expression.operands[1].numbers[0])
    if expression == SQUARE:
        return product(form, form)
    single = form.single
    if expression == LOG and single is not None and single[1] > 0:
        return _logarithm(*single)
    return function_of(expression, form)


def _logarithm(monomial: Monomial, coefficient: float) -> Form:
    """Of exponentials, which it undoes, times inverses of positive numbers."""
    kinds = [atom.expression for atom in monomial]
    if not monomial or EXP not in kinds or any(kind not in (EXP, INVERSE) for kind in kinds):
        return function_of(LOG, Form(frozenset(((monomial, coefficient),))))
    found, left = NOTHING, coefficient
    for atom in monomial:
        if atom.expression == EXP:
            found = found + atom.inner
        else:
            found = found.minus(function_of(LOG, atom.inner.times(1 / left)))
            left = 1.0
    return found if left == 1 else found + number_form(math.log(left))


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
    "ReduceLogSum": lambda over, form, n: function_of(LOG, over(MEAN, form).times(float(n))) if n else None,
    "ReduceLogSumExp": lambda over, form, n: (
        function_of(LOG, over(MEAN, function_of(EXP, form)).times(float(n))) if n else None
    ),
    "ReduceMax": lambda over, form, _: over(LARGEST, form),
}
