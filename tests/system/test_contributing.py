"""CONTRIBUTING.md: its commands are those of CI, and its examples work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.worked_examples import Step, steps


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "CONTRIBUTING.md").read_text(encoding="utf-8")


def run_tests(checkout: Path, *files: str) -> tuple[int, set[str]]:
    """pytest's exit code, and which of the files have tests that fail."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *files]
    process = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    failed = set(re.findall(r"^(?:FAILED|ERROR) (tests/[\w/]+\.py)", process.stdout, re.MULTILINE))
    return process.returncode, failed


def test_the_examples_fail_before_and_pass_after(page: str, root: Path, tmp_path: Path) -> None:
    for folder in ("convsv_cli", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "golden", "schemas", "saved_reports")
        shutil.copytree(root / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(root / "pyproject.toml", tmp_path)
    every = list(steps(page))
    tests, changes = ([s for s in every if s.is_test is kind] for kind in (True, False))
    files = [step.path for step in tests]
    assert len(files) == 3
    for step in tests:
        step.apply(tmp_path)
    assert run_tests(tmp_path, *files) == (1, set(files))
    for step in changes:
        step.apply(tmp_path)
    assert run_tests(tmp_path, *files) == (0, set())


def test_every_example_lists_what_it_adds(page: str) -> None:
    examples = re.split(r"^## ", page, flags=re.MULTILINE)
    added = {title: list(steps(text)) for title, text in ((e.split("\n")[0], e) for e in examples)}
    for title in ("Add an operator", "Add a loader", "Add a renderer"):
        kinds = [(step.is_test, step.old is None) for step in added[title]]
        assert kinds[:2] == [(True, True), (False, True)], f"{title}: the test first, then the module"
        assert set(kinds[2:]) == {(False, False)}, f"{title}: then the lines that list it"


def test_a_change_of_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old in ("y = 1\n", "x = 1\n"):
        with pytest.raises(AssertionError, match="has not once"):
            Step(path="a.py", old=old, new="").apply(tmp_path)


def test_the_commands_before_a_commit_are_those_of_ci(page: str, root: Path) -> None:
    script, readme = ((root / name).read_text(encoding="utf-8") for name in (".ci/run", "README.md"))
    setup, before = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(setup.splitlines()) == 2
    lines = [line.strip() for line in script.splitlines()]
    for command in before.splitlines():
        assert command in lines or f"&& {command}\n" in readme, command
