"""What packaging gives: both names of the package, installed in either way, and metadata for indexes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distributions
from pathlib import Path

import jsonschema
import pytest
import yaml

from convsv_cli.version import __version__

WHAT_THE_NAMES_ARE = """
import json, sys
import convsv
light = "torch" not in sys.modules
import convsv_cli
print(json.dumps({
    "light": light,
    "files": [convsv.__file__, convsv_cli.__file__],
    "same": all(getattr(convsv, name) is getattr(convsv_cli, name) for name in convsv_cli.__all__),
    "names": dir(convsv) == sorted(convsv_cli.__all__) == sorted(convsv.__all__),
    "unknown": hasattr(convsv, "importlib"),
}))
"""


class Environment:
    """A virtual environment with the package of a copied checkout, and what else is installed here."""

    def __init__(self, folder: Path, root: Path, *, editable: bool) -> None:
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(root / name, self.checkout)
        shutil.copytree(
            root / "convsv_cli", self.checkout / "convsv_cli", ignore=shutil.ignore_patterns("__pycache__")
        )
        venv.create(folder / "environment", symlinks=True)
        self.python = folder / "environment" / "bin" / "python"
        self.packages = Path(self.run("-c", "import site; print(site.getsitepackages()[0])").strip())
        others = [path for path in sys.path if path.endswith("site-packages")]
        (self.packages / "others.pth").write_text("\n".join(others))
        how = ("--no-deps", "--no-build-isolation", "--quiet", *(["--editable"] if editable else []))
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", *how, self.checkout]
        subprocess.run(pip, check=True, capture_output=True)

    def run(self, *arguments: str) -> str:
        """What Python prints, from a folder that knows nothing of the package."""
        process = subprocess.run(
            [self.python, *arguments], cwd=self.python.parent, capture_output=True, text=True, check=True
        )
        return process.stdout

    def distribution(self) -> Distribution:
        (found,) = distributions(name="convsv", path=[str(self.packages)])
        return found


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("installed"), root, editable=False)


@pytest.fixture(scope="module")
def editable(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("editable"), root, editable=True)


def assert_one_package(environment: Environment, home: Path) -> None:
    found = json.loads(environment.run("-c", WHAT_THE_NAMES_ARE))
    assert found.pop("light"), "importing convsv takes as long as importing torch"
    assert all(Path(file).is_relative_to(home) for file in found["files"]), found
    assert all((Path(file).parent / "py.typed").is_file() for file in found.pop("files")), (
        "no types for users"
    )
    assert found == {"same": True, "names": True, "unknown": False}
    for command in (["-m", "convsv"], ["-m", "convsv_cli"], [str(environment.python.with_name("convsv"))]):
        assert environment.run(*command, "--version") == f"convsv, version {__version__}\n"


def test_both_names_are_one_package_where_it_is_installed(installed: Environment) -> None:
    assert_one_package(installed, installed.packages)
    assert not list(installed.packages.glob("convsv_cli/alias")), "the other name is there twice"


def test_both_names_are_one_package_where_it_is_editable(editable: Environment) -> None:
    assert_one_package(editable, editable.checkout)


def test_every_link_of_the_description_works_on_an_index(installed: Environment, root: Path) -> None:
    description = str(installed.distribution().metadata["Description"])
    links = re.findall(r"\]\(([^)]+)\)", description)
    assert links
    assert all(link.startswith("https://") for link in links), links
    readme = (root / "README.md").read_text()
    assert re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", description).strip() == (
        re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", readme).strip()
    ), "something else than links differs"


def test_the_metadata_are_complete(installed: Environment) -> None:
    metadata = installed.distribution().metadata
    assert metadata["Author"] == "The convsv developers"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert {"docs", "lint", "test", "train"} <= set(metadata.get_all("Provides-Extra"))
    families = {each.split(" :: ")[0] for each in metadata.get_all("Classifier")}
    assert families >= {"Development Status", "Intended Audience", "Operating System", "Topic", "Typing"}


def test_the_citation_follows_its_schema(root: Path) -> None:
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    schema = json.loads((root / "tests" / "support" / "schemas" / "cff-1.2.0.json").read_text())
    jsonschema.Draft7Validator(schema).validate(citation)
    assert citation["authors"] == [{"name": "The convsv developers"}]
    assert citation["version"] == __version__
