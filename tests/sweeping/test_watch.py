"""Checkpoints that appear, grow, move and go, as trainers write them: each content is told of once."""

import io
import os
import time
from functools import partial
from importlib import import_module
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from onnx import helper

from convsv_cli.cli import cli
from convsv_cli.errors import UnreadableModelError, UsageError
from convsv_cli.report import Settings
from convsv_cli.sweeping import Outcomes, Watch, sweep, update_tables
from tests.support.inline_executor import InlineExecutor
from tests.support.model_tree import rows
from tests.support.onnx_models import graph_model, normal, saved
from tests.support.store_system import storing

QUICK = Settings(network_effort="quick")
EVERY, PATIENCE = 10.0, 60.0


def content(scale):
    """Bytes of a checkpoint whose only layer has this norm."""
    return _saved({"fc.weight": scale * torch.eye(3)})


def _saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


class Training:
    """A folder, what is watched in it, and what was told."""

    def __init__(self, root, named=None, executor=None):
        self.root, self.folder, self.results = root, root / "run", root / "results"
        self.folder.mkdir(exist_ok=True)
        self.executor = executor or InlineExecutor()
        self.hours, self.told = 0.0, []
        self.named = named or [str(self.folder)]
        self.restart()

    def restart(self):
        """As the command that is given again."""
        outcomes = Outcomes(self.results, QUICK)
        work = partial(sweep, settings=QUICK, outcomes=outcomes, executor=self.executor)
        self.watch = Watch(
            self.named,
            outcomes,
            work,
            self.told.append,
            lambda *_names: None,
            every=EVERY,
            patience=PATIENCE,
            now=lambda: time.time() + self.hours,
        )

    def write(self, name, data):
        (self.folder / name).write_bytes(data)

    def looks(self, count=2):
        """Some looks, and what they told: names, each with the largest norm or none."""
        before = len(self.told)
        for _ in range(count):
            self.watch.look()
            self.hours += EVERY
        update_tables(self.results)
        return [
            (outcome.path.rpartition("/")[2], norm(outcome.report.audits)) for outcome in self.told[before:]
        ]

    def entries(self):
        return {row["path"].rpartition("/")[2]: row["status"] for row in rows(self.results, "files")}


def norm(audits):
    return round(audits[0].layers[0].measurement("certified").value, 3) if audits else None


@pytest.fixture
def training(tmp_path):
    return Training(tmp_path)


def test_a_file_is_audited_when_two_looks_see_it_alike(training):
    data = content(2.0)
    for end in range(100, len(data), len(data) // 3):
        training.write("epoch1.pt", data[:end])
        assert training.looks(1) == []
    training.write("epoch1.pt", data)
    assert (training.looks(1), training.executor.orders) == ([], [])
    assert training.looks(1) == [("epoch1.pt", 2.0)]
    assert training.looks(3) == []
    assert len(training.executor.orders) == 1


def test_what_was_there_long_before_is_audited_at_once_in_the_order_of_its_numbers(training):
    for step in (10, 9, 1):
        training.write(f"epoch{step}.pt", content(float(step)))
    training.hours = 3 * EVERY
    assert training.looks(1) == [("epoch1.pt", 1.0), ("epoch9.pt", 9.0), ("epoch10.pt", 10.0)]


def test_half_a_file_is_no_failure_until_it_stays_one(training):
    data = content(2.0)
    training.write("epoch1.pt", data[: len(data) // 2])
    training.write("epoch2.pt", data[: len(data) // 2])
    assert training.looks(4) == []
    assert training.entries() == {}, "no table calls it broken"
    training.write("epoch1.pt", data)
    assert training.looks(2) == [("epoch1.pt", 2.0)]
    assert training.looks(4) == [("epoch2.pt", None)]
    assert training.looks(4) == []
    assert training.entries() == {"epoch1.pt": "audited", "epoch2.pt": "failed"}
    training.restart()
    assert training.looks(4) == []
    training.write("epoch2.pt", content(3.0))
    assert training.looks() == [("epoch2.pt", 3.0)]
    assert training.entries() == {"epoch1.pt": "audited", "epoch2.pt": "audited"}


def test_what_changes_or_goes_while_it_is_read_is_looked_at_again(tmp_path):
    class Meanwhile(InlineExecutor):
        """Something happens while the first order runs."""

        def submit(self, order):
            for happening in events:
                happening(order.path)
            events.clear()
            return super().submit(order)

    events = [os.unlink]
    training = Training(tmp_path, executor=Meanwhile())
    training.write("epoch1.pt", content(1.0))
    assert training.looks(4) == []
    assert training.entries() == {}

    events.append(lambda path: Path(path).write_bytes(content(3.0)))
    training.write("epoch2.pt", content(2.0))
    assert training.looks(2) == []
    assert training.looks(2) == [("epoch2.pt", 3.0)]


def test_a_name_that_changes_is_the_same_entry(training):
    training.write("epoch1.pt", content(1.0))
    training.write("epoch2.pt", content(2.0))
    training.looks()
    (training.folder / "epoch2.pt").rename(training.folder / "best.pt")
    assert training.looks(3) == []
    assert training.entries() == {"epoch1.pt": "audited", "best.pt": "audited"}
    (training.folder / "best.pt").rename(training.folder / "final.pt")
    training.restart()
    assert training.looks(3) == []
    assert training.entries() == {"epoch1.pt": "audited", "final.pt": "audited"}


def test_what_is_deleted_keeps_its_figures_and_is_not_told_again_where_it_returns(training):
    training.write("epoch1.pt", content(1.0))
    training.looks()
    (training.folder / "epoch1.pt").unlink()
    assert (training.looks(), training.entries()) == ([], {"epoch1.pt": "gone"})
    training.write("epoch1.pt", content(1.0))
    assert (training.looks(), training.entries()) == ([], {"epoch1.pt": "audited"})
    (training.folder / "epoch1.pt").unlink()
    training.folder.rmdir()
    assert (training.looks(), training.entries()) == ([], {"epoch1.pt": "gone"})


def test_copies_and_a_latest_one_that_is_written_over(training):
    """As `save_last` has it: the same content under two names, one of which goes on."""
    for step in (1, 2, 3):
        for name in ("last.pt", f"step{step}.pt"):
            training.write(name, content(float(step)))
        assert [value for _, value in training.looks(5)] == [step]
    assert sorted(training.entries().values()) == ["audited", "audited", "audited", "same"]
    norms = {
        row["path"].rpartition("/")[2]: row["largest_certified"] for row in rows(training.results, "files")
    }
    assert [round(norms[f"step{step}.pt"]) for step in (1, 2)] == [1, 2]
    (training.folder / "link.pt").symlink_to("step1.pt")
    assert training.looks(3) == []


def test_a_store_is_asked_again_and_may_not_answer(tmp_path, monkeypatch):
    with storing(tmp_path):
        training = Training(tmp_path, ["s3://run/"])
        training.write("epoch1.pt", content(1.0))
        assert training.looks(3) == [("epoch1.pt", 1.0)]
        with monkeypatch.context() as patch:
            patch.setattr(import_module("convsv_cli.sweeping.watching"), "discover", _refuse)
            assert training.looks() == []
        training.write("epoch2.pt", content(2.0))
        assert training.looks(3) == [("epoch2.pt", 2.0)]
        training.restart()
        assert training.looks(3) == []


def _refuse(*_arguments, **_keywords):
    raise UnreadableModelError("cannot be reached", where="s3://run")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `convsv watch` without pauses: as many steps of a script as there are take their place."""
    monkeypatch.setenv("CONVSV_CACHE_KEY", "a secret of tests")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    module, passed = import_module("convsv_cli.cli.watch"), [0.0]
    monkeypatch.setattr(module, "executor_of", lambda *_: InlineExecutor())

    def run(*options, script=()):
        steps = iter(script)

        def pause(seconds):
            passed[0] += seconds
            next(steps, lambda: None)()

        real = time.time
        with monkeypatch.context() as patch:
            patch.setattr(module.time, "sleep", pause)
            patch.setattr(module.time, "time", lambda: real() + passed[0])
            words = ["watch", "run", "-o", "results", "--network-effort", "quick", *options]
            return CliRunner().invoke(cli, words, standalone_mode=False)

    return run


def save(step, name=None):
    torch.save(
        {"a.weight": step * torch.eye(3), "b.weight": torch.eye(2)}, f"run/{name or f'epoch{step}'}.pt"
    )


def test_lines_tables_and_a_page(command, tmp_path):
    save(2)
    save(10)
    result = command("--until-idle", "20s", "--html", "trend.html", script=[lambda: None, lambda: save(11)])
    lines = result.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"run/epoch{step}.pt" for step in (2, 10, 11)]
    assert lines[1] == (
        "run/epoch10.pt: 2 of 2 layers, largest ≤ 10.01 (a), product of norms 10.01 (no bound of the network)"
    )
    assert result.return_value == 0
    assert "3 audited; 6 layers with figures; tables: results/" in result.stderr
    page = (tmp_path / "trend.html").read_text()
    assert page.index("epoch2.pt: certified") < page.index("epoch10.pt: certified")
    assert "a: 2.001 at step 2, 11.01 at step 11, 11.01 at most, at step 11." in page
    again = command("--once", "--html", "trend.html")
    assert (again.stdout, again.return_value) == ("", 0)
    assert (tmp_path / "trend.html").read_text() == page
    moving = [lambda: None, lambda: (tmp_path / "run/epoch11.pt").rename(tmp_path / "run/epoch12.pt")]
    assert command("--until-idle", "20s", "--html", "trend.html", script=moving).stdout == ""
    page = (tmp_path / "trend.html").read_text()
    assert "epoch12.pt: certified" in page
    assert "epoch11.pt" not in page


def test_a_budget_ends_it_or_goes_on(command, tmp_path):
    (tmp_path / "convsv.toml").write_text("max-layer = 4\n")
    for step in (1, 5, 6):
        save(step)
    result = command("--once", "--fail-on", "exceeded", "--html", "trend.html")
    assert result.return_value == 1
    first, last = result.stdout.splitlines()
    assert first.endswith("passed: 2 passed (convsv.toml)")
    assert last.endswith("failed: 1 exceeded, 1 passed (convsv.toml)")
    assert len(rows(tmp_path / "results", "files")) == 2
    result = command("--once", "--config", "convsv.toml", "--html", "trend.html")
    assert (result.return_value, len(result.stdout.splitlines())) == (1, 1)
    assert "above its limit at 5, 6" in (tmp_path / "trend.html").read_text()
    assert command("--once").return_value == 0, "without a budget nothing is exceeded"


def test_ctrl_c_leaves_tables(command, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    save(1)
    result = command(script=[lambda: None, interrupt])
    assert isinstance(result.exception, click.Abort)  # of which `main` makes 130
    assert "1 audited; 2 layers with figures" in result.stderr
    assert len(rows(tmp_path / "results", "files")) == 1


def test_a_folder_that_is_not_there_is_no_training(command):
    Path("run").rmdir()
    error = command("--once").exception
    assert isinstance(error, UsageError)
    assert str(error) == "run: no such file or folder (make the folder first)"


def test_a_graph_gives_checkpoints_a_bound_of_the_network(command):
    node = helper.make_node("Conv", ["x", "conv.weight"], ["y"], pads=[1, 1, 1, 1])
    model = graph_model([node], {"x": (1, 3, 8, 8)}, {"conv.weight": normal(3, 3, 3, 3)})
    saved(model, Path())
    torch.save({"conv.weight": 2.0 * torch.eye(3)[:, :, None, None] * _tap()}, "run/epoch1.pt")
    result = command("--once", "--graph", "model.onnx")
    assert result.stdout == "run/epoch1.pt: 1 of 1 layer, largest ≤ 2.001 (conv), network ≤ 2.001\n"
    assert command("--once", "--graph", "model.onnx").stdout == ""
    assert "no bound of the network" in command("--once").stdout, "another question has another answer"


def _tap():
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, 1, 1] = 1.0
    return kernel
