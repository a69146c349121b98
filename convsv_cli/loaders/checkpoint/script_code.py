"""What the code in a TorchScript archive does with weights, read as text; none of it is run or compiled.

TorchScript writes one statement per line, and numbers as literals, so that a few patterns find the constants
of each class and its calls of convolutions and matrix products. What they do not find is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convsv_cli import limits
from convsv_cli.loaders.checkpoint.modules import EMBEDDING, convolution_usage
from convsv_cli.loaders.loader import Usage

CONSTANT = "CONSTANTS"
MAX_LINE = 4000
MAX_NESTING = 6
MAX_PATH = 400
"""Characters of a name that is put together from several lines."""
_CLASS = re.compile(r"class (\w+)\(")
_METHOD = re.compile(r"  def \w+\((\w+):")
_FINAL = re.compile(r"  (\w+) : Final\[[^=]*\] = (.+)$")
_ALIAS = re.compile(r'\s+(\w+) = (?:(\w+)\.(\w+)|getattr\((\w+), "(\w+)"\))$')
_CALL = re.compile(r"\b(?:torch|ops\.prim)\.(\w+)\(")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\w.+-]+|[^\s\w]')
"""A string that is not closed is one token, too: it is not looked for the end of each of its quotes."""
_INTEGER = re.compile(r"-?\d{1,15}")
_LITERALS: Mapping[str, Any] = {"True": True, "False": False, "None": None}
CALLS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "_convolution_mode", "mkldnn_convolution"),
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    ),
    **{
        f"conv_transpose{d}d": (
            "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
        )
        for d in (1, 2, 3)
    },
    "_convolution": (
        "input", "weight", "bias", "stride", "padding", "dilation", "transposed", "output_padding", "groups",
    ),
    "linear": ("input", "weight", "bias"),
    "matmul": ("input", "weight"),
    "addmm": ("bias", "input", "weight"),
    "embedding": ("weight", "indices"),
}  # fmt: skip
_DEFAULTS: Mapping[str, Any] = {
    "stride": 1, "padding": 0, "dilation": 1, "groups": 1, "transposed": False, "output_padding": 0,
}  # fmt: skip
_TELLING = frozenset(("weight", *_DEFAULTS))
CALL = 20 * limits.OBJECT
"""Steps to see what a call says of its weight."""


@dataclass(frozen=True)
class Reference:
    """A tensor or a number that the code does not write out: CONSTANTS.c3, or an attribute of self."""

    owner: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of one of `CALLS`, with the names of those arguments that tell how its weight is used."""

    function: str
    arguments: tuple[tuple[str, Any], ...]

    @property
    def weight(self) -> Reference | None:
        """What it uses as its weight; None where that is not known."""
        weight = dict(self.arguments).get("weight")
        return weight if isinstance(weight, Reference) else None


@dataclass(kw_only=True)
class ScriptClass:
    """What the text of a class says.

    Attributes:
        constants: attributes that are written in the code.
        calls: by the weight that they use, in the order of the text; those of unknown weights by None, all
            others once, as far as they tell how their weight is used.
        borrowed: attributes of modules inside that it takes, such as "wte.weight".
    """

    constants: dict[str, Any] = field(default_factory=dict)
    calls: dict[Reference | None, list[Call]] = field(default_factory=dict)
    borrowed: set[str] = field(default_factory=set)
    _known: set[Call] = field(default_factory=set)

    def add(self, call: Call) -> None:
        """Note a call."""
        if call.weight is None or call not in self._known:
            self._known.add(call)
            self.calls.setdefault(call.weight, []).append(call)


def script_classes(text: str) -> dict[str, ScriptClass]:
    """The classes in one file of code, by name."""
    classes: dict[str, ScriptClass] = {}
    current, names, self_name = ScriptClass(), dict[str, str](), "self"
    for line in text.splitlines():
        if len(line) > MAX_LINE:
            continue
        if found := _CLASS.match(line):
            current = classes.setdefault(found[1], ScriptClass())
        elif found := _METHOD.match(line):
            names, self_name = {}, found[1]
        elif found := _FINAL.match(line):
            current.constants[found[1]] = _value(found[2], {}, "")
        elif found := _ALIAS.match(line):
            owner, attribute = found[2] or found[4], found[3] or found[5]
            path = f"{names.get(owner, owner)}.{attribute}"
            names[found[1]] = path if len(path) <= MAX_PATH else ""
            if path.startswith(f"{self_name}.") and path.count(".") > 1:
                current.borrowed.add(path.removeprefix(f"{self_name}."))
        else:
            for call in _calls(line, names, self_name):
                current.add(call)
    return classes


def _calls(line: str, names: Mapping[str, str], self_name: str) -> Iterator[Call]:
    for found in _CALL.finditer(line):
        parameters = CALLS.get(found[1])
        if parameters is not None:
            texts = zip(parameters, _arguments(line[found.end() :]), strict=False)
            values = {name: _value(text, names, self_name) for name, text in texts if name in _TELLING}
            yield Call(function=found[1], arguments=tuple(values.items()))


def _arguments(text: str) -> list[str]:
    """The arguments of a call, from behind its opening bracket to the closing one."""
    arguments, depth = [""], 0
    for found in _TOKEN.finditer(text):
        piece = found[0]
        if (piece in ")]" and depth == 0) or depth > MAX_NESTING:
            break
        depth += (piece in "([") - (piece in ")]")
        if piece == "," and depth == 0:
            arguments.append("")
        else:
            arguments[-1] += piece
    return arguments


def _value(text: str, names: Mapping[str, str], self_name: str, depth: int = 0) -> Any:
    """A number, text, list of those, or a `Reference`; None also for what is none of these."""
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    if text[:1] in {"[", "("} and depth < MAX_NESTING:
        return tuple(_value(part, names, self_name, depth + 1) for part in _arguments(text[1:]) if part)
    if text[:1] == '"':
        return text[1:-1]
    if text in _LITERALS:
        return _LITERALS[text]
    owner, _, name = names.get(text, text).partition(".")
    if owner in {self_name, CONSTANT}:
        return Reference("self" if owner == self_name else owner, name)
    return None


def usage_by_calls(
    calls: Sequence[Call], shape: tuple[int, ...], attributes: Mapping[Any, Any]
) -> Usage | None:
    """The usage of a weight that all these calls with it agree on; None where there is none.

    `attributes` are those of the module, for numbers that the code takes from it.
    """
    limits.spend(len(calls) * CALL, "the calls of TorchScript that use one weight")
    found = {usage for call in calls if (usage := _usage(call, shape, attributes)) is not None}
    return found.pop() if len(found) == 1 else None


def _usage(call: Call, shape: tuple[int, ...], attributes: Mapping[Any, Any]) -> Usage | None:
    if call.function == "embedding":
        return EMBEDDING
    if call.function in {"linear", "matmul", "addmm"}:
        op = "Gemm" if call.function == "linear" else "MatMul"
        return Usage(op=op) if len(shape) == 2 else None
    given = {**_DEFAULTS, **dict(call.arguments)}
    values = {name: _resolved(given[name], attributes) for name in _DEFAULTS}
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
