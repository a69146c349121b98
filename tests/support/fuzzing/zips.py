"""Other records in a zip archive."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from random import Random

from tests.support.fuzzing.json_values import json_value, nested
from tests.support.fuzzing.mutations import BLIND, NUMBERS
from tests.support.fuzzing.pickles import opcode

NAMES = ("../x", "/etc/x", "a/data.pkl", "data.pkl", "a/data/0", "a/constants.pkl", "a/code/x.py", "é", "")


def content(data: bytes, random: Random) -> bytes:
    """A record that says what the others are gets other content, of its kind."""
    records = _records(data)
    telling = [name for name in records if name.endswith((".pkl", ".json", ".py"))]
    if not telling:
        return data
    name = random.choice(telling)
    records[name] = _changed(name, records[name], random)
    return _archive(records, zipfile.ZIP_STORED)


def records(data: bytes, random: Random) -> bytes:
    """A record is gone, renamed, empty, longer, there twice, or deflated."""
    found = _records(data)
    if not found:
        return data
    name = random.choice(list(found))
    what = random.randrange(7)
    if what == 0:
        del found[name]
    elif what == 1:
        found[random.choice([*NAMES, *found])] = found.pop(name)
    elif what == 2:
        found[name] = found[name][: random.choice((0, 1, len(found[name]) // 2))]
    elif what == 3:
        found[name] += bytes(random.choice((1, 1000, 1 << 20)))
    elif what == 4:
        other = random.choice(list(found))
        found[name] = found[other]
    deflated = zipfile.ZIP_DEFLATED if what == 5 else zipfile.ZIP_STORED
    return _archive(found, deflated, twice=name if what == 6 else "")


def directory(data: bytes, random: Random) -> bytes:
    """A number of a header: local, central, or the end's."""
    signature = random.choice((b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"))
    places = [at for at in range(len(data)) if data.startswith(signature, at)] if len(data) < 1 << 17 else []
    if not places:
        return data
    at = random.choice(places) + random.randrange(4, 46 if signature == b"PK\x01\x02" else 22)
    width, code = random.choice(((2, "<H"), (4, "<I")))
    return data[:at] + struct.pack(code, random.choice(NUMBERS) % 2 ** (8 * width)) + data[at + width :]


def _changed(name: str, data: bytes, random: Random) -> bytes:
    if not data or random.random() < 0.15:
        return random.choice(BLIND)(data, random) if data else b"}."
    if name.endswith(".pkl"):
        return opcode(data, random)
    if name.endswith(".json"):
        return json_value(data, random) if random.random() < 0.95 else nested(data, random)
    return _code(data, random)


def _code(data: bytes, random: Random) -> bytes:
    """Of TorchScript: a line gone, twice or elsewhere, or a bracket more or less."""
    lines = data.splitlines(keepends=True)
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[at : at + 1] = random.choice(
        ([], [lines[at]] * 2, [lines[other]], [lines[at].replace(b"(", b"((", 1)], [lines[at][::-1]])
    )
    return b"".join(lines)


def _records(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            return {name: file.read(name) for name in file.namelist()}
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        struct.error,
    ):
        return {}


def _archive(records: dict[str, bytes], method: int, twice: str = "") -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "w", method) as file:
            for name, data in [*records.items(), *((twice, records.get(twice, b"")) for _ in twice[:1])]:
                file.writestr(name or "a", data)
    return buffer.getvalue()
