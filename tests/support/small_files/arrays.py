"""Data in .npz files: archives of little that inflate, or claim, to be much."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from tests.support.onnx_models import graph_model, normal
from tests.support.small_files.small_file import BROKEN, UNSAFE, SmallFile

BOMB = 100_000_000
ODD = "not a .npz file"
DEEP = "(" * 9_000


def _header(shape: str, dtype: str = "|u1") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _data(folder: Path, x: Callable[[zipfile.ZipFile], None]) -> Path:
    """A classifier of four features, and its samples, with classes for three of them."""
    model = graph_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 4]}, {"w": normal(4, 3)})
    onnx.save(model, folder / "model.onnx")
    classes = io.BytesIO()
    np.save(classes, np.zeros(3, np.int64))
    with zipfile.ZipFile(folder / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        x(archive)
        archive.writestr("y.npy", classes.getvalue())
    return folder / "data.npz"


def _zeros(archive: zipfile.ZipFile, name: str = "x.npy") -> None:
    with archive.open(name, "w", force_zip64=True) as member:
        member.write(_header(f"({BOMB // 4}, 4)"))
        block = bytes(1 << 24)
        for start in range(0, BOMB, len(block)):
            member.write(block[: min(len(block), BOMB - start)])


def _twice(archive: zipfile.ZipFile) -> None:
    for name in ("x.npy", "x"):
        archive.writestr(name, _header("(3, 4)") + bytes(12))


def _claiming(archive: zipfile.ZipFile, *, header: bytes) -> None:
    archive.writestr("x.npy", header + bytes(12))


def _packed(archive: zipfile.ZipFile) -> None:
    archive.writestr("x.npy", _header("(3, 4)") + bytes(12), zipfile.ZIP_LZMA)


def _damaged(folder: Path) -> Path:
    """Samples in whose deflated bytes some are others."""
    values = np.random.default_rng(0).standard_normal((300, 4))
    head = _header("(300, 4)", "<f8")
    path = _data(folder, lambda archive: archive.writestr("x.npy", head + values.tobytes()))
    content = bytearray(path.read_bytes())
    content[4_000:4_100] = bytes(100)
    path.write_bytes(content)
    return path


ARCHIVES: tuple[tuple[str, Callable[[Path], Path], int, str], ...] = (
    ("much", partial(_data, x=_zeros), UNSAFE, "--memory-limit"),
    ("one array twice", partial(_data, x=_twice), BROKEN, ODD),
    ("a claim", partial(_data, x=partial(_claiming, header=_header("(3, 10**12)"))), BROKEN, ODD),
    ("a large claim", partial(_data, x=partial(_claiming, header=_header("(3, 1000000000000)"))), BROKEN,
     ODD),
    ("a negative claim", partial(_data, x=partial(_claiming, header=_header("(-3, -4)"))), BROKEN,
     ODD),
    ("a long number", partial(_data, x=partial(_claiming, header=_header(f"(3, {'9' * 4_500})"))), BROKEN,
     ODD),
    ("nested brackets", partial(_data, x=partial(_claiming, header=_header(DEEP))), BROKEN, ODD),
    ("objects", partial(_data, x=partial(_claiming, header=_header("(3, 4)", "|O"))), BROKEN, ODD),
    ("another method", partial(_data, x=_packed), BROKEN, ODD),
    ("damage", _damaged, BROKEN, ODD),
)  # fmt: skip


MODEL = "{folder}/model.onnx"
FILES: tuple[SmallFile, ...] = (
    *(
        SmallFile(name=f"samples of {name}", make=make, codes=(code,), says=says,
                  command=("certify", MODEL, "--data", "{}"))
        for name, make, code, says in ARCHIVES
    ),
    *(
        SmallFile(name=f"inputs of {name}", make=make, codes=(code,), says=says,
                  command=("audit", MODEL, "--empirical", "{}"))
        for name, make, code, says in ARCHIVES if name in ("much", "a large claim", "damage")
    ),
)  # fmt: skip
