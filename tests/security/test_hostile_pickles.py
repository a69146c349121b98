"""PyTorch files made to harm: one line, exit code 4 or 2, nothing executed, bounded memory and time."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from convsv_cli import load
from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError
from tests.support.bombs import BOMBS
from tests.support.command_line import convsv
from tests.support.pickles import KERNEL, Claim, archive, pickled, text

CHILD = """
import json, sys, time
from pathlib import Path
from convsv_cli import load
from convsv_cli.errors import ConvsvError
import convsv_cli.loaders.checkpoint.reading
for path in sorted(Path(sys.argv[1]).iterdir()):
    start, code, line = time.process_time(), 0, ""
    try:
        load(path)
    except ConvsvError as error:
        code, line = error.exit_code, str(error)
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    print(json.dumps([path.stem, code, line, time.process_time() - start, peak]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of each bomb, all read by one process."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, make in BOMBS.items():
        make(folder / f"{name}.pt")
    command = [sys.executable, "-c", CHILD, str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: rest for name, *rest in map(json.loads, process.stdout.splitlines())}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, outcomes: dict[str, Any]) -> None:
    code, line, seconds, peak = outcomes[name]
    assert code in ({0} if name == "values by stride 0" else {2, 4}), "a row says that it is not unfolded"
    assert line.count("\n") == 0
    assert len(line) < 500
    assert seconds < 10
    assert peak < 1e9


def refused(value: Any, folder: Path, kind: type[ConvsvError] = UnsafeModelError, **more: Any) -> str:
    """The one line of the refusal of a zip file with that value."""
    with pytest.raises(kind) as raised:
        load(archive(folder / "model.pt", pickled(value), **more))
    assert raised.value.where == str(folder / "model.pt")
    return str(raised.value)


@pytest.mark.parametrize(
    "claim",
    [
        Claim(shape=(10**5, 10**5), stride=(0, 1)),
        Claim(shape=(2, 2, 3, 3), stride=(0, 9, 3, 1), numel=17),
        Claim(offset=1),
        Claim(offset=-1),
        Claim(stride=(-18, 9, 3, 1)),
        Claim(stride=(1 << 62, 9, 3, 1)),
        Claim(shape=(2, 2, 3, 4)),
        Claim(shape=(-2, -2, 3, 3)),
        Claim(shape=(2, 2)),
        Claim(numel=37),
        Claim(numel=-1),
        Claim(numel=1 << 70, shape=(1 << 61, 4)),
        Claim(storage=torch.DoubleStorage),
        Claim(shape=(1,) * 40, stride=(1,) * 40),
    ],
    ids=str,
)
def test_claims_beyond_the_storage_are_refused_before_anything_is_made(claim: Claim, tmp_path: Path) -> None:
    line = refused({"a.weight": claim}, tmp_path)
    assert any(word in line for word in ("claims", "impossible shape", "axes"))


def test_an_expanded_tensor_within_its_storage_is_read(tmp_path: Path) -> None:
    claim = Claim(shape=(6, 6), stride=(0, 1))
    (layer,) = load(archive(tmp_path / "a.pt", pickled({"a.weight": claim}))).layers
    assert torch.equal(layer.read(), torch.zeros(6, 6))


@pytest.mark.parametrize(
    "claim", [Claim(key="1"), Claim(key=0), Claim(key="../0"), Claim(storage=OSError)], ids=str
)
def test_storages_that_are_not_there(claim: Claim, tmp_path: Path) -> None:
    refused({"a.weight": claim}, tmp_path, UnreadableModelError)


@pytest.mark.parametrize("name", ["net/data/0", "net/data.pkl"])
def test_compressed_records_are_refused(name: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", pickled({"a.weight": Claim()}))
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for entry in old.namelist():
            new.writestr(
                entry, old.read(entry), zipfile.ZIP_DEFLATED if entry == name else zipfile.ZIP_STORED
            )
    with pytest.raises(UnsafeModelError, match="is compressed"):
        load(tmp_path / "b.pt")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_record_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", pickled({"a.weight": Claim()}))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("net/data/0", KERNEL)
    with pytest.raises(UnsafeModelError, match="twice"):
        load(path)


def edited(path: Path, find: bytes, change: bytes, *, last: bool) -> Path:
    data = path.read_bytes()
    position = data.rfind(find) if last else data.find(find)
    path.write_bytes(data[:position] + change + data[position + len(change) :])
    return path


def test_records_on_top_of_each_other_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", pickled({"a.weight": Claim()}), {"0": KERNEL, "1": KERNEL})
    data = path.read_bytes()
    first, second = (data.rfind(name) - 4 for name in (b"net/data/0", b"net/data/1"))
    path.write_bytes(data[:second] + data[first : first + 4] + data[second + 4 :])
    with pytest.raises(UnsafeModelError, match=r"another name|overlaps"):
        load(path)


def test_records_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", pickled({"a.weight": Claim()}), {"0": KERNEL, "1": KERNEL})
    data = path.read_bytes()
    longer = struct.pack("<2L", len(KERNEL) + 100, len(KERNEL) + 100)
    entry = data.rfind(b"net/data/0") - 46
    path.write_bytes(data[: entry + 20] + longer + data[entry + 28 :])
    with pytest.raises(UnsafeModelError, match="overlaps"):
        load(path)


def test_a_record_with_two_names_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", pickled({"a.weight": Claim()}))
    with pytest.raises(UnsafeModelError, match="another name"):
        load(edited(path, b"net/data/0", b"net/data/7", last=False))


HARM = [
    "posix system", "nt system", "os system", "subprocess Popen", "builtins eval", "__builtin__ exec",
    "builtins __import__", "runpy _run_code", "torch load", "torch.hub load", "socket create_connection",
    "importlib import_module", "pickle loads", "shutil rmtree", "_io FileIO", "types CodeType",
]  # fmt: skip
CALLS = {
    "reduce": lambda module, name: b"c%s\n%s\n(X\x01\0\0\0atR" % (module, name),
    "stack global": lambda module, name: text(module.decode()) + text(name.decode()) + b"\x93)R",
    "new object": lambda module, name: b"c%s\n%s\n)\x81" % (module, name),
    "object": lambda module, name: b"(c%s\n%s\no" % (module, name),
    "instance": lambda module, name: b"(i%s\n%s\n" % (module, name),
}


@pytest.mark.parametrize("opcode", CALLS)
@pytest.mark.parametrize("function", HARM)
def test_calls_that_could_do_harm_are_refused(function: str, opcode: str, tmp_path: Path) -> None:
    module, _, name = function.encode().partition(b" ")
    path = archive(tmp_path / "a.pt", b"\x80\x04" + CALLS[opcode](module, name) + b".")
    with pytest.raises(UnsafeModelError, match="nothing of it was run"):
        load(path)


class Writer:
    """Unpickled carelessly, it writes a file."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.canary),)


@pytest.mark.parametrize("protocol", range(2, 5))
@pytest.mark.parametrize("forced", ["0", "1"])
def test_a_function_that_nobody_knows_to_be_harmful_is_not_called(
    protocol: int, forced: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    canary = tmp_path / "canary"
    value = {"a.weight": torch.ones(2, 2), "epoch": Writer(str(canary))}
    torch.save(value, tmp_path / "a.pt", pickle_protocol=protocol)
    (layer,) = load(tmp_path / "a.pt").layers
    assert torch.equal(layer.read(), torch.ones(2, 2))
    assert not canary.exists()
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert canary.exists(), "the canary would have sung"


@pytest.mark.parametrize("opcode", range(256))
def test_every_opcode_out_of_place_is_an_error_or_nothing(opcode: int, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", b"\x80\x04" + bytes([opcode]) + b"\x01\x02\n\x03\n.")
    with pytest.raises(ConvsvError):
        load(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "module", "script"])
def test_damaged_files_are_errors_or_whole(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.Linear(2, 2))
    if kind == "script":
        torch.jit.script(net).save(path)
    else:
        value = net if kind == "module" else net.state_dict()
        torch.save(value, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        place, value = (
            torch.randint(len(whole), (), generator=generator),
            torch.randint(256, (), generator=generator),
        )
        damaged = bytearray(whole)
        damaged[place] = value
        path.write_bytes(damaged if value % 3 else whole[:place])
        with contextlib.suppress(ConvsvError):
            for layer in load(path).layers:
                assert getattr(layer, "reason", "") or layer.read().shape == layer.kernel_shape


def test_the_command_line_exits_with_4(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", pickled({"a.weight": Claim(shape=(10**5, 10**5), stride=(0, 1))}))
    process = convsv("audit", path)
    assert (process.returncode, process.stdout, process.stderr.count("\n")) == (4, "", 1)
    assert process.stderr.startswith(f"convsv: {path}: ")
