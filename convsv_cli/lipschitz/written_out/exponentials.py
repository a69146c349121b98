"""Softmax, LogSoftmax and log-sum-exp by exponentials and sums of them, limited or with a number added."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from convsv_cli.lipschitz.scalar.expressions import Expression, X
from convsv_cli.lipschitz.written_out.algebra import Algebra
from convsv_cli.lipschitz.written_out.arithmetic import EXP, INVERSE, LOG
from convsv_cli.lipschitz.written_out.forms import (
    FUNCTION,
    LARGEST,
    MEAN,
    NOTHING,
    Atom,
    Form,
    Monomial,
    atom_form,
    kept,
    number_form,
    reductions,
)
from convsv_cli.lipschitz.written_out.squares import CLOSE

SHARES = "convsv.Shares"
"""Exponentials times a function of their sum: see `rules.shares`."""


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """Softmax, LogSoftmax, ReduceLogSumExp or `SHARES`.

    Attributes:
        op: which.
        source: what it is of.
        axes: along which.
        function: of `SHARES`: by which function of their sum the exponentials are multiplied.
        shifted: of `SHARES`: whether the largest entry is taken off the exponents.
    """

    op: str
    source: str
    axes: tuple[int, ...]
    function: Expression | None = None
    shifted: bool = False


def exponential(algebra: Algebra, tensor: str, form: Form) -> Exponential | None:
    """By sums of exponentials: exp(z) / sum exp(z), z - log(sum exp(z)), and w + log(sum exp(x - w)).

    Args:
        algebra: the forms of the graph.
        tensor: that is looked at.
        form: its form.
    """
    single = form.single
    if single is not None and len(single[0]) == 2:
        for first, second in (single[0], single[0][::-1]):
            whole = second.inner.times(1 / single[1]) if second.expression == INVERSE else NOTHING
            found = _exponent_of_sum(whole)
            if found is not None and first.expression == EXP and first.inner == found[0]:
                return _normalised(algebra, "Softmax", *found, tensor)
            shares = _shares(algebra, first, second, tensor) if single[1] == 1 else None
            if shares is not None:
                return shares
    if single is not None and len(single[0]) == 1 and single[1] == 1 and single[0][0].expression == EXP:
        logarithm = exponential(algebra, tensor, single[0][0].inner)  # exp(log softmax)
        return replace(logarithm, op="Softmax") if logarithm and logarithm.op == "LogSoftmax" else None
    for atom in form.atoms():
        found = _exponent_of_sum(atom.inner) if atom.expression == LOG else None
        if found is None:
            continue
        exponent, mean = found
        others = form.minus(atom_form(atom))
        if exponent == form + atom_form(atom) and mean.kept:
            return _normalised(algebra, "LogSoftmax", exponent, mean, tensor)
        outside = others if mean.kept else kept(others)
        name = None if outside is None else algebra.tensor(exponent + outside, mean.shape, tensor)
        fits = algebra.shape(tensor) in (mean.reduced, mean.taken_out)
        if name and fits and _constant_along(others, mean):
            return Exponential(op="ReduceLogSumExp", source=name, axes=mean.axes)
    return None


def _shares(algebra: Algebra, power: Atom, factor: Atom, tensor: str) -> Exponential | None:
    """A power times a function of the sum of all powers."""
    if power.expression != EXP or factor.expression is None:
        return None
    unwrapped = _of_sum(atom_form(factor))
    if unwrapped is None:
        return None
    exponent, mean, function = unwrapped
    if power.inner != exponent or not mean.kept or algebra.shape(tensor) != mean.shape:
        return None
    for term in exponent.terms:
        largest = Form(frozenset((term,)))
        whole = exponent.minus(largest)
        name = algebra.tensor(whole, mean.shape, tensor)
        if name is not None and _takes_largest(term, whole, mean):
            return _shifted(name, mean, function)
    name = algebra.tensor(exponent, mean.shape, tensor)
    if name is None or function.op != "Reciprocal" or _least(function.operands[0]) is None:
        return None
    return Exponential(op=SHARES, source=name, axes=mean.axes, function=function)


def _shifted(name: str, mean: Atom, function: Expression) -> Exponential:
    """Where the sum is 1 or more, so that smaller limits of it do nothing."""
    inner = function.operands[0] if function.op == "Reciprocal" else X
    if inner.op == "Clip" and (_least(inner) or math.inf) <= 1 and len(mean.axes) == 1:
        return Exponential(op="Softmax", source=name, axes=mean.axes)
    return Exponential(op=SHARES, source=name, axes=mean.axes, function=function, shifted=True)


def _least(expression: Expression) -> float | None:
    """The c > 0 of x + c and max(x, c); None of other functions."""
    if expression.op == "Clip" and expression.operands == (X,) and expression.numbers[1] == math.inf:
        return expression.numbers[0] if expression.numbers[0] > 0 else None
    if expression.op == "Add" and expression.operands[0] == X and expression.operands[1].constant:
        return expression.operands[1].numbers[0] if expression.operands[1].numbers[0] > 0 else None
    return None


def _takes_largest(term: tuple[Monomial, float], whole: Form, mean: Atom) -> bool:
    """Whether a term of an exponent takes off the largest entry of its other terms together."""
    monomial, coefficient = term
    if coefficient != -1 or len(monomial) != 1 or monomial[0].kind != LARGEST:
        return False
    (largest,) = monomial
    return largest.kept and (largest.of, largest.axes, largest.shape) == (whole, mean.axes, mean.shape)


def _of_sum(form: Form) -> tuple[Form, Atom, Expression] | None:
    """The z of a function of sum exp(z), the mean of exp(z), and the function of the sum."""
    offset = dict(form.terms).get((), 0.0)
    core = form.minus(number_form(offset))
    found, single = _multiple_of_sum(core), core.single
    if found is not None:
        exponent, mean, factor = found
        function = X
    elif single is not None and len(single[0]) == 1 and single[0][0].expression is not None:
        (atom,), factor = single
        inner = _of_sum(atom.inner)
        if inner is None:
            return None
        exponent, mean, function = inner[0], inner[1], single[0][0].expression.of(inner[2])
    else:
        return None
    function = function if factor == 1 else function * factor
    return exponent, mean, function + offset if offset else function


def _normalised(algebra: Algebra, op: str, exponent: Form, mean: Atom, tensor: str) -> Exponential | None:
    """What is subtracted of all entries alike does not matter."""
    if len(mean.axes) != 1 or not mean.kept or algebra.shape(tensor) != mean.shape:
        return None
    parts = [Form(frozenset((term,))) for term in exponent.terms]
    shifts = reduce(add, (part for part in parts if _constant_along(part, mean)), NOTHING)
    for form in (exponent.minus(shifts), exponent):
        name = algebra.tensor(form, mean.shape, tensor)
        if name is not None:
            return Exponential(op=op, source=name, axes=mean.axes)
    return None


def _exponent_of_sum(form: Form) -> tuple[Form, Atom] | None:
    """The z of sum exp(z), and the mean of exp(z) that is a part of it."""
    found = _multiple_of_sum(form)
    return None if found is None or found[2] != 1 else found[:2]


def _multiple_of_sum(form: Form) -> tuple[Form, Atom, float] | None:
    """The z of a number times sum exp(z), the mean of exp(z) that is a part of it, and the number."""
    single = form.single
    if single is None or len(single[0]) != 1 or single[0][0].kind != MEAN:
        return None
    (mean,), coefficient = single
    inner = mean.inner.single
    if not mean.count or inner is None or inner[1] != 1:
        return None
    exponentials = [atom for atom in inner[0] if atom.expression == EXP]
    if len(inner[0]) != 1 or not exponentials:
        return None
    factor = 1.0 if math.isclose(coefficient, mean.count, rel_tol=CLOSE) else coefficient / mean.count
    return exponentials[0].inner, mean, factor


def _constant_along(form: Form, mean: Atom) -> bool:
    """Whether all of it are numbers, or one for all entries that the mean beside it is taken of."""
    return all(
        (atom.reduces and _meets(atom, mean))
        or (atom.kind == FUNCTION and _constant_along(atom.inner, mean) and any(reductions(atom.inner)))
        for atom in form.atoms()
    )


def _meets(atom: Atom, mean: Atom) -> bool:
    """Whether broadcasting puts the entries of a reduction beside those of a mean that have the same indices.

    Axes that were taken out move those before them: then only a reduction along the same axes does.
    """
    if atom.kept != mean.kept or len(atom.shape) != len(mean.shape):
        return False
    return set(mean.axes) <= set(atom.axes) if mean.kept else mean.axes == atom.axes
