"""What sweeps and caches keep: valid folders of results and of entries, and damage to them.

Times and inodes of files are those of their contents here, so that what was not damaged is as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file

from convsv_cli.cache import Store
from convsv_cli.cache.store import LARGEST, MARK, SIGNED
from convsv_cli.holding import LOCK
from convsv_cli.machine import regular
from convsv_cli.report.verdict import PRECEDENCE
from convsv_cli.sweeping import outcomes, tables
from convsv_cli.sweeping.columns import TABLES
from tests.support.fuzzing.json_values import json_value, nested, plausible
from tests.support.fuzzing.mutations import mutated
from tests.support.inline_executor import InlineExecutor

Files = dict[str, bytes]
Command = tuple[str, ...]
Run = Callable[..., None]

SECRET = "what signs the entries of this test"
CACHE, RESULTS = "cache", "results"
EXPECTED, BELIEVED, PRECIOUS = "expected.json", "believed", "precious.txt"
SWEEP = ("sweep", "models", "-o", RESULTS, "--quiet", "--work-limit", "0")
AUDIT = ("audit", "models/a.safetensors", "--quiet", "--work-limit", "0")
OWN = ("models", RESULTS, CACHE)
"""Folders that these seeds have."""
HUGE = 2**40


def prepare() -> None:
    """Workers in this process, and states of files that are the same wherever they are written again."""
    os.environ["CONVSV_CACHE_KEY"] = SECRET
    import_module("convsv_cli.cli.sweep").executor_of = lambda *_asked: InlineExecutor()
    outcomes.file_state = tables.file_state = _state


def results(folder: Path, run: Run) -> Iterator[tuple[Files, Command]]:
    """Of three models, one of which is broken, and a link; with a cache, and without."""
    prepare()
    _models(folder)
    run(folder, *SWEEP)
    files = _files(folder) | {PRECIOUS: b"of the user"}
    kept = {name: data for name, data in files.items() if not name.startswith(f"{RESULTS}/{CACHE}/")}
    for resumed in (files, kept):
        yield resumed, SWEEP
    yield kept, ("report", RESULTS, "-o", "page.html")


def entries(folder: Path, run: Run) -> Iterator[tuple[Files, Command]]:
    """The entries of an audit, with that of the whole, and with those of its layers alone."""
    prepare()
    _models(folder)
    run(folder, *AUDIT, "-o", EXPECTED)
    run(folder, *AUDIT, "-o", "other.json", "--cache", CACHE)
    files = {name: data for name, data in _files(folder).items() if name != "other.json"}
    layers = {name: data for name, data in files.items() if not _is_audit(name, data)}
    for known in (files, layers):
        yield known, (*AUDIT, "--cache", CACHE)


def _models(folder: Path) -> None:
    torch.manual_seed(0)
    (folder / "models").mkdir()
    save_file({"a.weight": torch.randn(3, 3), "b.weight": torch.ones(2, 2)}, folder / "models/a.safetensors")
    save_file({"c.weight": torch.eye(2)}, folder / "models/b.safetensors")
    (folder / "models/c.safetensors").write_bytes(b"broken")


def _files(folder: Path) -> Files:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _is_audit(name: str, data: bytes) -> bool:
    return name.startswith(CACHE) and b"schema_version" in zlib.decompress(data[len(MARK) + SIGNED :])


def _state(path: Path) -> tuple[int, ...]:
    try:
        with regular(path) as file:
            size, data = os.fstat(file.fileno()).st_size, file.read(2**24)
    except (OSError, ValueError):
        return ()
    return size, 0, 0, int(hashlib.sha256(data).hexdigest()[:12], 16)


def mutable(files: Files) -> list[str]:
    """What others may have written: all but the models, and what tests compare with."""
    return [name for name in files if name.startswith((RESULTS, CACHE))]


def may_write(name: str) -> bool:
    """Whether a file is one that a sweep or a cache has written, whole."""
    folder, _, own = name.rpartition("/")
    return folder.startswith((RESULTS, CACHE)) and (own == LOCK or not own.startswith("."))


def part(data: bytes, random: Random) -> bytes:
    """Another value in one of the lines of JSON, or in the document below the first."""
    head, _, rest = data.partition(b"\n")
    lines = [head, rest] if rest[:2] == b"{\n" else data.splitlines()
    at = random.randrange(len(lines))
    change = random.choice((json_value, json_value, json_value, plausible, _scaled, nested, _odd))
    lines[at] = change(lines[at], random)
    return b"\n".join(lines)


def _odd(data: bytes, random: Random) -> bytes:
    """A whole line that is something else."""
    others = (b"", b"null", b"[]", b"3", b'"x"', b"{}", b"NaN", b"\xff\xfe", b"9" * 5000, b"{" * 9, data * 2)
    return random.choice((*others, b" " * 2**21, b'{"path": "\\ud800", "files": [[]], "asked": ""}'))


def entry(data: bytes, random: Random) -> bytes:
    """Another content, signed or not by whom the cache belongs to; only with its key is it believed."""
    start = len(MARK) + SIGNED
    if random.random() < 0.02:
        return data[:start] + _bomb()
    content = zlib.decompress(data[start:])
    change = random.choice((json_value, json_value, json_value, plausible, _scaled, nested, _odd, _blind))
    content = change(content, random)
    return data[:start] + (zlib.compress(content, 1) if random.random() < 0.95 else content)


def _scaled(data: bytes, random: Random) -> bytes:
    """All figures, by the same factor: nothing about them is odd."""
    factor = random.choice((0.5, 2.0, 1e300, 1e-300))
    return re.sub(rb"[0-9]+\.[0-9]+", lambda number: repr(float(number[0]) * factor).encode(), data)


def _blind(content: bytes, random: Random) -> bytes:
    return mutated(content, random, ())


@cache
def _bomb() -> bytes:
    return zlib.compress(bytes(2**27), 1)


def damage(folder: Path, names: list[str], random: Random) -> None:
    """What no change of content is: other things than files, and signatures of whoever has the key."""
    if random.random() < 0.15:
        _disturb(folder, names, random)
    if random.random() < 0.5:
        return
    for path in sorted((folder / CACHE).glob("*.entry")):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            continue
        data = path.read_bytes()
        if data.startswith(MARK):
            packed = data[len(MARK) + SIGNED :]
            signature = Store(folder / CACHE, SECRET.encode())._signature(path.stem, packed)
            path.write_bytes(MARK + signature + packed)
            (folder / BELIEVED).touch()


def _disturb(folder: Path, names: list[str], random: Random) -> None:
    """Have something else than a file where one was."""
    path = folder / random.choice([*names, f"{RESULTS}/outcomes", f"{RESULTS}/{CACHE}"])
    if path.is_dir():
        path.rename(folder / RESULTS / "moved")
    elif path.exists():
        path.unlink()
    else:
        return
    what = random.randrange(8)
    if what == 0:
        path.mkdir()
    elif what == 1:
        path.symlink_to(path.name)
    elif what == 2:
        path.symlink_to(folder / PRECIOUS)
    elif what == 3:
        path.symlink_to("/dev/zero")
    elif what == 4:
        os.mkfifo(path)
    elif what == 5:
        with path.open("wb") as file:
            file.truncate(HUGE)
    elif what == 6:
        path.write_bytes(b"")


def wrong(folder: Path, command: Command, code: Any) -> list[str]:
    """What is wrong with what a command has left."""
    found = []
    if (folder / PRECIOUS).exists() and (folder / PRECIOUS).read_bytes() != b"of the user":
        found.append("a file elsewhere was written to")
    if command[0] == "sweep":
        found += _torn(folder / RESULTS)
        found += [line for line in _lines(folder / RESULTS) if "internal error" in line]
        found += [] if code in PRECEDENCE else [f"the exit code is {code}"]
    if (folder / EXPECTED).exists() and not (folder / BELIEVED).exists():  # of all audits, those with a cache
        ours, theirs = (_figures(folder / name) for name in ("out.json", EXPECTED))
        found += [] if ours == theirs else ["entries that nobody signed have changed the audit"]
    return found


def _lines(folder: Path) -> list[str]:
    return (folder / "files.jsonl").read_text().splitlines()


def _torn(folder: Path) -> Iterator[str]:
    """Tables that are not whole, or do not have what each other have."""
    import pyarrow.parquet as pq

    for name, columns in TABLES.items():
        try:
            rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_bytes().splitlines()]
            found = pq.ParquetFile(folder / f"{name}.parquet").read().to_pylist()
        except Exception as error:  # noqa: BLE001  (pyarrow's are of many kinds)
            yield f"the table {name} is not whole: {error}"
            continue
        if any(list(row) != [column.name for column in columns] for row in rows):
            yield f"the table {name} has other columns"
        elif len(rows) != len(found):
            yield f"the table {name} has {len(rows)} lines, and {len(found)} rows"


def _figures(path: Path) -> Any:
    """A document without what each run has anew: how long it took."""
    return json.loads(path.read_bytes(), object_hook=lambda each: each | dict.fromkeys(("seconds",)))
