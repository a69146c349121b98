"""One weight's trip from the command line to the table: every file, function and class that it passes.

    python -m tests.support.trip                                  of one Conv, in a file made for it
    python -m tests.support.trip sample_models/resnet20.onnx      of another model
    python -m tests.support.trip --write                          of one Conv, into docs/architecture.md

What only a child process runs is not counted, nor what runs when a module is imported.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import io
import os
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tests.support.generated import Page

ROOT = Path(__file__).parents[2]
PACKAGE = str(ROOT / "convsv_cli") + os.sep
COMMAND = "python -m tests.support.trip --write"
PAGE = Page(path=ROOT / "docs" / "architecture.md", mark="trip", command=COMMAND)


@dataclass(kw_only=True)
class Trip:
    """What was met; functions by file, in the order in which the files were first met."""

    functions: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    classes: set[type] = field(default_factory=set)
    table: str = ""
    _imports: Counter[int] = field(default_factory=Counter)

    def meet(self, frame: FrameType, event: str, _: object) -> None:
        """As `sys.setprofile` calls it."""
        code, thread = frame.f_code, threading.get_ident()
        if code.co_name == "<module>" and event in ("call", "return"):
            self._imports[thread] += 1 if event == "call" else -1
        if event != "call" or self._imports[thread] or not code.co_flags & inspect.CO_OPTIMIZED:
            return  # of code, class bodies alone are not optimised
        if code.co_argcount and code.co_varnames[0] == "self":
            kind = type(frame.f_locals["self"])
            if kind.__module__.startswith("convsv_cli."):
                self.classes.add(kind)
        if not code.co_name.startswith("<") and code.co_filename.startswith(PACKAGE):
            file = Path(code.co_filename).relative_to(ROOT).as_posix()
            self.functions.setdefault(file, set()).add((code.co_name, code.co_firstlineno))

    def summary(self) -> str:
        count = sum(map(len, self.functions.values()))
        return f"{len(self.functions)} files, {count} functions, {len(self.classes)} classes"


def traced(arguments: list[str]) -> Trip:
    """The trip of `convsv` with these arguments, in this process; on two cores, whatever the machine has."""
    import torch

    from convsv_cli.cli import cli

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    trip, table = Trip(), io.StringIO()
    threading.setprofile(trip.meet)
    sys.setprofile(trip.meet)
    try:
        with contextlib.redirect_stdout(table), contextlib.redirect_stderr(io.StringIO()):
            cli.main(arguments, prog_name="convsv", standalone_mode=False)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        from convsv_cli.spectral import cores

        # What comes after would be slow for good: two threads for each core, and those of the pool profiled.
        torch.set_num_threads(before)
        cores._pool.cache_clear()
    trip.table = table.getvalue()
    return trip


def one_conv(folder: Path) -> Path:
    """A model of one Conv."""
    from onnx import helper

    from tests.support.onnx_models import graph_model, normal, saved

    node = helper.make_node("Conv", ["x", "conv.weight"], ["y"], pads=[1, 1, 1, 1])
    return saved(graph_model([node], {"x": (1, 3, 16, 16)}, {"conv.weight": normal(8, 3, 3, 3)}), folder)


def described(trip: Trip) -> str:
    """Each file with its first line, in the order of the trip, and how much of each room was passed."""
    rooms = Counter(room(file) for file in trip.functions)
    passed = ", ".join(f"{name} {count}" for name, count in rooms.most_common() if count > 1)
    lines = [f"**{trip.summary()}**; of the files, by folder: {passed}.", ""]
    lines += ["| file | functions | what it is |", "|---|---|---|"]
    for file, functions in trip.functions.items():
        name = file.removeprefix("convsv_cli/")
        lines.append(f"| `{name}` | {len(functions)} | {first_line(ROOT / file)} |")
    lines += ["", f"Classes: {', '.join(f'`{name}`' for name in sorted(c.__name__ for c in trip.classes))}."]
    return "\n".join(lines)


def room(file: str) -> str:
    """The folder or module right below the package."""
    return file.split("/")[1].removesuffix(".py")


def first_line(path: Path) -> str:
    """Of the module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0].replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", help="a model file; one Conv if left out")
    parser.add_argument("--write", action="store_true", help="write it into docs/architecture.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trip = traced(["audit", options.model or str(one_conv(Path(folder)))])
    if options.write:
        PAGE.write(described(trip))
    sys.stdout.write(described(trip) + "\n")


if __name__ == "__main__":
    main()
