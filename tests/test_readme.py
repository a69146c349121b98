"""The README says what the tool does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.command_line import convsv


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def test_outputs_are_what_the_commands_print(
    readme: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    outputs = re.findall(r"<!-- output: convsv (.*?) -->\n```text\n(.*?)```", readme, re.DOTALL)
    assert outputs
    for arguments, output in outputs:
        assert convsv(*shlex.split(arguments)).stdout == output


def test_the_python_example_runs(readme: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(root)
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 25
    assert all(line.startswith("Interval(lower=") for line in lines[-3:])


def test_every_option_that_the_readme_names_exists(readme: str) -> None:
    shown = "".join(convsv(command, "--help").stdout for command in ("audit", "check", "diff", "spectrum"))
    for option in set(re.findall(r"--[a-z][a-z0-9-]+", readme)):
        assert option in shown, option


def test_links_lead_somewhere(readme: str, root: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", readme):
        assert target.startswith("https://") or (root / target).is_file(), target
