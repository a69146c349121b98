"""Backward linear bounds that prove something: in float64, less whatever rounding can have done.

Each vector that goes backwards is taken as it is computed, so that errors do not pile up. What an affine step
hands on, v' = fl(W' v), is off by at most gamma |W|' |v|, entry by entry, and that costs at most its product
with the largest absolute values of the tensor that it meets: those of its box. Sums of n numbers cost gamma_n
times the sum of their absolute values (Higham, section 3.1), as does each product of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from convsv_cli.local.below import minimum_below
from convsv_cli.local.choices import Choice
from convsv_cli.local.rows import Around, Rows
from convsv_cli.local.steps import Affine, Elementwise
from convsv_cli.numerics.rounding import UP_MANY, gamma

UNDERFLOW = 1e-290
"""More than what all products that underflow can lose."""


@dataclass(kw_only=True, eq=False)
class _Ledger:
    """Terms of a lower bound, and bounds of the errors of each.

    Attributes:
        terms: [n] each.
        errors: [n] each, at least 0.
        cotangents: of tensors that are still to be gone through, by name.
        lost: bounds of the error of each entry of these.
    """

    terms: list[Tensor] = field(default_factory=list)
    errors: list[Tensor] = field(default_factory=list)
    cotangents: dict[str, Tensor] = field(default_factory=dict)
    lost: dict[str, Tensor] = field(default_factory=dict)

    def product(self, v: Tensor, other: Tensor) -> None:
        """Add <v, other>."""
        products = (v * other).flatten(1)
        self.terms.append(products.sum(1))
        self.errors.append(products.abs().sum(1) * gamma(products.shape[1] + 2) * UP_MANY)

    def cost(self, v: Tensor, most: Tensor) -> None:
        """Take off <|v|, most>, where `most` is at least 0."""
        self._cost(v.abs(), most)

    def _cost(self, size: Tensor, most: Tensor) -> None:
        products = (size * most).flatten(1)
        self.errors.append(products.sum(1) * (1 + gamma(products.shape[1] + 8)))

    def hand_on(self, name: str, v: Tensor, lost: Tensor | None) -> None:
        """Add to the cotangent of a tensor, and to what is lost of it."""
        old = self.cotangents.get(name)
        if old is not None:
            total = old + v
            rounding = total.abs() * gamma(2)
            lost = rounding if lost is None else lost + rounding
            v = total
        self.cotangents[name] = v
        if lost is not None:
            self.lost[name] = lost + self.lost[name] if name in self.lost else lost

    def taken(self, name: str, rows: Rows) -> Tensor | None:
        """The cotangent of a tensor, when all of it is there; what is lost of it is paid."""
        lost = self.lost.pop(name, None)
        if lost is not None:
            self._cost(lost * UP_MANY, rows.magnitude(name))
        return self.cotangents.pop(name, None)

    def bound(self) -> Tensor:
        """All terms, less all errors, rounded down: [n]."""
        terms, errors = torch.stack(self.terms), torch.stack(self.errors)
        rounding = gamma(len(terms) + 4) * terms.abs().sum(0)
        total = terms.sum(0) - (errors.sum(0) * (1 + gamma(len(errors) + 4)) + rounding) * UP_MANY
        return total - total.abs() * gamma(8) - UNDERFLOW


@torch.no_grad()
def certified(rows: Rows, choices: Sequence[Choice]) -> Tensor:
    """Proven lower bounds of <direction, output> while the input is in a ball: float64 [n].

    Args:
        rows: directions at samples, in float64, with the magnitudes of all tensors.
        choices: of any quality; float64.
    """
    program = rows.program
    ledger = _Ledger(cotangents={program.output: rows.direction})
    at = len(choices)
    for step in reversed(program.steps):
        at -= isinstance(step, Elementwise)
        v = ledger.taken(step.output, rows)
        if v is None:
            continue
        if step.output in rows.off:
            ledger.cost(v, rows.off[step.output][rows.sample])
        if isinstance(step, Affine):
            _affine(step, v, ledger)
        else:
            _elementwise(step, v, rows.around[at], choices[at], ledger)
    v = ledger.taken(program.source, rows)
    if v is not None:
        _input(v, rows, ledger)
    bound = ledger.bound()
    return torch.where(bound.isnan(), -torch.inf, bound)


def _input(v: Tensor, rows: Rows, ledger: _Ledger) -> None:
    ledger.product(v, rows.x)
    flat = v.flatten(1)
    length = torch.linalg.vector_norm(flat, dim=1) * (1 + gamma(flat.shape[1] + 16))
    ledger.errors.append(length * rows.radius * UP_MANY)


def _affine(step: Affine, v: Tensor, ledger: _Ledger) -> None:
    if step.shift is not None:
        ledger.product(v, step.shift)
    if step.shift_error is not None:
        ledger.cost(v, step.shift_error)
    size = v.abs()
    for name, map_ in zip(step.inputs, step.maps, strict=True):
        lost = None
        if map_.roundings:
            lost = map_.absolute.adjoint(size) * (gamma(map_.roundings + 2) * UP_MANY)
        ledger.hand_on(name, map_.adjoint(v), lost)


def _elementwise(step: Elementwise, v: Tensor, around: Around, choice: Choice, ledger: _Ledger) -> None:
    g, multiplier = choice.slopes_of(v), choice.multiplier(v, around)
    least = minimum_below(v[:, None], g[:, None], multiplier[:, None], around.region)
    ledger.terms.append(least[:, 0])
    ledger.errors.append(multiplier * around.radius.square() / 2 * UP_MANY)
    ledger.hand_on(step.input, g, None)
