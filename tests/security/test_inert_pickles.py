"""Checkpoints that hold more than tensors: what is around the weights is kept as inert records."""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import enum
import functools
import io
import pathlib
import pickle
import struct
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convsv_cli import load
from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.checkpoint.archives import MAGIC_NUMBER, PROTOCOL_VERSION
from convsv_cli.loaders.checkpoint.reading import tensors_of
from convsv_cli.loaders.checkpoint.unpickler import unpickle
from convsv_cli.loaders.checkpoint.values import Global, Record
from convsv_cli.model.layer import Layer, UnsupportedLayer
from tests.support.pickles import Claim, pickled

WEIGHT = torch.arange(36.0).reshape(2, 2, 3, 3)


class Colour(enum.Enum):
    RED = 1


class Settings:
    """A class of the one who saved the file."""

    def __init__(self, rate: float) -> None:
        self.rate = rate


class Slotted:
    __slots__ = ("rate",)

    def __init__(self) -> None:
        self.rate = 0.1


class Names(dict[str, int]):
    """A dict of a class of its own."""


EXTRAS: dict[str, Any] = {
    "Namespace": argparse.Namespace(lr=0.1, layers=[1, 2]),
    "path": pathlib.PurePosixPath("/data/run"),
    "NumPy scalar": np.float32(0.5),
    "NumPy vector": np.arange(5.0),
    "NumPy object": np.dtype("float32"),
    "a class of its own": Settings(0.1),
    "slots": Slotted(),
    "enumeration": Colour.RED,
    "date": dt.datetime(2020, 1, 2, tzinfo=dt.timezone.utc),
    "uuid": uuid.UUID(int=7),
    "sets": {1, 2, ("a", frozenset({3}))},
    "complex": 1 + 2j,
    "bytes": bytearray(b"abc"),
    "counter": collections.Counter("abca"),
    "default": collections.defaultdict(list, a=[1]),
    "named": Names(a=1),
    "deque": collections.deque([1, 2], maxlen=3),
    "partial": functools.partial(print, "x"),
    "a function": torch.relu,
    "a bound method": "abc".upper,
    "tuples as keys": {(1, 2): 3, 10**30: 4},
    "dtype": torch.float16,
    "device": torch.device("cpu"),
    "size": torch.Size([1, 2]),
    "generator": torch.Generator().get_state(),
    "slice": slice(1, 2),
    "range": range(3),
    "loss": nn.CrossEntropyLoss(),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("extra", EXTRAS)
def test_what_is_around_the_weights_does_not_matter(
    extra: str, zipped: bool, protocol: int, tmp_path: Path
) -> None:
    value = {"state_dict": {"conv.weight": WEIGHT}, "hyper_parameters": EXTRAS[extra], "epoch": 3}
    options = {"_use_new_zipfile_serialization": zipped, "pickle_protocol": protocol}
    torch.save(value, tmp_path / "model.ckpt", **options)
    (layer,) = load(tmp_path / "model.ckpt").layers
    assert torch.equal(layer.read(), WEIGHT)
    torch.save({"conv.weight": WEIGHT, "args": EXTRAS[extra]}, tmp_path / "model.ckpt", **options)
    (layer,) = load(tmp_path / "model.ckpt").layers
    assert torch.equal(layer.read(), WEIGHT)


def inert(value: Any, protocol: int) -> Any:
    file = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
    result = unpickle(file, lambda reference: reference)
    assert file.read() == b"rest"
    return result


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_themselves(protocol: int) -> None:
    value = {
        "none": None, "true": True, "number": -(10**30), "float": 0.1, "text": "ä\n'\"\\",
        "tuple": (1, (2, ())),
        "list": [1, [2, []]], "dict": {1: {2.5: {}}}, "big": list(range(2000)),
    }  # fmt: skip
    assert inert(value, protocol) == value


def test_what_is_shared_stays_shared() -> None:
    shared: list[int] = [1]
    first, second = inert([shared, shared], 2)
    assert first is second
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    result = inert(cyclic, 2)
    assert result[0] is result


@pytest.mark.parametrize("protocol", range(6))
def test_objects_are_records_of_their_names_and_attributes(protocol: int) -> None:
    record = inert(Settings(0.25), protocol)
    assert isinstance(record, Record)
    assert record.maker == Global(__name__, "Settings")
    assert record.attributes == {"rate": 0.25}


def test_no_module_is_imported() -> None:
    """A class of a module that exists, but that nothing has imported yet, stays a name."""
    data = b"\x80\x02cthis\nZen\n)R."
    record = unpickle(io.BytesIO(data), lambda reference: reference)
    assert str(record.maker) == "this.Zen"
    assert "this" not in sys.modules


STRANGE = {
    "float16": WEIGHT.half(),
    "bfloat16": WEIGHT.bfloat16(),
    "float64": WEIGHT.double(),
    "float8": WEIGHT.to(torch.float8_e4m3fn),
    "transposed": WEIGHT.transpose(0, 3),
    "part": torch.arange(100.0).reshape(10, 10)[3:7, 2:9:2],
    "channels last": WEIGHT.to(memory_format=torch.channels_last),
    "expanded": torch.ones(1, 3).expand(1, 3),
    "parameter": nn.Parameter(WEIGHT),
    "buffer": nn.Buffer(WEIGHT),
    "empty": torch.ones(0, 3, 3),
}


@pytest.mark.parametrize(
    ("kind", "zipped"),
    [(kind, zipped) for kind in STRANGE for zipped in (True, False) if zipped or kind != "float8"],
)
def test_tensors_are_read_as_torch_reads_them(kind: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(
        {"a.weight": STRANGE[kind]},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    tensor = tensors_of(path).tensors["a.weight"]
    expected = torch.load(path, weights_only=True)["a.weight"]
    assert tensor.shape == expected.shape
    assert torch.equal(tensor.read().double(), expected.double())


def test_an_attribute_of_a_parameter_does_not_matter(tmp_path: Path) -> None:
    parameter = nn.Parameter(WEIGHT)
    parameter.tag = "first"
    torch.save({"a.weight": parameter}, tmp_path / "a.pt")
    assert torch.equal(load(tmp_path / "a.pt").layers[0].read(), WEIGHT)


def test_values_of_a_machine_with_the_other_byte_order(tmp_path: Path) -> None:
    torch.save({"a.weight": WEIGHT}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("/byteorder"):
                content = b"big"
            if name.endswith("/data/0"):
                content = struct.pack(">36f", *struct.unpack("<36f", content))
            new.writestr(name, content)
    assert torch.equal(load(tmp_path / "b.pt").layers[0].read(), WEIGHT)


def reasons(value: Any, folder: Path) -> dict[str, str]:
    torch.save(value, folder / "a.pt")
    rows = load(folder / "a.pt").layers
    assert all(isinstance(row, (Layer, UnsupportedLayer)) for row in rows)
    return {row.weight: getattr(row, "reason", "") for row in rows}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_tensors_that_cannot_be_used_are_rows(tmp_path: Path) -> None:
    state = {
        "good.weight": torch.ones(2, 2),
        "meta.weight": torch.ones(2, 2, device="meta"),
        "quantised.weight": torch.quantize_per_channel(
            torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint4x2
        ),
        "array.weight": np.ones((3, 4), np.float32),
        "conjugate.weight": torch.ones(2, 2, dtype=torch.complex64).conj(),
        "settings": {"inside": Settings(torch.ones(5, 5))},
    }
    found = reasons(state, tmp_path)
    fragments = {
        "good": "", "meta": "meta device", "quantised": "quantised",
        "array": "NumPy array", "conjugate": "conj bit",
    }  # fmt: skip
    for name, fragment in fragments.items():
        assert fragment in found.pop(f"{name}.weight")
    assert found == {"settings.inside": f"part of a {__name__}.Settings, whose use convsv does not know"}


def test_pickles_that_torch_did_not_write(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(pickle.dumps({"a.weight": WEIGHT.numpy()}))
    with pytest.raises(UnreadableModelError, match="a plain pickle"):
        load(path)
    path.write_bytes(b"\0" * 257 + b"ustar" + bytes(1000))
    with pytest.raises(UnreadableModelError, match=r"a tar file"):
        load(path)


BIG = """
import sys
from pathlib import Path
from convsv_cli import audit
result = audit(sys.argv[1])
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(result.audited, 1024 * int(peak))
"""
STORAGE = 1 << 27


class Sparse(io.FileIO):
    """A file in which zeros take no room."""

    def write(self, data: Any) -> int:
        if bytes(data).count(0) < len(data):
            return super().write(data) or 0
        self.truncate(self.tell() + len(data))
        self.seek(len(data), 1)
        return len(data)


def gigabyte(path: Path, zipped: bool) -> None:
    """Eight storages of zeros, of each of which a tensor uses 64 x 64."""
    claims = {
        f"l{i}.weight": Claim(shape=(64, 64), stride=(64, 1), numel=STORAGE // 4, offset=100, key=str(i))
        for i in range(8)
    }
    zeros = bytes(STORAGE)
    with Sparse(path, "w+") as file:
        if zipped:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("big/data.pkl", pickled(claims))
                for i in range(8):
                    archive.writestr(f"big/data/{i}", zeros)
        else:
            head = (MAGIC_NUMBER, PROTOCOL_VERSION, {})
            file.write(b"".join(pickle.dumps(value, 2) for value in head))
            file.write(pickled(claims) + pickle.dumps(list(map(str, range(8))), 2))
            for _ in range(8):
                file.write(struct.pack("<q", STORAGE // 4))
                file.write(zeros)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_a_gigabyte_is_mapped_not_read(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "big.pt"
    gigabyte(path, zipped)
    assert path.stat().st_size > 2**30
    command = [sys.executable, "-c", BIG, str(path)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    audited, peak = map(int, process.stdout.split())
    assert audited == 8
    assert peak < 6e8
