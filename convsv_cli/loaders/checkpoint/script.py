"""TorchScript archives: the tensors of the module records and of the constants, with what the code says."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convsv_cli.loaders.checkpoint.archives import PICKLE, read_pickle
from convsv_cli.loaders.checkpoint.containers import mark, nested
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.modules import module_usage, plain_class_name, walk
from convsv_cli.loaders.checkpoint.script_code import (
    CONSTANT,
    Call,
    Reference,
    ScriptClass,
    script_classes,
    usage_by_calls,
)
from convsv_cli.loaders.checkpoint.values import Global, Record, Tensor
from convsv_cli.loaders.loader import NamedTensors, Usage
from convsv_cli.loaders.zip_records import ZipRecord, record_bytes

CONSTANTS = "constants.pkl"
CODE, SUFFIX = "code/", ".py"
BORROWED = Usage(op="Gemm", assumed=("an embedding table that is multiplied by, too: other code takes it",))
OPAQUE = "{} convolutions have their weights in oneDNN's own form, which is not in the file: not audited"
MAX_CODE = 4 << 20
"""Bytes of all code; of an archive with more, only the tensors are read."""


def is_script(members: Mapping[str, ZipRecord]) -> bool:
    """Whether the archive is a program: it has constants or code."""
    return CONSTANTS in members or any(name.startswith(CODE) for name in members)


def script_tensors(path: Path, members: Mapping[str, ZipRecord]) -> NamedTensors:
    """The tensors of the modules by their names, and the constants as c0, c1, ...; and what is missing.

    Raises:
        UnsafeModelError, UnreadableModelError: see `read_pickle`.
    """
    code = _code(path, members)
    found = _script(path, members, code)
    stored = found.attributes.stored(found.own)
    if found.constants is not None:
        stored |= found.constants.stored(found.further)
    calls = [call for facts in code.all() for call in facts.calls.get(None, ())]
    opaque = sum(call.function == "mkldnn_convolution" for call in calls)
    notes = (OPAQUE.format(opaque),) if opaque else ()
    return NamedTensors(tensors=stored, format="torchscript", notes=notes)


@dataclass(frozen=True, kw_only=True)
class Script:
    """What an archive holds.

    Attributes:
        attributes: of its modules.
        constants: of its code; None where there are none.
        own: the tensors among the attributes, by name.
        further: those among the constants, by name.
    """

    attributes: Contents
    constants: Contents | None
    own: dict[str, Tensor]
    further: dict[str, Tensor]


def script(path: Path, members: Mapping[str, ZipRecord]) -> Script:
    """What an archive holds.

    Raises:
        UnsafeModelError, UnreadableModelError: see `read_pickle`.
    """
    return _script(path, members, _code(path, members))


def _script(path: Path, members: Mapping[str, ZipRecord], code: _Code) -> Script:
    attributes = read_pickle(path, members, PICKLE, "data")
    constants = read_pickle(path, members, CONSTANTS, "constants") if CONSTANTS in members else None
    return Script(
        attributes=attributes,
        constants=constants,
        own=_module_tensors(attributes.value, code),
        further={} if constants is None else _constant_tensors(constants.value, code),
    )


def children(module: Record) -> list[tuple[str, Record]]:
    """The modules that one has as attributes, by name."""
    items = module.attributes.items()
    return [(name, child) for name, child in items if isinstance(name, str) and isinstance(child, Record)]


def _module_tensors(root: Any, code: _Code) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    if not isinstance(root, Record):
        return tensors
    further: dict[str, Tensor] = {}
    seen: set[int] = set()
    borrowed: dict[str, set[str]] = {}
    for prefix, module, _ in walk(root, children):
        facts = code.of(module.maker)
        attributes = ChainMap(facts.constants, module.attributes)
        borrowed[prefix] = facts.borrowed
        for name, tensor in module.attributes.items():
            if isinstance(name, str) and isinstance(tensor, Tensor):
                tensors[f"{prefix}{name}"] = tensor.used(_usage(module, facts, attributes, name, tensor))
            elif isinstance(tensor, (list, tuple, dict)):
                further |= {f"{prefix}{name}.{path}": inner for path, inner in nested(tensor, seen)}
    known = set(map(mark, tensors.values()))
    tensors |= {name: tensor for name, tensor in further.items() if mark(tensor) not in known}
    return {name: _with_borrowers(name, tensor, borrowed) for name, tensor in tensors.items()}


def _with_borrowers(name: str, tensor: Tensor, borrowed: Mapping[str, set[str]]) -> Tensor:
    """A table is taken for a matrix, too, where other code than the look-up's uses it.

    `borrowed` is what modules take from those inside them, by their names, each with a dot at its end.
    """
    if tensor.usage is None or tensor.usage.applicable or tensor.ndim != 2:
        return tensor
    ends = (0, *(found.end() for found in re.finditer(r"\.", name)))
    is_borrowed = any(name[end:] in borrowed.get(name[:end], ()) for end in ends)
    return tensor.used(BORROWED) if is_borrowed else tensor


def _usage(
    module: Record, facts: ScriptClass, attributes: Mapping[Any, Any], name: str, tensor: Tensor
) -> Usage | None:
    """By the class and its attributes, some of which are constants of the code; else by the calls in that."""
    by_class = module_usage(plain_class_name(module), attributes, name, tensor.shape)
    calls = facts.calls.get(Reference("self", name), ())
    return by_class or usage_by_calls(calls, tensor.shape, attributes)


def _constant_tensors(constants: Any, code: _Code) -> dict[str, Tensor]:
    calls: dict[str, list[Call]] = {}
    for weight, uses in (item for facts in code.all() for item in facts.calls.items()):
        if weight is not None and weight.owner == CONSTANT:
            calls.setdefault(weight.name, []).extend(uses)
    values = constants if isinstance(constants, tuple) else ()
    return {
        name: value.used(usage_by_calls(calls.get(name, ()), value.shape, {}))
        for name, value in ((f"c{index}", value) for index, value in enumerate(values))
        if isinstance(value, Tensor)
    }


@dataclass(frozen=True, kw_only=True)
class _Code:
    """The text of an archive's classes, each file read once."""

    path: Path
    members: Mapping[str, ZipRecord]
    files: dict[str, dict[str, ScriptClass]] = field(default_factory=dict)

    def of(self, maker: Any) -> ScriptClass:
        """What the text of a class says; nothing where there is none."""
        if not isinstance(maker, Global):
            return ScriptClass()
        member = f"{CODE}{maker.module.replace('.', '/')}{SUFFIX}"
        return self._file(member).get(maker.name, ScriptClass())

    def all(self) -> list[ScriptClass]:
        """What is said of every class."""
        return [facts for member in self.members for facts in self._file(member).values()]

    def _file(self, member: str) -> dict[str, ScriptClass]:
        if member not in self.members or not member.startswith(CODE) or not member.endswith(SUFFIX):
            return {}
        if member not in self.files:
            text = record_bytes(self.path, self.members[member], MAX_CODE)
            self.files[member] = script_classes(text.decode(errors="replace"))
        return self.files[member]


def _code(path: Path, members: Mapping[str, ZipRecord]) -> _Code:
    texts = {name: record for name, record in members.items() if name.startswith(CODE)}
    size = sum(record.size for name, record in texts.items() if name.endswith(SUFFIX))
    return _Code(path=path, members=texts if size <= MAX_CODE else {})
