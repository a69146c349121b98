"""The three tables of a sweep as files: JSON lines, and Parquet where pyarrow is installed."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from convsv_cli.cache import fingerprint
from convsv_cli.machine import file_state, regular
from convsv_cli.replacing import replacement
from convsv_cli.report.verdict import PRECEDENCE, worst
from convsv_cli.sweeping.columns import (
    FLAG,
    REAL,
    TABLES,
    TEXT,
    TEXTS,
    VERSION,
    WHOLE,
    WHOLES,
    Column,
    File,
    Row,
)
from convsv_cli.sweeping.outcomes import Outcome, outcomes_in, state_of

TOTALS = "totals.json"
LARGEST_TOTALS = 2**16
"""Bytes."""
LARGEST = 2**63
BATCH = 10_000
"""Rows that are written at once."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the tables say in short.

    Attributes:
        files: how many files there are of each status.
        layers: how many layers have figures.
        exit_code: the worst of all files.
        parquet: whether there are tables in Parquet.
    """

    files: Mapping[str, int]
    layers: int
    exit_code: int
    parquet: bool


def update_tables(results: Path) -> Totals:
    """Write the tables of a folder's outcomes to it, unless nothing has changed since they were written.

    Raises:
        UsageError: as `outcomes_in` and `write_tables`.
    """
    state = _digest(state_of(results), fingerprint(), str(_has_arrow()))
    totals = _standing(results, state)
    if totals is None:
        totals = write_tables(outcomes_in(results), results)
        with replacement(results / TOTALS, links=False) as file:
            said = {"state": state, "tables": _tables(results, totals.parquet), **asdict(totals)}
            file.write(json.dumps(said).encode())
    return totals


def _standing(results: Path, state: str) -> Totals | None:
    """What the tables that are there say in short; None where they are of other outcomes, or not there."""
    try:
        with regular(results / TOTALS) as file:
            said = json.loads(file.read(LARGEST_TOTALS))
        before, written = said.pop("state"), said.pop("tables")
        totals = Totals(**said)
        sound = isinstance(totals.layers, int) and totals.exit_code in PRECEDENCE
        counts = {str(status): int(count) for status, count in totals.files.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
    stands = sound and before == state and written == _tables(results, bool(totals.parquet))
    return replace(totals, files=counts) if stands else None


def _tables(results: Path, parquet: bool) -> list[list[int]]:  # noqa: FBT001  (of `Totals`)
    """The states of the tables, so that one that others have changed is written again."""
    suffixes = ("jsonl", "parquet") if parquet else ("jsonl",)
    return [list(file_state(results / f"{name}.{suffix}")) for name in TABLES for suffix in suffixes]


def write_tables(outcomes: Iterable[Outcome], results: Path) -> Totals:
    """Write the tables of all outcomes to a folder, each replaced whole.

    One outcome is in memory at a time.

    Args:
        outcomes: see `outcomes_in`.
        results: the folder.

    Raises:
        UsageError: one of them cannot be written.
    """
    arrow, statuses, layers, codes = _has_arrow(), Counter[str](), 0, set[int]()
    with ExitStack() as stack:
        writers: list[_Lines | _Parquet] = []
        for name, columns in TABLES.items():
            lines = stack.enter_context(replacement(results / f"{name}.jsonl", links=False))
            writers.append(_Lines(lines))
            if arrow:
                parquet = stack.enter_context(replacement(results / f"{name}.parquet", links=False))
                writers.append(stack.enter_context(_Parquet(parquet, columns)))
        each = 2 if arrow else 1
        for outcome in outcomes:
            file = file_of(outcome)
            statuses[file.status] += 1
            codes.add(file.exit_code)
            layers += file.audit.audited if file.audit else 0
            for index, (name, rows) in enumerate(_rows(file)):
                values = [_values(row, TABLES[name]) for row in rows]
                for writer in writers[each * index : each * (index + 1)]:
                    writer.write(values)
    return Totals(files=dict(statuses), layers=layers, exit_code=worst(codes), parquet=arrow)


def file_of(outcome: Outcome) -> File:
    """What became of a file, as the tables have it."""
    report = outcome.report
    audit = next(iter(report.audits), None) if report else None
    failure = next(iter(report.failures), None) if report else None
    return File(path=outcome.path, same_as=outcome.same_as, audit=audit, failure=failure, gone=outcome.gone)


def _rows(file: File) -> Iterator[tuple[str, list[Any]]]:
    """Of each table, in the order of `TABLES`, the rows that a file has."""
    audit = file.audit
    yield "files", [file]
    yield "networks", [audit] if audit else []
    yield "layers", [Row(path=file.path, layer=layer) for layer in audit.layers] if audit else []


def _values(row: Any, columns: tuple[Column, ...]) -> dict[str, Any]:  # noqa: ANN401
    return {column.name: _plain(column.of(row)) for column in columns}


def _plain(value: Any) -> Any:  # noqa: ANN401
    """As tables have it: no number that is not finite, and what is no text in a name, spelled out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [_plain(each) for each in value] if isinstance(value, (tuple, list)) else value


class _Lines:
    """JSON lines."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows."""
        for row in rows:
            self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")


class _Parquet:
    """A Parquet file, a row group per so many rows."""

    def __init__(self, file: BinaryIO, columns: tuple[Column, ...]) -> None:
        self._file, self._columns = file, columns
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> _Parquet:  # noqa: PYI034  (3.10 has no Self)
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds: Mapping[str, Any] = {
            TEXT: pa.string(),
            WHOLE: pa.int64(),
            REAL: pa.float64(),
            FLAG: pa.bool_(),
            WHOLES: pa.list_(pa.int64()),
            TEXTS: pa.list_(pa.string()),
        }
        fields = [
            pa.field(column.name, kinds[column.kind], metadata={"about": column.about})
            for column in self._columns
        ]
        self._schema = pa.schema(fields, metadata={"convsv_sweep": VERSION})
        self._writer = pq.ParquetWriter(self._file, self._schema)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows."""
        self._rows += [{name: _storable(value) for name, value in row.items()} for row in rows]
        if len(self._rows) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows = []


def _storable(value: Any) -> Any:  # noqa: ANN401
    """A value as Parquet can have it: nothing where it is too large, and escapes for bytes of no character.

    Names of files may have such bytes, which Python has as halves of pairs; JSON has them as they are.
    """
    if isinstance(value, list):
        return [_storable(each) for each in value]
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return None if isinstance(value, int) and abs(value) >= LARGEST else value


def _has_arrow() -> bool:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


def _digest(*said: str) -> str:
    return hashlib.sha256("\0".join(said).encode()).hexdigest()
