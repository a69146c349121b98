"""docs/architecture.md shows the package as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import import_picture, trip


@pytest.fixture(scope="module")
def traced(root: Path) -> str:
    """What the script prints, in a process in which nothing has been imported or cached."""
    command = [sys.executable, "-m", "tests.support.trip"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


def test_the_trip_is_the_one_on_the_page(traced: str) -> None:
    assert traced.rstrip("\n") == trip.PAGE.block(), f"not what the page says: {trip.PAGE.command}"


def test_the_trip_leads_from_the_command_line_to_the_table(traced: str) -> None:
    files = re.findall(r"^\| `([\w/]+\.py)`", traced, re.MULTILINE)
    stations = ["cli/audit.py", "loaders/onnx/reading.py", "model/kernel.py", "spectral/norms.py",
                "lipschitz/rules/linear.py", "renderers/table.py"]  # fmt: skip
    assert [file for file in files if file in stations] == stations
    counted = re.match(r"\*\*(\d+) files, (\d+) functions, (\d+) classes\*\*", traced)
    assert counted is not None
    classes = re.search(r"^Classes: (.*)\.$", traced, re.MULTILINE)
    assert classes is not None
    functions = sum(map(int, re.findall(r"^\| `[\w/]+\.py` \| (\d+) \|", traced, re.MULTILINE)))
    assert [int(count) for count in counted.groups()] == [len(files), functions, classes[1].count("`") // 2]


def test_what_is_traced_is_an_audit(tmp_path: Path) -> None:
    found = trip.traced(["audit", str(trip.one_conv(tmp_path))])
    assert re.search(r"^conv +Conv +8×3×3×3 ", found.table, re.MULTILINE), found.table
    assert "convsv_cli/renderers/table.py" in found.functions
    assert not any("training/" in file for file in found.functions)


def test_the_picture_is_that_of_the_imports() -> None:
    assert import_picture.picture() == import_picture.PICTURE.read_text(encoding="utf-8"), (
        "not the imports of today: python -m tests.support.import_picture --write"
    )


def test_an_import_that_leads_up_would_be_seen_left_of_the_diagonal() -> None:
    names = ["convsv_cli.a", "convsv_cli.b"]
    down, up = (import_picture.drawn(names, {pair: 3}) for pair in (tuple(names), tuple(names[::-1])))
    cell = re.compile(r'<text x="(\d+)" y="(\d+)" text-anchor="middle" [^>]*>3</text>')
    (right,), (left,) = cell.findall(down), cell.findall(up)
    assert int(right[0]) > int(left[0])
    assert int(right[1]) < int(left[1])


def test_every_folder_has_its_sentence(root: Path) -> None:
    page = trip.PAGE.path.read_text(encoding="utf-8")
    rooms = page[page.index("## The rooms") : page.index("## Who imports whom")]
    named = set(re.findall(r"`(\w+)(?:/|\.py)`", "".join(re.findall(r"^\| ([^|]+) \|", rooms, re.MULTILINE))))
    package = root / "convsv_cli"
    modules = (path.relative_to(package).parts[0] for path in package.rglob("*.py"))
    parts = {module.removesuffix(".py") for module in modules if not module.startswith("_")}
    assert named == parts


def test_no_test_module_imports_another(root: Path) -> None:
    """What several tests need stands in tests/support."""
    found = {
        f"{path.relative_to(root)}: {line}"
        for path in (root / "tests").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(from|import) tests[.\w]*\.test_|\s*from tests[.\w]* import test_", line)
    }
    assert found == set()


def test_every_folder_of_tests_is_one_of_the_package(root: Path) -> None:
    tests, package = root / "tests", root / "convsv_cli"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    parts = {path.relative_to(package).with_suffix("") for path in package.rglob("*")}
    assert {str(folder) for folder in folders - parts} == {"contract", "security", "system"}
