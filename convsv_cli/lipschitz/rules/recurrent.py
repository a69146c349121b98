"""RNN, GRU and LSTM with constant weights: bounds of one step, and what they add up to.

w and p are the norms of W and R with the gates of all directions stacked, b = W dx or b = R dh what moves the
gates before their activations. Sigmoid has the slope s (1 - s) <= 1/4, tanh 1 - tanh^2 <= 1. Where an entry
of a result is a sum of c_k times perturbations, Cauchy-Schwarz bounds it by |c|: sums of squares count. Two
of them:

    (1)  (1 - z)^2 (K + m^2 z^2) <= M = max(K, 4 m^2/27), as z (1 - z)^2 <= 4/27,
    (2)  z^2 + (1 - z)^2 (K + m^2 z^2) <= M = max(1, K, 4 m^2/27), as (1 - z) (2 - 27/4 z (1 - z)) >= 0

for all 0 <= z <= 1. Both directions see the same sequence, and |W_1 dx|^2 + |W_2 dx|^2 <= w^2 |dx|^2, so that
there is no root of two. A clip of states and of what goes into activations shrinks both them and what moves
them: all still holds. A sequence shorter than T is the beginning of one of length T; zeros follow its end.

Let s_t bound the perturbation of the state after step t, for perturbations x_t of the sequence's entries.
One-step bounds s_t <= input_t x_t + growth_t s_(t-1) add up to s_t <= sum_r G_tr x_r with the T x T gain
matrix G_tr = input_r growth_(r+1) ... growth_t (r <= t), so that |(s_1, ..., s_T)| <= |G| |(x_1, ..., x_T)|;
the last state is bounded by the norm of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli import limits
from convsv_cli.lipschitz.operands import require_constant
from convsv_cli.lipschitz.operation import SIZES, Operation, Rule, UnboundedError
from convsv_cli.lipschitz.rules.cells import SLOPES, VALUES, Cell, cell_of
from convsv_cli.numerics.intervals import Range, outward_range
from convsv_cli.numerics.rounding import UP_MANY, times, total, up

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST = 1024
WORK = 48  # steps of the model's allowance for each entry of a matrix whose norm is certified
UP_STEPS = up(64 * LONGEST - 1)  # a few roundings in each step
ZERO = Range(lower=0.0, upper=0.0)


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """One-step bounds, for each of T steps.

    Attributes:
        inputs: of the state by the sequence's entry, [T].
        growth: of the state by the state before it, [T].
        start: of the first state by each initial one.
    """

    inputs: NDArray[np.float64]
    growth: NDArray[np.float64]
    start: tuple[float, ...]

    def gains(self, *, whole: bool) -> tuple[float, ...]:
        """Upper bounds by the sequence, and by each initial state.

        Args:
            whole: of all states together; else of whichever is the last one.

        Raises:
            UnboundedError: they exceed the largest number.
            LimitError: the model's steps are used up.
        """
        if not len(self.inputs):
            return (0.0, *(1.0 for _ in self.start))
        with np.errstate(over="ignore"):
            limits.spend(2 * len(self.growth) ** 2, "the bound of its steps")
            onward = _products(self.growth)
            matrix = onward * self.inputs
            norm = _norm(matrix) if whole else float(np.sqrt(np.square(matrix).sum(1).max()))
            column = onward[:, 0]
            first = float(np.sqrt(np.square(column).sum())) if whole else float(column.max())
        by_start = [first * factor * UP_STEPS for factor in self.start]
        if not np.isfinite([norm, *by_start]).all():
            raise UnboundedError(f"its bound exceeds every number after {len(self.inputs)} steps")
        return (norm * UP_STEPS, *(max(1.0, gain) for gain in by_start))


def _products(growth: NDArray[np.float64]) -> NDArray[np.float64]:
    """growth_(r+1) ... growth_t where r <= t, else 0: [T, T]."""
    products = np.eye(len(growth))
    for t in range(1, len(growth)):
        products[t, :t] = products[t - 1, :t] * growth[t]
    return products


def _norm(matrix: NDArray[np.float64]) -> float:
    """The spectral norm of [T, T], proven from above; infinite where the entries, all >= 0, are too large.

    About as large as it is, unless too few of the model's steps are left: sqrt(norm_1 norm_inf) then.
    """
    if not np.isfinite(matrix).all():
        return float("inf")
    try:
        limits.spend(WORK * matrix.size, "the norm of its gains", share=0.5)
    except limits.LimitError:
        return float(np.sqrt(matrix.sum(0).max() * matrix.sum(1).max())) * up(4 * len(matrix))
    import torch

    from convsv_cli.spectral.matrix_norm import matrix_norm

    return matrix_norm(torch.from_numpy(matrix)[None]).upper


def rnn(operation: Operation) -> float:
    """H' = f(W x + R h + b): grows by slope * p. Where that is below 1, so does a sequence of any length."""
    slope = max(SLOPES[name] for name in _activations(operation))
    w, p = (times(slope, norm) for norm in _norms(operation))
    steps = _length(operation)
    if p < 1 and (steps is None or steps > LONGEST):
        at_most = UP_MANY / (1 - p)  # a geometric series bounds the sum of each row and column
        return _applied(operation, (times(w, at_most), at_most))
    count = _bearable(steps)
    return _composed(operation, Recurrence(inputs=np.full(count, w), growth=np.full(count, p), start=(p,)))


def gru(operation: Operation) -> float:
    """The new state is (1 - z) n + z h: |h| <= H = max(1, |h_0|) and |h - n| <= m = H + 1.

    It moves by z dh + (1 - z) dn + (h - n) z (1 - z) b_z, where n = tanh(a), |dn| <= |da|, and a is

    * W_n x + r (R_n h + c), if `linear_before_reset`. With |q| = |R_n h + c| <= Q, da is b_n + q r (1 - r)
      b_r for dx: (1) with K = 1 + Q^2/16. For dh, it is r b_n + q r (1 - r) b_r with r^2 + Q^2 r^2 (1 - r)^2
      <= K = max(1, 4 Q^2/27) by (1), z = 1 - r; then (2), over |dh|^2 + |b|^2 <= (1 + p^2) |dh|^2.
    * W_n x + R_n (r h), else. For dx, |da| <= |b_n| + p H/4 |b_r|; so |da|^2 + |b_z|^2 <= (1 + (p H/4)^2) w^2
      |dx|^2, and (1) with K = 1. For dh, |da| <= p |d(r h)| and |d(r h)|^2 <= V (|dh|^2 + |b_r|^2) with V =
      max(1, 4 H^2/27) by (1); so |da|^2 + |b_z|^2 <= (p^2 V + p^2 max(1, p^2 V)) |dh|^2, and (2) with K = 1.
    """
    cell = _other_cell(operation)
    w, p = _norms(operation)
    h = max(1.0, _magnitude(operation, 5))
    if cell is not None:
        q = _reset_term(operation, h) if operation.attribute("linear_before_reset", 0) else None
        return _steady(operation, *cell.gru(w, p, h, q))
    m = 4 * (h + 1) ** 2 / 27
    if operation.attribute("linear_before_reset", 0):
        q = _reset_term(operation, h) ** 2
        entering, staying = max(1 + q / 16, m), max(1.0, m, 4 * q / 27) * (1 + p**2)
    else:
        v = p**2 * max(1.0, 4 * h**2 / 27)
        entering, staying = max(1.0, m) * (1 + (p * h / 4) ** 2), max(1.0, m) * (1 + v + p**2 * max(1.0, v))
    return _steady(operation, w * entering**0.5 * UP_MANY, staying**0.5 * UP_MANY)


def _steady(operation: Operation, x: float, growth: float) -> float:
    """Where all steps are alike."""
    count = _bearable(_length(operation))
    return _composed(
        operation, Recurrence(inputs=np.full(count, x), growth=np.full(count, growth), start=(growth,))
    )


def _reset_term(operation: Operation, h: float) -> float:
    """The largest |R_n h + c| of an entry, as |h| <= `h`; gates are stacked z, r, n."""
    weights = operation.input(2).value().astype(np.float64)
    recurrent = np.split(weights, 3, axis=1)[2]
    largest = np.abs(recurrent).sum(2) * h
    if operation.optional(3) is not None:
        largest = largest + np.abs(np.split(operation.input(3).value().astype(np.float64), 6, axis=1)[5])
    return float(largest.max(initial=0.0)) * UP_MANY


def lstm(operation: Operation) -> float:
    """The new states are c' = f c + i g and o tanh(c'); |c_t| <= C_t = |c_0| + t, as no factor exceeds 1.

    dc' = f dc + c f (1 - f) b_f + g i (1 - i) b_i + i (1 - g^2) b_g. The squares of the last two coefficients
    add up to i^2 ((1 - i)^2 g^2 + (1 - g^2)^2) <= 1, convex in g^2; so |dc'| <= |dc| + A |b|, A^2 = 1 +
    C_(t-1)^2/16. The other moves by o (1 - tanh^2) dc' + tanh(c') o (1 - o) b_o, and has the same bound by
    (1) with z = 1 - o and K = A^2. So both are within s_t = s_(t-1) + A_t (w |dx_t| + p s_(t-1)), if dh_0 and
    dc_0 are kept apart.
    """
    cell = _other_cell(operation)
    if operation.attribute("input_forget", 0):
        raise UnboundedError("its input and forget gates are coupled (input_forget)")
    if operation.optional(7) is not None:
        raise UnboundedError("its gates see its cell state (peepholes)")
    w, p = _norms(operation)
    before = _magnitude(operation, 6) + np.arange(_bearable(_length(operation)), dtype=np.float64)
    usual = np.sqrt(1 + np.square(before) / 16) * UP_MANY
    opening = usual if cell is None else cell.lstm_opening(before)
    start = float(opening[0]) * p if len(opening) else 0.0
    return _composed(operation, Recurrence(inputs=opening * w, growth=1 + opening * p, start=(start, 1.0)))


DEFAULTS = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}


def _other_cell(operation: Operation) -> Cell | None:
    """A gated cell whose activations are not ONNX's own; None for those that are."""
    names, default = _activations(operation), DEFAULTS[operation.node.op]
    return None if names in (default, default * 2) else cell_of(names, len(default))


def _activations(operation: Operation) -> tuple[str, ...]:
    """Of all directions, in lower case; those of gates are bounded."""
    default = DEFAULTS[operation.node.op]
    names = tuple(name.lower() for name in operation.attribute("activations", default))
    parameters = operation.attribute("activation_alpha", ()) or operation.attribute("activation_beta", ())
    plain = operation.node.op == "RNN"
    known = set(names) <= SLOPES.keys() if plain else cell_of(names, len(default)) is not None
    if parameters or not known or not names:
        raise UnboundedError(f"no bound is known for a cell with the activations {', '.join(names)}")
    return names


def _norms(operation: Operation) -> tuple[float, float]:
    """Of W and R; also checks all that bounds of every cell need."""
    if operation.attribute("direction", "forward") not in ("forward", "reverse", "bidirectional"):
        raise UnboundedError("its direction is none that ONNX knows")
    if operation.attribute("clip", 0.0) < 0:
        raise UnboundedError("it clips by a negative threshold")
    require_constant(operation, 1, 2, 3, 4)
    w, p = operation.norms()
    return w, p


def _length(operation: Operation) -> int | None:
    """Of the sequence; None where it is not known."""
    layout = operation.attribute("layout", 0)
    if layout not in (0, 1):
        raise UnboundedError(f"its layout is {layout}, which ONNX does not know")
    shape = operation.input(0).shape
    return shape[layout] if shape is not None and len(shape) == 3 else None


def _bearable(steps: int | None) -> int:
    if steps is None:
        raise UnboundedError("the length of its sequence is not known", lacks=SIZES)
    if steps > LONGEST:
        raise UnboundedError(
            f"its bound grows with each of its {steps} steps; beyond {LONGEST} it is useless"
        )
    return steps


def _magnitude(operation: Operation, index: int) -> float:
    """Of the initial state at an input."""
    tensor = operation.optional(index)
    if tensor is None:
        return 0.0
    if not np.isfinite(tensor.range.magnitude):
        raise UnboundedError(f"its initial state {tensor.name!r} may be arbitrarily large")
    return tensor.range.magnitude


def _composed(operation: Operation, recurrence: Recurrence) -> float:
    whole = bool(operation.outputs[0][0])
    return _applied(operation, recurrence.gains(whole=whole))


def _applied(operation: Operation, gains: tuple[float, ...]) -> float:
    """Of the sequence and of each initial state that is there."""
    varying = (operation.input(0), operation.optional(5), operation.optional(6))
    return total(
        times(gain, tensor.lipschitz)
        for gain, tensor in zip(gains, varying, strict=False)
        if tensor is not None
    )


def _state_range(operation: Operation) -> Range:
    """Of its activation's values, of the initial state, which it mixes with or is, and of padding by zero."""
    names = _activations(operation)
    outer = names if operation.node.op == "RNN" else ("tanh",)
    first = operation.optional(5)
    return ZERO.hull(*(VALUES[name] for name in outer), *([] if first is None else [first.range]))


def _lstm_range(operation: Operation) -> Range:
    """With that of the cell, where it is asked for."""
    state = _state_range(operation)
    if not any(name for name, _ in operation.outputs[2:]):
        return state
    radius = _magnitude(operation, 6) + _bearable(_length(operation))
    return state.hull(outward_range(-radius, radius))


RULES = {
    "RNN": Rule(lipschitz=rnn, range=_state_range),
    "GRU": Rule(lipschitz=gru, range=_state_range),
    "LSTM": Rule(lipschitz=lstm, range=_lstm_range),
}
