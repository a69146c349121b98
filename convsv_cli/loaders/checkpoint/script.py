"""TorchScript archives: the tensors of the module records and of the constants, with what the code says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.module_usage import module_usage, plain_class_name
from convsv_cli.loaders.checkpoint.modules import walk
from convsv_cli.loaders.checkpoint.script_code import ScriptClass, script_classes
from convsv_cli.loaders.checkpoint.script_usage import usage_by_calls
from convsv_cli.loaders.checkpoint.values import Global, Record, Tensor
from convsv_cli.loaders.checkpoint.zipped import read_pickle
from convsv_cli.loaders.state_dict import StoredTensor
from convsv_cli.loaders.usage import Usage
from convsv_cli.loaders.zip_records import ZipRecord, record_bytes

CONSTANTS = "constants.pkl"
CODE, SUFFIX = "code/", ".py"
MAX_CODE = 4 << 20
MAX_ALL_CODE = 32 << 20


def is_script(members: Mapping[str, ZipRecord]) -> bool:
    """Whether the archive is a program: it has constants or code."""
    return CONSTANTS in members or any(name.startswith(CODE) for name in members)


def script_tensors(path: Path, members: Mapping[str, ZipRecord]) -> dict[str, StoredTensor]:
    """The tensors of the modules by their names, and the constants as c0, c1, ...

    Raises:
        UnsafeModelError, UnreadableModelError: see `read_pickle`.
    """
    code = _Code(path=path, members=members)
    attributes = read_pickle(path, members, "data.pkl", "data")
    stored = _stored(attributes, _module_tensors(attributes.value, code))
    if CONSTANTS in members:
        constants = read_pickle(path, members, CONSTANTS, "constants")
        stored |= _stored(constants, _constant_tensors(constants.value, code))
    return stored


def _stored(contents: Contents, tensors: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
    return {name: contents.storages.stored(name, tensor) for name, tensor in tensors.items()}


def _module_tensors(root: Any, code: _Code) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    if not isinstance(root, Record):
        return tensors
    for prefix, module, _ in walk(root, children=_children):
        facts = code.of(module.maker)
        for name, tensor in module.attributes.items():
            if isinstance(name, str) and isinstance(tensor, Tensor):
                tensors[f"{prefix}{name}"] = tensor.used(_usage(module, facts, name, tensor))
    return tensors


def _children(module: Record) -> list[tuple[str, Record]]:
    attributes = module.attributes.items()
    return [
        (name, child) for name, child in attributes if isinstance(name, str) and isinstance(child, Record)
    ]


def _usage(module: Record, facts: ScriptClass, name: str, tensor: Tensor) -> Usage | None:
    """By the class and its attributes, some of which are constants of the code; else by the calls in that."""
    attributes = {**module.attributes, **facts.constants}
    by_class = module_usage(plain_class_name(str(module.maker)), attributes, name, tensor.shape)
    return by_class or usage_by_calls(facts.calls, ("self", name), tensor.shape, attributes)


def _constant_tensors(constants: Any, code: _Code) -> dict[str, Tensor]:
    values = constants if isinstance(constants, tuple) else ()
    calls = [call for facts in code.all() for call in facts.calls]
    return {
        f"c{index}": value.used(usage_by_calls(calls, ("CONSTANTS", f"c{index}"), value.shape, {}))
        for index, value in enumerate(values)
        if isinstance(value, Tensor)
    }


@dataclass(frozen=True, kw_only=True)
class _Code:
    """The text of an archive's classes, read once a file."""

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
        """Of every class."""
        members = [name for name in self.members if name.startswith(CODE) and name.endswith(SUFFIX)]
        if sum(self.members[name].size for name in members) > MAX_ALL_CODE:
            raise UnsafeModelError("more code than any network has")
        return [facts for member in members for facts in self._file(member).values()]

    def _file(self, member: str) -> dict[str, ScriptClass]:
        if member not in self.files:
            record = self.members.get(member)
            text = record_bytes(self.path, record, MAX_CODE).decode(errors="replace") if record else ""
            self.files[member] = script_classes(text)
        return self.files[member]
