"""Saved JSON reports, read back: any 1.x schema, with defaults for what older versions did not write."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from convsv_cli.calculators import CALCULATORS
from convsv_cli.errors import UnreadableReportError, UsageError, expecting
from convsv_cli.missing import is_url, nothing_at
from convsv_cli.report import Audit, Report

LARGEST = 64 * 2**20
"""Bytes. A layer takes about two thousand."""
HINT = "a report is what --format json wrote"
LONGEST_INTEGER = 18
"""Characters."""


def read(path: str | Path) -> Report:
    """The report that `--format json` wrote to a file, or to stdin where the path is "-".

    What an older 1.x schema did not have is left at its default; what a newer one adds is not looked at.

    Raises:
        UnreadableReportError: the file is missing, larger than 64 MiB, no JSON, or no report of a schema 1.x;
            the line names the file and the place in the document.
    """
    file = "stdin" if str(path) == "-" else str(path)
    try:
        data = _bytes(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or is_url(path):
            raise nothing_at(UnreadableReportError, path) from error
        raise UnreadableReportError(error.strerror or str(error), where=file) from error
    if len(data) > LARGEST:
        raise UnreadableReportError("larger than 64 MiB: not a report", where=file)
    return parsed(data, file)


def read_one(path: str | Path) -> Audit:
    """The only audit of a report.

    Raises:
        UnreadableReportError: as `read`.
        UsageError: there are none or several.
    """
    audits = read(path).audits
    if len(audits) != 1:
        what = f"expected the audit of one model, found {len(audits)}"
        raise UsageError(what, where=str(path))
    return audits[0]


def is_report(path: Path) -> bool:
    """Whether a file is taken for a report: one of JSON, but for the index of a model in several files."""
    return str(path) == "-" or (path.suffix.lower() == ".json" and not path.name.endswith(".index.json"))


def parsed(data: bytes, file: str) -> Report:
    """The report in strict JSON, in UTF-8, UTF-16 or UTF-32, with numbers that floats can hold.

    Args:
        data: the document.
        file: the name by which errors call it.

    Raises:
        UnreadableReportError: there is none.
    """
    with expecting(UnreadableReportError, "not a report", where=file, hint=HINT):
        return _parsed(data, file)


def strict(data: bytes) -> object:
    """The value in JSON that has nothing which is not JSON's, and no number that a float cannot hold.

    Raises:
        ValueError, RecursionError: there is none.
    """
    return json.loads(data, parse_float=_float, parse_int=_integer, parse_constant=_refused)


def _parsed(data: bytes, file: str) -> Report:
    from convsv_cli.wire.audit import report_of

    try:
        document = strict(data)
    except RecursionError:
        raise UnreadableReportError("not a report: nested too deeply", where=file) from None
    except UnicodeDecodeError as error:
        hint = f"{HINT}; of a model, see convsv audit"
        raise UnreadableReportError("not JSON, as it is no text", where=file, hint=hint) from error
    except ValueError as error:
        raise UnreadableReportError(f"not JSON: {error}", where=file, hint=HINT) from error
    try:
        return report_of(document, [calculator.method for calculator in CALCULATORS])
    except ValueError as error:
        raise UnreadableReportError(str(error), where=file) from error


def _bytes(path: str | Path) -> bytes:
    if str(path) != "-":
        with Path(path).open("rb") as file:
            return file.read(LARGEST + 1)
    if sys.stdin is None:
        raise UnreadableReportError("closed", where="stdin")
    return sys.stdin.buffer.read(LARGEST + 1)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"a number beyond the range of floating point: {text[:40]}")
    return number


def _integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(text)} characters")
    return int(text)


def _refused(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
