"""Long certifications: what is proven on the way, and what Ctrl-C leaves of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from convsv_cli import certify, deadline
from convsv_cli.certification import results
from convsv_cli.renderers.certification.curve import state
from convsv_cli.report import LOCAL, Certification
from tests.support.command_line import COMMAND_LINE
from tests.support.onnx_models import graph_model, normal

COUNT = 6
OPTIONS = {"network_effort": "quick", "effort": "quick"}
SEARCH = """
import os
import signal
from convsv_cli.certification import local

honest = local.radii

def interrupted(problem, effort, progress, known):
    def told(found, ended, share):
        progress(found, ended, share)
        os.kill(os.getpid(), signal.SIGINT)
    return honest(problem, effort, told, known)

local.radii = interrupted
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network of two layers, and samples that it gets right."""
    folder = tmp_path_factory.mktemp("certify")
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["y"]),
    ]
    x, w, v = normal(COUNT, 6), normal(6, 10), normal(10, 3)
    onnx.save(graph_model(nodes, {"x": [1, 6]}, {"w": w, "v": v}), folder / "net.onnx")
    np.savez(folder / "data.npz", x=x, y=(np.maximum(x @ w, 0) @ v).argmax(1))
    return folder / "net.onnx", folder / "data.npz"


def radii(found: Certification) -> np.ndarray:
    return np.array([sample.radius for sample in found.samples])


def stopping(after: int):
    """A listener that interrupts the search for local bounds when it tells something new so many times."""
    left = iter(range(after))

    def progress(what: str, _share: float) -> None:
        if what.startswith(f"{LOCAL}:") and next(left, None) is None:
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def whole(files: tuple[Path, Path]) -> Certification:
    """What there is without an interruption."""
    return certify(*files, **OPTIONS)


def test_what_is_proven_by_then_is_kept(files: tuple[Path, Path], whole: Certification) -> None:
    margins = certify(*files, network_effort="quick", effort="none")
    found = certify(*files, attack=True, progress=stopping(2), **OPTIONS)
    assert (whole.complete, whole.interrupted, whole.unfinished) == (True, False, 0)
    assert (found.complete, found.interrupted, found.unfinished) == (False, True, COUNT)
    assert (radii(margins) <= radii(found)).all()
    assert (radii(found) <= radii(whole)).all()
    assert (radii(found) > radii(margins)).any()
    assert found.attack is not None
    assert found.attack.failure == "it was interrupted"


def test_so_it_is_once_the_time_is_over(
    files: tuple[Path, Path], whole: Certification, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Local bounds are at work when the clock jumps; margins are there already."""
    shown = [0.0]
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: shown[0]))

    def progress(what: str, _share: float) -> None:
        shown[0] += 1e3 * what.startswith(LOCAL)

    found = certify(*files, attack=True, time_limit=90, progress=progress, **OPTIONS)
    assert (found.complete, found.interrupted, found.timed_out) == (False, False, True)
    assert (found.unfinished, found.attack.failure) == (COUNT, "it was stopped by --time-limit")
    assert (radii(found) <= radii(whole)).all()
    assert (radii(found) > 0).any()
    assert state(found).startswith("stopped by --time-limit: what is proven holds")


def test_of_radii_that_are_asked_for_it_is_known_which_are_open(
    files: tuple[Path, Path], whole: Certification
) -> None:
    """At the first of two radii, nobody is done but who fails there."""
    eps = [float(np.quantile(radii(whole), share)) for share in (0.4, 0.6)]
    decided = certify(*files, eps=eps, **OPTIONS)
    told: list[Certification] = []
    interrupted = certify(*files, eps=eps, so_far=told.append, progress=stopping(1), **OPTIONS)
    assert told == [], "within seconds"
    assert 0 < interrupted.unfinished < COUNT
    for some, all_ in zip(interrupted.samples, decided.samples, strict=True):
        assert some.radius <= all_.radius
        assert not some.ended or some.radius == all_.radius


def test_reports_on_the_way_only_grow(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "EVERY", 0.0)
    told: list[Certification] = []
    last = certify(*files, so_far=told.append, **OPTIONS)
    assert len(told) > 2
    assert not any(found.complete or found.interrupted for found in told)
    for one, two in zip(told, [*told[1:], last], strict=True):
        assert (radii(one) <= radii(two)).all()
        assert one.unfinished >= two.unfinished
    assert any(found.certified(0.5) > 0 for found in told)


def test_ctrl_c_ends_in_a_report(files: tuple[Path, Path], tmp_path: Path) -> None:
    (model, data), outputs = files, [tmp_path / "out.json", tmp_path / "out.txt"]
    code = COMMAND_LINE.replace("main()", f"{SEARCH}\nmain()\n")
    asked = ["certify", model, "--data", data, "--network-effort=quick", "-o", outputs[0], "-o", outputs[1]]
    words = [sys.executable, "-c", code, *map(str, asked)]
    process = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (process.returncode, process.stdout, process.stderr) == (130, "", "convsv: interrupted\n")
    document = json.loads(outputs[0].read_text())
    assert (document["complete"], document["interrupted"], document["unfinished"]) == (False, True, COUNT)
    assert any(sample["radius"] > 0 and not sample["ended"] for sample in document["each"])
    assert f"has been tried for {COUNT} of {COUNT} samples" in outputs[1].read_text()


def test_a_second_one_ends_at_once(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def report(*_: object, **__: object) -> Certification:
        raise KeyboardInterrupt

    monkeypatch.setattr(results.Results, "report", report)
    with pytest.raises(KeyboardInterrupt):
        certify(*files, progress=stopping(0), **OPTIONS)
