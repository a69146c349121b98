"""A cache saves time, and never changes what a command says."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from convsv_cli import auditing
from convsv_cli.cli import cli

CHECK = ("check", "--config", "budget.toml", "--format", "json")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVSV_CACHE_KEY", "a secret of tests")
    torch.save(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), "model.pt")
    Path("budget.toml").write_text('models = ["model.pt"]\nmax-layer = 1e-3\n')


def outcomes(text: str) -> list[tuple[str, float | None, str]]:
    (audit,) = json.loads(text)["audits"]
    return [(gate["node"], gate["limit"], gate["outcome"]) for gate in audit["verdict"]["gates"]]


def test_a_verdict_from_a_cache_is_the_same(monkeypatch):
    first = run(*CHECK, "--cache", "cache")
    monkeypatch.setattr(auditing, "_audited", None)
    second = run(*CHECK, "--cache", "cache")
    assert (first.return_value, second.return_value) == (1, 1)
    assert outcomes(first.stdout) == outcomes(second.stdout)


def test_it_is_named_in_the_environment_and_off(monkeypatch):
    monkeypatch.setenv("CONVSV_CACHE", "cache")
    run("audit", "model.pt", "--cache", "off")
    assert not Path("cache").exists()
    run("audit", "model.pt")
    assert len(list(Path("cache").iterdir())) == 3


@pytest.mark.parametrize(("key", "change"), [("a secret of others", 0), ("a secret of tests", 1)])
def test_what_others_write_into_it_changes_no_verdict(monkeypatch, key, change):
    monkeypatch.setenv("CONVSV_CACHE_KEY", key)
    run(*CHECK, "--cache", "cache")
    for entry in Path("cache").iterdir():
        data = entry.read_bytes()
        entry.write_bytes(data[:-1] + bytes([data[-1] ^ change]))
    monkeypatch.setenv("CONVSV_CACHE_KEY", "a secret of tests")
    found = run(*CHECK, "--cache", "cache", "--cache-mode", "read")
    assert found.return_value == 1
    assert "\nconvsv: cache: 3 entries were not written by this user's convsv" in found.stderr


def test_one_that_is_only_read_must_be_there():
    found = run("audit", "model.pt", "--cache", "none", "--cache-mode", "read")
    assert str(found.exception) == "none: no such folder (--cache-mode write makes it)"
