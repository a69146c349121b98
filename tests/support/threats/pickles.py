"""Pickles and the archives around them that are small, and endless when they are followed."""

from __future__ import annotations

import struct
import warnings
import zipfile
from functools import partial
from pathlib import Path

import torch

from tests.support.bombs import BOMBS
from tests.support.pickles import KERNEL, Claim, archive, pickled
from tests.support.threats.threat import BROKEN, INCOMPLETE, UNSAFE, Threat

OBJECTS = "more objects than any checkpoint has"
ENDLESS = "without end"
LONG = "a name longer than"


def _bomb(folder: Path, *, name: str) -> Path:
    BOMBS[name](folder / "model.pt")
    return folder / "model.pt"


def _sound(folder: Path) -> Path:
    return archive(folder / "model.pt", pickled({"a.weight": Claim()}))


def _deflated(folder: Path) -> Path:
    """A quarter of a gigabyte of zeros in a quarter of a megabyte."""
    claim = Claim(shape=(1 << 13, 1 << 13), stride=(1 << 13, 1), numel=1 << 26)
    with zipfile.ZipFile(folder / "model.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("net/data.pkl", pickled({"a.weight": claim}), zipfile.ZIP_STORED)
        with file.open("net/data/0", "w") as record:
            for _ in range(256):
                record.write(bytes(1 << 20))
    return folder / "model.pt"


def _twice(folder: Path) -> Path:
    path = _sound(folder)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr("net/data/0", bytes(len(KERNEL)))
    return path


def _overlapping(folder: Path) -> Path:
    path = archive(folder / "model.pt", pickled({"a.weight": Claim()}), {"0": KERNEL, "1": KERNEL})
    data = path.read_bytes()
    longer = struct.pack("<2L", len(KERNEL) + 100, len(KERNEL) + 100)
    entry = data.rfind(b"net/data/0") - 46
    path.write_bytes(data[: entry + 20] + longer + data[entry + 28 :])
    return path


def _claim(folder: Path, *, claim: Claim) -> Path:
    return archive(folder / "model.pt", pickled({"a.weight": claim}))


def _meta(folder: Path) -> Path:
    torch.save({"a.weight": torch.empty(1 << 20, 1 << 20, device="meta")}, folder / "model.pt")
    return folder / "model.pt"


def _long_name(folder: Path) -> Path:
    return archive(folder / "model.pt", pickled({"a" * (16 << 20) + ".weight": Claim()}))


def _long_complaint(folder: Path) -> Path:
    return archive(folder / "model.pt", pickled({"a" * 1900 + ".weight": Claim(offset=1)}))


def _padded(folder: Path) -> Path:
    """As much as the limits let pass, in each of the two pickles of a program."""
    data = b"\x80\x04" + (b"\x8e" + struct.pack("<Q", 60 << 20) + bytes(60 << 20)) * 4 + b"}" * 400_000 + b"."
    return archive(folder / "model.pt", data, **{"constants.pkl": data})


BOMB_CODES = (
    ("bytearray by call", UNSAFE, "a bytearray of more than"),
    ("bytearray by opcode", UNSAFE, "a single object of"),
    ("memo", UNSAFE, OBJECTS),
    ("laughs", BROKEN, "no weights"),
    ("module laughs", UNSAFE, ENDLESS),
    ("a dict in itself", BROKEN, "no weights"),
    ("a list in itself", BROKEN, "no weights"),
    ("a module in itself", UNSAFE, LONG),
    ("nested lists", BROKEN, "no weights"),
    ("keys of one hash", BROKEN, "no weights"),
    ("a long zip directory", UNSAFE, "more records than"),
    ("deflated code", BROKEN, "no weights"),
)
THREATS = (
    *(
        Threat(name=name, make=partial(_bomb, name=name), code=code, says=says)
        for name, code, says in BOMB_CODES
    ),
    Threat(name="values by stride 0", make=partial(_bomb, name="values by stride 0"), code=INCOMPLETE,
           says="too many to unfold"),
    Threat(name="values beyond the storage", make=partial(_claim, claim=Claim(offset=1)), code=UNSAFE,
           says="claims more values"),
    Threat(name="a storage beyond the file", make=partial(_claim, claim=Claim(numel=1 << 40)), code=UNSAFE,
           says="claims more bytes"),
    Threat(name="a tensor without values", make=_meta, code=INCOMPLETE, says="on the meta device"),
    Threat(name="a deflated record", make=_deflated, code=UNSAFE, says="is compressed"),
    Threat(name="a record that is there twice", make=_twice, code=UNSAFE, says="twice"),
    Threat(name="records on top of each other", make=_overlapping, code=UNSAFE, says="overlaps"),
    Threat(name="a tensor's endless name", make=_long_name, code=UNSAFE, says=LONG),
    Threat(name="an endless name in a complaint", make=_long_complaint, code=UNSAFE, says="claims"),
    Threat(name="two pickles as large as may be", make=_padded, code=BROKEN, says="no weights"),
)  # fmt: skip
