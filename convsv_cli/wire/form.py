"""What all forms share: how one is filled, written and read. msgspec checks types, and places faults."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert, structs, to_builtins

F = TypeVar("F", bound="Form")
T = TypeVar("T")

ADDED = Meta(extra={"added": True})
"""Of a field that the first documents of the major version do not have."""
NOTHING = (None, "", ())

Count = Annotated[int, Meta(ge=0)]
Counts = tuple[Count, ...]
Digest = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9a-f]{64}$"})]
Known = Annotated[str, Meta(extra_json_schema={"pattern": "^([0-9a-f]{64})?$"})]
"""A digest, or nothing where it is not known."""
Finite = Annotated[float, Meta(ge=0)]
Norm = Finite | None
"""JSON has no word for infinity: null."""
Pair = tuple[float, float]
Shape = tuple[Count | str, ...]
Share = Annotated[float, Meta(ge=0, le=1)]
Text = str | None
"""Null is nothing to say, for which the values of `report/` have the empty string."""
Texts = tuple[str, ...]


class Form(Struct, frozen=True, kw_only=True):
    """A JSON object: its fields in the order in which they are written.

    A default is what reports that lack the field mean. One that is `UNSET` is of a field that is only written
    where it says something; all others are always written. The section `Attributes` of the docstring is what
    the schema says of the fields.

    Attributes:
        CONDITION: what the schema demands beyond the types.
    """

    CONDITION: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def of(cls: type[F], value: object, **given: object) -> F:  # noqa: PYI019  (3.10 has no Self)
        """The form of a value, filled from its attributes of the same names.

        Nothing to say is null or absent where the field may be so; pairs of a name and a value are an object.

        Args:
            value: of `report/`.
            given: the other fields.
        """
        own = {field: kind for field, kind in _kinds(cls).items() if field not in given}
        return cls(**given, **{name: _said(getattr(value, name), kind) for name, kind in own.items()})

    def made(self, kind: Callable[..., T], **given: object) -> T:
        """The value of which this is the form; a number that is null is infinite.

        Args:
            kind: a dataclass of `report/`.
            given: those of its fields that are not fields of the form.
        """
        own = {name: hint for name, hint in _kinds(kind).items() if name not in given}
        return kind(**given, **{name: _meant(getattr(self, name), hint) for name, hint in own.items()})


class Tool(Form, frozen=True, kw_only=True):
    """The program that wrote the document."""

    name: Literal["convsv"] = "convsv"
    version: str = ""


def identifier(document: str, version: str) -> str:
    """What the schema of a document is called: a name, no address, which ends with that of the file.

    Args:
        document: the sort of it.
        version: `schema_version`, of which the major part has a schema of its own.
    """
    return f"urn:convsv:{document}-{version.partition('.')[0]}.schema.json"


class Ends(Form, frozen=True, kw_only=True):
    """A proven enclosure: lower <= x <= upper."""

    lower: Norm
    upper: Norm

    def __post_init__(self) -> None:
        in_order(self.lower, self.upper)


def in_order(lower: float | None, upper: float | None, *, of: str = "") -> None:
    """Check two ends, of which null is infinite.

    Raises:
        ValueError: they are in the wrong order.
    """
    if infinite(lower) > infinite(upper):
        raise ValueError(f"the lower end {of}is above the upper one")


def infinite(norm: float | None) -> float:
    """The number that a `Norm` stands for."""
    return math.inf if norm is None else norm


def members(form: Form) -> dict[str, Any]:
    """The JSON object; what is not finite is null."""
    return {name: _nulled(value) for name, value in to_builtins(form).items()}


def text(document: Mapping[str, Any]) -> str:
    """A JSON object as a document, which ends with a line break."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def read(value: object, form: type[F]) -> F:
    """The form in a JSON value; fields that it does not have are not looked at.

    Args:
        value: of the strict parser: str, int, float, bool, None, lists and dicts.
        form: what it is to be.

    Raises:
        ValueError: it is none; the message begins with the place, such as `$.layers[3].name`.
    """
    try:
        return convert(value, form)
    except ValidationError as error:
        what, _, place = str(error).partition(" - at `")
        raise ValueError(f"{place[:-1] or '$'}: {what[:1].lower()}{what[1:]}") from None
    except UnicodeError:
        raise ValueError("$: a string with half a character") from None


def _nulled(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {name: _nulled(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nulled(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def _kinds(of: Any) -> dict[str, Any]:  # noqa: ANN401
    """The types of the fields of a form, or of a value of `report/`."""
    if issubclass(of, Form):
        return {field.name: field.type for field in structs.fields(of)}
    hints = get_type_hints(of)
    return {field.name: hints[field.name] for field in fields(of)}


@cache
def _options(kind: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """What a value of the type may be, without remarks."""
    if get_origin(kind) is Annotated:
        return _options(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return tuple(option for each in get_args(kind) for option in _options(each))
    return (kind,)


def _said(value: Any, kind: Any) -> Any:  # noqa: ANN401
    """A value of `report/` as what a field of a form has."""
    options = _options(kind)
    if UnsetType in options and value in NOTHING:
        return UNSET
    if NoneType in options and value in (None, ""):
        return None
    for option in options:
        if isinstance(option, type) and issubclass(option, Form) and is_dataclass(value):
            return option.of(value)
        if get_origin(option) is dict:
            return {name: _said(each, get_args(option)[1]) for name, each in value}
        if get_origin(option) is tuple:
            return tuple(_said(each, get_args(option)[0]) for each in value)
    return value


def _meant(value: Any, kind: Any) -> Any:  # noqa: ANN401
    """What a field of a form has as a value of `report/`."""
    options = _options(kind)
    if value is None or value is UNSET:
        return None if NoneType in options else math.inf if float in options else kind()
    for option in options:
        if isinstance(value, Form) and isinstance(option, type) and is_dataclass(option):
            return value.made(option)
        if isinstance(value, dict):
            inner = get_args(get_args(option)[0])[1]
            return tuple((name, _meant(each, inner)) for name, each in value.items())
        if get_origin(option) is tuple:
            return tuple(_meant(each, get_args(option)[0]) for each in value)
    return value
