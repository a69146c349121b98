"""`convsv sweep` as users have it, with its workers in this process: limits, caches, and what goes wrong."""

import errno
import os
from importlib import import_module

import pytest
import torch
from click.testing import CliRunner

from convsv_cli import deadline, replacing
from convsv_cli.cache import Store
from convsv_cli.cli import cli
from convsv_cli.errors import UsageError
from convsv_cli.report import Settings
from convsv_cli.sweeping import Outcomes
from tests.support.inline_executor import InlineExecutor
from tests.support.model_tree import rows, weights

TABLES = ("files", "networks", "layers")


class Timed(InlineExecutor):
    """Ends the time of the run with the first order."""

    def submit(self, order):
        """As `InlineExecutor.submit`."""
        future = super().submit(order)
        deadline._current.get().seconds = 0.0
        return future


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs it on three models; what it says, its exit code and what it asked for."""
    monkeypatch.setenv("CONVSV_CACHE_KEY", "a secret of tests")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree").mkdir()
    for number, name in enumerate("abc"):
        torch.save(weights(number), tmp_path / "tree" / f"{name}.pt")

    def run(*options, results="results", executor=InlineExecutor):
        made = executor()
        module = import_module("convsv_cli.cli.sweep")
        monkeypatch.setattr(module, "executor_of", lambda *_: made)
        words = ["sweep", "tree", "-o", results, "--network-effort", "quick", *options]
        return CliRunner().invoke(cli, words, standalone_mode=False), made.orders

    return run


def test_a_time_limit_leaves_what_is_done_and_the_same_command_goes_on(command, tmp_path):
    result, orders = command("--time-limit", "1h", executor=Timed)
    assert (result.return_value, len(orders)) == (3, 1)
    assert "stopped by --time-limit: 2 of 3 models are left; the same command goes on" in result.stderr
    assert len(rows(tmp_path / "results", "files")) == 1
    result, orders = command()
    assert (result.return_value, len(orders)) == (0, 2)
    command(results="whole")
    for table in TABLES:
        assert rows(tmp_path / "results", table) == rows(tmp_path / "whole", table)


def test_a_cache_is_shared_with_other_commands_and_limits_reach_the_workers(command, tmp_path, monkeypatch):
    audit = [
        "audit",
        *(f"tree/{name}.pt" for name in "abc"),
        "--network-effort",
        "quick",
        "--cache",
        "shared",
    ]
    limits = ("--memory-limit", "8G", "--step-limit", "1e9")
    CliRunner().invoke(cli, [*audit, *limits, "-q"], standalone_mode=False)
    with monkeypatch.context() as patch:
        patch.setattr(import_module("convsv_cli.auditing.measure"), "_computed", None)
        result, orders = command(*limits, "--cache", "shared", "--cache-mode", "read", "--cache-size", "2G")
    assert result.return_value == 0
    assert {order.limits for order in orders} == {(8 * 2.0**30, 1e9)}
    assert {(order.cache, order.cache_mode, order.cache_size) for order in orders} == {
        ("shared", "read", 2 * 2.0**30)
    }
    _, orders = command("--cache", "off")  # with other limits, all is done again
    assert [order.cache for order in orders] == [""] * 3
    assert not (tmp_path / "results" / "cache").exists()
    command("--spread", "--layers", "fc", results="chosen")
    found = rows(tmp_path / "chosen", "layers")
    assert {row["layer"] for row in found} == {"fc"}
    for row in found:
        assert 1 <= row["stable_rank_lower"] <= row["stable_rank_upper"] <= 5
        assert row["smallest_lower"] <= row["certified_upper"] <= row["frobenius_upper"]


def test_a_model_that_is_no_longer_there_keeps_its_figures_until_they_are_pruned(command, tmp_path):
    (tmp_path / "tree" / "d.pt").write_bytes(b"no model")
    result, _ = command()
    assert result.return_value == 2
    for name in "ad":
        (tmp_path / "tree" / f"{name}.pt").rename(tmp_path / f"{name}.pt")
    for _ in range(2):
        result, orders = command()
        assert (result.return_value, orders) == (0, [])
        assert "2 audited, 2 gone" in result.stderr
    first = rows(tmp_path / "results", "files")[0]
    assert (first["status"], first["exit_code"], first["audited"]) == ("gone", 0, 2)
    (tmp_path / "a.pt").rename(tmp_path / "tree" / "a.pt")
    result, orders = command()
    assert "3 audited, 1 gone" in result.stderr
    (tmp_path / "other").mkdir()
    elsewhere = ["sweep", "other", "-o", "results", "--prune", "--network-effort", "quick"]
    CliRunner().invoke(cli, elsewhere, standalone_mode=False)  # which is not about the tree
    assert len(rows(tmp_path / "results", "files")) == 4
    result, _ = command("--prune")
    assert [row["status"] for row in rows(tmp_path / "results", "files")] == ["audited"] * 3


def test_two_sweeps_do_not_write_to_one_folder(command, tmp_path):
    with Outcomes(tmp_path / "results", Settings()).alone():
        result, orders = command()
    assert isinstance(result.exception, UsageError)
    assert str(result.exception).startswith("results: another sweep is writing to this folder (wait for it")
    assert orders == []
    assert command()[0].return_value == 0


def test_pipes_and_links_in_a_folder_of_results_are_no_files(command, tmp_path):
    command()
    results = tmp_path / "results"
    (tmp_path / "precious").write_text("of the user")
    for file in (results / ".lock", results / "totals.json", min((results / "outcomes").iterdir())):
        file.unlink()
        os.mkfifo(file)
    (results / "files.jsonl").unlink()
    (results / "files.jsonl").symlink_to(tmp_path / "precious")
    result, orders = command()
    assert (result.return_value, len(orders), len(rows(results, "files"))) == (0, 1, 3)
    assert (tmp_path / "precious").read_text() == "of the user"
    (results / ".lock").unlink()
    (results / ".lock").symlink_to(tmp_path / "precious")
    assert str(command()[0].exception).startswith("results: cannot write: Too many levels of symbolic links")


def test_an_exit_code_that_is_none_of_ours_is_an_error_of_ours(command, tmp_path):
    (tmp_path / "tree" / "d.pt").write_bytes(b"no model")
    command()
    for outcome in (tmp_path / "results" / "outcomes").iterdir():
        outcome.write_bytes(outcome.read_bytes().replace(b'"exit_code": 2', b'"exit_code": 77'))
    assert command()[0].return_value == 70


def test_a_folder_that_cannot_be_written_is_one_line(command, monkeypatch):
    def refuse(*_arguments, **_keywords):
        raise PermissionError(errno.EACCES, "Permission denied")

    for refusing in ("pathlib.Path.mkdir", "convsv_cli.sweeping.outcomes.lock_file"):
        with monkeypatch.context() as patch:
            patch.setattr(refusing, refuse)
            result, orders = command()
        assert str(result.exception) == "results: cannot write: Permission denied", refusing
        assert orders == []


def test_a_disk_that_is_full_loses_only_what_was_not_written(command, tmp_path, monkeypatch):
    command(results="whole")
    left, write = [2], replacing._Blaming.write

    def full(file, data):
        left[0] -= 1
        if left[0] < 0:
            with replacing.blaming(file._path):
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(replacing._Blaming, "write", full)
        result, orders = command()
    said = str(result.exception)
    assert said.startswith("results/outcomes/")
    assert said.endswith(
        "No space left on device (once it can be written, the same command goes on where it was)"
    )
    assert len(orders) == 3
    left_there = {path.name for path in (tmp_path / "results").iterdir()}
    assert left_there == {".lock", "cache", "outcomes"}, "no table is written in part"
    assert len(list((tmp_path / "results" / "outcomes").iterdir())) == 2
    result, orders = command()
    assert (result.return_value, len(orders)) == (0, 1)
    for table in TABLES:
        assert rows(tmp_path / "results", table) == rows(tmp_path / "whole", table)


def test_a_cache_that_cannot_be_written_or_believed_is_said_once(command, tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_write", refuse)
        result, _ = command("--cache", "shared")
    assert result.return_value == 0
    assert result.stderr.count("shared: cannot write: Read-only file system (nothing new is kept;") == 1
    command("--cache", "shared", results="more")
    for entry in (tmp_path / "shared").iterdir():
        entry.write_bytes(b"of somebody else")
    result, _ = command("--cache", "shared", results="again")
    assert result.stderr.count("were not written by this user's convsv") == 1
    (tmp_path / "file").touch()
    result, _ = command("--cache", "file")
    assert str(result.exception) == "file: cannot be a cache: File exists"
