"""Hostile files, each audited as users do: refused in one line or harmless, nothing run, in bounds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from convsv_cli import load
from convsv_cli.errors import ConvsvError
from tests.support.command_line import convsv_anew
from tests.support.measured import Runner
from tests.support.sampling import one_in
from tests.support.threats import MODULES, THREATS, code
from tests.support.threats.threat import CANARY, Threat

PEAK, SECONDS = 1e9, 10.0
"""Bytes, and seconds of processors: those of the clock depend on what else the machine does."""
RUNNING = [threat for threat in code.THREATS if threat.reckless]
FIRSTS = [module.THREATS[0].name for module in MODULES]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with closing(Runner()) as running:
        yield running


def tame(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("name", THREATS)
def test_threat(name: str, runner: Runner, tmp_path: Path) -> None:
    threat = THREATS[name]
    found = runner.run("audit", threat.make(tmp_path))
    assert found.code == threat.code, found.stderr
    assert not (tmp_path / CANARY).exists()
    text, other = (found.stderr, found.stdout) if threat.refused else (found.stdout, found.stderr)
    assert other == ""
    assert threat.says in text
    assert tame(text)
    assert found.seconds < SECONDS
    assert found.peak < PEAK
    if threat.refused:
        assert text.startswith("convsv: ")
        assert text.count("\n") == 1
        assert len(text) < 1100
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", one_in(2, FIRSTS))
def test_a_process_from_the_start_does_the_same(name: str, tmp_path: Path, runner: Runner) -> None:
    path = THREATS[name].make(tmp_path)
    process, found = convsv_anew("audit", path), runner.run("audit", path)
    assert (process.returncode, process.stdout) == (found.code, found.stdout)
    assert process.stderr == found.stderr


def test_what_is_measured_is_there(runner: Runner, tmp_path: Path) -> None:
    """Else a limit could not be exceeded."""
    path = THREATS["two pickles as large as may be"].make(tmp_path)
    small, large = runner.run("methods"), runner.run("audit", path)
    assert small.code == 0
    assert 0 < small.seconds < large.seconds
    assert 2e7 < small.peak < large.peak - 2e8


@pytest.mark.parametrize("threat", RUNNING, ids=lambda threat: threat.name)
def test_its_code_would_run_elsewhere(threat: Threat, tmp_path: Path) -> None:
    """Else the threat would be none, and its test pass whatever convsv did."""
    threat.reckless(threat.make(tmp_path))
    assert (tmp_path / CANARY).exists()


@pytest.mark.parametrize("threat", code.THREATS, ids=lambda threat: threat.name)
def test_an_environment_that_tells_torch_to_trust_all_files(
    threat: Threat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = threat.make(tmp_path)
    if threat.refused:
        with pytest.raises(ConvsvError) as raised:
            load(path)
        assert raised.value.exit_code == threat.code
        assert threat.says in str(raised.value)
    else:
        assert load(path).layers
    assert not (tmp_path / CANARY).exists()


def test_that_environment_on_the_command_line(tmp_path: Path) -> None:
    threat = code.THREATS[0]
    process = convsv_anew("audit", threat.make(tmp_path), TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1")
    assert (process.returncode, process.stdout) == (threat.code, "")
    assert not (tmp_path / CANARY).exists()
