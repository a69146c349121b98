r"""Dot-product attention of bounded tokens, and the turning of tokens by their positions before it.

For row i of P = softmax(S), S = c Q K^T + mask, the result is o_i = sum_j P_ij v_j. With expectations under
the distribution P_i, its derivative is

    do_i = E[(ds_ij - E ds_i) (v_j - E v)] + E[dv_j],        ds_ij = c (<dq_i, k_j> + <q_i, dk_j>).

By Cauchy-Schwarz, for every unit vector u, <u, first term> <= sd(ds_i) sd(<u, v>), where sd(<u, v>) <= R_V,
the length of the longest v, and sd(ds_i) <= c (R_K |dq_i| + R_Q sqrt(E |dk_j|^2)). Over all rows, sum_i
E|dk_j|^2 = sum_j |dk_j|^2 sum_i P_ij <= n |dK|^2 for n queries, and likewise for dV. So

    |dO| <= c R_V (R_K |dQ| + sqrt(n) R_Q |dK|) + sqrt(n) |dV|.

No norm of K or V as matrices is in it. Unbounded tokens have no such constant (Kim, Papamakarios & Mnih, "The
Lipschitz constant of self-attention", ICML 2021), and sqrt(n) R^2 is the true rate for bounded ones (Castin,
Ablin & Peyre, "How smooth is attention?", ICML 2024; the constant of their Theorem 3.3 for self-attention,
sqrt(3) |V| sqrt(|A|^2 R^4 (4 n + 1) + n), is larger where |A| is the product of the norms of Q's and K's
matrices). In cosine attention (Swin V2) R_Q = R_K = 1, whatever the tokens are. Where scores are distances of
tokens that are both queries and keys: `rules.distances`. Each head by itself; heads and samples add up as
squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from convsv_cli.lipschitz.lengths import finite, length
from convsv_cli.lipschitz.operands import ZERO, require_constant
from convsv_cli.lipschitz.operation import UNBOUNDED_PRODUCT, Lengths, Operation, Rule, Tensor, UnboundedError
from convsv_cli.numerics.intervals import Range, outward_range
from convsv_cli.numerics.rounding import UP, UP_MANY, root, times, total


def attended(operation: Operation) -> float:
    """`convsv.Attention`: Q, K^T and V, with the factor c as an attribute."""
    parts = (operation.input(0), operation.input(1), operation.input(2))
    batch = math.prod(operation.output_shape()[:-2])
    copies = [batch // max(1, math.prod(part.sizes()[:-2])) for part in parts]
    return _bound(parts, -2, operation.attribute("factor", 1.0), copies)


def operator(operation: Operation) -> float:
    """Attention of opset 23: Q, K and V, of which heads may be parts of the last axis."""
    extra = [operation.optional(index) for index in range(4, len(operation.inputs))]
    mask = operation.optional(3)
    if any(tensor is not None for tensor in extra) or any(operation.node.outputs[1:]):
        raise UnboundedError("it keeps keys and values of earlier tokens, or gives more than its result")
    if (mask is not None and not mask.constant) or operation.attribute("softcap", 0.0):
        raise UnboundedError("its mask varies with the network's input, or its scores are capped")
    parts = query, _, _ = (operation.input(0), operation.input(1), operation.input(2))
    width = query.sizes()[-1] // (operation.attribute("q_num_heads", 1) if len(query.sizes()) == 3 else 1)
    scale = operation.attribute("scale", 1 / math.sqrt(max(1, width)))
    shared = _shared(operation)
    return _bound(parts, -1, abs(scale) * UP_MANY, (1, shared, shared))


def _shared(operation: Operation) -> int:
    """How many heads of Q use the same head of K and V."""
    query, key = operation.input(0).sizes(), operation.input(1).sizes()
    four = len(query) == 4
    heads = (
        (query[1], key[1]) if four else tuple(operation.attribute(f"{x}_num_heads", 1) for x in ("q", "kv"))
    )
    return -(-heads[0] // max(1, heads[1]))


def _bound(parts: tuple[Tensor, Tensor, Tensor], along: int, factor: float, copies: Sequence[int]) -> float:
    """Of Q, K and V, each used so many times; the tokens of K lie along an axis."""
    query, key, value = parts
    moved = [times(root(count), part.lipschitz) for count, part in zip(copies, parts, strict=True)]
    queries = root(query.sizes()[-2])
    scores = total((_product(moved[0], key, along), times(queries, _product(moved[1], query, -1))))
    first = times(factor, _product(scores, value, -1))
    return total((first, times(queries, moved[2])))


def _product(lipschitz: float, tensor: Tensor, axis: int) -> float:
    """A Lipschitz constant times the longest vector of a tensor along an axis."""
    if lipschitz == 0:
        return 0.0
    longest = length(tensor, axis)
    if not math.isfinite(longest):
        raise UnboundedError(UNBOUNDED_PRODUCT.format(names=repr(tensor.name)))
    return times(lipschitz, longest)


def _range(operation: Operation) -> Range:
    """Means of V's rows; zeros where a mask leaves nothing."""
    return operation.input(2).range.hull(ZERO)


def _lengths(operation: Operation) -> Lengths:
    return finite({-1: length(operation.input(2), -1)})


def turned(operation: Operation) -> float:
    """A pair is multiplied by [[c, -s], [s, c]], of norm sqrt(c^2 + s^2): 1 for a cosine and a sine.

    Exact where every position of the table is looked up. Entries that are not turned stay as they are.
    """
    require_constant(operation, 1, 2, 3)
    cosines, sines = (operation.input(index).value().astype(np.float64) for index in (1, 2))
    if cosines.shape != sines.shape or not np.isfinite([cosines, sines]).all():
        raise UnboundedError("its cosines and sines do not fit together")
    longest = float(np.hypot(cosines, sines).max(initial=0.0)) * UP
    rest = 1.0 if operation.attribute("rotary_embedding_dim", 0) else 0.0
    return times(max(longest, rest), operation.input(0).lipschitz)


def _turned_range(operation: Operation) -> Range:
    """A pair is at most sqrt(2) times as long as its larger entry."""
    longest = operation.input(1).range.magnitude + operation.input(2).range.magnitude
    largest = max(1.0, longest) * operation.input(0).range.magnitude * UP_MANY
    return outward_range(-largest, largest)


RULES = {
    "convsv.Attention": Rule(lipschitz=attended, range=_range, lengths=_lengths),
    "Attention": Rule(lipschitz=operator, range=_range),
    "RotaryEmbedding": Rule(lipschitz=turned, range=_turned_range),
}
