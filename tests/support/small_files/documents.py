"""Reports, budgets and data: JSON, TOML and .npz."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.support.small_files.small_file import AUDITED, BROKEN, INCOMPLETE, UNSAFE, SmallFile

MODELS = "models = ['model.safetensors']\n"
HTML, CSV = ("--format", "html"), ("--format", "csv")
MODEL = {"path": "a", "format": "b"}


def _report(folder: Path, **fields: Any) -> Path:
    path = folder / "report.json"
    document = {"schema_version": "1.1", "model": MODEL, **fields}
    path.write_text(json.dumps(document, separators=(",", ":")))
    return path


def _layers(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": f"{index}", "op": "A", **fields} for index in range(count)]


def _keyed(folder: Path) -> Path:
    """A long key of many numbers."""
    return _report(folder, network={"product": {"k" * 300_000: [0] * 100_000}})


def _nulls(folder: Path) -> Path:
    return _report(folder, layers=_layers(15_000), network={"product": {f"{i}": None for i in range(40_000)}})


def _methods(folder: Path) -> Path:
    one = {"name": "bound", "kind": "upper"}
    methods = [{**one, "column": f"{i}"} for i in range(8_000)]
    return _report(folder, methods=methods, layers=_layers(8_000, bound=1, seconds={"bound": 1}))


def _bounds(folder: Path) -> Path:
    layers = [{"name": f"{i}", "op": "A", "bound": 1, "bounds": {f"{i}": 1}} for i in range(13_000)]
    return _report(folder, layers=layers)


def _rows(folder: Path, *, count: int = 25_000) -> Path:
    return _report(folder, layers=_layers(count, bound=1))


def _long_name(folder: Path) -> Path:
    layers = [*_layers(15_000), {"name": "n" * 300_000, "op": "A"}]
    return _report(folder, layers=layers)


def _long_path(folder: Path) -> Path:
    path = _report(folder, layers=_layers(9_000), findings=[_finding("r")] * 9_000)
    document = json.loads(path.read_text())
    document["model"] = {"path": "p/" * 150_000, "format": "b"}
    path.write_text(json.dumps(document, separators=(",", ":")))
    return path


def _finding(rule: str, **fields: Any) -> dict[str, Any]:
    return {"rule": rule, "severity": "note", "message": "", **fields}


def _findings(folder: Path) -> Path:
    return _report(folder, findings=[_finding(f"r{index}") for index in range(18_000)])


def _assumptions(folder: Path) -> Path:
    lines = [f"{index}" for index in range(20_000)]
    return _report(folder, layers=_layers(15_000), network={"assumptions": lines})


def _assumed(folder: Path) -> Path:
    lines = [f"{index}" for index in range(60_000)]
    return _report(folder, layers=_layers(1, assumed=lines), network={"assumptions": lines})


def _blocks(folder: Path) -> Path:
    blocks = [{"name": "a", "factor": 1.5}] * 25_000
    return _report(folder, network={"status": "bounded", "lipschitz_upper": 1, "blocks": blocks})


def _structures(folder: Path) -> Path:
    """Lines of what was met and of what was folded, none of which is the beginning of another."""
    lines = [[f"{letter}{index}" for index in range(30_000)] for letter in "mf"]
    network = {"status": "bounded", "lipschitz_upper": 1, "structure": lines[0], "folded": lines[1]}
    return _report(folder, network=network)


def _gates(folder: Path) -> Path:
    gates = [{"node": f"{index}", "limit": 1, "outcome": "missing"} for index in range(15_000)]
    return _report(folder, verdict={"budget": "b", "gates": gates})


def _audits(folder: Path) -> Path:
    return _report(folder, audits=[{"model": MODEL}] * 25_000)


def _number(folder: Path, *, text: str) -> Path:
    path = _report(folder, layers=_layers(1, bound="NUMBER"))
    path.write_text(path.read_text().replace('"NUMBER"', text))
    return path


def _log10(folder: Path, *, log10: float, lipschitz: float | None = None) -> Path:
    return _report(
        folder, network={"status": "bounded", "lipschitz_upper": lipschitz, "log10_lipschitz_upper": log10}
    )


def _shape(folder: Path) -> Path:
    return _report(folder, layers=_layers(1, kernel_shape=[10**17] * 50_000))


def _operators(folder: Path) -> Path:
    return _report(folder, layers=[{"name": f"{i}", "op": f"{i}" + "(" * 900} for i in range(1_000)])


def _spectrum(folder: Path) -> Path:
    figures = dict.fromkeys(("largest", "smallest", "frobenius", "nuclear", "edge"), 1)
    bins = [1] + [0] * 400_000
    return _report(folder, spectra=[{"layer": "a", "count": 1, "vanishing": 0, "histogram": bins, **figures}])


def _deep(folder: Path) -> Path:
    (folder / "report.json").write_text('{"schema_version":"1.1","model":' + '[{"a":' * 90_000)
    return folder / "report.json"


def _two(folder: Path) -> Path:
    """Layers that may be any of the same number of others."""
    ends = {"lower": 1, "upper": 2}
    layers = [{"name": f"{i}", "op": "A", "kernel_shape": [1, i], "certified": ends} for i in range(12_000)]
    return _report(folder, layers=layers)


def _budget(folder: Path, text: str, names: Iterable[str] = ("a",)) -> Path:
    """A budget, and a model with weights of these names."""
    tensors = {f"{name}.weight": torch.eye(2) for name in names}
    save_file(tensors, folder / "model.safetensors")
    (folder / "convsv.toml").write_text(text)
    return folder / "convsv.toml"


def _suggestions(folder: Path) -> Path:
    """Globs that are like many names, and like none."""
    names = [".".join("ab"[(index >> bit) % 2] * 9 for bit in range(9)) for index in range(500)]
    globs = "".join(f'[[layer]]\nmatch = "{"ba" * 45}"\nmax = 1\n' for index in range(1))
    return _budget(folder, MODELS + globs, names)


def _globs(folder: Path, *, glob: str) -> Path:
    names = [f"{'a' * 1_500}{index}" for index in range(100)]
    count = 600_000 // (len(glob) + 30)
    globs = "".join(f'[[layer]]\nmatch = "{glob}{index}"\nmax = 1\n' for index in range(count))
    return _budget(folder, MODELS + globs, names)


FILES: tuple[SmallFile, ...] = (
    *(
        SmallFile(
            name=f"a report of {name}", make=make, codes=codes, says=says, command=("report", "{}", *options)
        )
        for name, make, codes, says, options in (
            ("a long key of numbers", _keyed, (BROKEN,), "network.product", ()),
            ("many nulls", _nulls, (AUDITED,), "", HTML),
            ("many methods", _methods, (BROKEN,), "there twice", ()),
            ("many bounds", _bounds, (AUDITED,), "12999=1.0", CSV),
            ("many rows", _rows, (AUDITED,), "24999", ()),
            ("a long name", _long_name, (BROKEN,), "a name longer", ()),
            ("a long path", _long_path, (BROKEN,), "a path longer", ()),
            ("many rules", _findings, (AUDITED,), "r17999", ("--format", "sarif")),
            ("many assumptions", _assumptions, (AUDITED,), "19999", HTML),
            ("one layer's assumptions", _assumed, (AUDITED,), "59999", HTML),
            ("many blocks", _blocks, (AUDITED,), "1.5", HTML),
            ("many structures", _structures, (AUDITED,), "m29999", ()),
            ("many gates", _gates, (AUDITED,), "14999", ("--format", "junit")),
            ("many audits", _audits, (BROKEN,), "more than 10,000", ()),
            ("a long shape", _shape, (BROKEN,), "axes", ()),
            ("long operators", _operators, (AUDITED,), "999(", CSV),
            ("a long histogram", _spectrum, (AUDITED,), "singular value", HTML),
            ("a large logarithm", partial(_log10, log10=1e308), (BROKEN,), "a logarithm", ()),
            ("a logarithm for an axis", partial(_log10, log10=1e300, lipschitz=1.0), (BROKEN,), "a logarithm",
             HTML),
            ("an infinite norm", partial(_number, text="1e999"), (BROKEN,), "beyond the range", ()),
            ("an integer of many digits", partial(_number, text="1" * 5_000), (BROKEN,), "an integer", ()),
            ("nested lists", _deep, (BROKEN,), "nested too deeply", ()),
        )
    ),
    SmallFile(name="two reports of other layers", make=_two, codes=(INCOMPLETE,), says="11999",
              command=("diff", "{}", "{}", "--max-increase", "0%")),
    *(
        SmallFile(name=f"a budget of {name}", make=partial(_budget, text=text), codes=(BROKEN,), says=says,
                  command=("check", "--config", "{}"))
        for name, text, says in (
            ("lines that end in brackets", "models = [\n" + "'a',#]\n" * 20_000, "TOML"),
            ("arrays that go on", "max-layer = [\n" + "[\n],\n" * 60_000 + "]\n", "must be a number"),
            ("strings with brackets", 'as-layer = ["""\n' + "]\n" * 400_000 + '"""]\n', "longer than"),
            ("long keys", "a." * 400_000 + "a = 1\n", "nested too deeply"),
            ("nested tables", "max-layer = " + "{a=" * 200_000 + "}" * 200_000, "nested too deeply"),
            ("an integer of many digits", "max-layer = " + "1" * 5_000, "TOML"),
            ("a hexadecimal integer", "max-layer = 0x" + "f" * 50_000, "finite"),
            ("a size of many digits", "input-size = 0x" + "f" * 50_000, "a size"),
            ("many models", "models = [" + "'a'," * 200_000 + "]", "entries"),
        )
    ),
    *(
        SmallFile(name=f"a budget of {name}", make=make, codes=codes, command=("check", "--config", "{}"))
        for name, make, codes in (
            ("globs like names", _suggestions, (BROKEN,)),
            ("globs of brackets", partial(_globs, glob="[" * 1_900), (BROKEN, UNSAFE)),
            ("globs of stars", partial(_globs, glob="*a" * 30 + "b"), (BROKEN, UNSAFE)),
            ("globs of marks", partial(_globs, glob="*" + "?" * 900), (BROKEN, UNSAFE)),
        )
    ),
)  # fmt: skip
