"""Renderers on a fixed audit: one contract for each that is listed, and golden output."""

from __future__ import annotations

import csv
import importlib
import io
import json
import pkgutil
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli import report
from convsv_cli.names import printable, spreadsheet_cell
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.numbers import figure
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import (
    Interval,
    Measurement,
    NetworkBound,
)
from tests.support.documents import (
    AUDIT,
    AUDITED,
    BOUND,
    FINDINGS_ONLY,
    HOPELESS,
    ROUNDED,
    UNBOUNDED,
    of,
    render,
)

TABLE = """\
net.onnx · onnx opset 20 · image 1×3×32×w · 1 of 2 weight layers audited

layer  op      kernel    stride   n  heuristic  exact  certified ≤        bound  bound/exact
────────────────────────────────────────────────────────────────────────────────────────────
conv1  Conv    16×3×3×3       2  32      2.104  4.801        4.803        6.914         1.44
embed  Gather  10×4                                                 unsupported

network: certified Lipschitz bound (L2) ≤ 10.01 (2 skips, 1 BatchNorm folded)
  seen: a ratio of 0.5000 (3 pairs and 4 directions, random): an estimate from below; the gap is 10^1.3
product of layer norms: heuristic 2.104, exact 4.801, certified 4.803, bound 6.914
  not a bound of the network: it ignores 2 skips, 1 BatchNorm
largest layer: conv1

not audited: embed: a table look-up
assumed: groups 1 (1 layer)
note: also holds 'ema': not audited

"""


@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda r: r.name)
def test_every_renderer_is_a_pure_function_that_ends_its_line(renderer: Renderer) -> None:
    text = renderer.render(of(AUDIT), Terminal())
    assert text == renderer.render(of(AUDIT), Terminal())
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert renderer.name in FINDINGS_ONLY or all(layer.name in text for layer in AUDIT.layers)


@pytest.mark.parametrize("folder", ["calculators", "renderers", "loaders"])
def test_every_plug_in_of_the_folder_is_listed(folder: str) -> None:
    package = importlib.import_module(f"convsv_cli.{folder}")
    kind = folder[:-1].upper()
    listed = getattr(package, f"{kind}S")
    names = [module.name for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    modules = [importlib.import_module(name) for name in names]
    exported = [getattr(module, kind) for module in modules if hasattr(module, kind)]
    assert sorted(exported, key=id) == sorted(listed, key=id)


def test_the_table_is_golden() -> None:
    legend = "".join(f"{m.column:11}  {m.proves}\n" for m in AUDIT.methods if m.column)
    assert render("table") == TABLE + legend


def test_the_table_explains_where_asked() -> None:
    explained = RENDERERS[0].render(of(AUDIT), Terminal(explain=True))
    assert explained.splitlines()[13:17] == [
        "block  operators  route       factor ≤  share of log L",
        "──────────────────────────────────────────────────────",
        "conv1  Conv Relu  rules          5.000          70.0 %",
        "head   Gemm       covariance     2.001          30.0 %",
    ]


def test_the_table_names_what_stands_in_the_way() -> None:
    lines = render("table", replace(AUDIT, bound=UNBOUNDED)).splitlines()
    assert lines[7:10] == [
        "network: no certified Lipschitz bound, because of 6 nodes",
        "  gate0, gate1, gate2, gate3 and 2 more (Mul): a product",
        "  bounded part: image → r ≤ 5.000",
    ]


def test_the_table_shows_both_terms_of_a_network_that_rounds() -> None:
    lines = render("table", replace(AUDIT, bound=ROUNDED)).splitlines()
    assert lines[9] == "  |f(x) - f(y)| ≤ 12.25·|x - y| + 0.5000, the latter for the steps of 3 quantisers"
    lines = render("table", replace(AUDIT, bound=HOPELESS)).splitlines()
    assert lines[9] == "  nor is there a bound with a term for the steps of 1 quantiser: e (Exp): it grows"


@pytest.mark.parametrize("name", ["markdown", "html"])
def test_pages_show_both_terms_of_a_network_that_rounds(name: str) -> None:
    text = render(name, replace(AUDIT, bound=ROUNDED))
    assert "12.25·|x - y| + 0.5000" in text


def test_the_table_says_why_there_is_no_bound() -> None:
    unknown = NetworkBound(status=report.UNKNOWN, reason="no graph")
    assert "network: no bound: no graph\n" in render("table", replace(AUDIT, bound=unknown))


def test_the_table_leaves_out_what_was_not_computed() -> None:
    measured = tuple(pair for pair in AUDITED.measurements if pair[0] != "exact")
    layer = replace(AUDITED, measurements=measured, input_size=None)
    product = (("heuristic", 2.0), ("exact", None), ("certified", 4.0), ("bound", 6.0))
    network = replace(AUDIT.network, product=product)
    text = render("table", replace(AUDIT, layers=(layer,), network=network))
    assert "exact" not in text
    assert "2.104" in text


def test_the_largest_layer_is_by_bounds_where_some_layer_has_no_exact_norm() -> None:
    bound = Measurement(value=9.0, enclosure=Interval(upper=9.0))
    larger = replace(AUDITED, name="conv2", input_size=None, measurements=(("bound", bound),))
    assert "largest layer: conv2" in render("table", replace(AUDIT, layers=(AUDITED, larger)))


def test_the_largest_layer_is_the_one_of_the_largest_certified_norm() -> None:
    """Not of the largest bound, which is loose, and is not what budgets are about."""
    certified = Measurement(value=5.0, enclosure=Interval(lower=5.0, upper=5.0))
    bound = Measurement(value=6.0, enclosure=Interval(upper=6.0))
    measured = (("certified", certified), ("bound", bound))
    larger = replace(AUDITED, name="conv2", input_size=None, measurements=measured)
    assert "largest layer: conv2" in render("table", replace(AUDIT, layers=(AUDITED, larger)))


def test_the_table_fits_a_terminal_and_is_never_cut_in_a_file() -> None:
    layer = replace(AUDITED, name="a.very.long.name." * 10)
    audit = replace(AUDIT, layers=(layer,))
    assert layer.name in render("table", audit)
    narrow = RENDERERS[0].render(of(audit), Terminal(width=80))
    assert max(map(len, narrow.splitlines())) <= 80
    assert "…" not in narrow


def test_a_narrow_terminal_goes_without_columns_in_a_sensible_order() -> None:
    headers = []
    for width in range(92, 17, -1):
        table = RENDERERS[0].render(of(AUDIT), Terminal(width=width))
        header = next(line for line in table.splitlines() if line.startswith("layer "))
        assert "conv1" in table
        assert ("no room for op" in table) == (" op " not in header)
        assert ("heuristic " in header) == any(line.startswith("heuristic ") for line in table.splitlines())
        headers.append(tuple(header.replace("certified ≤", "certified").split()))
    full = ("layer", "op", "kernel", "stride", "n", "heuristic", "exact", "certified", "bound", "bound/exact")
    order = ("op", "bound/exact", "kernel", "heuristic", "stride", "n", "exact", "bound")
    assert list(dict.fromkeys(headers)) == [
        tuple(name for name in full if name not in order[:count]) for count in range(len(order) + 1)
    ]


def test_colour_only_where_asked() -> None:
    assert "\x1b" not in RENDERERS[0].render(of(AUDIT), Terminal(width=100))
    assert "\x1b[" in RENDERERS[0].render(of(AUDIT), Terminal(width=100, color=True))


def test_json_validates_and_the_schema_is_strict_enough_to_fail() -> None:
    schema = json.loads(files("convsv_cli.renderers").joinpath("schema/audit-2.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    document = json.loads(render("json"))
    for bound in (
        BOUND,
        UNBOUNDED,
        ROUNDED,
        HOPELESS,
        NetworkBound(status=report.UNKNOWN, reason="no graph"),
    ):
        validator.validate(json.loads(render("json", replace(AUDIT, bound=bound))))
    (audit,) = document["audits"]
    for broken in (
        {**audit, "layers": [{**audit["layers"][1], "bound": 1.0}]},
        {**audit, "layers": [{**audit["layers"][0], "status": "fine"}]},
        {key: value for key, value in audit.items() if key != "network"},
    ):
        assert not validator.is_valid({**document, "audits": [broken]})
    for key in document:
        assert not validator.is_valid({**document, key: 1})
        assert not validator.is_valid({name: value for name, value in document.items() if name != key})


def test_json_has_null_for_what_is_not_finite() -> None:
    bound = Measurement(value=float("inf"), enclosure=Interval(), parts=(("T", float("inf")),))
    layer = replace(AUDITED, measurements=(("bound", bound),))
    (document,) = json.loads(render("json", replace(AUDIT, layers=(layer,))))["audits"]
    assert document["layers"][0]["bound"] is None
    assert document["layers"][0]["bounds"] == {"T": None}
    assert document["layers"][0]["exact"] is None


def test_csv_is_flat_with_the_names_of_the_json_document() -> None:
    first, second, _ = csv.DictReader(io.StringIO(render("csv")))
    assert first["bounds"] == "R=6.91301; S=7.5"
    assert (first["exact"], first["exact_lower"], first["exact_upper"]) == ("4.8014", "4.8014", "4.8015")
    assert first["kernel_shape"] == "16x3x3x3"
    assert (second["status"], second["bound"]) == ("unsupported", "")


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_upper_bounds_are_rounded_up_by_less_than_one_digit(value: float) -> None:
    assert value <= float(figure(value, report.UPPER)) <= value * 1.001 * (1 + 1e-12)
    assert float(figure(value)) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (None, ""),
        (9.9999, "10.00"),
        (12345.6, "12350"),
        (123456.0, "1.235e5"),
        (2e-5, "2.000e-5"),
        (float("inf"), "overflow"),
        (1e999, "overflow"),
    ],
)
def test_figures(value: float | None, text: str) -> None:
    assert figure(value) == text


@given(st.text())
def test_printable_text_cannot_act_on_a_terminal(text: str) -> None:
    assert all(character.isprintable() for character in printable(text))


@given(st.sampled_from("=+-@\t\r"), st.text())
def test_no_cell_is_a_formula(first: str, rest: str) -> None:
    assert spreadsheet_cell(first + rest).startswith("'")
