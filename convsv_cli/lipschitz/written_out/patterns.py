"""What forms compute: normalization, norms, Softmax; whatever primitives they are written in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.lipschitz.scalar.expressions import Expression
from convsv_cli.lipschitz.written_out.algebra import Algebra
from convsv_cli.lipschitz.written_out.exponentials import Exponential, exponential
from convsv_cli.lipschitz.written_out.forms import (
    CONSTANT,
    FUNCTION,
    MEAN,
    Atom,
    Form,
    Monomial,
    atom_form,
    is_constant,
)
from convsv_cli.lipschitz.written_out.squares import CLOSE, function_of_squares
from convsv_cli.model.graph import Dims


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
        exponentials = exponential(self._algebra, tensor, form)
        if exponentials is not None:
            return exponentials
        for atom in _common_functions(core):
            rest = core.without(atom)
            found = None if rest is None else self._radial(tensor, atom, rest, level)
            if found is not None:
                return found
        single = core.single
        return None if single is None or level.terms else self._length(tensor, *single)

    def _radial(self, tensor: str, atom: Atom, rest: Form, level: Form) -> Radial | None:
        """The function `atom` times `rest`."""
        found = function_of_squares(atom_form(atom))
        if found is None:
            return None
        (squares, function), shape = found, self._algebra.shape(tensor)
        for part, weight in squares.parts:
            split = _scaled(rest, part)
            if split is None or (squares.mean is not None and not squares.mean.kept):
                continue
            if squares.mean is None and len(squares.parts) == 1:  # a function of one number
                continue
            scales, factor = split
            if squares.mean is not None and squares.mean.shape != shape:  # counts other axes
                continue
            source, centred, size = self._source(tensor, part, squares.mean, shape)
            further = [other for other, _ in squares.parts if other is not part]
            others = [self._algebra.tensor(other, shape, tensor) for other in further]
            if source is None or None in others:
                continue
            if any(abs(each - weight) > CLOSE * weight for _, each in squares.parts):
                continue
            return Radial(
                source=source,
                others=tuple(name for name in others if name is not None),
                function=function * (factor * size),
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
        found = function_of_squares(atom_form(monomial[0]))
        if found is None:
            return None
        squares, function = found
        shape, mean = self._algebra.shape(tensor), squares.mean
        if mean is None:
            names = [self._algebra.tensor(part, shape, tensor) for part, _ in squares.parts]
            weights, centred = [weight for _, weight in squares.parts], False
            shapes: tuple[tuple[int | None, ...], ...] = ()
        else:
            ((part, weight),) = squares.parts
            source, centred, size = self._source(tensor, part, mean, mean.shape)
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

    def _source(
        self, tensor: str, part: Form, mean: Atom | None, shape: Dims | None
    ) -> tuple[str | None, bool, float]:
        """Of which tensor, or whose deviations, a part is a multiple; whether of these; the multiple."""
        if mean is not None:
            for atom, coefficient in _negative_means(part, mean.axes):
                whole = part.minus(atom_form(atom).times(coefficient))
                size = whole.multiple_of(atom.inner)
                name = self._algebra.tensor(atom.inner, shape, tensor)
                if size is not None and abs(size + coefficient) <= CLOSE * abs(size) and name:
                    return name, True, size
        for size in (1.0, -1.0):  # a square has two roots
            name = self._algebra.tensor(part.times(size), shape, tensor)
            if name is not None:
                return name, False, size
        return None, False, 1.0


def _common_functions(form: Form) -> Iterator[Atom]:
    """The functions that vary and are in each term."""
    first, *_ = form.terms
    for atom in dict.fromkeys(first[0]):
        if atom.kind == FUNCTION and not atom.inner.constant:
            yield atom


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
