"""Work is shared among cores without waiting for itself, and leaves torch's threads as they were."""

from __future__ import annotations

import pytest
import torch

from convsv_cli.spectral.cores import one_thread_each, parallel_map


def test_results_come_in_order() -> None:
    assert parallel_map(lambda i: i * i, range(20)) == [i * i for i in range(20)]


def test_a_function_that_shares_its_own_work_does_not_wait_for_itself() -> None:
    def outer(i: int) -> int:
        return sum(parallel_map(lambda j: i * j, range(5)))

    assert parallel_map(outer, range(8)) == [10 * i for i in range(8)]


def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda i: 1 // i, range(3))


def test_the_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    with one_thread_each():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    parallel_map(lambda i: i, range(3))
    assert torch.get_num_threads() == before
