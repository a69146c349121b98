"""What reports say in words holds in every state: nothing is named that is not there."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file
from torch import nn

from convsv_cli import audit, saved
from convsv_cli.errors import UsageError
from convsv_cli.lipschitz.operation import RANGE, SIZES
from convsv_cli.model.network import Network
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.numbers import excess, percent, whole_percent
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import UPPER, Audit, Report
from convsv_cli.report.network import Block, shared
from tests.support.budget_models import scaled
from tests.support.onnx_models import graph_model
from tests.support.onnx_models import saved as stored
from tests.support.quickly import certify

FORMATS = {renderer.name: renderer for renderer in RENDERERS}
ABOUT_PRODUCTS = ("table", "markdown", "html")
OLD = Path(__file__).parents[1] / "support" / "saved_reports" / "schema-1.0.json"
ABSENT = ("skips", "normalisation", "pooling", "BatchNorm")


def told(found: Audit, name: str, *, explain: bool = False) -> str:
    return FORMATS[name].render(Report(command="audit", audits=(found,)), Terminal(explain=explain))


def chain(folder: Path, *factors: float) -> Path:
    """Matrices of these norms, one after the other, with a Relu between two."""
    nodes, weights, name = [], {}, "x"
    for i, factor in enumerate(factors):
        weights[f"w{i}"] = np.eye(3, dtype=np.float32) * factor
        last = i == len(factors) - 1
        nodes.append(helper.make_node("MatMul", [name, f"w{i}"], ["y" if last else f"m{i}"], name=f"m{i}"))
        if not last:
            nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"], name=f"r{i}"))
        name = f"r{i}"
    return stored(graph_model(nodes, {"x": [1, 3]}, weights), folder, "chain.onnx")


@pytest.mark.parametrize("name", ABOUT_PRODUCTS)
def test_a_product_ignores_only_what_is_there(name: str, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    torch.save({"a.weight": torch.eye(3), "b.weight": torch.eye(3)}, state)
    for path in (chain(tmp_path, 2.0, 3.0), state):
        text = told(audit(path), name)
        assert not any(word in text for word in ABSENT)
        assert "it knows the layers, not what is between them" in text


def test_a_sum_of_two_inputs_is_no_skip(tmp_path: Path) -> None:
    weights = {"w": np.eye(3, dtype=np.float32)}
    first = helper.make_node("MatMul", ["x", "w"], ["h"], name="first")
    for other, structure in (("z", ("1 sum",)), ("x", ("1 skip",))):
        add = helper.make_node("Add", ["h", other], ["y"], name="add")
        inputs = {key: [1, 3] for key in ("x", other)}
        path = stored(graph_model([first, add], inputs, weights), tmp_path)
        assert audit(path).bound.structure == structure


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


class Part(Net):
    """What it gives is changed in place through a view, which convsv does not follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        y[:, 0] = 0
        return y


def without_graph(folder: Path) -> dict[str, Path]:
    net = Net()
    files = {
        "checkpoint": "a.pt",
        "pickled_module": "b.pt",
        "torchscript": "c.pt",
        "safetensors": "d.safetensors",
    }
    paths = {name: folder / file for name, file in files.items()} | {"pt2": folder / "e.pt2"}
    torch.save(net.state_dict(), paths["checkpoint"])
    torch.save(net, paths["pickled_module"])
    torch.jit.script(net).save(paths["torchscript"])
    save_file(net.state_dict(), paths["safetensors"])
    torch.export.save(torch.export.export(Part(), (torch.ones(1, 3),)), paths["pt2"])
    return paths


def test_why_there_is_no_graph_holds_of_each_format(tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=np.zeros((2, 3), np.float32), y=np.zeros(2, np.int64))
    for kind, path in without_graph(tmp_path).items():
        found = audit(path)
        assert found.model.format == kind
        holds_only_weights = kind in ("checkpoint", "safetensors")
        assert ("holds weights, but no graph" in found.bound.reason) == holds_only_weights
        assert "(--graph MODEL.onnx supplies the graph)" in found.bound.reason
        if kind == "torchscript":
            assert "its code does not say the size of its input: pass it, as in" in found.bound.reason
            assert certify(path, data, effort="none").samples  # which say it
            continue
        with pytest.raises(UsageError) as raised:
            certify(path, data)
        assert ("holds weights, but no graph" in str(raised.value)) == holds_only_weights
    reasons = [audit(path).bound.reason for path in without_graph(tmp_path).values()]
    assert [word in reason for word, reason in zip(("", "code", "code", "", "program"), reasons, strict=True)]


def test_blocks_that_shrink_have_no_share_and_the_others_all(tmp_path: Path) -> None:
    found = audit(chain(tmp_path, 100.0, 0.01, 4.0))
    shares = [block.share for block in found.bound.blocks]
    assert shares[1] is None
    assert shares[0] == pytest.approx(2 / math.log10(400), rel=1e-3)
    assert math.fsum(share for share in shares if share is not None) == pytest.approx(1)
    for name in ("table", "html"):
        text = told(found, name, explain=True)
        assert "shrinks" in text
        assert "share of growth" in text
        assert "share of log L" not in text
    assert [b["share"] for b in json.loads(told(found, "json"))["audits"][0]["network"]["blocks"]] == shares
    all_grow = audit(chain(tmp_path, 2.0, 8.0))
    assert [block.share for block in all_grow.bound.blocks] == pytest.approx([0.25, 0.75], rel=1e-3)
    assert "share of log L" in told(all_grow, "table", explain=True)


@pytest.mark.parametrize("factors", [(0.5, 0.25), (1.0, 1.0), (math.inf, 2.0), (0.0, 5.0), (0.0, math.inf)])
def test_where_nothing_is_amplified_or_bounded_there_are_no_shares(
    factors: tuple[float, ...],
) -> None:
    blocks = tuple(Block(name="b", ops=(), layers=(), start="", end="", factor=factor) for factor in factors)
    assert {block.share for block in shared(blocks)} == {None}


def test_shares_below_zero_of_old_reports_are_not_shown() -> None:
    old = saved.read(OLD).audits[0]
    assert min(block.share for block in old.bound.blocks) < 0
    for name in ("table", "html", "markdown"):
        text = told(old, name, explain=True)
        assert not any(words in text for words in ("-34.8 %", "134.8 %"))
    assert "shrinks" in told(old, "table", explain=True)


@pytest.mark.parametrize(
    ("share", "words", "whole"),
    [
        (0.0, "0 %", "0 %"), (1.0, "100.0 %", "100 %"), (0.25, "25.0 %", "25 %"), (4.2e-5, "0.0042 %", "1 %"),
        (0.9999, "above 99.9 %", "99 %"), (0.996, "99.6 %", "99 %"), (0.004, "0.4 %", "1 %"),
    ],
)  # fmt: skip
def test_no_share_is_rounded_to_all_or_nothing(share: float, words: str, whole: str) -> None:
    assert (percent(share), whole_percent(share)) == (words, whole)
    for value in (share, share / 3, math.nextafter(share, 2), 1e3 * share, 1e300 * share):
        shown = percent(value, UPPER)
        assert 100 * Fraction(value) <= Fraction(shown.removesuffix(" %")), "an upper end is rounded up"


def test_a_limit_that_is_exceeded_by_an_ulp_is_exceeded_by_something() -> None:
    limit = 3.0
    assert excess(math.nextafter(limit, 4), limit).startswith("1.48e-14 %")


def test_a_width_is_never_said_to_be_nothing(tmp_path: Path) -> None:
    path = tmp_path / "conv.pt"
    torch.manual_seed(0)
    torch.save({"conv.weight": torch.randn(16, 16, 3, 3)}, path)
    for limit, tolerance in ((2e6, 1e-9), (0.0, 1e-4), (2e7, 1e-12)):
        found = audit(path, work_limit=limit, tolerance=tolerance)
        width = found.layers[0].measurement("certified").relative_width
        (said,) = [finding.message for finding in found.findings if finding.rule == "work-limit"]
        assert width > 2 * tolerance
        assert " 0 %" not in said
        assert "100.0 %" not in said
        assert f"{percent(width)}:" in said or "from above only" in said


def shaped(folder: Path, sizes: list[int | str]) -> Path:
    """A sum over what a Slice by the input's values leaves, of which no size is known beforehand."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"], name="places"),
        helper.make_node("Transpose", ["places"], ["turned"], name="turned"),
        helper.make_node("GatherND", ["x", "turned"], ["some"], name="some"),
        helper.make_node("ReduceSum", ["some"], ["y"], name="sum", keepdims=0),
    ]
    return stored(graph_model(nodes, {"x": sizes}, {}), folder, "shaped.onnx")


def recurrent(folder: Path) -> Path:
    weights = {"w": np.ones((1, 2, 3), np.float32), "r": np.ones((1, 2, 2), np.float32)}
    node = helper.make_node("RNN", ["x", "w", "r"], ["y"], name="rnn", hidden_size=2, layout=1)
    return stored(graph_model([node], {"x": [1, "steps", 3]}, weights), folder, "rnn.onnx")


def test_a_size_is_asked_for_only_while_it_is_open(tmp_path: Path) -> None:
    path = recurrent(tmp_path)
    (obstacle,) = audit(path).bound.obstacles
    assert "the length of its sequence is not known: the size of the input 'x' is open" in obstacle.reason
    assert "--input-shape" in obstacle.reason
    assert audit(path, input_shapes={"x": (1, 5, 3)}).bound.status == "bounded"


def test_nobody_is_asked_for_what_was_given(tmp_path: Path) -> None:
    path = shaped(tmp_path, [2, "n"])
    for options in ({}, {"input_shapes": {"x": (2, 4)}}):
        reasons = " ".join(obstacle.reason for obstacle in audit(path, **options).bound.obstacles)
        assert reasons
        assert "--input-size" not in reasons
        assert "--input-shape" not in reasons or not options


def test_a_range_is_asked_for_only_where_there_is_none(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reciprocal", ["x"], ["r"], name="r"),
        helper.make_node("Exp", ["r"], ["y"], name="e"),
    ]
    path = stored(graph_model(nodes, {"x": [2]}, {}), tmp_path, "exp.onnx")
    plain, ranged = audit(path), audit(path, input_range=(-1.0, 1.0))
    assert any("--input-range may help" in obstacle.reason for obstacle in plain.bound.obstacles)
    assert ranged.bound.obstacles
    assert not any("--input-range" in obstacle.reason for obstacle in ranged.bound.obstacles)
    assert {RANGE, SIZES} == {"range", "sizes"}


def test_a_range_is_said_with_all_its_digits(tmp_path: Path) -> None:
    found = audit(chain(tmp_path, 2.0), input_range=(-0.12345678, 1.0))
    for name in ("table", "markdown", "html"):
        assert "from -0.12345678 to 1" in told(found, name)


def test_a_page_without_anything_certified_does_not_say_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "strange.pt"
    torch.save({"table": torch.ones(3, 3)}, path)
    text = told(audit(path), "html")
    assert "Nothing certified" in text
    assert "Certified layer by layer" not in text


def test_models_of_which_layers_are_missing_are_not_said_to_be_certified(tmp_path: Path) -> None:
    weights = {"fc.weight": torch.ones(2, 2), "fc.bias": torch.zeros(2)}
    torch.save(weights, tmp_path / "whole.pt")
    torch.save({**weights, "other": torch.full((3, 3), torch.nan)}, tmp_path / "part.pt")
    whole, part = audit(tmp_path / "whole.pt"), audit(tmp_path / "part.pt")
    assert (part.audited, part.applicable) == (1, 2)
    render = next(each.render for each in RENDERERS if each.name == "html")
    text = render(Report(command="audit", audits=(whole, part)), Terminal())
    assert "Certified layer by layer, incomplete: 1 of 2 models" in text
    assert text.count("Certified layer by layer: 1") == 1


def test_the_summary_counts_no_tables_among_the_layers(tmp_path: Path) -> None:
    torch.save({"wte.weight": torch.ones(9, 2), "fc.weight": torch.ones(2, 2)}, tmp_path / "model.pt")
    found = audit(tmp_path / "model.pt")
    assert (found.audited, found.applicable, len(found.layers)) == (1, 1, 2)
    render = next(each.render for each in RENDERERS if each.name == "html")
    text = render(Report(command="audit", audits=(found, found)), Terminal())
    assert "1 of 1" in text
    assert "1 of 2<" not in text


def test_a_format_that_nobody_has_words_for() -> None:
    network = Network(path="a.npy", format="npy", files=("a.npy",), layers=())
    assert network.graph_missing == "convsv takes no graph from a npy file"


class Own(nn.Module):
    """Of a class of its own, whose use of its weights is not in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.other = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))


def test_a_module_is_not_called_a_state_dict(tmp_path: Path) -> None:
    torch.save(Own(), tmp_path / "own.pt")
    found = audit(tmp_path / "own.pt")
    assert [row.status for row in found.layers] == ["audited", "unsupported"]
    assert all("the file does not say" in line for line in (*found.layers[0].assumed, found.layers[1].reason))
    assert "state dict" not in told(found, "table")


def test_hints_do_not_repeat_what_was_done(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    torch.save({"a.weight": torch.eye(3)}, state)
    with pytest.raises(UsageError) as raised:
        audit(state, input_size=3, input_shapes={"x": (1, 3)})
    assert raised.value.hint == "leave --input-shape out"
    with pytest.raises(UsageError) as raised:
        audit(scaled(tmp_path, 2.0), input_shapes={"x": (1, 1, 1)})
    assert "--input-size" not in raised.value.hint
