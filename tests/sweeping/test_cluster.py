"""Sweeps on a Dask cluster: a real scheduler, and two worker processes, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import replace

import pytest

from convsv_cli.errors import UsageError
from convsv_cli.report import Settings
from convsv_cli.sweeping import ClusterExecutor, Outcomes, cluster, discover, sweep, write_tables
from convsv_cli.sweeping.executor import Answer, Order
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
    executor = ClusterExecutor(address, patience=60, notes=tmp_path)
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


class Fake:
    """A client of Dask's whose futures end as they are told to; orders on x.pt kill their workers."""

    def __init__(self, ends):
        self.ends, self.running = ends, []

    def submit(self, _work, order, _folder, _notes, **_options):
        future = Done(*self.ends(order))
        self.running.append((order.path, future))
        return future


class Done:
    """A future of Dask's that ends when it is told to."""

    def __init__(self, status, error=None):
        self.status, self._error = status, error

    def add_done_callback(self, call):
        self.end = lambda: call(self)

    def exception(self):
        return self._error

    def result(self):
        return Answer(layers=1)


def killed():
    return "error", type("KilledWorker", (Exception,), {})()


def executor_of(ends):
    executor = object.__new__(ClusterExecutor)
    executor._address, executor._folder, executor._notes = "tcp://x:1", ".", ""
    executor._futures = set()
    executor._client, executor._lock, executor._suspects = Fake(ends), threading.Lock(), deque()
    return executor


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        (("error", ImportError("no torch")), "a worker cannot work: ImportError: no torch"),
        (("cancelled",), "the scheduler has gone"),
        (("lost",), "the scheduler has gone"),
    ],
)
def test_what_is_wrong_with_the_cluster_is_no_row(ended, why):
    executor = executor_of(lambda _order: ended)
    answer = executor.submit(Order(path="a.pt", settings=QUICK))
    executor._client.running[0][1].end()
    with pytest.raises(UsageError, match=why):
        answer.result(timeout=0)


def test_only_what_kills_workers_when_no_other_suspect_runs_is_to_blame():
    """Dask blames what waited on the worker as well."""
    executor = executor_of(lambda order: killed() if order.path == "x.pt" or first else ("finished",))
    first, running = True, executor._client.running
    answers = [executor.submit(Order(path=path, settings=QUICK)) for path in ("a.pt", "x.pt", "b.pt")]
    first = False
    for _, future in list(running):
        future.end()
    seen = []
    while len(running) > 3 + len(seen):
        path, future = running[-1]
        seen.append(path)
        assert len(running) == 3 + len(seen)  # one at a time
        future.end()
    assert seen == ["a.pt", "x.pt", "b.pt"]
    died = [answer.result(timeout=0).died for answer in answers]
    assert died == ["", cluster.DIED, ""]


def test_an_order_costs_two_workers_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr("convsv_cli.sweeping.worker.answer", lambda _order: os._exit(9))
    deadly = Order(path="x.pt", settings=QUICK)
    for _ in range(cluster.TRIES):
        if (worker := os.fork()) == 0:
            cluster.work(deadly, str(tmp_path), str(tmp_path))
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 9
    assert cluster.work(deadly, str(tmp_path), str(tmp_path)).died == cluster.DIED
    monkeypatch.setattr("convsv_cli.sweeping.worker.answer", lambda _order: Answer(layers=1))
    notes = set(tmp_path.iterdir())
    for order in (replace(deadly, path="y.pt"), replace(deadly, layers=("conv",))):
        for folder in (tmp_path, tmp_path / "none", ""):
            for _ in range(1 + cluster.TRIES):
                assert cluster.work(order, str(tmp_path), str(folder)).layers == 1
    assert set(tmp_path.iterdir()) == notes
