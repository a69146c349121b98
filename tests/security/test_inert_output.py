"""Texts from files cannot act where they are shown: terminal, spreadsheet, JSON, error line, progress bar."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from convsv_cli import load
from convsv_cli.auditing.spectra import layer_spectra
from convsv_cli.names import MAX_LINE, one_line, printable, spreadsheet_cell
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.renderers.spectrum import RENDERERS as SPECTRUM_RENDERERS
from convsv_cli.report import Audit, Settings
from tests.support.command_line import convsv
from tests.support.documents import AUDIT, UNBOUNDED, of

ESCAPES = {
    "escape": "\x1b]0;owned\x07",
    "C1": "\x9b31m",
    "bidi": "\u202e\u2066txt.exe",
    "line": "a\r\nFAKE: everything audited\x0b\x85\u2028",
    "markup": "[link=https://evil.example]click[/link][bold]",
    "surrogate": "\udcff\ud800",
    "invisible": "\u200b\ufeff\U000e0041",
    "backspace": "good\b\b\b\bevil\x7f",
}
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def poisoned(value: Any, payload: str) -> Any:
    """The value with every text in it replaced, but for the few that decide what the renderers do."""
    if isinstance(value, str):
        return payload
    if isinstance(value, tuple):
        return tuple(poisoned(item, payload) for item in value)
    if is_dataclass(value):
        kept = {"status", "rule", "severity", "kind", "measurements", "methods", "product", "version"}
        texts = {
            item.name: poisoned(getattr(value, item.name), payload)
            for item in fields(value)
            if item.name not in kept
        }
        return replace(value, **texts)
    return value


def audits(payload: str) -> list[Audit]:
    return [poisoned(audit, payload) for audit in (AUDIT, replace(AUDIT, bound=UNBOUNDED))]


def tame(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("payload", ESCAPES.values(), ids=ESCAPES)
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda r: r.name)
def test_no_text_of_an_audit_acts_on_a_terminal(renderer: Any, color: bool, payload: str) -> None:
    for audit in audits(payload):
        text = renderer.render(of(audit), Terminal(color=color, explain=True, width=100 if color else None))
        assert tame(STYLE.sub("", text) if color else text)
        assert "link=" in text.replace("\n", "") or "link=" not in payload, "markup is shown as it is"


@pytest.mark.parametrize("payload", ESCAPES.values(), ids=ESCAPES)
def test_json_is_faithful_and_ascii(payload: str) -> None:
    (render,) = (renderer.render for renderer in RENDERERS if renderer.name == "json")
    text = render(of(audits(payload)[0]), Terminal())
    assert text.isascii()
    assert json.loads(text)["audits"][0]["layers"][0]["name"] == payload


def refuse_constants(name: str) -> None:
    raise ValueError(name)


def test_json_has_no_nan(tmp_path: Path) -> None:
    state = {"a.weight": torch.full((2, 2), torch.nan), "b.weight": torch.full((2, 2), 3e38)}
    save_file(
        state | {f"c{i}.weight": torch.full((2, 2), 3e38) for i in range(9)}, tmp_path / "m.safetensors"
    )
    process = convsv("audit", tmp_path / "m.safetensors", "--format", "json")
    assert process.returncode == 3
    (document,) = json.loads(process.stdout, parse_constant=refuse_constants)["audits"]
    assert [layer["status"] for layer in document["layers"]] == ["invalid", *["audited"] * 10]


WIDE = "\uff1d\uff0b\uff0d\uff20"
"""= + - @ as Japanese keyboards write them, which Excel takes for the narrow ones."""
FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", *WIDE]


@pytest.mark.parametrize("formula", [*FORMULAS, "a;=1", "a,+1", "a; @x", "a\n=1"])
def test_csv_cells_are_no_formulas(formula: str) -> None:
    (render,) = (renderer.render for renderer in RENDERERS if renderer.name == "csv")
    text = render(of(audits(formula)[0]), Terminal())
    for delimiter in ",;\t|":
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
        cells = [cell for row in rows for cell in row]
        assert not any(cell.lstrip().startswith(tuple("=+-@" + WIDE)) for cell in cells)


@given(st.text(alphabet="=+-@;,| a\t\r\n'\"", max_size=12))
def test_a_cell_never_begins_a_formula(text: str) -> None:
    cell = spreadsheet_cell(text)
    assert tame(cell)
    for separator in ";,|":
        assert all(not part.lstrip().startswith(tuple("=+-@")) for part in cell.split(separator))


@given(st.text())
def test_an_error_is_one_printable_line(text: str) -> None:
    assert one_line(text).isprintable()


def test_a_long_error_is_cut_in_its_middle() -> None:
    line = one_line(f"model.pt: the tensor {'a' * 10**6} has no data (export it again)")
    assert len(line) < MAX_LINE + 10
    assert line.startswith("model.pt: ")
    assert line.endswith("(export it again)")


def named(name: str, folder: Path) -> Path:
    save_file({f"{name}.weight": torch.eye(2)}, folder / "model.safetensors")
    return folder / "model.safetensors"


def typed(name: str, folder: Path) -> Path:
    """An operator type and a domain of that name."""
    import onnx
    from onnx import helper

    from tests.support.onnx_models import graph_model, normal

    node = helper.make_node(name, ["x", "w"], ["y"], domain=name)
    onnx.save(graph_model([node], {"x": [1, 4]}, {"w": normal(4, 4)}), folder / "model.onnx")
    return folder / "model.onnx"


def placed(name: str, folder: Path) -> Path:
    """A file in a folder of that name."""
    inside = folder / name.replace("/", "_")
    inside.mkdir()
    return named("a", inside)


SPOKEN = {key: text for key, text in ESCAPES.items() if key != "surrogate"}
MAKERS = [named, typed, placed]


@pytest.mark.parametrize("payload", SPOKEN.values(), ids=SPOKEN)
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_names_operators_and_paths(make: Callable[[str, Path], Path], payload: str, tmp_path: Path) -> None:
    path = make(payload, tmp_path)
    network = load(path)
    spectra = layer_spectra(network, Settings(), bins=3, keepers=[], progress=None)
    text = SPECTRUM_RENDERERS[0].render(spectra, Terminal())
    assert tame(text)
    assert printable(payload).replace("/", "_") in text.replace("/", "_")


def on_terminal(*arguments: str | Path) -> tuple[str, str]:
    """What a run writes to a terminal: on stdout, and on stderr."""
    (out, out_end), (err, err_end) = pty.openpty(), pty.openpty()
    command = [sys.executable, "-m", "convsv_cli", *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out_end, stderr=err_end) as process:
        os.close(out_end), os.close(err_end)
        texts = drained(out), drained(err)
    assert process.returncode in {0, 2, 3}
    return texts


def drained(terminal: int) -> str:
    data = b""
    while True:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:  # how Linux says that the other end is closed
            chunk = b""
        if not chunk:
            os.close(terminal)
            return data.decode("utf-8", "surrogateescape")
        data += chunk


def test_a_real_terminal_with_a_progress_bar(tmp_path: Path) -> None:
    name = "".join(SPOKEN.values())
    out, err = on_terminal("audit", named(name, tmp_path))
    assert "owned" in out
    assert "owned" in err, "the progress bar shows the layer"
    for text in (out, err):
        for act in ("\x1b]", "\x9b", "\u202e", "\b", "\u2028", "\x0b"):
            assert act not in text
    _, complaint = on_terminal("audit", tmp_path / name.replace("/", "_"))
    line = complaint.rpartition("convsv: ")[2]
    assert "owned" in line
    assert tame(line.replace("\r\n", ""))
