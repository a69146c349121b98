"""Softmax, LogSoftmax and log-sum-exp by exponentials and their sums."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from convsv_cli.lipschitz.written_out.algebra import Algebra
from convsv_cli.lipschitz.written_out.arithmetic import EXP, INVERSE, LOG
from convsv_cli.lipschitz.written_out.forms import (
    FUNCTION,
    MEAN,
    NOTHING,
    Atom,
    Form,
    atom_form,
    kept,
    reductions,
)
from convsv_cli.lipschitz.written_out.squares import CLOSE


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
        name = None if outside is None else algebra.tensor(exponent + outside, mean.shape)
        fits = algebra.shape(tensor) in (mean.reduced, mean.taken_out)
        if name and fits and _constant_along(others, mean):
            return Exponential(op="ReduceLogSumExp", source=name, axes=mean.axes)
    return None


def _normalised(algebra: Algebra, op: str, exponent: Form, mean: Atom, tensor: str) -> Exponential | None:
    """What is subtracted of all entries alike does not matter."""
    if len(mean.axes) != 1 or not mean.kept or algebra.shape(tensor) != mean.shape:
        return None
    parts = [Form(frozenset((term,))) for term in exponent.terms]
    shifts = reduce(add, (part for part in parts if _constant_along(part, mean)), NOTHING)
    for form in (exponent.minus(shifts), exponent):
        name = algebra.tensor(form, mean.shape)
        if name is not None:
            return Exponential(op=op, source=name, axes=mean.axes)
    return None


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
