"""The README and the pages that it leads to say what the tool does."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper

from convsv_cli.cli import cli
from convsv_cli.renderers import RENDERERS
from tests.support import shown_outputs
from tests.support.command_line import convsv
from tests.support.onnx_models import small_network
from tests.support.shells import installed, shell


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def examples(page: str) -> list[str]:
    """Its blocks of Python."""
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


@pytest.mark.long
def test_outputs_are_what_the_commands_print(
    readme: str, root: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    shown = [path.read_text(encoding="utf-8") for path in shown_outputs.pages()]
    blocks = [block for page in shown for block in shown_outputs.BLOCK.finditer(page)]
    assert len(blocks) >= 2
    assert sum("<!-- output" in line for page in shown for line in page.splitlines()) == len(blocks)
    assert shown_outputs.BLOCK.search(readme)
    for block in blocks:
        assert shown_outputs.printed(block, shared) == block["output"], shown_outputs.COMMAND


def test_the_python_example_runs(readme: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(root)
    code, _ = examples(readme)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 25
    assert all(line.startswith("Interval(lower=") for line in lines[-3:])


def test_the_training_examples_run(
    readme: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    _, short = examples(readme)
    for code in (short, *examples((root / "docs" / "training.md").read_text(encoding="utf-8"))):
        names: dict = {}
        exec(compile(code, "example", "exec"), names)
        assert names["model"][0].weight.grad is not None
    *radii, bound, proven, norms = capsys.readouterr().out.splitlines()
    assert len(radii) == 2
    assert all(line.startswith("tensor([") and "dtype=torch.float64" in line for line in radii)
    estimate, certified = map(float, norms.split())
    assert 0.9 * certified < estimate <= certified
    assert 0.5 < float(proven) / float(bound) < 1.5


def test_every_option_that_the_pages_name_exists(readme: str, root: Path) -> None:
    """Of some command; lines that start another program are about options of its own."""
    known = {name for command in cli.commands.values() for each in command.params for name in each.opts}
    pages = [readme, *(path.read_text(encoding="utf-8") for path in root.glob("docs/*.md"))]
    others = re.compile(r"python |^(?:\$ |\(`)(?:pip|pipx|uv|uvx|dask) ")
    known |= {"--help", "--version"}
    lines = [line for line in "\n".join(pages).splitlines() if not others.search(line)]
    named = set(re.findall(r"--[a-z][a-z0-9-]+", "\n".join(lines)))
    assert len(named) > 20
    assert named <= known


def test_torch_without_cuda_is_from_one_index_wherever_it_is_shown(readme: str, root: Path) -> None:
    """By pip, uv and pipx; of uvx, what follows is a command of this package."""
    (block,) = re.findall(r"<!-- install -->\n```console\n(.*?)```", readme, re.DOTALL)
    programs = [line.split()[1] for line in block.splitlines()]
    assert programs == ["pip", "uv", "uv", "uvx", "pipx"]
    assert all("/whl/cpu" in line or "--torch-backend cpu" in line for line in block.splitlines())
    shown = re.findall(
        r"https://download\.pytorch\.org[\w/.-]*", readme + (root / "docs" / "ci.md").read_text()
    )
    assert set(shown) == {"https://download.pytorch.org/whl/cpu"}
    (once,) = re.findall(r"--from \. convsv (\w+)", block)
    assert once in cli.commands


def test_every_pipe_that_the_docs_show_runs(
    readme: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder in which what the lines name is a small network, or its saved audit."""
    monkeypatch.chdir(tmp_path)
    graph = small_network(tmp_path)
    held = onnx.load(graph).graph.initializer
    weights = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in held}
    assert convsv("audit", graph, "-o", "baseline.json").returncode == 0
    helps = [convsv("--help"), *(convsv(name, "--help") for name in cli.commands)]
    pages = [path.read_text(encoding="utf-8") for path in root.glob("docs/**/*.md")]
    text = "\n".join([readme, *pages, *(process.stdout for process in helps)])
    pipes = set(re.findall(r"^ *\$? *(convsv [^\n|]*\| *\w[^\n]*)$", text, re.MULTILINE))
    assert len(pipes) >= 2
    environment = installed(tmp_path)
    for line in pipes:
        for name in re.findall(r"[\w./-]+\.(?:onnx|pth|pt)\b", line):
            Path(name).parent.mkdir(exist_ok=True)
            small_network(tmp_path, name) if name.endswith(".onnx") else torch.save(weights, name)
        process = shell(f"set -o pipefail; {line}", tmp_path, environment)
        assert (process.returncode, process.stderr) == (0, ""), line
        for output in re.findall(r"-o ([\w.]+)", line):
            assert Path(output).stat().st_size > 1000


def test_every_format_that_the_readme_lists_exists(readme: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`([\w.-]+)`)? *\| \w", readme, re.MULTILINE)
    known = {(r.name, suffix) for r in RENDERERS for suffix in (r.suffixes or ("",))}
    assert len(rows) >= 7
    assert set(rows) <= known


def test_links_lead_somewhere(root: Path) -> None:
    for page in [root / "README.md", *root.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).is_file(), (page.name, target)
