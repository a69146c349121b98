"""Sound files whose names act on a terminal or a spreadsheet."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import onnx
import torch
from onnx import helper
from safetensors.torch import save_file

from tests.support.onnx_models import graph_model, normal
from tests.support.threats.threat import AUDITED, BROKEN, INCOMPLETE, Threat

NAME = "\x1b]0;owned\x07\x9b31m\u202egnp.exe\r\nFAKE[link=https://evil.example]click[/link]"
FORMULA = "=cmd|' /C calc'!A0"


def _safetensors(folder: Path, *, name: str) -> Path:
    save_file({f"{name}.weight": torch.eye(2)}, folder / "model.safetensors")
    return folder / "model.safetensors"


def _checkpoint(folder: Path) -> Path:
    torch.save({f"{NAME}.weight": torch.eye(2), NAME: {"other.weight": torch.eye(3)}}, folder / "model.pt")
    return folder / "model.pt"


def _graph(folder: Path) -> Path:
    """Names of tensors, nodes, inputs, operators and domains."""
    nodes = [
        helper.make_node("MatMul", [NAME, f"{NAME}.w"], ["z"], name=NAME),
        helper.make_node(NAME, ["z", "v"], ["y"], name=f"{NAME}2", domain=NAME),
    ]
    model = graph_model(nodes, {NAME: [1, 4]}, {f"{NAME}.w": normal(4, 4), "v": normal(4, 4)})
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def _placed(folder: Path) -> Path:
    inside = folder / NAME.replace("/", "_")
    inside.mkdir()
    return _safetensors(inside, name="a")


def _misplaced(folder: Path) -> Path:
    """An index with shards of such names that are not there."""
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {NAME: NAME.replace("/", "_")}}))
    return path


THREATS = (
    Threat(name="escapes in names", make=partial(_safetensors, name=NAME), code=AUDITED, says="owned"),
    Threat(name="escapes in a checkpoint", make=_checkpoint, code=AUDITED, says="owned"),
    Threat(name="escapes in a graph", make=_graph, code=INCOMPLETE, says="owned"),
    Threat(name="escapes in the path", make=_placed, code=AUDITED, says="owned"),
    Threat(name="escapes in a complaint", make=_misplaced, code=BROKEN, says="owned"),
    Threat(name="formulas in names", make=partial(_safetensors, name=FORMULA), code=AUDITED, says="calc"),
)
