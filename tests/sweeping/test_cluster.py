"""Sweeps on a Dask cluster: a real scheduler, and two worker processes, on loopback."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import Future
from contextlib import ExitStack

import pytest

from convsv_cli.errors import UsageError
from convsv_cli.report import Settings
from convsv_cli.sweeping import ClusterExecutor, Outcomes, cluster, discover, sweep, write_tables
from convsv_cli.sweeping.outcomes import outcomes_in
from tests.support.inline_executor import InlineExecutor
from tests.support.model_tree import make, rows

QUICK = Settings(network_effort="quick")
TABLES = ("files", "networks", "layers")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def running():
    """Starts programs of Dask, which end with the test."""
    with ExitStack() as stack:

        def start(*arguments):
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                env={**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "60s"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")  # Dask's
def test_two_workers_of_which_one_is_killed_find_what_one_process_finds(tmp_path, monkeypatch, running):
    monkeypatch.setenv("CONVSV_CACHE_KEY", "a secret of tests")
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "tree", 8)
    found, address = list(discover(["tree"])), f"tcp://127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    running("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show")
    options = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path / "dask"))
    workers = [running("worker", address, *options) for _ in range(2)]
    executor = ClusterExecutor(address, patience=60)
    executor._client.wait_for_workers(2, timeout=60)
    assert executor.slots == 2

    def killing(tally):
        if tally.done >= 6 and workers[0].poll() is None:
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()

    there, here = tmp_path / "there", tmp_path / "here"
    sweep(found, QUICK, Outcomes(there, QUICK), executor, cache="cache", cache_mode="write", progress=killing)
    assert workers[0].poll() == -signal.SIGKILL
    executor.close()
    sweep(found, QUICK, Outcomes(here, QUICK), InlineExecutor())
    for results in (there, here):
        write_tables(outcomes_in(results), results)
    assert [rows(there, table) for table in TABLES] == [rows(here, table) for table in TABLES]
    assert len(rows(there, "files")) == len(found)


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_does_not_answer_is_one_line():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UsageError, match=r"no Dask scheduler answers within 0\.5 s"):
            ClusterExecutor(address, patience=0.5)


def test_what_is_no_address_is_one_line():
    with pytest.raises(UsageError, match="no address of a Dask scheduler"):
        ClusterExecutor("foo://bar")


def test_without_dask_there_is_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="not installed") as raised:
        ClusterExecutor("tcp://127.0.0.1:1")
    assert "pip install 'convsv[distributed]'" in str(raised.value)


class Done:
    """A future of Dask's that has ended."""

    def __init__(self, status, error=None):
        self.status, self._error = status, error

    def exception(self):
        return self._error


@pytest.mark.parametrize(
    ("done", "why"),
    [
        (Done("error", ImportError("no torch")), "a worker cannot work: ImportError: no torch"),
        (Done("cancelled"), "the scheduler has gone"),
        (Done("lost"), "the scheduler has gone"),
    ],
)
def test_what_is_wrong_with_the_cluster_is_no_row(done, why):
    with pytest.raises(UsageError, match=why):
        passed_on(done).result()


def test_a_model_that_kills_every_worker_is_a_row():
    assert passed_on(Done("error", type("KilledWorker", (Exception,), {})())).result().died == cluster.DIED


def passed_on(done):
    executor = object.__new__(ClusterExecutor)
    executor._address, executor._futures, answer = "tcp://x:1", set(), Future()
    executor._answered(done, answer)
    return answer
