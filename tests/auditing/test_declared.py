"""`--as-layer` and `--as-table`: what users know of weights, and a file does not say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from convsv_cli import LipschitzPenalty, audit
from convsv_cli.errors import UsageError
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.saved import read
from tests.support.budget_models import exit_code, look_up, scaled, unsupported

TABLE, MATRIX, PROJECTION = (
    torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in ((9, 4), (4, 4), (4, 6))
)


def checkpoint(folder: Path) -> Path:
    state = {"wte.weight": TABLE, "bond_embedding.weight": MATRIX, "text_projection": PROJECTION}
    path = folder / "model.pt"
    torch.save({**state, "conv.weight": torch.ones(2, 2, 3, 3)}, path)
    return path


def statuses(path: Path, **options: object) -> dict[str, str]:
    return {row.weight: row.status for row in audit(path, **options).layers}


def certified(path: Path, weight: str, **options: object) -> float:
    (row,) = (row for row in audit(path, **options).layers if row.weight == weight)
    enclosure = row.measurement("certified").enclosure
    assert enclosure.upper < enclosure.lower * 1.001
    return enclosure.upper


def test_without_a_word_of_the_user(tmp_path: Path) -> None:
    assert statuses(checkpoint(tmp_path)) == {
        "wte.weight": "not_applicable",
        "bond_embedding.weight": "audited",
        "text_projection": "unsupported",
        "conv.weight": "audited",
    }


def test_tables_and_strangers_as_layers(tmp_path: Path) -> None:
    path, options = checkpoint(tmp_path), {"as_layer": ["wte*", "text_projection"]}
    assert set(statuses(path, **options).values()) == {"audited"}
    for name, matrix in (("wte.weight", TABLE), ("text_projection", PROJECTION)):
        norm = float(torch.linalg.matrix_norm(matrix.double(), 2))
        assert norm <= certified(path, name, **options) <= norm * 1.001
    found = audit(path, **options)
    assumed = {row.weight: row.assumed for row in found.layers}
    assert assumed["wte.weight"] == assumed["text_projection"] == ("a layer, as asked",)
    assert found.network.coverage == 1


def test_a_layer_that_only_its_name_tells_of_as_a_table(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    found = {row.weight: row for row in audit(path, as_table=["bond_*", "text_projection"]).layers}
    for name in ("bond_embedding.weight", "text_projection"):
        assert (found[name].status, found[name].op != "") == ("not_applicable", True)
        assert "as asked" in found[name].reason
    assert found["conv.weight"].status == "audited"


def test_what_the_file_says_nobody_can_deny(tmp_path: Path) -> None:
    graph, strange = scaled(tmp_path, 2.0), unsupported(tmp_path)
    with pytest.raises(UsageError, match="cannot be a table: the file uses it"):
        audit(graph, as_table=["*"])
    with pytest.raises(UsageError, match="'odd' cannot be audited as a layer"):
        audit(strange, as_layer=["odd"])
    with pytest.raises(UsageError, match="a layer and a table"):
        audit(checkpoint(tmp_path), as_layer=["wte"], as_table=["*"])


def test_a_kernel_that_cannot_be_read_is_no_table(tmp_path: Path) -> None:
    state = {"c.weight": torch.ones(2, 2, 3, 3, dtype=torch.int8), "bond.weight": torch.ones(2, 2)}
    torch.save(state, tmp_path / "q.pt")
    with pytest.raises(UsageError, match="'c' cannot be a table"):
        audit(tmp_path / "q.pt", as_table=["c"])
    assert statuses(tmp_path / "q.pt", as_table=["*"])["c.weight"] == "unsupported"


def test_a_look_up_of_a_graph_as_a_layer_changes_no_bound(tmp_path: Path) -> None:
    path = look_up(tmp_path)
    assert statuses(path) == {"embed.weight": "not_applicable", "fc.weight": "audited"}
    declared = audit(path, as_layer=["embed"])
    assert [row.status for row in declared.layers] == ["audited", "audited"]
    assert declared.layers[0].measurement("certified").value == pytest.approx(20**0.5, rel=1e-3)
    before = audit(path).bound
    assert (declared.bound.status, declared.bound.lipschitz) == (before.status, before.lipschitz)


@pytest.mark.parametrize("option", ["--as-layer", "--as-table", "--layers"])
def test_a_glob_that_matches_nothing_is_an_error(option: str, tmp_path: Path, monkeypatch, capsys) -> None:
    assert exit_code(monkeypatch, "audit", checkpoint(tmp_path), option, "bond_embeding") == 2
    said = capsys.readouterr().err
    assert "no layer matches 'bond_embeding'" in said
    assert "did you mean bond_embedding?" in said


def test_every_command_has_them(tmp_path: Path, monkeypatch, capsys) -> None:
    path, config, report = checkpoint(tmp_path), tmp_path / "convsv.toml", tmp_path / "audit.json"
    said = ("--as-layer", "wte", "--as-table", "text_projection")
    assert exit_code(monkeypatch, "audit", path) == 3
    assert exit_code(monkeypatch, "audit", path, *said, "-o", report, "--quiet") == 0
    settings = json.loads(report.read_text())["audits"][0]["settings"]
    assert (settings["as_layer"], settings["as_table"]) == (["wte"], ["text_projection"])
    html = next(renderer for renderer in RENDERERS if renderer.name == "html")
    assert "--as-layer wte --as-table text_projection" in html.render(read(report), Terminal())
    assert exit_code(monkeypatch, "diff", report, path, *said, "--max-increase", "1%") == 0
    assert exit_code(monkeypatch, "check", "--init", path, *said, "-o", config) == 0
    assert exit_code(monkeypatch, "check", "--config", config) == 0, "what --init was told is in the file"
    config.write_text(config.read_text().replace('as-layer = ["wte"]', 'as-layer = "wte"'))
    assert exit_code(monkeypatch, "check", "--config", config) == 2
    assert "as-layer must be an array" in capsys.readouterr().err


def test_brackets_of_names_match_themselves_in_every_option(tmp_path: Path) -> None:
    names = ["blocks[0].w.weight", "blocks0.w.weight", "blocks[1].w.weight"]
    path = tmp_path / "model.pt"
    torch.save({name: MATRIX.clone() for name in names}, path)
    assert list(statuses(path, layers=["blocks[0].*"])) == names[:2]
    assert list(statuses(path, layers=["blocks[[]1].w"], spectra=["blocks[1].w"])) == names[2:]
    found = statuses(path, as_table=["blocks[0].w"])
    assert found == dict(zip(names, ("not_applicable", "not_applicable", "audited"), strict=True))


def test_brackets_of_names_match_themselves_in_training() -> None:
    class Brackets(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("blocks[0]", torch.nn.Linear(2, 2))
            self.add_module("blocks1", torch.nn.Linear(2, 2))

    penalty = LipschitzPenalty(Brackets(), exclude=["blocks[0]"])
    assert list(penalty.norms()) == ["blocks1"]
