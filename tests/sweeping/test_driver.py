"""Sweeps: what is done, in which steps, and what a later run does again."""

import json
import os
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner

from convsv_cli.auditing import audit_file
from convsv_cli.cli import cli
from convsv_cli.report import Settings
from convsv_cli.sweeping import Outcomes, discover, driver, sweep, tables, update_tables, write_tables
from convsv_cli.sweeping.columns import TABLES, VERSION
from convsv_cli.sweeping.outcomes import outcomes_in
from tests.support.inline_executor import InlineExecutor
from tests.support.model_tree import EXECUTED, make, rows, weights

SETTINGS = Settings()


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("CONVSV_CACHE_KEY", "a secret of tests")


def run(root, results, executor, settings=SETTINGS, cache="", tables=True):
    found = list(discover([str(root)]))
    tally = sweep(found, settings, Outcomes(results, settings), executor, cache=cache, cache_mode="write")
    totals = write_tables(outcomes_in(results), results) if tables else None
    return tally, totals


def test_a_tree_is_a_complete_table(tmp_path):
    kinds = make(tmp_path / "tree", 6)
    executor = InlineExecutor()
    _, totals = run(tmp_path / "tree", tmp_path / "results", executor)
    assert dict(totals.files) == kinds
    assert totals.exit_code == 4  # one of the hostile files is refused as unsafe
    files = rows(tmp_path / "results", "files")
    assert all(row["reason"] for row in files if row["status"] == "failed")
    assert [row["path"] for row in files] == sorted(row["path"] for row in files)
    layers = rows(tmp_path / "results", "layers")
    assert len(layers) == 2 * kinds["audited"]
    first = next(row for row in layers if row["layer"] == "conv")
    (audited, _) = audit_file(first["path"], SETTINGS).layers
    assert first["certified_upper"] == audited.measurement("certified").enclosure.upper
    assert first["kernel_shape"] == [4, 3, 3, 3]
    assert not Path(EXECUTED).exists()


def test_parquet_has_what_the_lines_have(tmp_path):
    torch.save(weights(0), tmp_path / "a.pt")
    (tmp_path / "b.pt").touch()
    _, totals = run(tmp_path, tmp_path / "results", InlineExecutor())
    assert totals.parquet
    for table, columns in TABLES.items():
        found = pyarrow.parquet.read_table(tmp_path / "results" / f"{table}.parquet")
        assert found.schema.names == [column.name for column in columns]
        assert found.schema.metadata == {b"convsv_sweep": VERSION.encode()}
        lines = (tmp_path / "results" / f"{table}.jsonl").read_text().splitlines()
        assert found.to_pylist() == [json.loads(line) for line in lines]


def test_what_has_not_changed_is_not_done_again(tmp_path):
    make(tmp_path / "tree", 3)
    run(tmp_path / "tree", tmp_path / "results", InlineExecutor())
    before = [rows(tmp_path / "results", table) for table in ("files", "networks", "layers")]
    again = InlineExecutor()
    tally, _ = run(tmp_path / "tree", tmp_path / "results", again)
    assert (tally.done, tally.before, again.orders) == (tally.models, tally.models, [])
    assert [rows(tmp_path / "results", table) for table in ("files", "networks", "layers")] == before
    torch.save(weights(77), tmp_path / "tree" / "run0" / "epoch000.pt")
    run(tmp_path / "tree", tmp_path / "results", again)
    assert [order.path for order in again.orders] == [str(tmp_path / "tree" / "run0" / "epoch000.pt")]


def test_tables_of_outcomes_that_have_not_changed_are_left_alone(tmp_path, monkeypatch):
    make(tmp_path / "tree", 2)
    results = tmp_path / "results"
    run(tmp_path / "tree", results, InlineExecutor())
    first = update_tables(results)
    monkeypatch.setattr(tables, "write_tables", None)
    run(tmp_path / "tree", tmp_path / "results", InlineExecutor(), tables=False)
    assert update_tables(results) == first
    monkeypatch.undo()
    for spoil in (b"", b"[]", b"{}", b"[" * 9999, (results / "totals.json").read_bytes()[:-9]):
        (results / "totals.json").write_bytes(spoil)
        assert update_tables(results) == first
    (results / "files.jsonl").unlink()
    assert update_tables(results) == first
    assert (results / "files.jsonl").exists()
    next((results / "outcomes").iterdir()).unlink()
    assert sum(update_tables(results).files.values()) == sum(first.files.values()) - 1


def test_a_name_that_is_no_text_is_spelled_out(tmp_path):
    torch.save(weights(0), tmp_path / "a.pt")
    (tmp_path / "a.pt").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.pt"))
    results = tmp_path / "results"
    for _ in range(2):
        tally, totals = run(tmp_path, results, InlineExecutor())
        assert totals.files == {"audited": 1}
    assert tally.before == 1
    for table in ("files", "networks", "layers"):
        assert rows(results, table)[0]["path"].endswith(r"/\udcff.pt")
    again = CliRunner().invoke(cli, ["report", str(results), "-f", "csv"])
    assert r"/\udcff.pt,audited" in again.stdout


def test_what_is_asked_in_another_way_is_done_again(tmp_path):
    torch.save(weights(0), tmp_path / "a.pt")
    run(tmp_path / "a.pt", tmp_path / "results", InlineExecutor())
    again = InlineExecutor()
    run(tmp_path / "a.pt", tmp_path / "results", again, Settings(tolerance=1e-3))
    assert len(again.orders) == 1


def test_sizes_beyond_parquet_are_in_all_tables(tmp_path):
    torch.save(weights(0), tmp_path / "a.pt")
    run(tmp_path, tmp_path / "results", InlineExecutor(), Settings(input_size=(2**40, 2**40)))
    lines = rows(tmp_path / "results", "layers")
    found = pyarrow.parquet.read_table(tmp_path / "results" / "layers.parquet")
    assert found.column("input_size").to_pylist() == [row["input_size"] for row in lines]


class Overtaken(InlineExecutor):
    """While a model is audited, another one is written in its place."""

    def submit(self, order):
        """As `InlineExecutor.submit`."""
        future = super().submit(order)
        torch.save(weights(7), order.path)
        return future


def test_what_changed_while_it_was_audited_is_done_again(tmp_path):
    torch.save(weights(0), tmp_path / "a.pt")
    run(tmp_path / "a.pt", tmp_path / "results", Overtaken())
    again = InlineExecutor()
    run(tmp_path / "a.pt", tmp_path / "results", again)
    assert len(again.orders) == 1


def test_a_failure_is_tried_again_with_other_memory(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"no model")
    found = list(discover([str(tmp_path / "a.pt")]))
    orders = []
    for memory in (1e9, 1e9, 2e9):
        executor = InlineExecutor()
        sweep(found, SETTINGS, Outcomes(tmp_path / "results", SETTINGS, memory=memory), executor)
        orders.append(len(executor.orders))
    assert orders == [1, 0, 1]


def test_a_worker_that_dies_is_a_row(tmp_path):
    torch.save(weights(0), tmp_path / "a.pt")
    torch.save(weights(1), tmp_path / "b.pt")
    deadly = InlineExecutor(deadly=frozenset([str(tmp_path / "a.pt")]))
    _, totals = run(tmp_path, tmp_path / "results", deadly)
    assert totals.files == {"failed": 1, "audited": 1}
    assert rows(tmp_path / "results", "files")[0]["reason"] == "killed"
    _, totals = run(tmp_path, tmp_path / "results", InlineExecutor())
    assert totals.files == {"audited": 2}


def test_large_models_are_measured_layer_by_layer(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "LARGE", 1)
    torch.save(weights(0), tmp_path / "a.pt")
    executor = InlineExecutor(slots=2)
    run(tmp_path / "a.pt", tmp_path / "results", executor)
    plan, *parts, whole = executor.orders
    assert plan.plan
    assert sorted(name for part in parts for name in part.layers) == ["conv", "fc"]
    assert len(whole.known) == 2
    alone = InlineExecutor()
    run(tmp_path / "a.pt", tmp_path / "alone", alone)
    assert len(alone.orders) == 1
    assert rows(tmp_path / "results", "layers") == rows(tmp_path / "alone", "layers")


def test_equal_weights_are_measured_once(tmp_path, monkeypatch):
    torch.save(weights(0), tmp_path / "a.pt")
    torch.save({"model": weights(0)}, tmp_path / "b.pt")
    cache = str(tmp_path / "cache")
    run(tmp_path / "a.pt", tmp_path / "results", InlineExecutor(), cache=cache)
    import importlib

    monkeypatch.setattr(importlib.import_module("convsv_cli.auditing.measure"), "_computed", None)
    run(tmp_path / "b.pt", tmp_path / "results", InlineExecutor(), cache=cache)
    layers = rows(tmp_path / "results", "layers")
    figures = [{**row, "path": "", "layer": "", "weight": "", "assumed": []} for row in layers]
    assert figures[:2] == figures[2:]


@pytest.mark.parametrize(
    "text", [b"", b"\xff\n{}", b"{}", b'{"path": 3}\n{}', b"[" * 99999, b'{"path": "x"}\nno']
)
def test_outcomes_that_others_wrote_are_data(tmp_path, text):
    torch.save(weights(0), tmp_path / "a.pt")
    run(tmp_path / "a.pt", tmp_path / "results", InlineExecutor())
    (outcome,) = (tmp_path / "results" / "outcomes").iterdir()
    outcome.write_bytes(text)
    totals = write_tables(outcomes_in(tmp_path / "results"), tmp_path / "results")
    assert totals.files == {"failed": 1}
    again = InlineExecutor()
    run(tmp_path / "a.pt", tmp_path / "results", again)
    assert len(again.orders) == 1
