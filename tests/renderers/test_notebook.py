"""Results as programs and notebooks hold them: all that they turn into says what the report says."""

from __future__ import annotations

import ast
import builtins
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from torch import nn

from convsv_cli import Audit, Certification, ConvsvError, audit, certify
from convsv_cli.renderers import notebook
from convsv_cli.report import QUICK
from convsv_cli.saved import read_one

mpl.use("Agg")


@pytest.fixture(scope="module")
def found() -> Audit:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    return audit(net, example_input=torch.zeros(1, 1, 4, 4), exact=True, network_effort=QUICK)


@pytest.fixture(scope="module")
def certified(root: Path) -> Certification:
    folder = root / "sample_models"
    return certify(folder / "digits.onnx", folder / "digits.npz", limit=3, eps=0.1, effort="none")


class Page(HTMLParser):
    """Which tags a page has, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_documents_are_those_of_the_command_line(
    found: Audit, certified: Certification, tmp_path: Path
) -> None:
    saved = found.save(tmp_path / "report.json")
    assert json.loads(saved.read_text()) == found.to_dict() == json.loads(found.to_json())
    again = read_one(saved)
    assert [row.measurements for row in again.layers] == [row.measurements for row in found.layers]
    assert again.model == found.model
    assert certified.to_dict()["command"] == "certify"
    assert found.save(tmp_path / "report.HTML").read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(ConvsvError, match=r"no format.*\.json"):
        found.save(tmp_path / "report.exe")
    assert not (tmp_path / "report.exe").exists()


def test_data_frames_have_the_figures_as_numbers(found: Audit, certified: Certification) -> None:
    frame = found.to_dataframe()
    assert list(frame["name"]) == [row.name for row in found.layers]
    exact = [row.measurement("exact") for row in found.layers]
    assert list(frame["exact"]) == [each.value for each in exact if each is not None]
    assert not frame["transposed"].any()
    assert frame.attrs["model"] == "Sequential"
    samples = certified.to_dataframe()
    assert list(samples["radius"]) == [sample.radius for sample in certified.samples]
    assert samples["correct"].sum() == certified.correct


def test_a_line_says_what_it_is(found: Audit, certified: Certification) -> None:
    assert repr(found).startswith("<Audit of Sequential: 2 of 2 weight layers audited; Lipschitz constant ≤ ")
    assert f"{certified.correct} correct" in repr(certified)
    assert len(repr(certified).splitlines()) == 1


def test_pages_hold_every_layer_and_no_markup_of_names(certified: Certification) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202e"
    net = nn.Module()
    net.add_module(hostile, nn.Linear(2, 2))
    page = Page(audit(net)._repr_html_())
    assert "img" not in page.tags
    assert page.tags.count("tr") == 2
    assert any("<img src=x" in text for text in page.texts)
    assert not any("\u202e" in text for text in page.texts)
    assert "radius" in "".join(Page(certified._repr_html_()).texts)


def test_long_tables_say_how_much_is_left_out(monkeypatch: pytest.MonkeyPatch, found: Audit) -> None:
    monkeypatch.setattr(notebook, "MOST", 1)
    page = Page(found._repr_html_())
    assert page.tags.count("tr") == 2
    assert any("and 1 more layer" in text for text in page.texts)


def test_charts_show_the_figures(found: Audit, certified: Certification) -> None:
    ax = found.plot()
    lines = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
    certain = [row.measurement("certified") for row in found.layers]
    assert lines["certified"] == [each.value for each in certain if each is not None]
    assert found.plot(ax) is ax
    (curve,) = certified.plot().get_lines()
    for radius, share in zip(curve.get_xdata()[1:], curve.get_ydata()[1:], strict=True):
        assert share == certified.certified(radius) / len(certified.samples)


@pytest.mark.parametrize(("call", "module"), [("to_dataframe", "pandas"), ("plot", "matplotlib")])
def test_what_is_missing_is_named(
    found: Audit, call: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *others: Any) -> Any:
        if name.partition(".")[0] == module:
            raise ImportError(name)
        return original(name, *others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConvsvError, match=rf"{module} is not installed.*convsv\[notebook\]"):
        getattr(found, call)()


def test_the_notebook_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads((root / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    shown: list[Any] = []
    for cell in cells:
        assert not cell.get("outputs")
        if cell["cell_type"] == "code":
            *body, last = ast.parse("".join(cell["source"]).removesuffix(";")).body
            exec(compile(ast.Module([*body], []), "notebook", "exec"), names)
            if isinstance(last, ast.Expr):
                shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), names))
            else:
                exec(compile(ast.Module([last], []), "notebook", "exec"), names)
    assert isinstance(shown[0], Audit)
    assert shown[-1][0] == "bounded"
    assert "bytes" in capsys.readouterr().out
