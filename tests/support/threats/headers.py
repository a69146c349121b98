"""Headers, indices and descriptions in JSON that claim, repeat and go on without end."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.threats.threat import BROKEN, INCOMPLETE, UNSAFE, Threat


def entry(*shape: int, end: int = 16, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [0, end]}


def _headed(folder: Path, *, header: Callable[[], bytes], length: int | None = None) -> Path:
    """A safetensors file with this header, said to be of that length, and 16 bytes of data."""
    text = header()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + bytes(16))
    return path


def _described(**entries: dict[str, Any]) -> Callable[[], bytes]:
    return lambda: json.dumps(entries).encode()


def _twice() -> bytes:
    shapes = b'{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
    return b'{"a.weight":' + shapes + b',"a.weight":' + shapes + b"}"


def _many(count: int) -> bytes:
    return json.dumps({f"a{i}": entry(0, end=0) for i in range(count)}, separators=(",", ":")).encode()


def _index(folder: Path, *, text: Callable[[], bytes]) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_bytes(text())
    return path


def _braces() -> bytes:
    return b"[" + b"{}," * 8_000_000 + b"{}]"


def _program(folder: Path, *, text: Callable[[], bytes]) -> Path:
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        archive.writestr("a/data/weights/model_weights_config.json", '{"config": {}}')
        archive.writestr("a/models/model.json", text())
    return folder / "model.pt2"


def _weights(folder: Path, *, edit: dict[str, Any]) -> Path:
    """A program whose only weight claims what it likes of the 16 bytes that it has."""
    sizes = [{"as_int": 2}, {"as_int": 2}]
    strides = [{"as_int": 2}, {"as_int": 1}]
    meta = {
        "dtype": 7, "sizes": sizes, "strides": strides, "storage_offset": {"as_int": 0}, "layout": 7, **edit,
    }  # fmt: skip
    config = {"config": {"w": {"path_name": "weight_0", "use_pickle": False, "tensor_meta": meta}}}
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        archive.writestr("a/data/weights/model_weights_config.json", json.dumps(config))
        archive.writestr("a/data/weights/weight_0", bytes(16))
        archive.writestr("a/models/model.json", "{}")
    return folder / "model.pt2"


def _deflated(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/models/model.json", bytes(64 << 20))
    return folder / "model.pt2"


def _leading_out(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        archive.writestr("a/../../model.json", "{}")
    return folder / "model.pt2"


HUGE = [{"as_int": 10**5}] * 2
HEADERS = (
    ("a header beyond the file", _headed, {"header": lambda: b"{}", "length": 1 << 62}, BROKEN, "incomplete"),
    ("a header of 30 MB", _headed, {"header": lambda: b'{"' + b"a" * (30 << 20)}, UNSAFE, "longer than"),
    ("a name twice", _headed, {"header": _twice}, BROKEN, "twice"),
    ("300,000 tensors", _headed, {"header": partial(_many, 300_000)}, UNSAFE, "tensors"),
    ("200,000 axes", _headed, {"header": _described(a=entry(*[1] * 200_000, 2, 2))}, UNSAFE, "axes"),
    ("a name of a megabyte", _headed, {"header": _described(**{"a" * (1 << 20): entry(2, 2)})}, UNSAFE,
     "name"),
    ("a shape beyond the data", _headed, {"header": _described(a=entry(1 << 40, 2))}, BROKEN, "damaged"),
    ("data beyond the file", _headed, {"header": _described(a=entry(4, 4, end=64))}, BROKEN, "damaged"),
    ("nothing by a lot", _headed,
     {"header": _described(**{"a.weight": entry(0, 1 << 62, end=0), "b.weight": entry(2, 2)})}, INCOMPLETE,
     "empty"),
    ("a deep header", _headed, {"header": lambda: b'{"a":' + b"[" * 100_000}, BROKEN, "nested too deeply"),
    ("an index of braces", _index, {"text": _braces}, BROKEN, "not the index"),
    ("a deep index", _index, {"text": lambda: b"[" * 1_000_000}, BROKEN, "nested too deeply"),
    ("a number of a megabyte", _index, {"text": lambda: b"1" * (1 << 20)}, BROKEN, "damaged"),
    ("a program of braces", _program, {"text": _braces}, BROKEN, "damaged"),
    ("a long program", _program, {"text": lambda: b" " * (25 << 20)}, UNSAFE, "longer than"),
    ("a program's stride 0", _weights, {"edit": {"sizes": HUGE, "strides": [{"as_int": 0}] * 2}}, BROKEN,
     "damaged"),
    ("a program's huge sizes", _weights, {"edit": {"sizes": HUGE}}, UNSAFE, "more values"),
    ("a deflated program", _deflated, {}, UNSAFE, "compressed"),
    ("a record that leads out", _leading_out, {}, UNSAFE, "leads out"),
)  # fmt: skip
THREATS = tuple(
    Threat(name=name, make=partial(make, **options), code=code, says=says)
    for name, make, options, code, says in HEADERS
)
