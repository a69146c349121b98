"""TorchScript: a little code that says much of many weights."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.support.pickles import pickled, text
from tests.support.small_files.checkpoints import END, GET, LONG, MANY, PROTO, PUT, WEIGHT
from tests.support.small_files.small_file import AUDITED, BROKEN, UNSAFE, SmallFile


def _script(folder: Path, code: str, root: bytes | None = None) -> Path:
    root = root or pickled({"a": 1})
    with zipfile.ZipFile(folder / "model.pt", "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in (
            ("data.pkl", root),
            ("data/0", bytes(4 * 36)),
            ("constants.pkl", PROTO + b")" + END),
            ("version", b"10\n"),
        ):
            file.writestr(f"net/{name}", data, zipfile.ZIP_STORED)
        file.writestr("net/code/__torch__.py", code)
    return folder / "model.pt"


def _modules(count: int) -> bytes:
    """A module that holds so many of one class, each with a weight."""
    state = b"}" + text("weight") + WEIGHT + b"sq\xc80"
    inner = b"c__torch__\nA\nq\xc90"
    children = b"".join(text(str(index)) + b"h\xc9)\x81h\xc8b" for index in range(count))
    return PROTO + state + inner + b"c__torch__\nB\n)\x81}(" + children + b"ub" + END


def _calls(folder: Path) -> Path:
    """150,000 calls with the weight of a class of which there are many modules."""
    calls = "".join(f"    y = torch.linear(x, self.weight, {index})\n" for index in range(90_000))
    code = "class A(Module):\n  def forward(self: A, x: Tensor) -> Tensor:\n" + calls
    return _script(folder, code, _modules(20_000))


def _constants(folder: Path) -> Path:
    """A class of many constants, and many modules of it."""
    lines = "".join(f"  c{index} : Final[int] = 1\n" for index in range(100_000))
    return _script(folder, f"class A(Module):\n{lines}", _modules(20_000))


def _borrowed(folder: Path) -> Path:
    lines = "".join(f"    b{i} = a.w{i}\n" for i in range(100_000))
    code = f"class A(Module):\n  def forward(self: A) -> Tensor:\n    a = self.inner\n{lines}"
    return _script(folder, code, _modules(20_000))


def _lines(folder: Path) -> Path:
    """Long lines of calls in brackets that are closed at once, and of strings that never are."""
    calls = "    a = " + "torch.matmul(x), " * 200 + "\n"
    strings = "    a = " + "torch.matmul(" * 100 + '"' + '\\"' * 1300 + "\n"
    return _script(folder, "class A(Module):\n  def forward(self: A):\n" + (calls + strings) * 500)


def _calls_of_calls(folder: Path) -> Path:
    """Methods that each call the next one twice, on a tensor."""
    twice = (
        f"  def f{i}(self: A, x: Tensor) -> Tensor:\n"
        f"    y = (self).f{i + 1}(x, )\n    return (self).f{i + 1}(y, )\n"
        for i in range(30)
    )
    begin = "class A(Module):\n  def forward(self: A, x: Tensor) -> Tensor:\n    return (self).f0(x, )\n"
    last = "  def f30(self: A, x: Tensor) -> Tensor:\n    return torch.relu(x)\n"
    root = PROTO + b"c__torch__\nA\n)\x81}" + text("weight") + WEIGHT + b"sb" + END
    return _script(folder, begin + "".join(twice) + last, root)


def _keys(folder: Path) -> Path:
    """A dict of tensors below a long key, in a TorchScript module."""
    shared = LONG + PUT + b"0" + WEIGHT + b"q\xc90"
    inner = b"}(" + b"".join(text(str(index)) + b"h\xc9" for index in range(40_000)) + b"u"
    root = b"c__torch__\nB\n)\x81}" + text("d") + b"}" + GET + inner + b"ssb"
    return _script(folder, "class B(Module):\n", PROTO + shared + root + END)


def _references(folder: Path) -> Path:
    shared = b"](" + b"N" * MANY + b"e" + PUT + b"0"
    root = (
        shared
        + b"}"
        + text("a")
        + b"ctorch.jit._pickle\nrestore_type_tag\nq\xc90"
        + (b"h\xc9h\xc8\x85R0") * MANY
    )
    return _script(folder, "", PROTO + root + b"Ns" + END)


FILES: tuple[SmallFile, ...] = (
    SmallFile(name="code of many calls", codes=(AUDITED, BROKEN, UNSAFE), make=_calls),
    SmallFile(name="code of many constants", codes=(AUDITED, BROKEN, UNSAFE), make=_constants),
    SmallFile(name="code that borrows much", codes=(AUDITED, BROKEN, UNSAFE), make=_borrowed),
    SmallFile(name="code of long lines", codes=(BROKEN,), make=_lines),
    SmallFile(
        name="calls of calls", codes=(AUDITED,), make=_calls_of_calls, says="of TorchScript would take",
        command=("audit", "{}", "--input-shape", "x:1x8", "--step-limit", "2e8"),
    ),
    SmallFile(name="one long key in TorchScript", codes=(UNSAFE,), make=_keys),
    SmallFile(name="one list tagged again and again", codes=(BROKEN, UNSAFE), make=_references),
)  # fmt: skip
