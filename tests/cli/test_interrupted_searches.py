"""Ctrl-C while the bound of the network is searched for ends the search, and not the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.budget_models import scaled
from tests.support.command_line import INTERRUPTIBLE

SEARCH = """
import importlib, os, time
from convsv_cli import auditing

measure = importlib.import_module("convsv_cli.auditing.measure")
honest = measure.network_bound

def interrupted(*arguments):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        return honest(*arguments)

measure.network_bound = interrupted
"""
BROKEN = """
sound = auditing.audit_file

def broken(model, *arguments, **options):
    if "second" in str(model):
        raise RuntimeError("a bug")
    return sound(model, *arguments, **options)

auditing.audit_file = broken
"""
BROKEN_AFTERWARDS = """
from convsv_cli.cli import audit as _
command = importlib.import_module("convsv_cli.cli.audit")

def broken(*_, **__):
    raise RuntimeError("a bug")

command.write_report = broken
"""


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = INTERRUPTIBLE.replace("main()", f"{SEARCH}{script}\nmain()\n")
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def test_what_was_found_by_then_is_reported(tmp_path: Path) -> None:
    process = run("", "audit", scaled(tmp_path, 2, 3), "--format", "json")
    assert (process.returncode, process.stderr) == (0, "")
    assert json.loads(process.stdout)["audits"][0]["network"]["lipschitz_upper"] == pytest.approx(6, rel=1e-3)


def test_a_gate_is_decided_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "convsv.toml").write_text("max-lipschitz = 5\n")
    process = run("", "check", scaled(tmp_path, 2, 3), "--config", tmp_path / "convsv.toml")
    assert (process.returncode, process.stderr) == (1, "")


def test_what_breaks_later_is_no_interrupt(tmp_path: Path) -> None:
    """An error is taken for an interrupt only where there was one that nobody has dealt with."""
    process = run(BROKEN_AFTERWARDS, "audit", scaled(tmp_path, 2))
    assert (process.returncode, process.stdout) == (70, "")
    assert "RuntimeError: a bug" in process.stderr


def test_one_model_that_breaks_does_not_stop_the_others(tmp_path: Path) -> None:
    models = [scaled(tmp_path, 2, name=f"{name}.onnx") for name in ("first", "second", "third")]
    process = run(BROKEN, "audit", *models)
    assert process.returncode == 70
    assert "second.onnx" not in process.stdout.partition("failed:")[0]
    assert all(f"{name}.onnx" in process.stdout for name in ("first", "third"))
    assert "RuntimeError: a bug" in process.stderr
