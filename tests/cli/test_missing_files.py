"""Paths at which there is nothing: one wording in every command, and a guess at what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from convsv_cli.cli import cli
from convsv_cli.errors import ConvsvError, UnreadableModelError
from convsv_cli.missing import nothing_at
from tests.support.onnx_models import small_network


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_network(tmp_path, "resnet20.onnx")
    for name in ("resnet20.json", "resnet20.npz", "budget.toml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


def complaint(*arguments: str) -> str:
    error = CliRunner().invoke(cli, arguments, standalone_mode=False).exception
    assert isinstance(error, ConvsvError), error
    assert error.exit_code == 2
    return str(error)


@pytest.mark.parametrize(
    ("arguments", "missing", "meant"),
    [
        ("audit resnet21.onnx", "resnet21.onnx", "resnet20.onnx"),
        ("audit resnet20.onx", "resnet20.onx", "resnet20.onnx"),
        ("audit ./resnet20.ONXX", "resnet20.ONXX", "resnet20.onnx"),
        ("spectrum resnet2.onnx", "resnet2.onnx", "resnet20.onnx"),
        ("certify resnet20.onnx --data resnet2.npz", "resnet2.npz", "resnet20.npz"),
        ("audit resnet20.onnx --empirical resnet2.npz", "resnet2.npz", "resnet20.npz"),
        ("diff resnet2.json resnet20.onnx", "resnet2.json", "resnet20.json"),
        ("report resnet2.json", "resnet2.json", "resnet20.json"),
        ("check resnet20.onnx --config budge.toml", "budge.toml", "budget.toml"),
        ("check resnet20.onnx --baseline resnet2.json", "resnet2.json", "resnet20.json"),
    ],
)
def test_one_wording_everywhere(arguments: str, missing: str, meant: str) -> None:
    assert complaint(*arguments.split()) == f"{missing}: no such file (did you mean {meant}?)"


def test_without_a_name_like_it_there_is_a_hint() -> None:
    assert complaint("audit", "zzz.bin") == "zzz.bin: no such file (check the path)"
    assert complaint("audit", "no/folder/m.onnx") == "no/folder/m.onnx: no such file (check the path)"
    assert "convsv check --init" not in complaint("check", "resnet20.onnx", "--config", "zzz")


@pytest.mark.parametrize(
    "url",
    ["https://example.org/model.onnx", "http://example.org/" + "a" * 300, "s3://bucket/m.pt", "hf://a/b?x=y"],
)
def test_urls_are_not_missing_files(url: str) -> None:
    told = f"{url}: this is a URL, and only a file will do here (download it first, as curl -LO does)"
    assert complaint("report", url) == told
    assert complaint("check", "resnet20.onnx", "--config", url) == told


def test_models_at_addresses_that_convsv_does_not_read() -> None:
    told = "this is a URL, and convsv does not read such ones (download it first, as curl -LO does)"
    assert complaint("audit", "FTP://example.org/m.onnx") == f"ftp://example.org/m.onnx: {told}"


def test_what_only_looks_like_a_url_is_a_path() -> None:
    for path in ("c:/models/m.onnx", "https/m.onnx", "weird:name.onnx", "https:"):
        assert nothing_at(UnreadableModelError, Path(path)).what == "no such file"


def test_a_link_that_leads_nowhere_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "resnet.onnx").symlink_to("gone/net.onnx")
    told = "resnet.onnx: the link leads nowhere: there is no gone/net.onnx (check the path)"
    assert complaint("audit", "resnet.onnx") == told
