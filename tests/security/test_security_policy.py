"""What SECURITY.md names exists, and nothing in the code does what it says is never done."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
FORBIDDEN = {
    "torch.load", "torch.jit.load", "torch.export.load", "torch.hub.load", "pickle.load", "pickle.loads",
    "pickle.Unpickler", "eval", "exec", "os.system", "__import__", "importlib.import_module",
}  # fmt: skip
ELSEWHERE = (
    "convsv_cli/__init__.py",
    "convsv_cli/confinement/",
    "convsv_cli/report/shown.py",
    "convsv_cli/training/logs.py",
)
"""What imports modules, of convsv or of loggers, by their names, which are written in its own code."""


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_policy_names_exists(root: Path) -> None:
    text = (root / "SECURITY.md").read_text()
    named = NAMED.findall(text)
    assert len(named) > 40
    places = {path.name: path for path in (root / "tests").rglob("test_*.py")}
    missing = [f"{file}::{test}" for file, test in named if test not in functions(places[file])]
    assert missing == []
    assert text.count("::test_") == len(named)


def test_every_threat_has_a_test_that_is_named(root: Path) -> None:
    rows = [line for line in (root / "SECURITY.md").read_text().splitlines() if line.startswith("| ")]
    threats = rows[next(i for i, row in enumerate(rows) if row.startswith("| threat")) + 1 :]
    assert len(threats) > 20
    assert all(NAMED.search(row) for row in threats)


def calls(path: Path) -> set[str]:
    return {
        ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
    }


def test_no_loader_calls_what_could_run_a_file(root: Path) -> None:
    files = list((root / "convsv_cli").rglob("*.py"))
    assert len(files) > 100
    for path in files:
        name = path.relative_to(root).as_posix()
        if not name.startswith(ELSEWHERE):
            assert not calls(path) & FORBIDDEN, name


@pytest.mark.parametrize("code", ["torch.load(x)", "import pickle\npickle.loads(b'')", "f(eval('1'))"])
def test_such_a_call_would_be_seen(code: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(code)
    assert calls(tmp_path / "a.py") & FORBIDDEN
