r"""Attention by distances: Lipschitz for tokens of any length.

Of n tokens q_i let P = softmax(mask - c |q_i - q_j|^2) by rows, where the mask is not positive, and zero
for j = i; the result is P V. For row i let a_j = c |q_j - q_i|^2, so that P_ij is w_j e^-a_j over
1 + sum w_k e^-a_k, k other than i, 0 <= w_j <= 1, and let E be the mean by P_ij. Let psi be the inverse of
t e^(t+1).

1.  E a <= kappa = psi(n - 1). Let t = E a: then sum w_j (a_j - t) e^-a_j = t, and (a - t) e^-a <= e^-(t+1),
    so that t <= (n - 1) e^-(t+1). (Kim, Papamakarios & Mnih, "The Lipschitz constant of self-attention",
    ICML 2021)
2.  P_ij a_j <= a e^-a / (1 + e^-a), which is 1. for two tokens. Its sum over all i is at most (n - 1) psi(1).
3.  P_ij <= 1/2 for j other than i: columns of P add up to (n + 1) / 2 at most, and |P| <= sqrt((n + 1) / 2).

With y_j = q_j - q_i, ds_ij = 2c (<y_j, dq_i> - <y_j, dq_j>), and for a unit vector u

    <u, sum_j dP_ij v_j> = 2c (E[<u, v - Ev> <y - Ey, dq_i>] - E[<u, v - Ev> <y, dq_j>]).

By Cauchy-Schwarz, the first is at most sd(<u, v>) sqrt(E|y|^2) |dq_i| <= sd sqrt(kappa / c) |dq_i|; the
second, at most sd sqrt(E[|y_j|^2 |dq_j|^2]), over all rows sd sqrt((n - 1) psi(1) / c) |dQ| by 2. So with
vectors of V no longer than R, where sd <= R,

    |d(P V)| <= 2 sqrt(c) R (sqrt(kappa) + sqrt((n - 1) psi(1))) |dQ| + sqrt((n + 1) / 2) |dV|.

Where V is Q, sd(<u, q>) = sd(<u, y>) <= sqrt(kappa / c), and no length is in it:

    |d(P Q)| <= (sqrt((n + 1) / 2) + 2 kappa + 2 sqrt(kappa (n - 1) psi(1))) |dQ|,

less than the sqrt(n) (4 kappa + 1) of Kim et al. (Theorem 3.2, whose X A W_V is Q times a matrix). Each head
by itself; heads and samples add up as squares.
"""

from __future__ import annotations

import math

from convsv_cli.lipschitz.lengths import finite, length
from convsv_cli.lipschitz.operation import UNBOUNDED_PRODUCT, Lengths, Operation, Rule, Tensor, UnboundedError
from convsv_cli.numerics.intervals import Range
from convsv_cli.numerics.rounding import UP_MANY, root, times, total

ONE_OTHER = 0.2784645427610738 * UP_MANY
"""psi(1)."""
STEPS = 60


def attended(operation: Operation) -> float:
    """`convsv.L2Attention`: Q and V, or Q alone, with c as the attribute "factor"."""
    query, value = operation.input(0), operation.optional(1)
    n = query.sizes()[-2]
    columns, farthest = math.sqrt((n + 1) / 2) * UP_MANY, most_apart(n)
    others = math.sqrt(max(n - 1, 0) * ONE_OTHER) * UP_MANY
    near = math.sqrt(farthest) * UP_MANY
    if value is None:
        own = total((columns, 2 * farthest, times(2.0, near, others)))
        return times(own, root(_copies(query, operation)), query.lipschitz)
    longest = length(value, -1)
    copies = [_copies(tensor, operation) for tensor in (query, value)]
    moved = [times(root(k), t.lipschitz) for k, t in zip(copies, (query, value), strict=True)]
    if moved[0] and not math.isfinite(longest):
        raise UnboundedError(UNBOUNDED_PRODUCT.format(names=repr(value.name)))
    scores = times(2 * math.sqrt(operation.attribute("factor", 1.0)) * UP_MANY, total((near, others)))
    by_scores = times(scores, longest, moved[0]) if moved[0] else 0.0
    return total((by_scores, times(columns, moved[1])))


def most_apart(tokens: int) -> float:
    """Upper bound of kappa: t with t e^(t+1) = n - 1, by bisection.

    Args:
        tokens: n.
    """
    low, high = 0.0, math.log(max(tokens, 2))
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if middle * math.exp(middle + 1) >= tokens - 1 else (middle, high)
    return high * UP_MANY if tokens > 1 else 0.0


def _copies(tensor: Tensor, operation: Operation) -> int:
    """How many heads of the result use the same part of a tensor."""
    return math.prod(operation.output_shape()[:-2]) // max(1, math.prod(tensor.sizes()[:-2]))


def _value(operation: Operation) -> Tensor:
    return operation.optional(1) or operation.input(0)


def _range(operation: Operation) -> Range:
    """Means of V's rows."""
    return _value(operation).range


def _lengths(operation: Operation) -> Lengths:
    return finite({-1: length(_value(operation), -1)})


RULES = {"convsv.L2Attention": Rule(lipschitz=attended, range=_range, lengths=_lengths)}
