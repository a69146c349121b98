"""Files that are to take a reader down: small, but endless when they are followed."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.support.pickles import Claim, archive, module_class, pickled, text

END = b"."
STATE = text("conv.weight") + pickled(Claim())[2:-1]


def _file(data: bytes) -> Callable[[Path], None]:
    return lambda path: archive(path, b"\x80\x04" + data) and None


def _doubling(levels: int, width: int) -> bytes:
    """Dicts of dicts: `width` keys each for one and the same dict."""
    data = b"}" + STATE + b"s"
    for _ in range(levels):
        pairs = b"".join(text(f"k{key}") + b"h\x00" for key in range(width))
        data += b"q\x000}(" + pairs + b"u"
    return data + END


def _module(children: bytes) -> bytes:
    registries = text("_parameters") + b"}" + text("_buffers") + b"}"
    return module_class() + b"q\x01}(" + text("_modules") + b"}(" + children + b"u" + registries + b"ub"


def _module_doubling(levels: int) -> bytes:
    data = _module(text("weight") + b"}")
    for _ in range(levels):
        data += b"q\x000" + _module(text("a") + b"h\x00" + text("b") + b"h\x00")
    return data + END


def _cyclic_module() -> bytes:
    return _module(text("self") + b"h\x01" + text("again") + b"h\x01") + END


def _directory(path: Path) -> None:
    """A million entries in the directory of a zip archive."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *(0,) * 16)
    directory = entry * 1_000_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFE, 0xFFFE, len(directory), 0, 0)
    archive(path, END)
    head = path.read_bytes()[:40]
    path.write_bytes(directory + end)
    path.write_bytes(head[:4] + path.read_bytes()[4:])


def _code(path: Path) -> None:
    """A gigabyte of code, deflated."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("net/code/__torch__.py", bytes(1 << 27))
        file.writestr("net/constants.pkl", b"\x80\x02).", zipfile.ZIP_STORED)
        file.writestr("net/data.pkl", b"\x80\x02)" + END, zipfile.ZIP_STORED)


def _calls(path: Path) -> None:
    """Code of nothing but nested calls."""
    line = "    a = " + "torch.matmul(x, " * 200 + "\n"
    code = "class A(Module):\n  def forward(self: A):\n" + line * 300
    archive(path, pickled({"a": 1}), **{"code/__torch__.py": code.encode(), "constants.pkl": b"\x80\x02)."})


def _collisions() -> bytes:
    prime = (1 << 61) - 1
    keys = (b"\x8a\x0b" + (index * prime).to_bytes(11, "little") + b"N" for index in range(100_000))
    return b"}(" + b"".join(keys) + b"u" + END


BOMBS: dict[str, Callable[[Path], None]] = {
    "bytearray by call": _file(b"cbuiltins\nbytearray\n\x8a\x05\x00\x28\x6b\xee\x00\x85R" + END),
    "bytearray by opcode": _file(b"\x96" + struct.pack("<Q", 1 << 32) + END),
    "string by opcode": _file(b"\x8d" + struct.pack("<Q", 1 << 32) + END),
    "frame": _file(b"\x95" + struct.pack("<Q", 1 << 62) + END),
    "dicts": _file(b"}" * 4_000_000 + END),
    "memo": _file(b"N" + b"\x94" * 4_000_000 + END),
    "calls by a long name": _file(text("a" * 1_000_000) + b"2\x93q\x00" + b"h\x00)R" * 1_000_000 + END),
    "a long shape": _file(b"](" + b"K\x01" * 300_000 + b"eq\x00" + b"ctorch\nSize\nh\x00\x85R" * 9999 + END),
    "nested tuples as a key": _file(b"})" + b"\x85" * 600_000 + b"Ns" + END),
    "nested lists": _file(b"]" * 300_000 + b"a" * 299_999 + END),
    "nested objects": _file(b"cx\nY\n)\x81" * 100_000 + b"b" * 99_999 + END),
    "nested rebuilding": _file(
        b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00)q\x01" + b"h\x00h\x00Nh\x01\x87q\x01R" * 9999 + END
    ),
    "keys of one hash": _file(_collisions()),
    "laughs": _file(_doubling(100, 10)),
    "wide laughs": _file(_doubling(7, 2000)),
    "wrapped laughs": _file(
        b"}" + (b"q\x000}(" + b"".join(text(k) + b"h\x00" for k in ("model", "net", "ema")) + b"u") * 50 + END
    ),
    "a dict in itself": _file(b"}q\x00" + text("model") + b"h\x00s" + END),
    "a list in itself": _file(b"]q\x00h\x00a" + END),
    "a module in itself": _file(_cyclic_module()),
    "module laughs": _file(_module_doubling(60)),
    "values by stride 0": lambda path: archive(
        path, pickled({"a.weight": Claim(shape=(100_000, 100_000), stride=(0, 0))})
    ) and None,
    "a long zip directory": _directory,
    "deflated code": _code,
    "nested calls in code": _calls,
}  # fmt: skip
