"""What a model computes, as a function of its real inputs, in float64 where onnx's reference can do that."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, pairwise, permutations
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.support import runtime
from tests.support.backend_models import FLOATS, Shipped, is_real

ERRORS = (Exception,)
MAGNITUDES = (1e-160, 1e-16, 1e-8, 1e-4, 0.1, 1.0, 1.0, 1.0, 4.0, 30.0, 1e2, 1e4, 1e8)
STEEP = 1e6
"""A difference quotient that shows that a function of small constants has no Lipschitz constant."""
HALVINGS, HYPOT = 60, 1000
SIZED = ("Resize", "Upsample", "Range")
"""Operators whose outputs may be as large as their inputs are."""
Values = np.ndarray


class Function:
    """From all real inputs together to all real outputs together.

    Attributes:
        base: the inputs that are shipped with the model, flat, float64.
        sizes: of each real input.
        sized: outputs may be as large as inputs say.
        exact: it computes in float64.
    """

    def __init__(self, case: Shipped) -> None:
        self._fed = case.fed
        self._real = [i.name for i in case.model.graph.input if is_real(i.type) and i.name in case.fed]
        self.base = np.concatenate(
            [np.zeros(0), *(part for name in self._real for part in _flat(case.fed[name]))]
        )
        self.sizes = [sum(part.size for part in _flat(case.fed[name])) for name in self._real]
        self.sized = any(node.op_type in SIZED for node in case.model.graph.node)
        self.exact, self._run = self._runner(case.model)

    def __call__(self, x: Values) -> Values | None:
        """The real outputs, flat; None where it has none there, as behind a limit of its domain."""
        with suppress(*ERRORS), np.errstate(all="ignore"):
            found = [part for value in self._run(self._feeds(x)) for part in _flat(value)]
            whole = np.concatenate([np.zeros(0), *found])
            return None if np.isnan(whole).any() else whole
        return None

    def snapped(self, x: Values) -> Values:
        """The inputs that are fed for x: rounded to the types of the model's inputs."""
        feeds = self._feeds(x)
        return np.concatenate([np.zeros(0), *(part for name in self._real for part in _flat(feeds[name]))])

    def _feeds(self, x: Values) -> dict[str, Any]:
        feeds, at = {}, 0
        for name, value in self._fed.items():
            feeds[name] = value
            if name in self._real:
                with np.errstate(over="ignore"):
                    feeds[name], at = _filled(value, x, at, exact=self.exact)
        return feeds

    def _runner(self, model: ModelProto) -> tuple[bool, Callable[[dict[str, Any]], list[Any]]]:
        """Onnx's reference in float64, else onnxruntime or the reference as the model is."""
        for exact, make in (
            (True, lambda: _reference(doubled(model))),
            (False, lambda: _runtime(model)),
            (False, lambda: _reference(model)),
        ):
            with suppress(*ERRORS):
                run, self.exact = make(), exact
                with np.errstate(all="ignore"):
                    run(self._feeds(self.base))
                return exact, run
        raise LookupError("no runtime has it")


def _reference(model: ModelProto) -> Callable[[dict[str, Any]], list[Any]]:
    evaluator = ReferenceEvaluator(model)
    return lambda feeds: evaluator.run(None, dict(feeds))


def _runtime(model: ModelProto) -> Callable[[dict[str, Any]], list[Any]]:
    session = runtime.session(model, rewritten=False)
    return lambda feeds: session.run(None, feeds)


def _flat(value: Any) -> Iterator[Values]:
    """Each real array in it, flat, float64."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _flat(each)
    elif value is not None:
        array = np.asarray(value)
        if array.dtype.kind == "f" or "float" in array.dtype.name:
            yield array.astype(np.float64).ravel()


def _filled(value: Any, x: Values, at: int, *, exact: bool) -> tuple[Any, int]:
    """The value with its entries from x on."""
    if isinstance(value, list | tuple):
        made = []
        for each in value:
            part, at = _filled(each, x, at, exact=exact)
            made.append(part)
        return made, at
    if value is None:
        return None, at
    array = np.asarray(value)
    found = x[at : at + array.size].reshape(array.shape)
    return (found if exact else found.astype(array.dtype)), at + array.size


def doubled(model: ModelProto) -> ModelProto:
    """The same computation in float64."""
    made = ModelProto()
    made.CopyFrom(model)
    _double_graph(made.graph)
    for function in made.functions:
        for node in function.node:
            _double_attributes(node.attribute)
    return made


def _double_graph(graph: GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        _double_type(value.type)
    for tensor in graph.initializer:
        _double_tensor(tensor)
    for node in graph.node:
        _double_attributes(node.attribute)


def _double_type(kind: Any) -> None:
    which = kind.WhichOneof("value")
    if which in ("sequence_type", "optional_type"):
        _double_type(getattr(kind, which).elem_type)
    elif which == "tensor_type" and kind.tensor_type.elem_type in FLOATS:
        kind.tensor_type.elem_type = TensorProto.DOUBLE


def _double_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in FLOATS:
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
        )


def _double_attributes(attributes: Any) -> None:
    for attribute in attributes:
        if attribute.type == AttributeProto.GRAPH:
            _double_graph(attribute.g)
        elif attribute.type == AttributeProto.TENSOR:
            _double_tensor(attribute.t)
        elif attribute.name in ("to", "dtype", "output_dtype", "stash_type") and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE


@dataclass(frozen=True, kw_only=True)
class Steep:
    """Two inputs and how much farther apart what they give is; infinite where the sizes of outputs differ."""

    first: Values
    second: Values
    quotient: float


def steepest(function: Function, *, seed: int = 0, trials: int = 120, seconds: float = 1.0) -> Steep | None:
    """Two inputs with a quotient above `STEEP` that no rounding explains, as far as some are found.

    The half of a segment along which more happens is steeper than the whole: so jumps, poles and infinite
    slopes are found by bisection, and what grows without a bound at large inputs.
    """
    random, end = np.random.default_rng(seed), time.monotonic() + seconds
    for a, b in chain(_scaled(function, random), _drawn_pairs(function, random, trials)):
        if time.monotonic() > end:
            break
        found = _bisected(function, a, b)
        if found is not None:
            return found
    return None


def _drawn_pairs(
    function: Function, random: np.random.Generator, trials: int
) -> Iterator[tuple[Values, Values]]:
    for _ in range(trials):
        a = function.snapped(drawn(function, random))
        yield a, function.snapped(_moved(function, a, random))


def _scaled(function: Function, random: np.random.Generator) -> Iterator[tuple[Values, Values]]:
    """One of the inputs is made large, or all are, and one of them moves: products of two show."""
    ends = np.cumsum([0, *function.sizes])
    parts = [slice(*pair) for pair in pairwise(ends)]
    for large in () if function.sized else (*parts, slice(None)):
        for moving in parts:
            a = function.base.copy()
            a[large] *= 1e8
            b = a.copy()
            b[moving] += 0.3 * random.standard_normal(len(b[moving])) * (np.abs(b[moving]) + 0.1)
            yield function.snapped(a), function.snapped(b)
    for large, small in permutations(parts, 2) if not function.sized else ():
        a = function.base.copy()
        a[large] *= 1e8
        a[small] *= 1e-8
        b = a.copy()
        b[small] *= 1 + random.standard_normal(len(b[small]))
        yield function.snapped(a), function.snapped(b)
    ones = np.ones_like(function.base)
    for a, b in ((ones, 0.5 * ones), (ones, 2 * ones), (-ones, -0.5 * ones), (0 * ones, ones)):
        yield function.snapped(a), function.snapped(b)


def drawn(function: Function, random: np.random.Generator) -> Values:
    """An input; each of those of the model has a magnitude of its own."""
    each = random.choice(MAGNITUDES[:8] if function.sized else MAGNITUDES, len(function.sizes))
    if random.random() < 0.5 and len(each):
        each[np.arange(len(each)) != random.integers(len(each))] = 1.0
    scale = np.repeat(each, function.sizes)
    if random.random() < 0.3:
        scale = scale * random.choice(MAGNITUDES[2:8], function.base.size)
    kind = random.random()
    if kind < 0.4:
        return function.base * scale
    if kind < 0.5:
        return np.sign(random.standard_normal(function.base.size)) * (1 - np.minimum(scale, 1.0) / 3)
    return random.standard_normal(function.base.size) * scale


def _moved(function: Function, x: Values, random: np.random.Generator) -> Values:
    """Another input, near or far: of one entry, or one input, or all."""
    kind = random.integers(4)
    if kind == 0:
        return drawn(function, random)
    step = np.zeros_like(x)
    if kind == 1 and len(x):
        step[random.integers(len(x))] = 1.0
    elif kind == 2 and len(function.sizes):
        chosen = random.integers(len(function.sizes))
        at = sum(function.sizes[:chosen])
        step[at : at + function.sizes[chosen]] = 1.0
    else:
        step[:] = 1.0
    return x + step * random.standard_normal(len(x)) * random.choice([1.0, 0.1]) * (
        np.abs(x) + random.choice([0.0, 1.0])
    )


def _inside(function: Function, a: Values, b: Values) -> tuple[Values, Values]:
    """From a on towards b, up to where the domain ends."""
    inside = a
    for _ in range(HALVINGS):
        middle = function.snapped(inside / 2 + b / 2)
        if function(middle) is None:
            b = middle
        else:
            inside = middle
    return a, inside


def _bisected(function: Function, a: Values, b: Values) -> Steep | None:
    """The steepest part of a segment, if it is steep."""
    at_a, at_b = function(a), function(b)
    if at_a is None or at_b is None:
        a, b = _inside(function, a, b) if at_a is not None else _inside(function, b, a)
        at_a, at_b = function(a), function(b)
    for _ in range(HALVINGS):
        if at_a is None or at_b is None or np.array_equal(a, b):
            return None
        if at_a.shape != at_b.shape:
            return Steep(first=a, second=b, quotient=np.inf)
        moved, (apart, size) = distance(a, b), _apart(at_a, at_b)
        if not np.isfinite([apart, moved]).all() or apart <= 1e-3 * size:
            return None
        if apart > STEEP * moved:
            return Steep(first=a, second=b, quotient=apart / moved if moved else np.inf)
        middle = function.snapped(a / 2 + b / 2)
        at = function(middle)
        if at is None:
            return None
        if at.shape != at_a.shape or _apart(at, at_a)[0] >= _apart(at, at_b)[0]:
            b, at_b = middle, at
        else:
            a, at_a = middle, at
    return None


def distance(a: Values, b: Values) -> float:
    """Euclidean, without underflow or overflow of squares."""
    return math.hypot(*(a - b)) if len(a) < HYPOT else float(np.linalg.norm(a - b))


def _apart(a: Values, b: Values) -> tuple[float, float]:
    """How far apart two results are, and how large they are; equal infinities do not count."""
    with np.errstate(all="ignore"):
        finite = ~(np.isinf(a) & (a == b))
        a, b = a[finite], b[finite]
        return float(np.linalg.norm(a - b)), float(np.linalg.norm(a) + np.linalg.norm(b))


def exceeded(
    function: Function, bound: float, *, points: int, seconds: float, seed: int = 0
) -> tuple[int, float]:
    """How many pairs were looked at, and the largest quotient of one over the bound.

    Inputs of several magnitudes, and others near to each; every two of them are a pair. What rounding may do
    to results is taken off.

    Args:
        function: of which the bound is.
        bound: of its Lipschitz constant.
        points: how many inputs.
        seconds: after which no more are drawn.
        seed: of the inputs.
    """
    random, end = np.random.default_rng(seed), time.monotonic() + seconds
    found: list[tuple[Values, Values]] = []
    while len(found) < points and time.monotonic() < end:
        a = function.snapped(drawn(function, random))
        near = function.snapped(a + random.standard_normal(len(a)) * random.choice([1e-6, 1e-3, 0.1, 1.0]))
        found += [(x, y) for x in (a, near) if (y := function(x)) is not None and np.isfinite(y).all()]
    if not found:
        return 0, 0.0
    pairs, largest = 0, 0.0
    size = max(np.shape(y) for _, y in found)
    same = [(x, y) for x, y in found if y.shape == size]
    inputs, outputs = (np.stack(each) for each in zip(*same, strict=True))
    lengths = np.linalg.norm(outputs, axis=1)
    slack = 1e-9 if function.exact else 1e-4
    for i in range(1, len(inputs)):
        with np.errstate(all="ignore"):
            moved = np.linalg.norm(inputs[:i] - inputs[i], axis=1)
            apart = np.linalg.norm(outputs[:i] - outputs[i], axis=1) - slack * (lengths[:i] + lengths[i])
            allowed = np.maximum(bound * moved, 1e-120)
            largest = max(largest, float(np.nanmax(np.where(moved > 0, apart / allowed, 0.0))))
        pairs += i
    return pairs, largest
