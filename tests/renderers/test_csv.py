"""CSV: the same columns whatever was asked for, and a place for whatever has a figure."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from convsv_cli.renderers.csv import COLUMNS, RENDERER
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import (
    EXCEEDED,
    PASSED,
    QUANTISED,
    STEPS,
    UNDECIDED,
    Gate,
    Interval,
    PairBound,
    Report,
    Spread,
    Update,
    Verdict,
)
from convsv_cli.wire.layer import Layer
from convsv_cli.wire.layer import Update as UpdateForm
from tests.support.documents import AUDIT, AUDITED, FAILURE, GATES, JUDGED, ROUNDED, SKIPPED, UNBOUNDED, of


def rows(document: Report) -> list[dict[str, str]]:
    text = RENDERER.render(document, Terminal())
    assert text.partition("\n")[0] == ",".join(COLUMNS)
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    "document",
    [
        of(),
        of(AUDIT),
        of(JUDGED),
        of(replace(AUDIT, layers=(SKIPPED,))),
        of(replace(AUDIT, layers=(replace(AUDITED, measurements=AUDITED.measurements[:1]),))),
        Report(command="check", audits=(JUDGED, AUDIT), failures=(FAILURE,)),
    ],
    ids=["none", "one", "judged", "skipped", "without --exact", "several"],
)
def test_the_columns_are_always_the_same(document: Report) -> None:
    for row in rows(document):
        assert list(row) == list(COLUMNS)


def test_no_column_of_a_full_audit_is_without_a_value() -> None:
    """A column that nothing ever fills would be a leftover."""
    layer = replace(
        AUDITED,
        aliases=("twin",),
        weight_sha256="0" * 64,
        output_padding=(1, 1),
        transposed=True,
        update=Update(
            kind="LoRA",
            rank=4,
            base="conv1.weight",
            no_base="why",
            **dict.fromkeys(
                ("frobenius", "stable_rank", "base_norm", "share", "merged"), Interval(upper=2.0)
            ),
        ),
    )
    proven = Interval(lower=1.0, upper=2.0)
    layer = replace(layer, spread=Spread(frobenius=proven, stable_rank=proven, smallest=proven))
    pairs = (PairBound(start="a", end="b", lipschitz=2.0),)
    full = replace(
        JUDGED, layers=(layer, SKIPPED), bound=replace(JUDGED.bound, quantised=ROUNDED.quantised, pairs=pairs)
    )
    renamed = replace(JUDGED.findings[0], rule="renamed-layer", node="conv1")
    found = rows(of(replace(full, findings=(*full.findings, renamed))))
    assert {name for name in COLUMNS if not any(row[name] for row in found)} == set()


def test_every_field_of_a_layer_has_a_column() -> None:
    names = {field.name for field in structs.fields(Layer)}
    ends = {"certified", "zero_padded"}
    assert names - ends - {"spread", "update"} <= set(COLUMNS)
    of_updates = {column.removeprefix("update_").removesuffix("_upper") for column in COLUMNS}
    assert {field.name for field in structs.fields(UpdateForm)} <= of_updates
    assert {f"{name}_{end}" for name in ends | {"exact"} for end in ("lower", "upper")} <= set(COLUMNS)


def test_limits_stand_beside_the_figures_that_they_are_about() -> None:
    twice = Gate(node="conv1", limit=9.0, enclosure=Interval(upper=5.0), outcome=PASSED)
    found = rows(of(replace(JUDGED, verdict=replace(JUDGED.verdict, gates=(*GATES, twice)))))
    assert [(row["kind"], row["name"], row["limit"], row["outcome"]) for row in found] == [
        ("layer", "conv1", "4.0", EXCEEDED),
        ("layer", "embed", "3.0", "missing"),
        ("network", "", "10.0", UNDECIDED),
    ]
    assert found[2]["lipschitz_upper"] == "10.00005"


def test_pairs_and_the_terms_of_a_network_that_rounds_have_rows() -> None:
    pairs = (
        PairBound(start="a", end="y", lipschitz=2.0),
        PairBound(start="b", end="y", lipschitz=None, reason="e: it grows"),
    )
    gates = (
        Gate(node="", start="a", end="y", limit=1.0, outcome=EXCEEDED),
        Gate(node="", quantity=QUANTISED, limit=13.0, outcome=PASSED),
        Gate(node="", quantity=STEPS, limit=0.25, outcome=EXCEEDED),
    )
    audit = replace(
        AUDIT, layers=(), bound=replace(ROUNDED, pairs=pairs), verdict=Verdict(budget="b", gates=gates)
    )
    audit = replace(audit, settings=replace(AUDIT.settings, sources=("a", "b"), targets=("y",)))
    columns = ("kind", "status", "lipschitz_upper", "added_upper", "from", "to", "limit", "outcome")
    assert [tuple(row[name] for name in columns) for row in rows(of(audit))] == [
        ("network", "unbounded", "", "", "a; b", "y", "", ""),
        (QUANTISED, "bounded", "12.25", "", "a; b", "y", "13.0", PASSED),
        (STEPS, "bounded", "", "0.5", "a; b", "y", "0.25", EXCEEDED),
        ("pair", "bounded", "2.0", "", "a", "y", "1.0", EXCEEDED),
        ("pair", "unbounded", "", "", "b", "y", "", ""),
    ]
    assert rows(of(audit))[4]["reason"] == "e: it grows"


def test_what_stands_in_the_way_is_the_reason_also_of_a_file() -> None:
    network, failure = rows(
        Report(command="audit", audits=(replace(AUDIT, layers=(), bound=UNBOUNDED),), failures=(FAILURE,))
    )
    assert network["reason"].startswith("gate0: a product; gate1: a product")
    assert (failure["kind"], failure["model"], failure["reason"]) == (
        "failure",
        FAILURE.path,
        FAILURE.message,
    )


def test_the_documentation_lists_the_columns_in_their_order(root: Path) -> None:
    page = (root / "docs" / "output.md").read_text(encoding="utf-8")
    table = page.partition("| column |")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)) == dict(COLUMNS)
