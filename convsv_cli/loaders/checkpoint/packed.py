"""Packed parameters of torch.ao, by the names and shapes that they would have unpacked.

A quantised linear layer keeps its weight and bias as a pair, `_packed_params`; a recurrent one has two such
pairs for each direction of a layer. Quantised convolutions are pickled as their settings in a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from convsv_cli.loaders.checkpoint.values import Record, Tensor
from convsv_cli.names import LONGEST_NAME

Pair = tuple[Any, Any]
SCRIPT_OBJECT = "torch.ScriptObject"
LINEAR, CELL = "LinearPackedParamsBase", "CellParamsBase"
OWN = re.compile(r"torch\.(ao\.)?nn\.(intrinsic\.)?quantized\.")
"""How the names of quantised modules begin."""
SETTINGS = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "transposed",
    "output_padding", "groups", "padding_mode", "weight", "bias",
)  # fmt: skip
"""What a quantised convolution is pickled as; its output's scale and zero point follow."""
LONGEST = 20
SIDES = ("weight_ih", "weight_hh")
_NAME = re.compile(
    r"(?P<owner>(?:.*?\.)?)(?:_packed_params\.)?_packed_(?:params|(?P<weight>weight_\w+))", re.DOTALL
)


def unpacked(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs of a state dict, with packed parameters as the weights and biases that they are.

    What says how the output of such a layer is quantised is left out.
    """
    items, found = list(pairs), list[Pair]()
    owners: set[str] = set()
    for key, value in items:
        named = isinstance(key, str) and len(key) <= LONGEST_NAME
        own = list(_parameters(key, value)) if named and isinstance(value, (tuple, Record)) else []
        is_made = named and isinstance(value, Tensor) and value.made is not None and key.endswith("weight")
        owners |= {name.rpartition("weight")[0] for name, _ in own or [(key, value)] * is_made}
        found += own or [(key, value)]
    if not owners:
        return items
    beside = {
        f"{owner}{name}" for owner in owners for name in ("scale", "zero_point", "_packed_params.dtype")
    }
    return [(key, value) for key, value in found if not isinstance(key, str) or key not in beside]


def restored(record: Record, state: Any) -> Any:
    """The state of a quantised module as that of any module; any other state as it is."""
    if not OWN.match(record.name):
        return state
    if isinstance(state, tuple) and len(SETTINGS) <= len(state) <= LONGEST:
        said = dict(zip(SETTINGS, state, strict=False))
        own = {name: said.pop(name) for name in ("weight", "bias")}
        return {**said, "_parameters": own, "_buffers": {}, "_modules": {}}
    modules, parameters = (
        (state.get(name) for name in ("_modules", "_parameters")) if isinstance(state, dict) else (0, 0)
    )
    if not isinstance(modules, dict) or not isinstance(parameters, dict):
        return state
    inner = modules.get("_packed_params")
    packed = inner.attributes.get("_packed_params") if isinstance(inner, Record) else state.get("param")
    own = dict(_parameters("_packed_params" if isinstance(inner, Record) else "", packed))
    if not own:
        return state
    others = {name: value for name, value in modules.items() if name != "_packed_params"}
    return {**state, "param": None, "_parameters": {**parameters, **own}, "_modules": others}


def _parameters(key: str, value: Any) -> Iterator[Pair]:
    """The weights and biases in a value, by their names, where it is packed; else nothing."""
    cell = _script(value, CELL)
    if isinstance(cell, tuple) and cell and isinstance(cell[-1], list):
        outer = key.removesuffix("param")
        for side, packed in zip(SIDES, cell[-1], strict=False):
            yield from ((f"{outer}{side}", weight) for weight, _ in filter(None, [_pair(packed)]))
        return
    name, pair = _NAME.fullmatch(key), _pair(value)
    if name is not None and pair is not None:
        weight, bias = pair
        yield f"{name['owner']}{name['weight'] or 'weight'}", weight
        if isinstance(bias, Tensor):
            yield f"{name['owner']}{(name['weight'] or 'weight').replace('weight', 'bias')}", bias


def _pair(value: Any) -> tuple[Tensor, Any] | None:
    """Weight and bias of packed parameters."""
    inner = _script(value, LINEAR) if isinstance(value, Record) else value
    if isinstance(inner, tuple) and len(inner) == 2 and isinstance(inner[0], Tensor):
        return inner[0], inner[1]
    return None


def _script(value: Any, kind: str) -> Any:
    """The state of an object of one of torch's own classes in C++; None for anything else."""
    state = value.state if isinstance(value, Record) and value.name == SCRIPT_OBJECT else None
    if not isinstance(state, tuple) or len(state) != 2 or not isinstance(state[1], str):
        return None
    return state[0] if state[1].endswith(kind) else None
