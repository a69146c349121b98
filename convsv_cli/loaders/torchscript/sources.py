"""The code of an archive: which function or method a name means, each parsed once, when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convsv_cli import limits
from convsv_cli.loaders.checkpoint.script import CODE, MAX_CODE, SUFFIX
from convsv_cli.loaders.checkpoint.values import Global
from convsv_cli.loaders.torchscript.parsing import parsed
from convsv_cli.loaders.torchscript.tokens import Text
from convsv_cli.loaders.torchscript.tree import Function, UnfollowedError
from convsv_cli.loaders.zip_records import ZipRecord, record_bytes

LINE = limits.OBJECT
RESTORED = "{}.__setstate__"
VERSIONS = (".data/version", "version")
_CLASS = re.compile(r"class (\w+)[(:]")
_HOOKS = re.compile(r"\s*__forward_(?:pre_)?hooks__(?!\s*=\s*\[\s*\]\s*$)")
_DEFINITION = re.compile(r"( *)def (\w+)\(")


@dataclass(frozen=True, kw_only=True, eq=False)
class File:
    """A file of code.

    Attributes:
        functions: the text of each function, and of each method behind the name of its class.
        hooked: names of classes with hooks.
    """

    functions: Mapping[str, Text]
    hooked: frozenset[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sources:
    """The code.

    Attributes:
        path: of the archive.
        members: its records.
    """

    path: Path
    members: Mapping[str, ZipRecord]
    _texts: dict[str, File] = field(default_factory=dict)
    _functions: dict[tuple[str, str], Function] = field(default_factory=dict)

    def version(self) -> int:
        """Of the operators that the code calls.

        Raises:
            UnfollowedError: the archive does not say.
        """
        records = [self.members[name] for name in VERSIONS if name in self.members]
        if not records:
            raise UnfollowedError("it does not say its version")
        return min(int(record_bytes(self.path, each, limits.OBJECT)) for each in records)

    def method(self, maker: Any, name: str) -> Function:  # noqa: ANN401
        """A method of a class.

        Args:
            maker: the class, as a pickle names it.
            name: of the method.

        Raises:
            UnfollowedError: the code has no such method, or it is not what TorchScript writes.
            LimitError: there is too much of it.
        """
        if not isinstance(maker, Global):
            raise UnfollowedError("an object in it has no class")
        return self._function(maker.module, f"{maker.name}.{name}")

    def check_hooks(self, maker: Any) -> None:  # noqa: ANN401
        """See that nothing runs beside the `forward` of a class; calls inside the code say what else runs.

        Raises:
            UnfollowedError: they have hooks.
        """
        if isinstance(maker, Global) and maker.name in self._file(_place(maker.module)).hooked:
            raise UnfollowedError("its module has hooks, which run beside forward")

    def check_state(self, maker: Any) -> None:  # noqa: ANN401
        """See that objects of a class have the attributes that are stored.

        Raises:
            UnfollowedError: code makes them of what is stored.
        """
        if (
            isinstance(maker, Global)
            and RESTORED.format(maker.name) in self._file(_place(maker.module)).functions
        ):
            raise UnfollowedError(f"a module makes its attributes of what is stored ({maker.name})")

    def function(self, path: str) -> Function:
        """A function, by its path, such as "__torch__.torch.nn.functional.relu".

        Raises:
            UnfollowedError, LimitError: as `method`.
        """
        module, _, name = path.rpartition(".")
        return self._function(module, name)

    def _function(self, module: str, name: str) -> Function:
        place = _place(module)
        key = place, name
        if key not in self._functions:
            text = self._file(place).functions.get(name)
            if text is None:
                raise UnfollowedError(f"{place} has no {name}")
            self._functions[key] = parsed(text)
        return self._functions[key]

    def _file(self, place: str) -> File:
        if place not in self._texts:
            record = self.members.get(place)
            if record is None:
                raise UnfollowedError(f"{place} is missing")
            if sum(each.size for name, each in self.members.items() if name.startswith(CODE)) > MAX_CODE:
                raise UnfollowedError(f"its code has more than {MAX_CODE >> 20} MiB")
            text = record_bytes(self.path, record, MAX_CODE).decode(errors="replace")
            self._texts[place] = _file(place, text)
        return self._texts[place]


def _place(module: str) -> str:
    return f"{CODE}{module.replace('.', '/')}{SUFFIX}"


def _file(place: str, text: str) -> File:
    """The file, in which a line is a line: there are no texts of several lines.

    Raises:
        UnfollowedError: there may be.
    """
    if '"""' in text or "'''" in text:
        raise UnfollowedError(f"{place} has a text of several lines")
    owner, hooked = "", set[str]()
    for line in text.split("\n"):
        if found := _CLASS.match(line):
            owner = found[1]
        elif _HOOKS.match(line):
            hooked.add(owner)
    return File(functions=dict(_functions(place, text)), hooked=frozenset(hooked))


def _functions(place: str, text: str) -> Iterator[tuple[str, Text]]:
    """Each function with its name, from the line that says "def" to the next one that begins another.

    Raises:
        UnfollowedError: a line does neither, such as one that torch skips, behind which a function goes on.
    """
    lines = text.split("\n")
    limits.spend(LINE * len(lines), "the code of TorchScript")
    owner, name, indent, first = "", "", 0, 0
    for at, line in enumerate((*lines, "end")):
        found, definition = _CLASS.match(line), _DEFINITION.match(line)
        inside = not line.strip() or line.startswith(" " * (indent + 1))
        if name and not inside:
            if not found and not definition and at < len(lines):
                raise UnfollowedError(f"line {at + 1} of {place} is neither of a function nor begins one")
            yield name, Text(place, first + 1, "\n".join(lines[first:at]))
            name = ""
        if name:
            continue
        if found or not line.startswith(" "):
            owner = f"{found[1]}." if found else ""
        if definition:
            indent, first = len(definition[1]), at
            name = f"{owner if indent else ''}{definition[2]}"
