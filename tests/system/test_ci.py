"""The action, the hook and the documented CI: their own commands, on small models and the sample model."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.budget_models import exit_code, scaled
from tests.support.onnx_models import small_network
from tests.support.shells import installed, shell

MODEL = "net.onnx"
QUICK = 'network-effort = "quick"\n'
LOOSE, TIGHT = f"max-layer = 7.0\n{QUICK}", f"max-layer = 6.0\nmax-lipschitz = 1e9\n{QUICK}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a model and a budget that it passes."""
    scaled(tmp_path, 6.5, 2, name=MODEL)
    (tmp_path / "convsv.toml").write_text(LOOSE)
    return tmp_path


def filled(value: str, inputs: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ *inputs\.([a-z-]+) *\}\}", lambda match: inputs[match.group(1)], value)


def run_action(root: Path, project: Path, **given: str) -> tuple[int, str]:
    """What the runner does with the steps of the action; pip is a stand-in that notes what it is asked."""
    action: dict[str, Any] = yaml.safe_load((root / "action.yml").read_text())
    inputs = {name: spec["default"] for name, spec in action["inputs"].items()} | {
        name.replace("_", "-"): value for name, value in given.items()
    }
    environment = installed(project)
    python = project / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$@" >> pip.txt\n')
    python.chmod(0o755)
    environment |= {
        "GITHUB_ACTION_PATH": str(root),
        "GITHUB_STEP_SUMMARY": str(project / "summary.md"),
    }
    output = ""
    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "inputs reach scripts by the environment, never as code"
        variables = {name: filled(value, inputs) for name, value in step.get("env", {}).items()}
        assert not any("${{" in value for value in variables.values())
        script = project / "step.sh"
        script.write_text(step["run"])
        command = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
        process = shell(str(script), project, environment | variables, command=command)
        output += process.stdout + process.stderr
        if process.returncode:
            return process.returncode, output
    return 0, output


def test_the_action_passes_and_reports(root: Path, project: Path) -> None:
    code, output = run_action(root, project, models=f"{MODEL}\n")
    assert code == 0, output
    assert "::error" not in output
    assert (project / "pip.txt").read_text().split()[:3] == ["-m", "pip", "install"]
    assert (project / "pip.txt").read_text().split()[-1] == str(root)
    assert (root / "pyproject.toml").is_file()
    assert (project / "summary.md").read_text().count(f"## `{MODEL}`") == 1
    assert json.loads((project / "convsv.sarif").read_text())["version"] == "2.1.0"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", 2), ("True", 2), ("TRUE", 2), ("False", 0), ("", 0), ("yes", 2), ("1", 2)],
)
def test_a_strict_baseline_is_never_dropped(value: str, expected: int, root: Path, project: Path) -> None:
    """Without a baseline to be strict about it is an error, as is what is no word for true or false."""
    code, output = run_action(root, project, models=MODEL, install="none", baseline_strict=value)
    assert code == expected, output
    known = value.lower() in ("true", "false", "")
    assert ("::error::baseline-strict is neither" in output) == (not known)


def test_the_action_fails_with_annotations(root: Path, project: Path) -> None:
    (project / "convsv.toml").write_text(f'models = ["{MODEL}"]\n{TIGHT}')
    code, output = run_action(root, project, install="none", sarif="out.sarif")
    assert code == 1, output
    errors = [line for line in output.splitlines() if line.startswith("::error")]
    assert any("fc0" in line and "line=2" in line for line in errors), output
    assert "failed" in (project / "summary.md").read_text()
    assert (project / "out.sarif").is_file()


def test_the_action_takes_a_baseline_and_hostile_inputs_are_no_code(root: Path, project: Path) -> None:
    environment = installed(project)
    shell(f"convsv audit {MODEL} --network-effort quick -o base.json", project, environment)
    code, output = run_action(root, project, models=MODEL, baseline="base.json", max_increase="1%")
    assert code == 0, output
    base = json.loads((project / "base.json").read_text())
    base["audits"][0]["layers"].pop()
    (project / "base.json").write_text(json.dumps(base))
    code, output = run_action(root, project, models=MODEL, baseline="base.json", baseline_strict="true")
    assert code == 1, output
    assert "::error file=base.json,line=1,title=convsv added-layer::" in output
    code, output = run_action(root, project, models='$(touch owned)"; touch owned;\n--exit-zero')
    assert code == 2, output
    assert not (project / "owned").exists()


def test_every_input_of_the_action_is_used_and_described(root: Path) -> None:
    text = (root / "action.yml").read_text()
    action = yaml.safe_load(text)
    assert not any("${{" in step["run"] for step in action["runs"]["steps"]), "inputs are never code"
    for name, spec in action["inputs"].items():
        assert spec["description"]
        assert f"inputs.{name}" in text
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(action["inputs"])


@pytest.mark.parametrize(("budget", "code"), [(LOOSE, 0), (TIGHT, 1)])
def test_the_hook_checks_what_is_committed(budget: str, code: int, root: Path, project: Path) -> None:
    (hook,) = yaml.safe_load((root / ".pre-commit-hooks.yaml").read_text())
    assert hook["language"] == "python"
    (project / "convsv.toml").write_text(budget)
    files = [f"sample_models/{path.name}" for path in (root / "sample_models").iterdir()]
    chosen = sorted(name for name in files if re.search(hook["files"], name))
    models = ("cifar10_cnn", "digits", "mnist_curvature", "resnet20", "resnet20_regularised")
    assert chosen == [f"sample_models/{name}{suffix}" for name in models for suffix in (".onnx", ".pt")]
    command = shlex.join([*shlex.split(hook["entry"]), MODEL])
    process = shell(command, project, installed(project))
    assert process.returncode == code, process.stderr
    assert "budget" in process.stdout


@pytest.mark.long
def test_the_page_on_ci_says_what_happens(root: Path, project: Path) -> None:
    """All commands that are marked, one script after the other, in a folder without a budget.

    The budget is begun and kept with the model of the page; the others need none that takes seconds.
    """
    (project / "convsv.toml").unlink()
    models = project / "sample_models"
    models.mkdir()
    (models / "resnet20.onnx").symlink_to(root / "sample_models" / "resnet20.onnx")
    small_network(models, "cifar10_cnn.onnx")
    page = (root / "docs" / "ci.md").read_text()
    scripts = re.findall(r"<!-- run: (\d+) -->\n```sh\n(.*?)```", page, re.DOTALL)
    assert len(scripts) == 3
    for i, (code, script) in enumerate(scripts):
        if i == 1:
            (models / "resnet20.onnx").unlink()
            small_network(models, "resnet20.onnx")
        process = shell(f"set -eo pipefail\n{script}", project, installed(project))
        assert process.returncode == int(code), f"{script}{process.stdout}{process.stderr}"
    begun = (project / "convsv.toml").read_text()
    for line in ("max-lipschitz = 1.6e6", "max-layer = 7.1"):
        key, _, value = line.partition(" = ")
        assert line in page
        assert f"{key} = {float(value)!r}" in begun
    written = {path.suffix for path in project.glob("convsv.*")}
    assert written == {".toml", ".xml", ".sarif", ".md", ".json"}


def test_the_set_ups_on_the_page_do_what_they_say(root: Path, project: Path, monkeypatch) -> None:
    """Their commands but pip's, in a checkout with two models that a glob finds; what is kept is there."""
    page = (root / "docs" / "ci.md").read_text()
    yamls = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    github, gitlab, pre_commit = yamls
    (jenkins,) = re.findall(r"```groovy\n(.*?)```", page, re.DOTALL)
    for folder in (".git", "models"):
        (project / folder).mkdir()
    (project / MODEL).rename(project / "models" / "b.onnx")
    scaled(project / "models", 2, name="a.onnx")
    (project / "convsv.toml").write_text(f'models = ["models/*.onnx"]\n{LOOSE}')
    monkeypatch.chdir(project)
    gitlab_job = gitlab["budgets"]
    steps = re.findall(r"^ +sh '([^'\n]*)'$", jenkins, re.MULTILINE)
    assert jenkins.count("{") == jenkins.count("}")
    assert set(re.findall(r"(\w+)(?:\('\w+'\))? \{$", jenkins, re.MULTILINE)) == {
        "pipeline", "environment", "stages", "stage", "steps", "post", "always",
    }  # fmt: skip
    files = ["convsv.html", "convsv.xml", "gl-code-quality-report.json"]
    assert [*gitlab_job["artifacts"]["paths"], *gitlab_job["artifacts"]["reports"].values()] == files
    assert sorted(re.findall(r"'(convsv\.\w+)'", jenkins)) == files[:2]
    of_jenkins = [step.replace(".venv/bin/", "") for step in steps]
    for script, kept in ((gitlab_job["script"], files), (of_jenkins, files[:2])):
        *setting_up, check = map(shlex.split, script)
        assert setting_up[-1] == ["pip", "install", "convsv @ git+https://github.com/OWNER/convsv@main"]
        assert exit_code(monkeypatch, *check[1:]) == 0
        assert all((project / name).stat().st_size for name in kept)
        for name in kept:
            (project / name).unlink()
    for text in (github["env"], gitlab_job["variables"], jenkins):
        assert "https://download.pytorch.org/whl/cpu" in str(text)
    steps = {
        step["uses"].partition("@")[0]: step.get("with", {}) for step in github["jobs"]["budgets"]["steps"]
    }
    action = yaml.safe_load((root / "action.yml").read_text())["inputs"]
    assert steps["github/codeql-action/upload-sarif"]["sarif_file"] == action["sarif"]["default"]
    assert steps["actions/cache"]["path"].split() == ["~/.cache/pip", github["env"]["CONVSV_CACHE"]]
    assert gitlab_job["cache"]["paths"] == [".cache/pip", ".cache/convsv"]
    (used,) = pre_commit["repos"][0]["hooks"]
    (hook,) = yaml.safe_load((root / ".pre-commit-hooks.yaml").read_text())
    assert used["id"] == hook["id"]
    assert re.search(hook["files"], used["args"][1]), "the hook runs where the budget is changed"
    (project / "convsv.toml").write_text(f'models = ["models/*.onnx"]\n{TIGHT}')
    command = [
        *shlex.split(hook["entry"])[1:],
        *used["args"],
        "convsv.toml",
        "-o",
        "out.sarif",
        "-o",
        "out.json",
    ]
    assert exit_code(monkeypatch, *command) == 1
    audits = json.loads((project / "out.json").read_text())["audits"]
    assert [each["model"]["path"] for each in audits] == ["models/a.onnx", "models/b.onnx"]
    (run,) = json.loads((project / "out.sarif").read_text())["runs"]
    assert [each["location"]["uri"] for each in run["artifacts"]] == ["models/a.onnx", "models/b.onnx"]
    places = {each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in run["results"]}
    assert places == {"convsv.toml"}


def test_the_budget_on_the_page_is_one(root: Path, tmp_path: Path) -> None:
    from convsv_cli.budget import read_configuration

    page = (root / "docs" / "ci.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "convsv.toml"
    path.write_text(example)
    found = read_configuration(path).budget
    assert None not in (found.network, found.layer)
    assert found.layers
    assert found.ignores
    assert found.pairs
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        assert yaml.safe_load(block)
    with_ = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    inputs = yaml.safe_load((root / "action.yml").read_text())["inputs"]
    (used,) = (s["with"] for s in with_["jobs"]["budgets"]["steps"] if "convsv" in s["uses"])
    assert set(used) <= set(inputs)
