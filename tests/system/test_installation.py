"""What pip installs is all that the package needs: nothing is borrowed from what tests install besides."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from convsv_cli.cli import cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as `python -m build` does it."""
    folder = tmp_path_factory.mktemp("wheel")
    hatchling(root, "sdist", folder)
    (archive,) = folder.iterdir()
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    hatchling(next(path for path in folder.iterdir() if path.is_dir()), "wheel", folder)
    (built,) = folder.glob("*.whl")
    return built


def hatchling(project: Path, target: str, folder: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder]
    process = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


EXTRAS = ("distributed", "gguf", "notebook", "parquet", "remote", "trainers")
"""Those for users, without which the package does without."""
STORES = {"adlfs", "gcsfs", "huggingface-hub", "s3fs"}
"""What fsspec imports for a protocol."""


def names(requirements: list[str]) -> set[str]:
    return {normalised(Requirement(each).name) for each in requirements}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder: Path) -> dict[str, str]:
    """Third-party packages that any module imports, wherever in it, and one such module of each."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules.append(node.module or "")
            found |= {module.partition(".")[0]: str(path) for module in modules}
    ours = {"convsv", "convsv_cli", *sys.stdlib_module_names}
    return {package: path for package, path in found.items() if package not in ours}


def test_what_is_imported_is_declared_and_nothing_else(root: Path, project: dict) -> None:
    """Also where a function or a condition imports it; tomli stands in for a module of newer Pythons."""
    owners = packages_distributions() | {"tomli": ["tomli"]}
    declared = names(project["dependencies"])
    used = {}
    for package, path in imported(root / "convsv_cli").items():
        (home, *_) = owners.get(package, [package])
        used[normalised(home)] = path
    optional = {name for extra in EXTRAS for name in names(project["optional-dependencies"][extra])}
    assert used.keys() - declared == optional, {name: used[name] for name in used.keys() - declared}
    assert declared - used.keys() == set()
    for extra, requirements in project["optional-dependencies"].items():
        assert names(requirements).isdisjoint(declared), extra


def test_ci_pins_what_is_declared(root: Path, project: dict) -> None:
    pinned = names(re.findall(r"^([\w-]+)==", (root / "constraints.txt").read_text(), re.MULTILINE))
    newer = {"tomli", "protobuf", "types-jsonschema"}  # by Python's version, and as onnx wants it
    newer |= STORES  # which CI does without: its stores are tests' own
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    assert {name for each in lists for name in names(each)} - newer <= pinned


def test_the_wheel_has_all_that_the_package_has(root: Path, wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    paths = (path for path in (root / "convsv_cli").rglob("*") if path.is_file())
    files = [
        str(path.relative_to(root)).removeprefix("convsv_cli/alias/")
        for path in paths
        if path.parent.name != "__pycache__"
    ]
    assert {"convsv_cli/py.typed", "convsv_cli/renderers/schema/audit-2.schema.json"} <= set(files)
    assert "convsv_cli/renderers/html/templates/page.html" in files
    assert wheel.stat().st_size < 3 * 2**20
    (licence,) = (name for name in held if name.endswith("licenses/LICENSE"))
    assert zipfile.ZipFile(wheel).read(licence) == (root / "LICENSE").read_bytes()
    assert sorted(name for name in held if ".dist-info/" not in name) == sorted(files)


@cache
def needs(name: str) -> frozenset[str]:
    """Of a distribution that is installed here: the distributions that it cannot do without, not theirs."""
    requirements = map(Requirement, distribution(name).requires or [])
    wanted = (each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""}))
    return frozenset(each.name for each in wanted)


def closure(wanted: list[str]) -> Iterator[Distribution]:
    """Of distributions that are declared, and what they need in turn."""
    waiting = [each for each in map(Requirement, wanted) if each.marker is None or each.marker.evaluate()]
    seen, todo = set(), [each.name for each in waiting]
    while todo:
        name = todo.pop()
        if normalised(name) not in seen:
            seen.add(normalised(name))
            yield distribution(name)
            todo += needs(name)


@pytest.fixture(scope="module")
def clean(wheel: Path, project: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, and of this one's packages what it declares."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for each in closure(project["dependencies"]):
        for top in {file.parts[0] for file in each.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(each.locate_file(top))))
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
    return folder / "bin"


@pytest.mark.long
@pytest.mark.exhaustive
def test_the_first_example_of_every_help_runs_as_it_stands(root: Path, shared: Path, clean: Path) -> None:
    """In an environment in which nothing is but the package and what it declares, by the script of CI."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PATH": os.pathsep.join([str(clean), os.environ["PATH"]]), "CONVSV_SHARED": str(shared)}
    found = subprocess.run(
        ["python", "-c", "import convsv_cli, importlib.util as u; print(convsv_cli, u.find_spec('pytest'))"],
        cwd=clean, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(clean.parent) in found.stdout
    assert found.stdout.endswith(" None\n")
    process = subprocess.run(
        ["python", root / ".ci" / "examples"], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
    run = re.findall(r"^\$ (?:convsv .* \| )?convsv (\w+)", process.stdout, re.MULTILINE)
    assert sorted(run) == sorted(cli.commands)
    assert "certified at 0.1" in process.stdout
