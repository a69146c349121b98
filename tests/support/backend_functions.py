"""What a model computes, as a function of its real inputs, in float64 where onnx's reference can do that."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.support import runtime
from tests.support.backend_models import FLOATS, Shipped, is_real

ERRORS = (Exception,)
SIZED = ("Loop", "OneHot", "Range", "Resize", "Upsample")
"""Operators whose outputs may be as large as their inputs are."""
PATIENCE = 0.5
"""Seconds that a model may take whose loops may be as long as its inputs say."""
Values = np.ndarray


class Function:
    """From all real inputs together to all real outputs together.

    Attributes:
        base: the inputs that are shipped with the model, flat, float64; 1 in place of what is not finite.
        sizes: of each real input.
        sized: outputs may be as large as inputs say.
        exact: it computes in float64.
        precise: so do its operators; some of onnx's reference round to float32.
    """

    def __init__(self, case: Shipped) -> None:
        self._fed = case.fed
        self._real = [i.name for i in case.model.graph.input if is_real(i.type) and i.name in case.fed]
        fed = np.concatenate([np.zeros(0), *(part for name in self._real for part in _flat(case.fed[name]))])
        self.base = np.where(np.isfinite(fed), fed, 1.0)
        self.sizes = [sum(part.size for part in _flat(case.fed[name])) for name in self._real]
        self.sized = any(node.op_type in SIZED for node in case.model.graph.node)
        self.exact, self._run = self._runner(case.model)

    def __call__(self, x: Values) -> Values | None:
        """The real outputs, flat; None where it has none there, as behind a limit of its domain."""
        with suppress(*ERRORS), np.errstate(all="ignore"), _patience(PATIENCE if self.sized else 0.0):
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
                with np.errstate(all="ignore"):
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
                    found = run(self._feeds(self.base))
                self.precise = exact and _are_double(found)
                return exact, run
        raise LookupError("no runtime has it")


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """A TimeoutError where what is inside takes longer; 0 for no limit."""

    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


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


def _are_double(values: Any) -> bool:
    """Whether each real array among them is float64."""
    if isinstance(values, list | tuple):
        return all(map(_are_double, values))
    return (
        values is None or np.asarray(values).dtype.itemsize == 8 or np.asarray(values).dtype.kind in "iubOUS"
    )


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
