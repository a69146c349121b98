"""LSTM, GRU and plain recurrent layers: a node of ONNX for each, with gates in ONNX's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from convsv_cli.loaders.pt2.translation.writer import Build, Call, UntranslatedError

ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where torch has the gates that ONNX has in turn: input, output, forget, cell; update, reset, hidden."""


def _recurrent(call: Call, op: str, activation: str = "") -> Sequence[str]:
    """All layers, both directions; outputs, then last states of each layer and direction."""
    if call.has("batch_sizes") or call.has("data"):
        raise UntranslatedError("packed sequences")
    if call.flag("train") and call.number("dropout", 0.0):
        raise UntranslatedError("dropout in training")
    ways = 2 if call.flag("bidirectional") else 1
    layers, first = call.whole("num_layers"), call.flag("batch_first")
    x = call.transposed(call.tensor("input"), (1, 0, 2)) if first else call.tensor("input")
    states = call.tensors("hx") or (call.tensor("hx"),)
    params, each = call.tensors("params"), 4 if call.flag("has_biases") else 2
    if len(params) != layers * ways * each:
        raise UntranslatedError("a recurrent layer with projections")
    settings: dict[str, object] = {"activations": [activation] * ways} if activation else {}
    settings |= {"linear_before_reset": 1} if op == "GRU" else {}
    ends: list[list[str]] = [[] for _ in states]
    for layer in range(layers):
        own = _weights(call, op, params[layer * ways * each : (layer + 1) * ways * each], ways)
        begin = [_from_to(call, state, layer * ways, (layer + 1) * ways) for state in states]
        made = call.several(
            op,
            x,
            *own,
            "",
            *begin,
            outputs=1 + len(states),
            direction="bidirectional" if ways == 2 else "forward",
            hidden_size=_hidden(call),
            **settings,
        )
        turned = call.transposed(made[0], (0, 2, 1, 3))
        x = call.reshaped(turned, (*_lengths(call), ways * _hidden(call)))
        for kept, state in zip(ends, made[1:], strict=True):
            kept.append(state)
    result = call.transposed(x, (1, 0, 2)) if first else x
    return [result, *(call.emit("Concat", *kept, axis=0) if layers > 1 else kept[0] for kept in ends)]


def _weights(call: Call, op: str, params: Sequence[str], ways: int) -> Sequence[str]:
    """W, R and B of one layer, directions along the first axis."""
    each = len(params) // ways
    stacked = [
        _stacked(call, [_gates(call, op, params[way * each + i]) for way in range(ways)]) for i in range(each)
    ]
    return [*stacked[:2], call.emit("Concat", *stacked[2:], axis=1) if each == 4 else ""]


def _hidden(call: Call) -> int:
    states = call.shapes("hx") or [call.shape("hx")]
    return states[0][-1]


def _lengths(call: Call) -> tuple[int, int]:
    shape = call.shape("input")
    if len(shape) != 3:
        raise UntranslatedError("a sequence without a batch")
    return (shape[1], shape[0]) if call.flag("batch_first") else (shape[0], shape[1])


def _gates(call: Call, op: str, weight: str) -> str:
    """The blocks of a weight, or a bias, in ONNX's order."""
    order = ORDER[op]
    if len(order) == 1:
        return weight
    parts = call.several("Split", weight, outputs=len(order), axis=0, num_outputs=len(order))
    return call.emit("Concat", *(parts[i] for i in order), axis=0)


def _stacked(call: Call, parts: Sequence[str]) -> str:
    """Weights of each direction along a new first axis."""
    axis = call.integers(0)
    whole = [call.emit("Unsqueeze", part, axis) for part in parts]
    return call.emit("Concat", *whole, axis=0) if len(whole) > 1 else whole[0]


def _from_to(call: Call, state: str, start: int, end: int) -> str:
    return call.emit("Slice", state, call.integers(start), call.integers(end), call.integers(0))


BUILDS: Mapping[str, Build] = {
    "lstm": partial(_recurrent, op="LSTM"),
    "gru": partial(_recurrent, op="GRU"),
    "rnn_tanh": partial(_recurrent, op="RNN", activation="Tanh"),
    "rnn_relu": partial(_recurrent, op="RNN", activation="Relu"),
}
