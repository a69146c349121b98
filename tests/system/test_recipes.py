"""docs/output.md and docs/recipes.md: what they show runs, and says what Python finds in the same documents.

pandas would make CI's installation longer than all of these tests: its recipes are held against the columns.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import duckdb
import jq
import jsonschema
import pytest

from convsv_cli import saved
from convsv_cli.cli import cli
from convsv_cli.renderers.csv import COLUMNS
from tests.support import json_schemas
from tests.support.budget_models import exit_code, of_unknown_operator, scaled

MODELS = {
    "models/a.onnx": (2, 3),
    "old.onnx": (1, 3),
    "new.onnx": (4, 3),
    "epoch1.onnx": (2,),
    "epoch2.onnx": (5,),
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def output(root: Path) -> str:
    return (root / "docs" / "output.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first commands of the page have been run, one of whose models has a layer without a norm."""
    folder = tmp_path_factory.mktemp("recipes")
    for name in ("models", "runs"):
        (folder / name).mkdir()
    for name, norms in MODELS.items():
        scaled(folder, *norms, name=name)
    of_unknown_operator(folder / "models")
    (folder / "convsv.toml").write_text("max-layer = 2.5\nmax-lipschitz = 100\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in blocks(page, "sh")[0].splitlines():
            words = shlex.split(line)[1:]
            found = [path for word in words for path in (sorted(map(str, Path().glob(word))) or [word])]
            assert exit_code(patch, *found) == (3 if words[0] == "audit" and "models/*.onnx" in words else 0)
    return folder


@pytest.fixture
def audits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the recipes are about, in the folder that they are run in."""
    monkeypatch.chdir(folder)
    return json.loads(Path("audit.json").read_text())["audits"]


def results(recipe: str) -> list[Any]:
    """What jq finds: its program, then files; -s makes a list of these."""
    words = shlex.split(recipe)
    slurped, (program, *files) = "-s" in words, [word for word in words[1:] if not word.startswith("-")]
    documents = [json.loads(Path(file).read_text()) for file in files]
    return jq.compile(program).input_value(documents if slurped else documents[0]).all()


def test_jq(page: str, audits: list[dict[str, Any]]) -> None:
    _, *recipes = blocks(page, "sh")
    largest, networks, skipped, limits, condition, grown, together = map(results, recipes)
    upper = {
        audit["model"]["path"]: {
            layer["name"]: layer["certified"] and layer["certified"]["upper"] for layer in audit["layers"]
        }
        for audit in audits
    }
    assert [row.split("\t")[:2] for row in largest] == [["models/a.onnx", "fc1"], ["models/odd.onnx", "fc0"]]
    for row in largest:
        path, name, figure = row.split("\t")
        assert float(figure) == upper[path][name]
    first, second = (row.split("\t") for row in networks)
    assert float(first[1]) == audits[0]["network"]["lipschitz_upper"]
    assert second == ["models/odd.onnx", audits[1]["network"]["status"]]
    assert [row.partition(": ")[2][:5] for row in skipped] == ["odd: "]
    assert {tuple(row.split("\t")[:2]) for row in limits} == {
        ("models/a.onnx", "fc1"), ("models/odd.onnx", "odd"), ("models/odd.onnx", "")
    }  # fmt: skip
    assert condition == [False]
    assert [row.split("\t")[0] for row in grown] == ["network", "fc0"]
    assert float(grown[1].split("\t")[1]) == pytest.approx(4, rel=1e-3)
    (document,) = together
    both = saved.parsed(json.dumps(document).encode(), "both")
    assert [audit.model.path for audit in both.audits] == ["epoch1.onnx", "epoch2.onnx"]


def test_duckdb(page: str, audits: list[dict[str, Any]]) -> None:
    largest, operators, runs = (duckdb.sql(query).fetchall() for query in blocks(page, "sql"))
    layers = [layer for audit in audits for layer in audit["layers"]]
    assert len(largest) == len(layers) == 4
    assert largest[0][1:] == ("odd", None), "what has no norm comes first"
    norms = sorted((layer["certified"]["upper"] for layer in layers if layer["certified"]), reverse=True)
    assert [norm for *_, norm in largest[1:]] == norms
    assert [row[:2] for row in operators] == [("MatMul", 3)]
    assert operators[0][2] >= 1
    assert [(name, round(bound, 2)) for name, bound in runs] == [
        ("runs/epoch1.json", 2.0), ("runs/epoch2.json", 5.0)
    ]  # fmt: skip


def test_pandas(page: str, folder: Path) -> None:
    """Columns by text in brackets or after the name of a table."""
    named = set()
    for code in blocks(page, "python"):
        tree = ast.parse(code)
        named |= {each.value for each in ast.walk(tree) if isinstance(each, ast.Constant)}
    files = {"audit.csv", "audit.json", "training.csv"}
    nested = {"model.path", "certified.upper", "exact.value"}
    layer = json.loads((folder / "audit.json").read_text())["audits"][0]["layers"][0]
    assert {"certified", "exact"} <= set(layer)
    assert {"upper", "value"} <= {*layer["certified"], *layer["exact"]}
    words = {"layer", "network", "max", "median", "count", "layers", "audits", "path", "columns", 5}
    assert named - words - files - nested <= set(COLUMNS)
    header = (folder / "training.csv").read_text().partition("\n")[0]
    assert header.split(",") == ["kind", "name", "runs/epoch1.json", "runs/epoch2.json"]


@pytest.mark.usefixtures("audits")
def test_a_document_is_validated_as_the_page_says(output: str) -> None:
    (code,) = blocks(output, "python")
    exec(compile(code, "output.md", "exec"), {})
    with pytest.raises(jsonschema.ValidationError):
        exec(compile(code.replace("validate(document", "validate({}"), "", "exec"), {})


def test_the_page_lists_every_schema_and_command(output: str) -> None:
    assert {f"{name}.schema.json" for name in re.findall(r"\[([\w-]+)\]\([^)]*schema/", output)} == set(
        json_schemas.SCHEMAS
    )
    (commands,) = re.findall(r"^\| `command` \| (.*) \|$", output, re.MULTILINE)
    write = {name for name, each in cli.commands.items() if any(p.name == "format_name" for p in each.params)}
    assert set(re.findall(r"`(\w+)`", commands)) == write


def test_the_other_tables_have_the_columns_that_the_page_names(output: str) -> None:
    from convsv_cli.renderers.certification.text import HEADER
    from convsv_cli.renderers.comparison import CSV_HEADINGS

    for command, columns in (("diff", CSV_HEADINGS), ("certify", HEADER)):
        (row,) = re.findall(rf"^\| `{command}` \| (`kind`.*|`sample`.*) \|$", output, re.MULTILINE)
        said = re.sub(r" \([^)]*\)|:.*", "", row)
        assert re.findall(r"`(\w+)`", said) == list(columns)
