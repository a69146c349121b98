"""Other headers and values in the arrays of an .npz."""

from __future__ import annotations

import io
import re
import zipfile
from random import Random

import numpy as np

from tests.support.fuzzing.zips import _archive, _records

DTYPES = (
    "<f4",
    "<f8",
    "|O",
    "<i8",
    "|b1",
    "<U1000000",
    "|V8",
    "<M8[s]",
    "<c16",
    "<f2",
    "|S0",
    ">f4",
    "f4, f8",
    "<f",
)
SHAPES = (
    "()",
    "(0,)",
    "(3,)",
    "(-1, 4)",
    "(4, 3)",
    "(2**40,)",
    "(10**9, 10**9)",
    "(3, 4, 1)",
    "3",
    "[3, 4]",
    "(3.0,)",
)
NAMES = ("x.npy", "y.npy", "x", "a/x.npy", "../x.npy", "X.npy", "\x1b[2J.npy", "x.npz")


def header(data: bytes, random: Random) -> bytes:
    """An array whose header claims something else."""
    found = _records(data)
    name = random.choice(list(found))
    text = found[name]
    change = random.randrange(4)
    if change == 0:
        text = re.sub(rb"'descr': '[^']*'", f"'descr': '{random.choice(DTYPES)}'".encode(), text, count=1)
    elif change == 1:
        text = re.sub(rb"'shape': \([^)]*\)", f"'shape': {random.choice(SHAPES)}".encode(), text, count=1)
    elif change == 2:
        text = text.replace(b"False", random.choice((b"True", b"None", b"[" * 100, b"1")), 1)
    else:
        text = text[:6] + bytes([random.randrange(5), random.randrange(3)]) + text[8:]
    found[name] = text
    return _archive(found, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def values(data: bytes, random: Random) -> bytes:
    """An array of other values, or another one under its name."""
    found = _records(data)
    name = random.choice(list(found))
    array = random.choice(
        (
            np.zeros((3, 4), np.float32),
            np.full((3, 4), np.nan),
            np.full((3, 4), 1e300),
            np.arange(3) - 1,
            np.array([0, 1, 2**40]),
            np.zeros((3, 4), complex),
            np.zeros((0, 4), np.float32),
            np.zeros((3, 2, 2), np.float32),
            np.zeros((3, 4), bool),
            np.array(["a", "b", "c"]),
            np.zeros((2000, 4), np.float32),
            np.array(1.0),
        )
    )
    buffer = io.BytesIO()
    np.save(buffer, array)
    if random.random() < 0.5:
        found.pop(name)
        name = random.choice(NAMES)
    found[name] = buffer.getvalue()
    return _archive(found, zipfile.ZIP_STORED)
