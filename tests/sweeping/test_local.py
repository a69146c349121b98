"""Workers on this machine, and how they end: by a file, by Ctrl-C, with the one that started them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from convsv_cli.report import Settings
from convsv_cli.sweeping import Outcomes, discover, sweep, write_tables
from convsv_cli.sweeping.executor import DIED
from convsv_cli.sweeping.outcomes import outcomes_in
from tests.support.inline_executor import InlineExecutor
from tests.support.model_tree import rows, weights

SETTINGS = Settings(device="auto", network_effort="quick")
LONG = 60.0
"""Seconds."""
PLANTED = f"""
import os, signal, sys, time

def hook(event, arguments):
    if event != "open" or not isinstance(arguments[0], str):
        return
    if arguments[0].endswith("deadly.pt"):
        os.kill(os.getpid(), signal.SIGKILL)
    if arguments[0].endswith("endless.pt"):
        with open(os.path.join(os.environ["WORKERS"], str(os.getpid())), "x"):
            time.sleep({LONG})

if "--multiprocessing-fork" in sys.orig_argv:
    sys.addaudithook(hook)
"""
"""For workers alone: a file that kills whoever opens it, and one with which nobody ever comes to an end."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has other signals")


def until(what):
    end = time.monotonic() + LONG
    while not what():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def lives(worker):
    """Whether it runs; one that has ended, and that nobody has waited for, does not."""
    with suppress(OSError):
        return Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextmanager
def command(tmp_path, *options):
    """`convsv sweep` of the tree, in a group of its own, with the numbers of its workers that never end."""
    workers = tmp_path / "workers"
    workers.mkdir(exist_ok=True)
    places = [str(tmp_path / "planted"), *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-m", "convsv_cli", "sweep", "tree", "-o", "results", "--quiet", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "WORKERS": str(workers)},
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        until(lambda: process.poll() is not None or len(list(workers.iterdir())) == 2)
        yield process, [int(file.name) for file in workers.iterdir()]
    finally:
        process.kill()
        process.wait()
    for file in workers.iterdir():
        file.unlink()


@pytest.mark.exhaustive
def test_a_file_ends_its_worker_and_a_user_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVSV_CACHE_KEY", "a secret of tests")
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "sitecustomize.py").write_text(PLANTED)
    for number, name in enumerate(("a", "b", "c", "deadly")):
        (tmp_path / "tree" / name).parent.mkdir(exist_ok=True)
        torch.save({"net": weights(number), "rest": torch.zeros(999)}, tmp_path / "tree" / f"{name}.pt")
    for number in range(2):  # the smallest, which come last
        torch.save(weights(9 + number), tmp_path / "tree" / f"{number}endless.pt")
    asked = ("--network-effort", "quick", "--jobs", "2")

    with command(tmp_path, *asked) as (process, workers):
        assert len(list((tmp_path / "results" / "outcomes").iterdir())) == 4
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(LONG) == 130
        assert len(workers) == 2
        assert not any(map(lives, workers))
    written = {row["path"]: row for row in rows(tmp_path / "results", "files")}
    assert written["tree/deadly.pt"]["reason"] == DIED
    assert [row["status"] for row in written.values()] == ["audited"] * 3 + ["failed"]

    with command(tmp_path, *asked) as (process, workers):
        process.kill()
        assert len(workers) == 2
        until(lambda: not any(map(lives, workers)))

    monkeypatch.chdir(tmp_path)
    found, goes_on, alone = list(discover(["tree"])), InlineExecutor(), InlineExecutor()
    sweep(found, SETTINGS, Outcomes(Path("results"), SETTINGS), goes_on)
    assert sorted(order.path for order in goes_on.orders) == [
        *("tree/0endless.pt", "tree/1endless.pt"),
        "tree/deadly.pt",  # whose worker has died, which may have had other reasons
    ]
    sweep(found, SETTINGS, Outcomes(Path("alone"), SETTINGS), alone)
    for results in ("results", "alone"):
        write_tables(outcomes_in(Path(results)), Path(results))
    for table in ("files", "networks", "layers"):
        assert rows(Path("results"), table) == rows(Path("alone"), table)
