"""Remote folders: found, audited, and not again while nothing has changed."""

from __future__ import annotations

import shutil

import pytest

from convsv_cli.errors import UnreadableModelError, UsageError
from convsv_cli.remote import listing
from convsv_cli.report import Settings
from convsv_cli.sweeping import Outcomes, discover, sweep
from convsv_cli.sweeping.outcomes import outcomes_in
from tests.support.inline_executor import InlineExecutor
from tests.support.range_server import serving
from tests.support.sparse_models import sparse_safetensors
from tests.support.store_system import storing

SETTINGS = Settings(layers=("a.*",))


def test_a_remote_folder(tmp_path):
    tree = tmp_path / "tree"
    for folder in (tree, tree / "epochs", tree / ".git"):
        folder.mkdir()
        sparse_safetensors(folder / "one.safetensors", 10**5)
    (tree / "README.md").write_text("no model")
    (tree / "broken.onnx").write_text("no model either")
    shutil.copy(tree / "one.safetensors", tree / "epochs" / "two.safetensors")
    (tree / "epochs" / "m.safetensors.index.json").write_text(
        '{"weight_map": {"a.0.weight": "two.safetensors"}}'
    )
    with storing(tmp_path) as store:
        found = list(discover(["s3://tree/"]))
        paths = [
            "broken.onnx",
            "one.safetensors",
            "epochs/m.safetensors.index.json",
            "epochs/one.safetensors",
        ]
        assert [each.path for each in found] == [f"s3://tree/{path}" for path in paths]
        for expected in (4, 0, 1):
            store.asked.clear()
            executor = InlineExecutor()
            sweep(found, SETTINGS, Outcomes(tmp_path / "results", SETTINGS), executor)
            assert len(executor.orders) == expected
            assert bool(store.asked) == bool(expected)
            if not expected:  # so that the index is done again, for its part
                (tree / "epochs" / "two.safetensors").touch()
    failed = [each.path for each in outcomes_in(tmp_path / "results") if each.report and each.report.failures]
    assert failed == ["s3://tree/broken.onnx"]


def test_files_of_web_servers(tmp_path):
    sparse_safetensors(tmp_path / "one.safetensors", 10**5)
    with serving(tmp_path) as web:
        found = list(discover([f"{web.url}/one.safetensors"]))
        for expected in (1, 0):
            executor = InlineExecutor()
            sweep(found, SETTINGS, Outcomes(tmp_path / "results", SETTINGS), executor)
            assert len(executor.orders) == expected
        with pytest.raises(UsageError, match="may be secret") as error:
            list(discover([f"{web.url}/one.safetensors?key=1"]))
    assert error.value.where == f"{web.url}/one.safetensors"


def test_endless_trees(tmp_path, monkeypatch):
    (tmp_path / "tree").mkdir()
    sparse_safetensors(tmp_path / "tree" / "one.safetensors", 10**5)
    monkeypatch.setattr(listing, "MOST", 0)
    with storing(tmp_path), pytest.raises(UsageError, match="more than 0 files and folders to look at"):
        list(discover(["s3://tree"]))
    with storing(tmp_path), pytest.raises(UnreadableModelError, match="no such file"):
        list(discover(["s3://other"]))
