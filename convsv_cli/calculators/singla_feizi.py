"""The bound sqrt(prod k) min(|R|, |S|, ...) for every input size (Singla & Feizi, 2019, theorem 1).

Fantastic Four (ICLR 2021) adds T and U to the paper's R and S. With D spatial axes every split of the
axes between rows and columns is an unfolding and gives a bound by the same proof: the symbol is the
unfolding between I (x) f_rows and I (x) f_columns, whose norms multiply to sqrt(prod k).
"""

from __future__ import annotations

from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.report import UPPER, Interval, Measurement, Method


def calculate(problem: Problem) -> Measurement:
    """The least of all unfoldings' bounds; each norm is proven from above, never by power iteration."""
    from convsv_cli.spectral.norms import norms_of

    norms = norms_of(problem.kernel)
    splits = unfoldings(norms.spatial)
    parts = tuple((label, norms.unfolding_bound(rows, problem.tolerance)) for label, rows in splits)
    upper = min(bound for _, bound in parts)
    return Measurement(value=upper, enclosure=Interval(upper=upper), parts=parts)


def unfoldings(spatial: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """Splits of the spatial axes of a kernel of that size: their labels, and the axes that go to the rows.

    T has none and U has all of them; for images R has the height and S the width, as in the papers. In
    other dimensions the rest are named by their row axes: R0, R02 ... Of many axes, only those of several
    taps are split, for the others make unfoldings coincide.
    """
    from convsv_cli.spectral.norms import MOST_AXES, splits

    axes = len(spatial)
    if axes > MOST_AXES:
        wide = [axis for axis, k in enumerate(spatial) if k > 1]
        return [("R" + ",".join(map(str, rows)) if rows else "T", rows) for rows in splits(wide)]
    if axes == 2:
        return [("R", (0,)), ("S", (1,)), ("T", ()), ("U", (0, 1))]
    named = [(f"R{''.join(map(str, rows))}", rows) for rows in splits(range(axes))[1:-1]]
    return [*named, ("T", ()), ("U", tuple(range(axes)))] if axes else [("T", ())]


def work(problem: Problem) -> int:
    """Multiplications for Gram matrices and their factorizations."""
    from convsv_cli.model.kernel import unfolding_work

    return sum(unfolding_work(problem.kernel, rows) for _, rows in unfoldings(problem.kernel.spatial))


CALCULATOR = Calculator(
    method=Method(
        name="bound",
        column="bound",
        kind=UPPER,
        proves="the true norm is not larger, at every input size, with circular or zero padding",
        reference="Singla & Feizi, Bounding Singular Values of Convolution Layers, arXiv 1911.10258",
        cost="O(c^3 prod(k)^2) for c = max(c_out, c_in), independent of the input size",
    ),
    calculate=calculate,
    work=work,
)
