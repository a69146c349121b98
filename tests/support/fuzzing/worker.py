"""Reads inputs, one after the other, as the command line does; a line of JSON says what came of each.

python -m tests.support.fuzzing.worker KIND FIRST LAST
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from convsv_cli.cli import cli
from convsv_cli.confinement import prepare
from convsv_cli.errors import ConvsvError, UnreadableModelError
from convsv_cli.loaders import _loader
from convsv_cli.wire.form import Form, _kinds
from tests.support.fuzzing import kept
from tests.support.fuzzing.inputs import write_input
from tests.support.fuzzing.pickles import CANARY
from tests.support.fuzzing.seeds import Seed, seeds
from tests.support.fuzzing.watching import Watch

MEMORY = 1 << 30
SECONDS = float(os.environ.get("CONVSV_FUZZ_SECONDS", "10"))
"""Of processor time; where other programs run, more of them pass."""
OUTPUT = "out.json"
SOME = 20
"""Valid files that are read first, at most."""
SNIFFED, REFUSED, UNSAFE, AUDITED = "sniffed", "refused", "unsafe", "audited"


def main() -> None:
    kind, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        warm_up(kind, Path(folder))
        limit_memory()
        watch = Watch()
        for number in range(first, last):
            say({"number": number})
            say({"number": number, **one(kind, number, Path(folder), watch)})


def warm_up(kind: str, folder: Path) -> None:
    """Read what is valid, which must be audited, and import all readers: damage may look like any format."""
    prepare()
    for reader in ("checkpoint", "onnx", "pt2"):
        importlib.import_module(f"convsv_cli.loaders.{reader}.reading")
    found = seeds(kind)
    for index, seed in enumerate(found[:: 1 + len(found) // SOME]):
        home = folder / f"valid{index}"
        home.mkdir()
        for name, data in seed.files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(data)
        outcome = judge(seed, home)
        if outcome["outcome"] != AUDITED:
            raise SystemExit(f"the valid {kind} {index} is not audited: {outcome}")
    learn(Form)


def learn(form: type[Form]) -> None:
    """The types of all forms, which Python evaluates from convsv's own text when they are first asked for."""
    _kinds(form)
    for each in form.__subclasses__():
        learn(each)


def limit_memory() -> None:
    """A GB more than what is there; files may be written."""
    import resource

    data = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData")
    )
    most = (int(data.split()[1]) << 10) + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def one(kind: str, number: int, folder: Path, watch: Watch) -> dict[str, Any]:
    """What came of an input, and what is wrong with that."""
    home = folder / str(number)
    home.mkdir()
    seed = write_input(kind, number, home)
    before = _entries(home)
    start, cpu = time.monotonic(), time.process_time()
    watch.begin()
    outcome = judge(seed, home)
    faults = list(watch.end())
    took, worked = time.monotonic() - start, time.process_time() - cpu
    if worked > SECONDS or took > 5 * SECONDS:
        faults.append(f"took {took:.1f} s, {worked:.1f} s of them working")
    if (folder / CANARY).exists() or (home / CANARY).exists():
        faults.append("the canary is there: code of the file was executed")
    faults += outcome.pop("faults", [])
    left = _entries(home) - before - (set(outputs(seed)) if outcome["outcome"] == AUDITED else set())
    if left := {name for name in left if not kept.may_write(name)}:
        faults.append(f"left behind: {left}")
    shutil.rmtree(home)
    return {**outcome, "faults": faults, "seconds": took}


def _entries(home: Path) -> set[str]:
    """All that is in a folder, and below."""
    return {path.relative_to(home).as_posix() for path in home.rglob("*")}


PLANTED: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("s of them working", lambda _output: _spin()),
    ("MemoryError", lambda _output: bytearray(2 * MEMORY)),
    ("ZeroDivisionError", lambda _output: 1 // 0),
    ("the worker died: exit code 3", lambda _output: os._exit(3)),
    ("os.system", lambda _output: os.system("true")),
    ("code of the file was executed", lambda _output: Path(CANARY).touch()),
    ("left behind", lambda output: output.with_suffix(".tmp").touch()),
    ("not whole", lambda output: output.write_text("{")),
)
"""Faults that a test wants to see found, and what is then said; one an input."""


def _spin() -> None:
    end = time.process_time() + SECONDS
    while time.process_time() <= end:
        pass


def judge(seed: Seed, home: Path) -> dict[str, Any]:
    """Do what the command line does with its files, to a file."""
    output = home / OUTPUT
    os.chdir(home)
    try:
        if seed.command[0] == "audit" and "{}" in seed.command and not _recognised(home / seed.main):
            return {"outcome": SNIFFED}
        if "CONVSV_FUZZ_PLANT" in os.environ and home.name.isdecimal():
            PLANTED[int(home.name)][1](output)
            return {"outcome": AUDITED, "faults": _incomplete(output) if output.exists() else []}
        code = cli.main(arguments(seed, home), prog_name="convsv", standalone_mode=False)
        faults = _incomplete(output) if OUTPUT in outputs(seed) else []
        return {"outcome": AUDITED, "faults": [*faults, *kept.wrong(home, seed.command, code)]}
    except ConvsvError as error:
        return {"outcome": UNSAFE if error.exit_code == 4 else REFUSED, "why": error.what[:300]}
    except click.ClickException as error:
        return {"outcome": REFUSED, "why": error.format_message()[:200]}
    except BaseException as error:  # noqa: BLE001  (the fault that this looks for)
        where = traceback.format_tb(error.__traceback__)[-3:]
        return {"outcome": "crashed", "faults": [f"{type(error).__name__}: {error}"[:300] + "".join(where)]}
    finally:
        os.chdir(home.parent)


def outputs(seed: Seed) -> list[str]:
    """Names of the files that its command writes."""
    words = seed.command
    own = [word for before, word in pairwise(words) if before == "-o"]
    return own if words[0] == "sweep" else [OUTPUT, *own]


def arguments(seed: Seed, home: Path) -> list[str]:
    """The command line."""
    names = {"{}": seed.main} | {f"{{{name}}}": name for name in (*seed.files, *outputs(seed))}
    written = {word for before, word in pairwise(seed.command) if before == "-o"}
    placed = [
        str(home / names[word]) if word in names else str(home / word) if word in written else word
        for word in seed.command
    ]
    return [*placed, "-o", str(home / OUTPUT)] if OUTPUT in outputs(seed) else placed


def _recognised(path: Path) -> bool:
    try:
        _loader(path)
    except UnreadableModelError:
        return False
    return True


def _incomplete(output: Path) -> list[str]:
    try:
        document = json.loads(output.read_text(encoding="utf-8"))
    except ValueError as error:
        return [f"the document is not whole: {error}"]
    return [] if "schema_version" in document else ["the document says nothing of its schema"]


def say(line: dict[str, Any]) -> None:
    os.write(REPORT, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    REPORT = os.dup(1)
    os.dup2(2, 1)
    main()
