"""Normal forms: what tensors are as polynomials, however the graph writes them.

`x * inv + (b - mean * inv)` and `(x - mean) * inv + b` have the same form. Its letters, the atoms, are
tensors that are no sums or products, functions of a form entry by entry, and means and largest entries of a
form along axes. Broadcasting commutes with sums and products, so that shapes do not matter to it. Equal forms
are equal functions; that two forms differ says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b

from convsv_cli.lipschitz.scalar.expressions import Expression

MOST_TERMS, MOST_SUM, HIGHEST_DEGREE, DEEPEST = 21, 6, 6, 8
"""Of a product, of a sum, whose square fits then; and how deep forms of forms are nested."""
MEAN, LARGEST, FUNCTION, TENSOR, CONSTANT = "mean", "largest", "function", "tensor", "constant"


@dataclass(frozen=True)
class Atom:
    """A letter of forms.

    Attributes:
        kind: `MEAN`, `LARGEST`, `FUNCTION`, `TENSOR` or `CONSTANT`.
        name: of a tensor or constant.
        of: the form that the others are of.
        expression: the function.
        axes: along which the mean or the largest entry is taken, counted from the first one, ascending.
        shape: of what that is taken of; None for an unknown dimension.
        kept: whether the axes are there, with one entry each.
    """

    kind: str
    name: str = ""
    of: Form | None = None
    expression: Expression | None = None
    axes: tuple[int, ...] = ()
    shape: tuple[int | None, ...] = ()
    kept: bool = True

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Of all fields, the same in each run, so that sets of terms have one order, and networks one bound.

        It is kept, as forms of forms are compared again and again.
        """
        of = None if self.of is None else hash(self.of)
        fields = (self.kind, self.name, of, self.expression, self.axes, self.shape, self.kept)
        return int.from_bytes(blake2b(repr(fields).encode(), digest_size=7).digest(), "big")

    @cached_property
    def depth(self) -> int:
        """How deep forms are nested in it."""
        return 0 if self.of is None else 1 + self.of.depth

    @cached_property
    def tensors(self) -> frozenset[str]:
        """The tensors that it is made of, in the end."""
        return frozenset((self.name,)) if self.kind == TENSOR else self.inner.tensors

    @property
    def reduces(self) -> bool:
        """Whether it is one number for many entries."""
        return self.kind in (MEAN, LARGEST)

    @property
    def count(self) -> int | None:
        """How many entries become one; None where that is not known."""
        sizes = [self.shape[axis] for axis in self.axes]
        return None if None in sizes else math.prod(size or 0 for size in sizes)

    @property
    def reduced(self) -> tuple[int | None, ...]:
        """The shape of a mean or largest entry whose axes are kept."""
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(self.shape))

    @property
    def taken_out(self) -> tuple[int | None, ...]:
        """The shape of one whose axes are not."""
        return tuple(size for axis, size in enumerate(self.shape) if axis not in self.axes)

    @property
    def inner(self) -> Form:
        """The form that it is of."""
        return self.of or NOTHING


Monomial = tuple[Atom, ...]
"""A product of atoms, in the order of their hashes; () is 1."""


@dataclass(frozen=True)
class Form:
    """A sum of monomials.

    Attributes:
        terms: each with its coefficient, which is not 0.
    """

    terms: frozenset[tuple[Monomial, float]]

    @property
    def constant(self) -> bool:
        """Whether it does not vary with the network's input."""
        return all(is_constant(monomial) for monomial, _ in self.terms)

    @property
    def fits(self) -> bool:
        """Whether it is no larger than forms may be."""
        low = all(len(monomial) <= HIGHEST_DEGREE for monomial, _ in self.terms)
        return low and len(self.terms) <= MOST_TERMS and self.depth <= DEEPEST

    @property
    def depth(self) -> int:
        """How deep forms are nested in it."""
        return max((atom.depth for atom in self.atoms()), default=0)

    @property
    def number(self) -> float | None:
        """The number that it is; None for another form."""
        if not self.terms:
            return 0.0
        ((monomial, coefficient), *more) = self.terms
        return None if monomial or more else coefficient

    @property
    def single(self) -> tuple[Monomial, float] | None:
        """Its one term; None where it has another number of them."""
        return next(iter(self.terms)) if len(self.terms) == 1 else None

    @property
    def tensors(self) -> frozenset[str]:
        """The tensors that it is made of, in the end."""
        return frozenset[str]().union(*(atom.tensors for atom in self.atoms()))

    def atoms(self) -> Iterator[Atom]:
        """Those of its monomials."""
        for monomial, _ in self.terms:
            yield from monomial

    def __add__(self, other: Form) -> Form:
        sums = dict(self.terms)
        for monomial, coefficient in other.terms:
            sums[monomial] = sums.get(monomial, 0.0) + coefficient
        return _form(sums)

    def __mul__(self, other: Form) -> Form:
        products: dict[Monomial, float] = {}
        for first, a in self.terms:
            for second, b in other.terms:
                monomial = _ordered((*first, *second))
                products[monomial] = products.get(monomial, 0.0) + a * b
        return _form(products)

    def times(self, factor: float) -> Form:
        """The form times a number.

        Args:
            factor: the number.
        """
        return _form({monomial: factor * coefficient for monomial, coefficient in self.terms})

    def minus(self, other: Form) -> Form:
        """The difference of two forms.

        Args:
            other: what is taken off.
        """
        return self + other.times(-1.0)

    def without(self, atom: Atom) -> Form | None:
        """What is multiplied by an atom, if that is a factor of each term, once; else None.

        Args:
            atom: the factor.
        """
        if any(monomial.count(atom) != 1 for monomial, _ in self.terms):
            return None
        rest = {tuple(a for a in monomial if a != atom): coefficient for monomial, coefficient in self.terms}
        return _form(rest) if len(rest) == len(self.terms) else None

    def multiple_of(self, other: Form) -> float | None:
        """By which number another form has to be multiplied to be this one; None where there is none.

        Args:
            other: not 0.
        """
        first, second = dict(self.terms), dict(other.terms)
        if first.keys() != second.keys() or not first:
            return None
        ratios = [first[monomial] / second[monomial] for monomial in first]
        if any(not math.isclose(ratio, ratios[0], rel_tol=1e-12) for ratio in ratios):
            return None
        return ratios[0]


NOTHING = Form(frozenset())
"""Zero."""


def is_constant(monomial: Monomial) -> bool:
    """Whether a product does not vary with the network's input."""
    return all(atom.kind == CONSTANT or (atom.kind == FUNCTION and atom.inner.constant) for atom in monomial)


def number_form(value: float) -> Form:
    """A number."""
    return _form({(): value})


def atom_form(atom: Atom) -> Form:
    """An atom alone."""
    return _form({(atom,): 1.0})


def function_of(expression: Expression, form: Form) -> Form:
    """A function, entry by entry; one of a function is their composition.

    Args:
        expression: the function.
        form: what it is of.
    """
    single = form.single
    if single is not None and len(single[0]) == 1 and single[0][0].kind == FUNCTION:
        (inner,), coefficient = single
        if inner.expression is not None:
            scaled = inner.expression if coefficient == 1 else inner.expression * coefficient
            return function_of(expression.of(scaled), inner.inner)
    return atom_form(Atom(kind=FUNCTION, of=form, expression=expression))


def kept(form: Form, *, kept: bool = True) -> Form | None:
    """The form of the same numbers with the axes back along which means and largest entries were taken.

    None where it holds anything else, whose axes would not be where they were.

    Args:
        form: of means and largest entries.
        kept: whether the axes are there afterwards.
    """
    terms = {}
    for monomial, coefficient in form.terms:
        atoms = [_kept(atom, kept) for atom in monomial]
        whole = [atom for atom in atoms if atom is not None]
        if len(whole) < len(atoms):
            return None
        terms[_ordered(tuple(whole))] = coefficient
    return _form(terms)


def _kept(atom: Atom, there: bool) -> Atom | None:  # noqa: FBT001
    if atom.reduces:
        return replace(atom, kept=there)
    inner = kept(atom.inner, kept=there) if atom.kind == FUNCTION else None
    return None if inner is None else replace(atom, of=inner)


def reductions(form: Form) -> Iterator[Atom]:
    """The means and largest entries that a form is made of, those in functions as well."""
    for atom in form.atoms():
        if atom.reduces:
            yield atom
        elif atom.kind == FUNCTION:
            yield from reductions(atom.inner)


def with_variances(form: Form) -> Form:
    """With mean(x^2) - mean(x)^2 as mean((x - mean(x))^2)."""
    terms = dict(form.terms)
    for monomial, coefficient in form.terms:
        if len(monomial) != 2 or monomial[0] != monomial[1] or monomial[0].kind != MEAN:
            continue
        mean = monomial[0]
        square = replace(mean, of=mean.inner * mean.inner)
        if terms.get((square,)) == -coefficient:
            del terms[square,], terms[monomial]
            centred = mean.inner.minus(atom_form(replace(mean, kept=True)))
            spread = (replace(mean, of=centred * centred),)
            terms[spread] = terms.get(spread, 0.0) - coefficient
    return form if len(terms) == len(form.terms) else _form(terms)


def _ordered(monomial: Monomial) -> Monomial:
    return tuple(sorted(monomial, key=hash))


def _form(terms: Mapping[Monomial, float]) -> Form:
    return Form(frozenset((monomial, value) for monomial, value in terms.items() if value != 0))
