"""What comes first for people: verdicts, and what did not pass or has changed; the rest is counted."""

from __future__ import annotations

import re
from dataclasses import replace

from convsv_cli.budget import judged
from convsv_cli.comparison import difference
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.comparison import DIFFERENCES
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import IGNORED, PASSED, Finding, Gate, Interval, Report, Update, Verdict
from tests.support.documents import AUDIT, FAILURE, JUDGED
from tests.support.gates import row
from tests.support.ratchets import bounded, ratchet

BRIEF = Terminal(full=False)
STYLE = re.compile(r"\x1b\[[0-9;]*m")
TITLE = "net.onnx · onnx opset 20 · image 1×3×32×w · 1 of 2 weight layers audited"


def checked(*audits, terminal: Terminal = BRIEF, failures=()) -> str:
    return RENDERERS[0].render(Report(command="check", audits=audits, failures=failures), terminal)


def test_a_check_shows_what_did_not_pass_and_counts_the_rest() -> None:
    assert (
        checked(JUDGED)
        == f"""\
{TITLE}

budget failed: 1 exceeded, 1 undecided, 1 missing, 1 layer not audited (convsv.toml)
  exceeded   conv1: certified 4.8019 to 4.80211, 20 % above its limit 4 (convsv.toml:7)
  undecided  network: certified ≤ 10.00005, limit 10: no lower end (convsv.toml:3)
  missing    embed: no certified bound, limit 3: a table look-up

0 of 3 limits kept; --verbose shows 2 layers and 3 remarks
"""
    )


def test_what_passes_or_is_ignored_is_only_counted() -> None:
    gates = [
        Gate(node="conv1", limit=9.0, enclosure=Interval(upper=4.8), outcome=PASSED),
        Gate(node="embed", limit=9.0, outcome=IGNORED, reason="a table"),
    ]
    fine = replace(AUDIT, verdict=Verdict(budget="convsv.toml", gates=tuple(gates)), findings=())
    text = checked(fine)
    assert "budget passed: 1 ignored, 1 passed (convsv.toml)\n\n--verbose shows 2 layers" in text
    assert "conv1" not in text
    assert "a table" not in text
    whole = checked(fine, terminal=Terminal())
    assert "conv1" in whole
    assert "  ignored  embed: no certified bound, limit 9: a table" in whole


def test_several_models_end_in_one_line() -> None:
    text = checked(
        JUDGED, replace(JUDGED, verdict=Verdict(budget="b", gates=()), findings=()), failures=[FAILURE]
    )
    assert text.splitlines()[-1] == "3 models: 1 failed, 1 passed, 1 could not be checked"
    assert text.splitlines()[-3] == f"failed: {FAILURE.message}"


def test_warnings_about_the_file_are_shown_and_notes_counted() -> None:
    warning, note = (
        Finding(rule="file", severity=severity, node="", message=severity * 2)
        for severity in ("warning", "note")
    )
    text = checked(replace(JUDGED, findings=(warning, note)))
    assert "  warning: warningwarning\n" in text
    assert "notenote" not in text


def test_a_difference_lists_what_has_changed() -> None:
    rows = [row(f"layer{i}", 1, 1) for i in range(1200)]
    old = bounded(4, row("grown", 1, 1), row("shrunk", 2, 2), row("gone", 1, 1, kernel_shape=(7, 3)), *rows)
    new = bounded(4, row("grown", 3, 3), row("shrunk", 1, 1), *rows)
    found = difference(old, new)
    lines = DIFFERENCES[0].render(found, BRIEF).splitlines()
    assert [line.split()[0] for line in lines[4:-2]] == ["network", "grown", "shrunk", "gone"]
    assert lines[-1] == "not listed: 1,200 too close to tell (--verbose lists every layer)"
    assert len(DIFFERENCES[0].render(found, Terminal()).splitlines()) == 1200 + 8
    narrow = DIFFERENCES[0].render(found, replace(BRIEF, width=40)).splitlines()
    assert max(map(len, narrow)) <= 40


def test_a_difference_says_once_why_layers_have_no_figures_and_what_is_an_adapter() -> None:
    lost = [row(f"lost{i}", 1, 1, status="unsupported", reason="no config.json") for i in range(3)]
    update = Update(kind="LoRA", rank=4, scale=2.0)
    old, new = bounded(4, row("a", 1, 1, update=update)), bounded(4, row("a", 1, 1), *lost)
    lines = DIFFERENCES[0].render(difference(old, new), BRIEF).splitlines()
    assert lines[-2] == f"not audited: 3 layers of {new.model.path}: no config.json"
    assert lines[-1].startswith(f"note: {old.model.path} is an adapter: ")
    assert "is an adapter" not in DIFFERENCES[0].render(difference(old, old), BRIEF)


def test_a_reason_of_many_layers_is_told_once() -> None:
    for count, lines in ((4, 4), (5, 1)):
        lost = [row(f"lost{i}", 1, 1, status="unsupported", reason="no config.json") for i in range(count)]
        text = checked(bounded(4, row("a", 1, 1), *lost), terminal=Terminal())
        assert text.count("no config.json") == lines
        assert ("not audited: 5 layers, such as lost0: no config.json\n" in text) == (count == 5)
        assert all(f"\n{layer.name} " in text for layer in lost)


def test_a_narrow_difference_leaves_out_columns_rather_than_break_names() -> None:
    name = "model.layers.0.self_attn.k_proj.weight"
    old, new = bounded(4, row(name, 1, 1)), bounded(4, row(name, 3, 3))
    changes = difference(old, new).changes
    measured = tuple(replace(change, distance=Interval(lower=2, upper=2)) for change in changes)
    found = replace(difference(old, new), changes=measured)
    for width, left in ((None, 7), (99, 7), (80, 5)):
        lines = DIFFERENCES[0].render(found, replace(BRIEF, width=width)).splitlines()
        assert any(line.startswith(f"{name}  ") for line in lines)
        assert len(re.split(r" {2,}", lines[2])) == left
    long = replace(found, changes=(replace(measured[0], reason="why " * 30), *measured[1:]))
    lines = DIFFERENCES[0].render(long, replace(BRIEF, width=120)).splitlines()
    assert "ratio" in lines[2]  # a sentence may as well be folded


def test_the_verdict_on_a_difference_comes_first() -> None:
    old, new = bounded(4, row("grown", 1, 1)), bounded(2, row("grown", 3, 3))
    lines = DIFFERENCES[0].render(difference(old, judged(ratchet(old), new)), BRIEF).splitlines()
    assert lines[2].startswith("budget failed: 1 exceeded")
    assert lines[3].startswith("  exceeded  grown: ")


def test_colours_stress_words_that_are_there_anyway() -> None:
    """In a file without a width, as CI has it with FORCE_COLOR, and on a terminal."""
    for width in (None, 300):
        plain = checked(JUDGED, terminal=replace(BRIEF, width=width))
        colourful = checked(JUDGED, terminal=replace(BRIEF, width=width, color=True))
        assert STYLE.sub("", colourful) == plain
        assert {"failed", "exceeded", "undecided"} <= set(re.findall(r"\x1b\[[0-9;]*m(\w+)", colourful))
        found = difference(bounded(4, row("a", 1, 1)), bounded(2, row("a", 3, 3)))
        table = DIFFERENCES[0].render(found, replace(BRIEF, width=width, color=True))
        rows = [line for line in table.splitlines() if "larger" in line or "smaller" in line]
        assert len(rows) == 2
        assert all(STYLE.search(line) for line in rows)


def test_sentences_that_do_not_fit_go_on_below_themselves() -> None:
    lines = checked(JUDGED, terminal=replace(BRIEF, width=60)).splitlines()
    assert max(map(len, lines)) <= 60
    first = next(i for i, line in enumerate(lines) if line.startswith("  exceeded"))
    assert lines[first + 1].startswith(" " * 13)
