"""Softmax, its logarithm, the logarithm of its sum, and lengths of pairs, in many spellings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.written_terms import Spelling, Term, UnavailableError

AXES = -1


def peak_of(x: Term) -> Term:
    """The largest entry."""
    return x.reduced("Max", AXES)


def exp_shifted(x: Term) -> Term:
    """e^(x - max)."""
    return (x - peak_of(x))("Exp")


def over_sum(e: Term, total: Callable[[Term], Term] = Term.sum) -> Term:
    """Shares of the sum."""
    return e / total(e)


def times_inverse(e: Term) -> Term:
    """Likewise."""
    return e * e.sum()("Reciprocal")


def transposed(x: Term) -> Term:
    """Along an axis that is not the last one; before opset 13, that takes all axes after it as well.

    Raises:
        UnavailableError: then.
    """
    if x.sheet.opset < 13:
        raise UnavailableError("Softmax along one axis")
    return x("Transpose", perm=[0, 2, 1])("Softmax", axis=1)("Transpose", perm=[0, 2, 1])


def less_log(x: Term) -> Term:
    """The sum of exponentials, as a logarithm, taken off."""
    return x - x("Exp").sum()("Log")


SOFTMAX: Mapping[str, Spelling] = {
    "op": lambda x: x("Softmax", axis=-1),
    "shifted": lambda x: over_sum(exp_shifted(x)),
    "plain": lambda x: over_sum(x("Exp")),
    "reciprocal": lambda x: times_inverse(exp_shifted(x)),
    "plain-reciprocal": lambda x: times_inverse(x("Exp")),
    "keepdims": lambda x: over_sum(exp_shifted(x), lambda e: e.sum(keepdims=False).unsqueezed(-1)),
    "detached": lambda x: over_sum((x - peak_of(x)("Identity"))("Exp")),
    "exp-log": lambda x: (x - x.reduced("LogSumExp", AXES))("Exp"),
    "exp-log-softmax": lambda x: x("LogSoftmax", axis=-1)("Exp"),
    "eps": lambda x: over_sum(exp_shifted(x), lambda e: e.sum() + 1e-30),
    "clipped": lambda x: over_sum(exp_shifted(x), lambda e: e.sum().clipped(1e-30)),
    "plain-eps": lambda x: over_sum(x("Exp"), lambda e: e.sum() + 1e-30),
    "reciprocal-eps": lambda x: exp_shifted(x) * (1e-16 + exp_shifted(x).sum())("Reciprocal"),
    "max": lambda x: over_sum(exp_shifted(x), lambda e: e.sum()("Max", 1e-16)),
    "transposed": transposed,
}
LOG_SOFTMAX: Mapping[str, Spelling] = {
    "op": lambda x: x("LogSoftmax", axis=-1),
    "log": lambda x: x("Softmax", axis=-1)("Log"),
    "shifted": lambda x: less_log(x - peak_of(x)),
    "plain": less_log,
    "log-sum-exp": lambda x: x - x.reduced("LogSumExp", AXES),
    "log-sum": lambda x: x - x("Exp").reduced("LogSum", AXES),
    "max-back": lambda x: x - (peak_of(x) + exp_shifted(x).sum()("Log")),
    "log-written": lambda x: over_sum(exp_shifted(x))("Log"),
}
LOG_SUM_EXP: Mapping[str, Spelling] = {
    "op": lambda x: x.reduced("LogSumExp", AXES),
    "plain": lambda x: x("Exp").sum()("Log"),
    "log-sum": lambda x: x("Exp").reduced("LogSum", AXES),
    "shifted": lambda x: peak_of(x) + exp_shifted(x).sum()("Log"),
    "shifted-last": lambda x: exp_shifted(x).sum()("Log") + peak_of(x),
}


def pair(build: Callable[[Term, Term], Term]) -> Spelling:
    """Of the two halves of the last axis."""
    return lambda x: build(*x.parts(2, -1))


def stacked(a: Term, b: Term) -> Term:
    """One before the other, along a new axis."""
    return a.unsqueezed(-1)("Concat", b.unsqueezed(-1), axis=-1)


HYPOT: Mapping[str, Spelling] = {
    "mul": pair(lambda a, b: (a * a + b * b)("Sqrt")),
    "pow": pair(lambda a, b: (a**2.0 + b**2.0)("Sqrt")),
    "pow-half": pair(lambda a, b: (a**2.0 + b**2.0) ** 0.5),
    "sum": pair(lambda a, b: (a * a)("Sum", b * b)("Sqrt")),
    "l2": pair(lambda a, b: stacked(a, b).reduced("L2", -1, keepdims=False)),
    "stacked": pair(lambda a, b: (stacked(a, b) ** 2.0).sum(-1, keepdims=False)("Sqrt")),
    "reshaped": lambda x: (x.reshaped(1, 3, 2, 3) ** 2.0).sum(2, keepdims=False)("Sqrt"),
}
HYPOT_EPS: Mapping[str, Spelling] = {
    "mul": pair(lambda a, b: (a * a + b * b + 1e-6)("Sqrt")),
    "pow": pair(lambda a, b: (a**2.0 + b**2.0 + 1e-6) ** 0.5),
    "pow-first": pair(lambda a, b: (a**2.0 + 1e-6 + b**2.0)("Sqrt")),
}
HYPOT_CLIPPED: Mapping[str, Spelling] = {
    "clip": pair(lambda a, b: (a * a + b * b).clipped(1e-6)("Sqrt")),
    "max": pair(lambda a, b: (a * a + b * b)("Max", 1e-6)("Sqrt")),
}
