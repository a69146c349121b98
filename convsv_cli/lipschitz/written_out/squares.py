"""Functions of a sum or mean of squares, as functions of its root."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.lipschitz.scalar.expressions import Expression, X
from convsv_cli.lipschitz.written_out.forms import FUNCTION, MEAN, Atom, Form, atom_form, number_form

CLOSE = 1e-12
"""How far factors may differ that the graph has and that follow from sizes: they are rounded."""


@dataclass(frozen=True, kw_only=True)
class Squares:
    """A sum of squares q that a function is of.

    Attributes:
        parts: each with the factor of its square.
        mean: the atom, where it is the mean along axes of one square; None elsewhere.
    """

    parts: tuple[tuple[Form, float], ...]
    mean: Atom | None = None


def function_of_squares(form: Form) -> tuple[Squares, Expression] | None:
    """The squares that a form is a function of, and that as one of rho, the root of their sum or mean.

    Args:
        form: none where it is no such function.
    """
    squares, expression = _unwrapped(form)
    if squares is None or expression is None:
        return None
    return squares, expression.of(X.apply("Pow", 2.0))


def _unwrapped(form: Form) -> tuple[Squares | None, Expression | None]:
    """The innermost form, without its number, as a sum of squares; and the function that is of it."""
    number = dict(form.terms).get((), 0.0)
    core = form.minus(number_form(number))
    squares = as_squares(core)
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


def as_squares(form: Form) -> Squares | None:
    """A form as a sum or mean of squares; None where it is none.

    Args:
        form: without a number that is added.
    """
    single = form.single
    if single is not None and len(single[0]) == 1 and single[0][0].kind == MEAN and single[1] > 0:
        mean = single[0][0]
        root = _root_of(mean.inner)
        return None if root is None else Squares(parts=((root[0], root[1] * single[1]),), mean=mean)
    parts = []
    for monomial, coefficient in form.terms:
        if len(monomial) != 2 or monomial[0] != monomial[1] or coefficient <= 0:
            return None
        parts.append((atom_form(monomial[0]), coefficient))
    return Squares(parts=tuple(parts)) if parts and not form.constant else None


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
