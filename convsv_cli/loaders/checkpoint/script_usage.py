"""How the calls in TorchScript code use a weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from convsv_cli.loaders.checkpoint.module_usage import EMBEDDING, convolution_usage
from convsv_cli.loaders.checkpoint.script_code import Call, Reference
from convsv_cli.loaders.usage import Usage

_DEFAULTS: Mapping[str, Any] = {
    "stride": 1, "padding": 0, "dilation": 1, "groups": 1, "transposed": False, "output_padding": 0,
}  # fmt: skip


def usage_by_calls(
    calls: Iterable[Call], shape: tuple[int, ...], attributes: Mapping[Any, Any]
) -> Usage | None:
    """The usage of a weight that all these calls with it agree on; None where there is none.

    `attributes` are those of the module, for numbers that the code takes from it.
    """
    found = {usage for call in calls if (usage := _usage(call, shape, attributes)) is not None}
    return found.pop() if len(found) == 1 else None


def _usage(call: Call, shape: tuple[int, ...], attributes: Mapping[Any, Any]) -> Usage | None:
    if call.function == "embedding":
        return EMBEDDING
    if call.function in {"linear", "matmul", "addmm"}:
        op = "Gemm" if call.function == "linear" else "MatMul"
        return Usage(op=op) if len(shape) == 2 else None
    values = {
        name: _resolved(call.arguments.get(name, default), attributes) for name, default in _DEFAULTS.items()
    }
    if call.function.startswith("conv_transpose"):
        values["transposed"] = True
    if any(value is None for name, value in values.items() if name != "output_padding"):
        return None
    return convolution_usage(values, shape)


def _resolved(value: Any, attributes: Mapping[Any, Any]) -> Any:
    """With attributes of self put in; None where some of it is not known."""
    if isinstance(value, Reference):
        return attributes.get(value.name) if value.owner == "self" else None
    if isinstance(value, tuple):
        items = tuple(_resolved(item, attributes) for item in value)
        return None if None in items else items
    return value
