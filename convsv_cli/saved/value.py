"""A JSON value that knows where in its document it is, so that errors can say so."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from convsv_cli.errors import UnreadableReportError

LONGEST_INTEGER = 18


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value of a document; absent members and null are alike None.

    Attributes:
        value: as Python has it.
        file: that the document is from, for errors.
        path: in the document, `$.layers[3].name`.
    """

    value: Any
    file: str
    path: str = "$"

    def fault(self, what: str) -> UnreadableReportError:
        """The error to raise where this value is not what it has to be."""
        return UnreadableReportError(f"{self.path}: {what}", where=self.file)

    @property
    def present(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    def __getitem__(self, name: str) -> Value:
        inner = self._as(dict, "an object").get(name) if self.present else None
        return self._inside(inner, f".{name}" if name.isidentifier() else f"[{json.dumps(name)}]")

    def members(self) -> list[tuple[str, Value]]:
        """Of an object, in order; none where it is absent."""
        return [(name, self[name]) for name in (self._as(dict, "an object") if self.present else ())]

    def items(self) -> list[Value]:
        """Of a list; none where it is absent."""
        values = self._as(list, "a list") if self.present else []
        return [self._inside(value, f"[{index}]") for index, value in enumerate(values)]

    def text(self, default: str | None = None) -> str:
        """The string; the default where there is none."""
        if default is not None and not self.present:
            return default
        return str(self._as(str, "a string"))

    def texts(self) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(item.text() for item in self.items())

    def choice(self, known: tuple[str, ...], default: str | None = None) -> str:
        """A string that is one of these."""
        text = self.text(default)
        if text not in known:
            raise self.fault(f"{json.dumps(text)} is not one of {', '.join(known)}")
        return text

    def flag(self) -> bool:
        """Whether it is true; absent is not."""
        return self.present and bool(self._as(bool, "true or false"))

    def integer(self, default: int | None = None) -> int:
        """A whole number of at least 0; the default where there is none."""
        if default is not None and not self.present:
            return default
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self.fault("not a whole number of at least 0" if self.present else "missing")
        return self.value

    def integers(self) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(item.integer() for item in self.items())

    def number(self, default: float | None = None) -> float:
        """A number; the default where there is none."""
        if default is not None and not self.present:
            return default
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self.fault("not a number" if self.present else "missing")
        return self.value

    def norm(self, default: float = math.inf) -> float:
        """A number of at least 0; infinity, which JSON has no word for, is null."""
        number = self.number(default)
        if number < 0:
            raise self.fault("negative")
        return number

    def pair(self) -> tuple[float, float] | None:
        """Two numbers, the smaller one first; None where there are none."""
        if not self.present:
            return None
        numbers = [item.number() for item in self.items()]
        if len(numbers) != 2 or numbers[0] > numbers[1]:
            raise self.fault("not two numbers, the smaller one first")
        return numbers[0], numbers[1]

    def _as(self, kind: type, name: str) -> Any:  # noqa: ANN401
        if not isinstance(self.value, kind):
            raise self.fault(f"not {name}" if self.present else "missing")
        return self.value

    def _inside(self, value: object, step: str) -> Value:
        return Value(value=value, file=self.file, path=self.path + step)


def parse(data: bytes, file: str) -> Value:
    """The document of a file: strict JSON in UTF-8, UTF-16 or UTF-32, with numbers that floats can hold.

    Raises:
        UnreadableReportError: it is none.
    """
    try:
        value = json.loads(data, parse_float=_float, parse_int=_integer, parse_constant=_refused)
    except RecursionError:
        raise UnreadableReportError("not a report: nested too deeply", where=file) from None
    except ValueError as error:
        hint = "a report is what --format json wrote"
        raise UnreadableReportError(f"not JSON: {error}", where=file, hint=hint) from error
    return Value(value=value, file=file)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"a number beyond floating point: {text[:40]}")
    return number


def _integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise ValueError(f"a whole number of {len(text)} characters")
    return int(text)


def _refused(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
