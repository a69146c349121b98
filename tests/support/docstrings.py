"""What a docstring owes its reader, by Google's sections; each check gives what is missing."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

TENSORS = re.compile(r"torch\.Tensor|\bNDArray\b")
SHAPE = re.compile(r"\[[^\]]*\]|\bscalars?\b|\bshape\b")
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns):\n((?:(?: {4}.*)?\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^ {4}((?:\w+, )*\w+): *(.*(?:\n {8}.*)*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Public:
    """Something that users call, or read from.

    Attributes:
        name: with its class.
        value: the function, class or property.
        owner: the class of a method or property.
    """

    name: str
    value: object
    owner: type | None = None

    @property
    def function(self) -> Callable[..., object]:
        """What is executed: the function, `__init__` or `__post_init__` of the class, the getter."""
        if isinstance(self.value, type):
            own = vars(self.value)
            made = own.get("__post_init__") if dataclasses.is_dataclass(self.value) else own.get("__init__")
            return made or (lambda: None)
        getter = getattr(self.value, "fget", None) or getattr(self.value, "func", None) or self.value
        return inspect.unwrap(getter)

    @property
    def text(self) -> str:
        """The docstring, without its indentation."""
        return inspect.cleandoc(getattr(self.value, "__doc__", None) or "") + "\n"

    def entries(self, section: str) -> dict[str, str]:
        """Names and what is said of each; of several sections of that name, all."""
        found = "".join(text for name, text in SECTION.findall(self.text) if name == section)
        return {
            name: description for names, description in ENTRY.findall(found) for name in names.split(", ")
        }


def public(name: str, value: object) -> Iterator[Public]:
    """The name itself, and the methods and properties of a class that are its own."""
    yield Public(name=name, value=value)
    if isinstance(value, type):
        fields = getattr(value, "__dataclass_fields__", {})
        for attribute, own in vars(value).items():
            is_described = inspect.isfunction(own) or hasattr(own, "fget") or hasattr(own, "func")
            if is_described and not attribute.startswith("_") and attribute not in fields:
                yield Public(name=f"{name}.{attribute}", value=own, owner=value)


def parameters(public: Public) -> dict[str, str]:
    """Names of what is to be described, and their annotations."""
    if isinstance(public.value, type) and dataclasses.is_dataclass(public.value):
        return {f.name: str(f.type) for f in dataclasses.fields(public.value) if not f.name.startswith("_")}
    given = inspect.signature(public.function).parameters
    return {name: str(p.annotation) for name, p in given.items() if name != "self"}


def undescribed(public: Public) -> set[str]:
    """Parameters or fields that the docstring does not have, and those that it has and are not."""
    is_data = isinstance(public.value, type) and dataclasses.is_dataclass(public.value)
    return set(parameters(public)) ^ set(public.entries("Attributes" if is_data else "Args"))


def shapeless(public: Public) -> set[str]:
    """Tensors of which the shape is not told: parameters, and "return"."""
    described = {**public.entries("Args"), **public.entries("Attributes")}
    told = {
        name: described.get(name, "")
        for name, annotation in parameters(public).items()
        if TENSORS.search(annotation) and "Callable" not in annotation
    }
    if not isinstance(public.value, type):
        returned = str(inspect.signature(public.function).return_annotation)
        if TENSORS.search(returned):
            before, *_ = re.split(r"^Args:", public.text, maxsplit=1, flags=re.MULTILINE)
            told["return"] = before + "".join(
                text for name, text in SECTION.findall(public.text) if name == "Returns"
            )
    return {name for name, description in told.items() if not SHAPE.search(description)}


def undocumented_errors(public: Public) -> set[str]:
    """Errors that the function raises, it or a helper in its module, and that no "Raises" covers."""
    function = public.function
    home = sys.modules[function.__module__]
    names = {**vars(builtins), **vars(home), **inspect.getclosurevars(function).globals}
    covered = tuple(
        error for name in public.entries("Raises") if isinstance(error := _error(name, names), type)
    )
    return {name for name in raised(function) if not issubclass(names[name], covered)}


def _error(name: str, names: dict[str, object]) -> object:
    from convsv_cli import errors

    return names.get(name) or getattr(errors, name, None)


def raised(function: Callable[..., object]) -> set[str]:
    """Names of the errors that `raise` names, in it and in the helpers of its module that it calls."""
    home = ast.parse(inspect.getsource(sys.modules[function.__module__]))
    helpers = {
        node.name: node
        for node in ast.walk(home)
        if isinstance(node, ast.FunctionDef) and node.name[0] == "_"
    }
    (start,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    waiting, seen, found = [start], {start}, set()
    while waiting:
        for node in ast.walk(waiting.pop()):
            if (
                isinstance(node, ast.Raise)
                and isinstance(node.exc, ast.Call)
                and isinstance(node.exc.func, ast.Name)
            ):
                found.add(node.exc.func.id)
            called = getattr(node, "func", None) if isinstance(node, ast.Call) else None
            name = getattr(called, "id", getattr(called, "attr", ""))
            if name in helpers and helpers[name] not in seen:
                seen.add(helpers[name])
                waiting.append(helpers[name])
    return found
