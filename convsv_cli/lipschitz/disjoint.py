r"""The Lipschitz constant through tensors that are disjoint parts of others, by the weights of these.

*The constraints.* Let e_t be the square of how far a tensor t moves as the base moves by 1.

* Of a node, with the constant c_j in its input j alone, the others held fixed: sqrt(e_y) <= sum_j c_j
  sqrt(e_j); or even e_y <= sum_j c_j^2 e_j, where its rule says that its inputs move it apart.
* Of a tensor x, cut into cells, each a set of its entries on one side of zero. Let m_t(cell) be how often a
  view t holds each of them, times the square of its slope there. For any weights w_t >= 0, sum_t w_t e_t is
  at most W e_x, where W is the largest of W(cell) = sum_t w_t m_t(cell). For one entry that moves from u to v
  on one side of zero, its images move by W(cell) |u - v|^2 at most, so weighted; where it crosses zero, by
  (sqrt(W(below)) |u| + sqrt(W(above)) |v|)^2 <= W |u - v|^2, by Minkowski's inequality.

*The bound.* From the end, of weight 1, back to the base: e_end <= sum_t w_t e_t over what the walk has
reached. With positive theta_j that add up to 1, (sum_j c_j sqrt(e_j))^2 <= sum_j c_j^2 e_j / theta_j
(Cauchy-Schwarz), so that the input j takes w_y c_j^2 / theta_j, and a tensor the W of its views. Every theta
proves sqrt(w_base). With theta_j in proportion to c_j L_j, where L_j are the constants that one number for
each tensor gives, this is no more than these give for the end: along the walk, the sum of all w_t L_t^2 is
constant but for where a W is less than the sum over its views.

*The search.* The least w_base is the dual of a concave program: to share each e_x among its cells so that
e_end is largest. Weights are slopes of e_end in the shares, so these are multiplied by them and scaled back
to a sum of 1, as in Cover's algorithm (IEEE Trans. Inf. Theory, 1984); theta_j follows c_j sqrt(e_j).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsv_cli import limits
from convsv_cli.lipschitz.views import View
from convsv_cli.numerics.rounding import up

Array = NDArray[np.float64]
MOST = 2**20
"""How many numbers say what is in the cells of a tensor; beyond, views are taken for larger than they are."""
ROUNDS, CLOSE = 60, 1 + 1e-4
LEAST = 1e-9
"""Of all theta."""
TINY, HUGE = 1e-100, 1e100
"""What weights of tensors are between, or the bound is not used: beyond, products may leave the floats."""
CALLS = 8
"""Of numpy for each use, there and back."""
WHAT = "weighing disjoint parts of tensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class Use:
    """How a result depends on a view: with `gain` > 0 as the constant in this alone."""

    view: View
    gain: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A tensor, by any name, and what it is computed from.

    Attributes:
        result: the tensor.
        uses: what it is computed from.
        apart: squares of what these do to it add up; else what they do.
    """

    result: Hashable
    uses: tuple[Use, ...]
    apart: bool = True


def least_bound(base: Hashable, steps: Sequence[Step], roundings: int = 0) -> float:
    """An upper bound of the Lipschitz constant from a base to the last step; infinite where none is found.

    Args:
        base: the tensor that moves by 1.
        steps: in order; each leads to the last one.
        roundings: in the slopes of views.

    Raises:
        LimitError: it takes more than the model may, even without a search.
    """
    limits.spend(CALLS * limits.OBJECT * sum(len(step.uses) for step in steps), WHAT, share=0.5)
    with np.errstate(all="ignore"):
        return _searched(_Program(base, steps), base, roundings)


def _searched(program: _Program, base: Hashable, roundings: int) -> float:
    _, theta = program.forward({})
    best, shares = math.inf, {root: np.ones(cells.shape[1]) for root, cells in program.cells.items()}
    for _ in range(ROUNDS):
        try:
            limits.spend(program.cost, WHAT, share=0.5)
        except limits.LimitError:
            break
        totals = program.backward(theta)
        if not all(TINY < total.max() < HUGE for total in totals.values()):
            break
        best = min(best, float(totals[base].max()))
        shares = {root: _scaled(shares[root] * totals[root]) for root in totals}
        reached, theta = program.forward(shares)
        if best <= reached * CLOSE or not program.sums:
            break
    return math.sqrt(best) * up(program.roundings + roundings)


class _Program:
    """The steps by number: uses in the order of their steps, and of each tensor."""

    def __init__(self, base: Hashable, steps: Sequence[Step]) -> None:
        self._base, self._steps = base, steps
        uses = [use for step in steps for use in step.uses]
        users: dict[Hashable, list[int]] = {}
        for i, use in enumerate(uses):
            users.setdefault(use.view.root, []).append(i)
        self._users = {root: np.array(at) for root, at in users.items()}
        self.cells = {root: cells_of([uses[i].view for i in at]) for root, at in users.items()}
        self._rows = {i: self.cells[root][k] for root, at in users.items() for k, i in enumerate(at)}
        self._squares = np.square([use.gain for use in uses])
        ends = np.cumsum([len(step.uses) for step in steps]).tolist()
        self._places = [slice(end - len(step.uses), end) for end, step in zip(ends, steps, strict=True)]
        self.sums = any(not step.apart and len(step.uses) > 1 for step in steps)
        entries = sum(cells.size for cells in self.cells.values())
        self.roundings, self.cost = entries + 16 * len(uses), 2 * entries + CALLS * limits.OBJECT * len(uses)

    def forward(self, shares: Mapping[Hashable, Array]) -> tuple[float, Array]:
        """How far the end moves, squared, and the best theta of all uses for that.

        Args:
            shares: of its cells in how far a tensor moves, squared; where there are none, each view moves as
                far as it can.
        """
        moves, theta = {self._base: 1.0}, np.ones(len(self._squares))
        for step, place in zip(self._steps, self._places, strict=True):
            found = []
            for i in range(place.start, place.stop):
                root = step.uses[i - place.start].view.root
                part = self._rows[i] @ shares[root] if shares else self._rows[i].max()
                found.append(float(self._squares[i] * part * moves[root]))
            moves[step.result] = sum(found)
            if not step.apart and len(found) > 1:
                ways = np.sqrt(found)
                moves[step.result] = float(ways.sum()) ** 2
                theta[place] = _scaled(ways, LEAST)
        return moves[self._steps[-1].result], theta

    def backward(self, theta: Array) -> dict[Hashable, Array]:
        """The weights of the cells of each tensor."""
        weights, totals = np.zeros(len(theta)), {}
        for step, place in zip(reversed(self._steps), reversed(self._places), strict=True):
            weight = 1.0
            if step is not self._steps[-1]:
                totals[step.result] = weights[self._users[step.result]] @ self.cells[step.result]
                weight = totals[step.result].max()
            weights[place] = weight * self._squares[place] / theta[place]
        totals[self._base] = weights[self._users[self._base]] @ self.cells[self._base]
        return totals


def _scaled(values: Array, least: float = 0.0) -> Array:
    """Scaled to a sum of 1, each at least about so much; equal ones where there is nothing to scale."""
    scaled: Array = values / values.max() + least if values.max() > 0 else np.ones_like(values)
    scaled /= scaled.sum()
    return scaled


def cells_of(views: Sequence[View]) -> Array:
    """How much of each cell of a tensor is in each of its views: [views, cells].

    The weights of columns that are left out are never the largest.

    Raises:
        LimitError: views have more entries than the model may.
    """
    blocks = []
    for part in {view.part for view in views}:
        inside = [i for i, view in enumerate(views) if view.part == part]
        own = [views[i] for i in inside]
        cells = _squares(own)
        for axis in sorted({axis for view in own for axis in view.picks}):
            cells = _crossed(cells, _counts(own, axis))
        blocks.append(np.zeros((len(views), cells.shape[1])))
        blocks[-1][inside] = cells
    return np.concatenate(blocks, 1)


def _squares(views: Sequence[View]) -> Array:
    """Those of the slopes on both sides of zero."""
    slopes = np.array([view.sides for view in views], np.float64)
    return np.unique(np.where(slopes == 0, 0.0, np.maximum(np.square(slopes), TINY)), axis=1)


def _counts(views: Sequence[View], axis: int) -> Array:
    """How often each view holds an index along an axis: [views, kinds of indices]."""
    size = views[0].size(axis) or 0
    limits.spend(32 * size * len(views), WHAT, share=0.5)
    limits.hold(16 * size * len(views), WHAT)
    found = np.ones((len(views), size))
    for row, view in zip(found, views, strict=True):
        if axis in view.picks:
            row[:] = np.bincount(view.picks[axis], minlength=size)
    return np.unique(found, axis=1)


def _crossed(cells: Array, counts: Array) -> Array:
    """Cells by one axis more; where they become too many, by its largest counts."""
    if cells.shape[1] * counts.size > MOST:
        counts = counts.max(1, keepdims=True)
    crossed: Array = (cells[:, :, None] * counts[:, None, :]).reshape(len(cells), -1)
    return crossed
