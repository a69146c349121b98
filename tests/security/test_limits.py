"""What a file may take: more for a larger one, as much as users say, and nothing beyond it is begun."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convsv_cli import allowance, audit, limits, load
from convsv_cli.allowance import GIB
from convsv_cli.auditing.spectra import spectra_of
from convsv_cli.cli import cli
from convsv_cli.errors import UnreadableModelError, UnsafeModelError, UsageError
from convsv_cli.limits import (
    LimitError,
    allowing,
    credit,
    expect,
    fits,
    granting,
    hold,
    most,
    multiply,
    spend,
)
from convsv_cli.loaders import checkpoint, files
from convsv_cli.loaders.checkpoint import unpickler
from convsv_cli.report import Settings


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.save({"conv.weight": torch.ones(3, 2, 3, 3)}, path)
    return path


def test_nothing_is_limited_outside() -> None:
    spend(math.inf, "this")
    hold(math.inf, "this")
    assert fits(math.inf)
    assert most(7) == 7


def test_steps_are_counted_together() -> None:
    with granting(steps=1000), allowing():
        spend(600, "one")
        said = r"two would take 600 steps, and 400 of 1000 are left \(--step-limit 1200 permits it\)"
        with pytest.raises(LimitError, match=said):
            spend(600, lambda: "two")
        spend(400, "three")
        with pytest.raises(LimitError):
            spend(1, "four")


def test_memory_is_asked_for_one_step_at_a_time() -> None:
    with granting(memory=GIB), allowing():
        hold(GIB, "one")
        hold(GIB, "two")
        assert not fits(GIB + 1)
        said = r"three would take 3 GiB of memory, more than 1 GiB \(--memory-limit"
        with pytest.raises(LimitError, match=said):
            hold(3 * GIB, "three")


@pytest.mark.parametrize("amount", [math.nan, math.inf])
def test_what_is_no_amount_is_refused(amount: float) -> None:
    with allowing():
        for ask in (spend, hold):
            with pytest.raises(LimitError):
                ask(amount, "it")


def test_what_is_within_belongs_to_the_whole() -> None:
    with granting(steps=1000), allowing():
        spend(600, "one")
        with granting(steps=1e9), allowing(), pytest.raises(LimitError):
            spend(600, "two")
    with granting(steps=1000), allowing():
        spend(600, "another piece")


def test_larger_files_may_take_more(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.touch()
    os.truncate(path, 2**20)
    link = tmp_path / "link"
    link.symlink_to(path)
    with allowing():
        for each in (path, path, link):
            credit(each)
        spend(allowance.STEPS + allowance.STEPS_PER_BYTE * 2**20, "it")
        with pytest.raises(LimitError):
            spend(1, "one more")
        hold(allowance.SMALL_MEMORY + allowance.MEMORY_PER_BYTE * 2**20, "it")
        with pytest.raises(LimitError):
            hold(allowance.SMALL_MEMORY + allowance.MEMORY_PER_BYTE * 2**20 + 1, "it")


def test_no_file_may_take_more_than_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    path.touch()
    os.truncate(path, 2**40)
    for free, usual in ((2**60, allowance.MEMORY), (2**30, 2**29)):
        monkeypatch.setattr(allowance, "free_memory", lambda free=free: free)
        with allowing():
            credit(path)
            hold(usual, "it")
            assert not fits(usual + 1)


def test_counts_grow_with_the_memory_that_is_granted() -> None:
    for memory, count in ((GIB, 10), (allowance.MEMORY, 10), (3 * allowance.MEMORY, 30)):
        with granting(memory=memory), allowing():
            assert most(10) == count


@pytest.mark.parametrize(
    ("text", "size"), [("8G", 2**33), ("1.5GiB", 1.5 * 2**30), ("64kb", 2**16), ("99", 99)]
)
def test_sizes_as_people_write_them(
    text: str, size: float, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(limits, "granting", lambda memory, steps: asked.append((memory, steps)) or granting())
    cli.main(
        ["audit", str(model), "--memory-limit", text, "--step-limit", "1e12", "-q"], standalone_mode=False
    )
    assert asked == [(size, 1e12)]


def broken(*_: object) -> None:
    raise ZeroDivisionError("nobody thought of this")


def test_whatever_a_loader_raises_is_an_error_for_users(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convsv_cli.loaders.state_dict.network_of", broken)
    with pytest.raises(
        UnreadableModelError, match=r"model\.pt: damaged .* ZeroDivisionError: nobody .* report it"
    ):
        load(model)
    monkeypatch.setenv("CONVSV_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        load(model)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (MemoryError(), UnsafeModelError, "more memory than there is"),
        (PermissionError(13, "Permission denied"), UnreadableModelError, "cannot be read: Permission denied"),
    ],
)
def test_so_are_a_full_memory_and_a_file_that_is_gone(
    error: Exception, kind: type[Exception], said: str
) -> None:
    def failing() -> None:
        raise error

    with pytest.raises(kind, match=said):
        files.refusing(failing)()


def test_a_file_is_credited_before_it_is_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = checkpoint.LOADER.load

    def watched(path: Path, size: object) -> object:
        seen.append(limits._current.get().stored)
        return real(path, size)

    monkeypatch.setattr("convsv_cli.loaders.LOADERS", (replace(checkpoint.LOADER, load=watched),))
    audit(model)
    assert seen == [model.stat().st_size]


def test_who_asks_for_a_longer_search_gets_it() -> None:
    most = limits.NORMS * allowance.PRODUCTS
    with allowing():
        multiply(most, "one")
        with pytest.raises(LimitError, match="two would take 4e11 multiplications, and 0 of"):
            multiply(allowance.PRODUCTS, "two")
        expect(100)
        expect(1)
        multiply(98 * most, "three")
        with pytest.raises(LimitError):
            multiply(2 * most, "four")


def test_the_limit_that_is_named_permits_it() -> None:
    def work() -> None:
        multiply(limits.NORMS * allowance.PRODUCTS, "one")
        multiply(3 * allowance.PRODUCTS, "two")

    with allowing(), pytest.raises(LimitError) as refused:
        work()
    named = re.search(r"--step-limit (\S+) permits it", str(refused.value))
    assert named
    with granting(steps=float(named[1])), allowing():
        work()
    with granting(steps=0.8 * float(named[1])), allowing(), pytest.raises(LimitError):
        work()
    with granting(steps=0), allowing(), pytest.raises(LimitError, match="--step-limit raises the limit"):
        work()


def test_spectra_have_as_much_as_without_a_search_before(model: Path) -> None:
    with allowing():
        network, settings = load(model, input_size=8), Settings(spectra=("conv",))
        limits.searched(2 * allowance.PRODUCTS)
        spectra, missing = spectra_of(network, settings, None)
        assert ([each.layer for each in spectra], missing) == (["conv"], ())
        with pytest.raises(LimitError):
            multiply(1, "what comes after")


def test_objects_of_a_pickle_grow_with_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt"
    torch.save({"conv.weight": torch.ones(3, 2, 3, 3), "more": [{} for _ in range(700)]}, path)
    monkeypatch.setattr(unpickler, "OPERATIONS", 2000)
    with pytest.raises(UnsafeModelError, match=r"more than 2,000 operations \(--memory-limit above 4G"):
        load(path)
    with granting(memory=4 * allowance.MEMORY):
        assert load(path).layers


@pytest.mark.parametrize("asked", [math.nan, -1.0])
def test_what_is_no_limit_is_refused(asked: float) -> None:
    with pytest.raises(UsageError, match="a limit must be 0 or more"), granting(steps=asked):
        pass
