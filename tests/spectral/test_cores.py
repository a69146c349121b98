"""Work is shared among cores without waiting for itself, and leaves torch's threads as they were."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from convsv_cli.spectral import cores
from convsv_cli.spectral.cores import all_threads, one_thread_each, parallel_map, squared
from tests.support.command_line import convsv_anew


@pytest.fixture(params=[1, 2, 3])
def several(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The number of cores and of torch's threads, which is one in all other tests."""
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "CORES", request.param)
    torch.set_num_threads(request.param)
    cores._pool.cache_clear()
    yield request.param
    cores._pool.cache_clear()
    torch.set_num_threads(before)


@pytest.mark.usefixtures("several")
def test_results_come_in_order() -> None:
    assert parallel_map(lambda i: i * i, range(20)) == [i * i for i in range(20)]


@pytest.mark.usefixtures("several")
def test_a_function_that_shares_its_own_work_does_not_wait_for_itself() -> None:
    def outer(i: int) -> int:
        return sum(parallel_map(lambda j: i * j, range(5)))

    assert parallel_map(outer, range(8)) == [10 * i for i in range(8)]


@pytest.mark.parametrize("several", [2], indirect=True)
@pytest.mark.usefixtures("several")
def test_nothing_waits_for_a_core_that_is_busy_elsewhere() -> None:
    """Its queue would keep the matrices of every search that asked it for help, until it is done."""
    busy, known = threading.Event(), list[weakref.ref[torch.Tensor]]()

    def outer(_: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert busy.wait(20)
            return
        matrices = [torch.zeros(2) for _ in range(3)]
        known.extend(map(weakref.ref, matrices))
        parallel_map(torch.Tensor.clone, matrices)
        del matrices
        gc.collect()
        assert all(one() is None for one in known)
        busy.set()

    parallel_map(outer, range(2))
    assert known


@pytest.mark.usefixtures("several")
def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda i: 1 // i, range(3))


@pytest.mark.usefixtures("several")
def test_the_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    with one_thread_each():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    parallel_map(lambda i: i, range(3))
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("several")
def test_nothing_takes_all_cores_while_each_has_its_own_work() -> None:
    def threads(_: int) -> int:
        with all_threads():
            return torch.get_num_threads()

    with one_thread_each():
        assert threads(0) == cores.CORES
        assert torch.get_num_threads() == 1
        if cores.CORES > 1:
            assert (
                parallel_map(lambda i: [*parallel_map(threads, [i] * 3), threads(i)], range(4))
                == [[1] * 4] * 4
            )
        assert threads(0) == cores.CORES


@pytest.mark.usefixtures("several")
def test_a_forked_child_uses_no_threads_that_it_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP's are its parent's: it would wait for them."""
    monkeypatch.setattr(cores, "_process", cores._process + 1)
    with one_thread_each(), all_threads():
        assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("p", [3, 64, 129, 260])
def test_a_hermitian_product_is_what_a_full_one_is(p: int) -> None:
    matrix = torch.randn(p, 300, dtype=torch.complex128)
    found = squared(matrix)
    assert torch.allclose(found, matrix @ matrix.mH, rtol=0, atol=1e-11)


def test_the_report_does_not_depend_on_the_cores(root: Path) -> None:
    """They cut the work into other pieces, but only where it comes to the same."""

    def audited(threads: int) -> dict[str, Any]:
        model = root / "sample_models" / "resnet20.onnx"
        arguments = ("audit", model, "--exact", "--network-effort", "quick", "--format", "json")
        process = convsv_anew(*arguments, OMP_NUM_THREADS=str(threads))
        assert process.returncode == 0, process.stderr
        return json.loads(
            process.stdout, object_hook=lambda d: {k: v for k, v in d.items() if k != "seconds"}
        )

    assert audited(3) == audited(1)
