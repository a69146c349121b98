"""Runs that end before all is done, at Ctrl-C or by the clock: what is proven by then is told, not more."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import signal
import sys
import time
import types
from pathlib import Path

import click
import jsonschema
import numpy as np
import pytest

from convsv_cli import api, deadline
from convsv_cli.__main__ import main as program
from convsv_cli.cli import options, running
from convsv_cli.report import NOT_REACHED, TIME_LIMIT
from convsv_cli.saved import read
from convsv_cli.spectral.matrix_norm import norm_by_entries
from tests.support.budget_models import exit_code, scaled
from tests.support.onnx_models import normal, small_network

AUDITING = importlib.import_module("convsv_cli.auditing")
ROUTE = importlib.import_module("convsv_cli.lipschitz.density.route")
SEARCH = importlib.import_module("convsv_cli.lipschitz.density.search")
COMMAND = importlib.import_module("convsv_cli.cli.audit")
FORMATS = ("json", "txt", "html", "md", "csv", "sarif", "xml")


def before(call: int, act, function):
    """The function, before whose call of that number something happens."""
    numbers = itertools.count(1)

    def called(*arguments, **options):
        if next(numbers) == call:
            act()
        return function(*arguments, **options)

    return called


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """Ctrl-C raises KeyboardInterrupt, as a process has it that nobody has started in the background."""
    known = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, known)
    running.forget_interrupts()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the deadline's clock shows; nothing else moves it."""
    shown = [0.0]
    monkeypatch.setattr(deadline, "time", type("Clock", (), {"monotonic": staticmethod(lambda: shown[0])}))
    return shown


def test_before_the_command_line_is_imported_it_is_one_line_too(monkeypatch, capsys) -> None:
    class Importing(types.ModuleType):
        def __getattr__(self, name: str):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "convsv_cli.cli", Importing("convsv_cli.cli"))
    with pytest.raises(SystemExit, match="130"):
        program()
    assert capsys.readouterr() == ("", "convsv: interrupted\n")


def test_what_was_reached_is_written_in_every_format(tmp_path: Path, monkeypatch, capsys, root: Path) -> None:
    monkeypatch.setattr(AUDITING, "measure", before(2, ctrl_c, AUDITING.measure))
    outputs = [tmp_path / f"out.{suffix}" for suffix in FORMATS]
    written = [word for path in outputs for word in ("-o", path)]
    assert exit_code(monkeypatch, "audit", scaled(tmp_path, 2, 3, 4), *written) == 130
    assert capsys.readouterr() == ("", "convsv: interrupted\n")
    texts = {path.suffix[1:]: path.read_text() for path in outputs}
    whole = json.loads(texts["json"])
    (document,) = whole["audits"]
    schema = root / "convsv_cli" / "renderers" / "schema" / "audit-2.schema.json"
    jsonschema.validate(whole, json.loads(schema.read_text()))
    assert document["status"] == "interrupted"
    assert [row["reason"] for row in document["layers"]] == [None, NOT_REACHED, NOT_REACHED]
    assert document["layers"][0]["certified"]["upper"] == pytest.approx(2, rel=1e-3)
    assert document["network"]["lipschitz_upper"] is None
    assert set(document["network"]["product"].values()) == {None}
    assert "largest layer" not in texts["txt"]
    for name in ("txt", "html", "md"):
        shown = "1 of 3 weight layers audited, interrupted"
        assert (shown if name != "html" else "The audit was interrupted. 2 layers had no figures") in texts[
            name
        ]
        assert "interrupted before 2 layers and the network had figures" in texts[name]
    assert all(texts[name].count("not reached") >= 2 for name in set(FORMATS) - {"sarif"})
    (run,) = json.loads(texts["sarif"])["runs"]
    assert not run["invocations"][0]["executionSuccessful"]
    (audit,) = read(tmp_path / "out.json").audits
    assert (audit.status, audit.layers[1].reason) == ("interrupted", NOT_REACHED)


def test_a_search_ends_with_what_it_has(tmp_path: Path, monkeypatch, capsys) -> None:
    model = small_network(tmp_path)
    quick = api.audit(model, network_effort="quick").bound.lipschitz
    searched = api.audit(model).bound.lipschitz
    assert searched < 0.999 * quick, "a search gains something"
    monkeypatch.setattr(SEARCH, "objective", before(12, ctrl_c, SEARCH.objective))
    assert exit_code(monkeypatch, "audit", model, "--format", "json") == 130
    (document,) = json.loads(capsys.readouterr().out)["audits"]
    assert document["status"] == "interrupted"
    assert searched <= document["network"]["lipschitz_upper"] <= quick
    assert all(row["status"] == "audited" for row in document["layers"])


@pytest.mark.parametrize("place", ["route.stretches", "search.valued", "attempts._run", "attempts.switches"])
def test_wherever_it_ends_a_network_has_a_bound(place: str, tmp_path: Path, monkeypatch) -> None:
    """By rules, before anything is lowered and at the first guess; then by what was found, once proven."""
    model = small_network(tmp_path)
    name, _, function = place.partition(".")
    module = importlib.import_module(f"convsv_cli.lipschitz.density.{name}")
    with monkeypatch.context() as patched:
        patched.setattr(ROUTE, "stretches", lambda _graph, segments, *_: list(segments))
        rules = api.audit(model).bound.lipschitz
    monkeypatch.setattr(module, function, before(1, ctrl_c, getattr(module, function)))
    found = api.audit(model)
    assert found.status == "interrupted"
    assert found.bound.lipschitz <= rules
    assert (found.bound.lipschitz < 0.999 * rules) == place.startswith("attempts.")


@pytest.mark.parametrize("limit", [1e9, 1e-3])
def test_an_interrupted_check_decides_nothing_of_a_network(
    limit, tmp_path: Path, monkeypatch, capsys
) -> None:
    model, config = small_network(tmp_path), tmp_path / "convsv.toml"
    config.write_text(f"max-lipschitz = {limit}\n")
    monkeypatch.setattr(SEARCH, "objective", before(12, ctrl_c, SEARCH.objective))
    assert (
        exit_code(monkeypatch, "check", model, "--config", config, "--format", "json", "--exit-zero") == 130
    )
    verdict = json.loads(capsys.readouterr().out)["audits"][0]["verdict"]
    assert verdict["outcome"] == "incomplete"
    assert [gate["outcome"] for gate in verdict["gates"]] == ["passed" if limit > 1 else "undecided"]


@pytest.mark.parametrize("what", ["rows", "writing"])
def test_a_second_one_ends_at_once_and_files_stay_as_they_are(
    what, tmp_path: Path, monkeypatch, capsys
) -> None:
    (tmp_path / "out.json").write_text("as it was")
    monkeypatch.setattr(AUDITING, "measure", before(2, ctrl_c, AUDITING.measure))
    if what == "rows":
        monkeypatch.setattr(AUDITING, "not_reached", before(1, ctrl_c, AUDITING.not_reached))
    else:
        monkeypatch.setattr(COMMAND, "write_report", before(1, ctrl_c, COMMAND.write_report))
    assert exit_code(monkeypatch, "audit", scaled(tmp_path, 2, 3), "-o", tmp_path / "out.json") == 130
    assert capsys.readouterr().err.strip() == "convsv: interrupted"
    assert (tmp_path / "out.json").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "out.json"]


def test_models_that_were_not_reached(tmp_path: Path, monkeypatch, capsys) -> None:
    models = [scaled(tmp_path, 2, name=f"{name}.onnx") for name in "abc"]
    monkeypatch.setattr(AUDITING, "loaded", before(2, ctrl_c, AUDITING.loaded))
    assert exit_code(monkeypatch, "audit", *models, "--format", "json") == 130
    document = json.loads(capsys.readouterr().out)
    assert [audit["status"] for audit in document["audits"]] == ["complete"]
    told = [(Path(each["path"]).name, each["message"], each["exit_code"]) for each in document["failures"]]
    assert told == [("b.onnx", NOT_REACHED, 130), ("c.onnx", NOT_REACHED, 130)]


def test_nothing_is_written_where_nothing_was_measured(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(AUDITING, "loaded", before(1, ctrl_c, AUDITING.loaded))
    assert exit_code(monkeypatch, "audit", scaled(tmp_path, 2), "-o", tmp_path / "out.json") == 130
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("command", [["diff"], ["check", "--init"]])
def test_what_needs_whole_audits_says_nothing(command, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(AUDITING, "measure", before(2, ctrl_c, AUDITING.measure))
    model = scaled(tmp_path, 2, 3)
    assert exit_code(monkeypatch, *command, *[model] * (2 if "diff" in command else 1)) == 130
    assert capsys.readouterr().out == ""


def test_what_breaks_later_is_no_interrupt(tmp_path: Path, monkeypatch, capsys) -> None:
    """An error is taken for an interrupt only where there was one that nobody has dealt with."""

    def bug() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(AUDITING, "measure", before(2, ctrl_c, AUDITING.measure))
    monkeypatch.setattr(COMMAND, "write_report", before(1, bug, COMMAND.write_report))
    assert exit_code(monkeypatch, "audit", scaled(tmp_path, 2, 3)) == 70
    assert "RuntimeError: a bug" in capsys.readouterr().err


def test_one_model_that_breaks_does_not_stop_the_others(tmp_path: Path, monkeypatch, capsys) -> None:
    def bug() -> None:
        raise RuntimeError("a bug")

    models = [scaled(tmp_path, 2, name=f"{name}.onnx") for name in ("first", "second", "third")]
    monkeypatch.setattr(AUDITING, "loaded", before(2, lambda: None, AUDITING.loaded))
    honest = AUDITING.loaded
    monkeypatch.setattr(
        AUDITING, "loaded", lambda path, *_: bug() if "second" in str(path) else honest(path, *_)
    )
    assert exit_code(monkeypatch, "audit", *models) == 70
    out, err = capsys.readouterr()
    assert "second.onnx" not in out.partition("failed:")[0]
    assert all(f"{name}.onnx" in out for name in ("first", "third"))
    assert "RuntimeError: a bug" in err


def late(clock: list[float], monkeypatch: pytest.MonkeyPatch, row: int) -> None:
    """The time is over before that row is measured."""
    monkeypatch.setattr(AUDITING, "measure", before(row, lambda: clock.__setitem__(0, 1e3), AUDITING.measure))


def test_figures_are_wider_after_the_time_limit_and_still_proven(tmp_path: Path, clock, monkeypatch) -> None:
    """Against the transform of the kernel on a fine grid, and matrices' own norms."""
    model = small_network(tmp_path)
    whole = api.audit(model, exact=True)
    assert api.audit(model, exact=True, time_limit=90).status == "complete", "nothing was left out"
    late(clock, monkeypatch, 1)
    found = api.audit(model, exact=True, time_limit=90)
    assert (found.status, whole.status) == (TIME_LIMIT, "complete")
    # Of stride 2: its four phases are channels, each with taps at their own places.
    kernel = normal(4, 1, 3, 3) / 2
    phases = [np.fft.fft2(kernel[:, :, i::2, j::2], (64, 64)) for i in (0, 1) for j in (0, 1)]
    truth = np.linalg.norm(np.concatenate(phases, 1).transpose(2, 3, 0, 1), 2, axis=(-2, -1)).max()
    conv, fc = (row.measurement("certified").enclosure for row in found.layers)
    assert conv.lower <= truth <= conv.upper
    assert conv.upper > 1.01 * truth
    assert fc.lower <= np.linalg.norm(normal(36, 3) / 2, 2) <= fc.upper
    assert all(row.measurement("bound") for row in found.layers)
    assert "stopped by --time-limit" in " ".join(found.layers[0].assumed)
    assert whole.bound.lipschitz < found.bound.lipschitz < math.inf
    assert found.findings[0].rule == "time-limit"


@pytest.mark.parametrize(("factor", "code"), [(1.01, 3), (0.5, 3), (1e6, 0)])
def test_a_check_that_the_clock_ends_is_undecided(
    factor, code, tmp_path: Path, clock, monkeypatch, capsys
) -> None:
    """Of a limit that the whole search keeps, and of one that it does not; one that is proven passes."""
    model, config = small_network(tmp_path), tmp_path / "convsv.toml"
    config.write_text(f"max-lipschitz = {api.audit(model).bound.lipschitz * factor}\n")
    late(clock, monkeypatch, 1)
    arguments = ("check", model, "--config", config, "--time-limit", "90s", "--format", "json")
    assert exit_code(monkeypatch, *arguments) == code
    (gate,) = json.loads(capsys.readouterr().out)["audits"][0]["verdict"]["gates"]
    assert gate["outcome"] == ("passed" if code == 0 else "undecided")
    assert code == 0 or "stopped by --time-limit" in gate["reason"]


@pytest.mark.parametrize("ended", ["measure", "loaded"])
def test_a_baseline_that_ended_early_holds_no_network(
    ended, tmp_path: Path, clock, monkeypatch, capsys
) -> None:
    """Its bound is larger than it need be, so that what keeps it may have grown all the same."""
    model, base = small_network(tmp_path), tmp_path / "base.json"
    with monkeypatch.context() as patched:
        if ended == "measure":
            late(clock, patched, 1)
            assert exit_code(patched, "audit", model, "--time-limit", "90", "-o", base) == 0
        else:
            patched.setattr(AUDITING, "bound_of", before(1, ctrl_c, AUDITING.bound_of))
            assert exit_code(patched, "audit", model, "-o", base) == 130
    clock[0] = 0.0
    document = json.loads(base.read_text())
    document["audits"][0]["model"]["sha256"] = "0" * 64
    base.write_text(json.dumps(document))
    assert exit_code(monkeypatch, "check", model, "--baseline", base, "--max-increase", "500%") == 3
    said = capsys.readouterr().out
    assert ("stopped by --time-limit" if ended == "measure" else "the audit that is the baseline was") in said


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_norms_by_entries_hold_the_norm(scale: float) -> None:
    import torch

    for rows, columns in ((1, 1), (1, 7), (9, 4), (40, 40)):
        matrices = np.random.default_rng(rows).standard_normal((3, rows, columns)) * scale
        truth = max(np.linalg.norm(each / scale, 2) for each in matrices) * scale
        found = norm_by_entries(torch.from_numpy(matrices))
        assert found.lower <= truth * (1 + 1e-12)
        assert found.upper >= truth * (1 - 1e-12)
        assert found.upper <= found.lower * max(rows, columns) * (1 + 1e-9)
    aligned = norm_by_entries(torch.full((1, 4, 9), scale, dtype=torch.float64))
    assert aligned.upper == pytest.approx(6 * scale), "one of rank 1 has its Frobenius norm"


def test_a_large_matrix_is_bounded_by_its_entries_once_time_is_over(
    tmp_path: Path, clock, monkeypatch
) -> None:
    monkeypatch.setattr(importlib.import_module("convsv_cli.spectral.norms"), "LATE", 1.0)
    late(clock, monkeypatch, 2)
    first, second = api.audit(scaled(tmp_path, 2, 3), time_limit=1).layers
    assert first.measurement("heuristic") is not None
    assert (second.status, second.measurement("heuristic")) == ("audited", None)
    ends = second.measurement("certified").enclosure
    assert ends.lower <= 3 <= ends.upper == pytest.approx(3, rel=1e-9), "of a diagonal, Schur's test is sharp"
    assert "no heuristic norm: bounded by the sums of its entries alone" in second.assumed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("10m", 600), ("1h30m", 5400), ("1h 5s", 3605), ("0.5s", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert options.duration(None, None, text) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "", "m", "5d", "1e3", "nan", "10m90x"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="use 90s, 10m or 1h30m"):
        options.duration(None, None, text)
    with pytest.raises(Exception, match="time limit must be more than 0"), deadline.running(math.nan):
        pass


def test_a_sign_of_life_where_stderr_is_no_terminal(capsys) -> None:
    with running.heartbeat(0.02) as progress:
        progress("layer4.1.conv2\x1b", 0.634)
        time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert set(lines) == {"convsv: layer4.1.conv2\\x1b, 63 % of the work, 0 s"}
    assert [running._duration(seconds) for seconds in (59.6, 90, 7260)] == [
        "1 min 0 s",
        "1 min 30 s",
        "2 h 1 min",
    ]
    with running.progress_bar(hidden=True) as progress:
        progress("nobody hears", 1.0)
    assert capsys.readouterr().err == ""
