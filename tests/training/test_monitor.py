"""Monitors of norms: what they log, what they do about limits, and the thread that certifies copies."""

from __future__ import annotations

import copy
import math
import os
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.nn.utils import parametrizations

from convsv_cli import NormMonitor, audit, limit_norm, spectral_norm
from convsv_cli.errors import UsageError
from convsv_cli.report import Interval
from convsv_cli.training import monitor as module
from convsv_cli.training.certifying import Search

Logged = list[tuple[int, dict[str, float]]]


def network() -> nn.Sequential:
    """Three layers, the last of which is a matrix."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.Flatten(), nn.Linear(16, 3)
    )


def scale(model: nn.Module, factor: float) -> None:
    """What an optimiser's step does, in a way that norms tell."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates of layers as small as these need no longer."""
    monkeypatch.setattr(module, "WARM_UP", 15)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No search ends before it is set."""
    event, true = threading.Event(), Search.norm

    def norm(self: Search, weight: torch.Tensor, geometry: object) -> Interval:
        assert event.wait(30)
        return true(self, weight, geometry)

    monkeypatch.setattr(Search, "norm", norm)
    yield event
    event.set()


def wait(monitor: NormMonitor) -> None:
    """Until everything that was begun is done, whatever came of it."""
    futures.wait(monitor._certifier._begun, timeout=30)


def test_what_is_logged() -> None:
    model, logged = network(), []
    with NormMonitor(model, every=2, certified_every=4, log=lambda *entry: logged.append(entry)) as monitor:
        returned = [monitor.step() for _ in range(5)]
    names = ("0", "2", "4")
    estimate, certified = logged[0][0], logged[-1][0]
    assert [step for _, step in logged] == [2, 4, 4]
    assert returned[0] == returned[2] == {}
    assert returned[1] == estimate
    assert set(estimate) == {
        *(f"norm_estimate/{name}" for name in names),
        *(f"stable_rank/{name}" for name in names),
        "product_of_layer_norms/estimate",
    }
    assert set(certified) == {
        *(f"norm_certified/{name}" for name in names),
        "product_of_layer_norms/certified",
    }
    assert not any("certified" in name for name in estimate)
    product = math.prod(estimate[f"norm_estimate/{name}"] for name in names)
    assert estimate["product_of_layer_norms/estimate"] == pytest.approx(product)
    assert monitor.certified_step == 4


def test_certified_figures_are_those_of_an_audit(tmp_path: Path) -> None:
    model = network()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    with NormMonitor(model, certified_every=1) as monitor:
        monitor.step()
    del model[2].stride  # a state dict does not have it, so that the audit takes it as 1
    rows = {
        layer.name: layer.measurement("certified").enclosure for layer in audit(tmp_path / "model.pt").layers
    }
    for name in ("0", "4"):
        ours = monitor.certified[name]
        assert ours.lower <= rows[name].upper
        assert rows[name].lower <= ours.upper <= rows[name].upper * 1.003
        assert 0.99 * rows[name].lower <= monitor.estimates[name].norm <= ours.upper * (1 + 1e-5)


def test_copies_are_of_one_step_and_reported_with_it(held: threading.Event) -> None:
    """Weights double at every step while the search waits: each copy is whole, and of its own step."""
    model, logged = network(), []
    unit = {name: spectral_norm_of(model, name) for name in ("0", "4")}
    monitor = NormMonitor(model, certified_every=1, log=lambda *entry: logged.append(entry))

    def doubled() -> None:
        scale(model, 2.0)
        monitor.step()

    doubled()
    doubled()
    with pytest.warns(UserWarning, match="weights of step 3 are not certified"):
        doubled()
    doubled()
    assert monitor.skipped == 2
    assert not any("norm_certified/0" in figures for figures, _ in logged)
    held.set()
    monitor.close()
    late = [(step, figures) for figures, step in logged if "norm_certified/0" in figures]
    assert [step for step, _ in late] == [1, 2]
    for step, figures in late:
        for name, norm in unit.items():
            assert figures[f"norm_certified/{name}"] == pytest.approx(norm.upper * 2**step, rel=2e-3)


def spectral_norm_of(model: nn.Sequential, name: str) -> Interval:
    return spectral_norm(model.get_submodule(name).weight)


def test_errors_of_the_thread_come_up_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Interval:
        raise ZeroDivisionError("in the thread")

    monkeypatch.setattr(Search, "norm", broken)
    with (
        pytest.raises(ZeroDivisionError, match="in the thread"),
        NormMonitor(network(), certified_every=1) as it,
    ):
        it.step()
    monitor = NormMonitor(network(), certified_every=1)
    monitor.step()
    wait(monitor)
    with pytest.raises(ZeroDivisionError):
        monitor.step()
    monkeypatch.undo()
    monitor.close(finish=False)
    assert not [each for each in threading.enumerate() if each.name.startswith("convsv")]


def test_an_error_in_the_loop_ends_the_thread_and_stays_what_it_is(held: threading.Event) -> None:
    logged: Logged = []
    threading.Timer(0.1, held.set).start()
    monitor = NormMonitor(network(), certified_every=1, log=lambda *entry: logged.append(entry))

    def loop() -> None:
        with monitor:
            monitor.step()
            raise KeyError

    with pytest.raises(KeyError):
        loop()
    assert len(logged) == 1, "an estimate alone"
    assert not [each for each in threading.enumerate() if each.name.startswith("convsv")]


@pytest.mark.parametrize("again", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_go_on_by_themselves(
    again: Callable[[NormMonitor], NormMonitor], held: threading.Event
) -> None:
    monitor = NormMonitor(network(), certified_every=1)
    monitor.step()
    other = again(monitor)
    assert other.step().keys() == monitor.step().keys()
    held.set()
    for each in (monitor, other):
        each.close()
        assert each.certified_step == 2


def test_a_fork_has_a_thread_of_its_own(held: threading.Event) -> None:
    monitor = NormMonitor(network(), certified_every=1)
    monitor.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if not child:
        held.set()
        monitor.close()
        os._exit(monitor.certified_step is not None)
    assert os.waitpid(child, 0)[1] == 0
    held.set()
    monitor.close()
    assert monitor.certified_step == 1


def test_a_warning_comes_once_for_each_time_above() -> None:
    model = network()
    monitor = NormMonitor(model, limit={"0": 1e-3, "*": 1e6})
    with pytest.warns(UserWarning, match=r"step 1: .*: 0 \(estimated at [\d.]+, above 0.001\)$"):
        monitor.step()
    monitor.step()
    scale(model[0], 1e-6)
    monitor.step()
    scale(model[0], 1e6)
    with pytest.warns(UserWarning, match="step 4"):
        monitor.step()
    assert not monitor.should_stop


def test_a_certified_norm_may_be_the_one_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the estimate has missed it."""
    model = nn.Linear(4, 4)
    proven = spectral_norm(model.weight).upper
    monkeypatch.setattr(module, "advance", lambda *_: {"": module.Estimate(norm=0.1, stable_rank=1.0)})
    monitor = NormMonitor(model, certified_every=1, limit=proven / 2, on_limit="stop")
    monitor.step()
    assert not monitor.should_stop
    wait(monitor)
    with pytest.warns(UserWarning, match="certified only to be at most"):
        monitor.step()
    assert monitor.should_stop
    monitor.close(finish=False)


def test_rescaled_layers_are_proven_to_be_within_their_limits() -> None:
    model, logged = network().half().float(), []
    before = [each.detach().clone() for each in model.parameters()]
    with NormMonitor(
        model, limit={"0": 0.5, "4": 1e3}, on_limit="rescale", log=lambda *entry: logged.append(entry)
    ) as monitor:
        with pytest.warns(UserWarning, match="above their limits"):
            factor = monitor.step()["norm_rescaled/0"]
        assert spectral_norm(model[0].weight).upper <= 0.5
        assert "norm_rescaled/0" not in monitor.step()
        model[0].weight.data.mul_(1.002)
        monitor._limits.above = lambda *_: set()  # an estimate that misses it
        monitor.step()
        assert spectral_norm(model[0].weight).lower > 0.5
    assert spectral_norm(model[0].weight).upper <= 0.5
    assert spectral_norm(model[0].weight).lower >= 0.498
    assert logged[-1][0].keys() == {"norm_rescaled/0"}
    assert torch.allclose(model[0].weight, before[0] * factor, rtol=3e-3)
    assert all(
        torch.equal(now, old) for now, old in zip(list(model.parameters())[1:], before[1:], strict=True)
    )


def test_half_precision_keeps_to_limits_too() -> None:
    model = nn.Conv2d(4, 4, 3).bfloat16()
    with NormMonitor(model, limit=0.5, on_limit="rescale"):
        pass
    assert spectral_norm(model.weight).upper <= 0.5


def test_weights_that_are_not_finite_are_left_alone() -> None:
    model = nn.Linear(2, 2)
    model.weight.data.fill_(float("inf"))
    monitor = NormMonitor(model, limit=1.0, on_limit="rescale", certified_every=1)
    with pytest.warns(UserWarning, match=r": weight \(estimated at (nan|inf), above 1\)"):
        monitor.step()
    monitor.close()
    assert monitor.certified[""].upper == math.inf
    assert model.weight.isinf().all()


def test_training_may_be_told_to_stop() -> None:
    monitor = NormMonitor(network(), limit=1e-3, on_limit="stop")
    with pytest.warns(UserWarning, match="above their limits"):
        monitor.step()
    assert monitor.should_stop


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "must be 1 or more"),
        ({"certified_every": 0}, "must be 1 or more"),
        ({"limit": -1.0}, "positive number"),
        ({"limit": {"nothing": 1.0}}, "no layer matches 'nothing'"),
        ({"layers": ["zero"]}, "no layer matches 'zero'"),
        ({"on_limit": "panic"}, "unknown action 'panic'"),
        ({"on_limit": "stop"}, "on_limit='stop' without a limit"),
        ({"log": "norms.csv"}, "log 'norms.csv' cannot be called"),
        ({"log": [print, None]}, "log None cannot be called"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        NormMonitor(network(), **options)


def test_layers_by_globs_and_what_is_left_out() -> None:
    model = nn.ModuleDict({"body": network(), "table": nn.Embedding(5, 3)})
    with pytest.warns(UserWarning, match="norms are not known of table"):
        NormMonitor(model)
    monitor = NormMonitor(model, layers=["body.[04]"])
    assert {name for name in monitor.step() if "estimate/" in name} == {
        "norm_estimate/body.0",
        "norm_estimate/body.4",
    }
    with pytest.raises(UsageError, match="no norms are known of table"):
        NormMonitor(model, layers=["table"])


def test_parametrised_layers_train_as_without_a_monitor() -> None:
    def trained(monitored: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        model = nn.Sequential(
            limit_norm(nn.Conv2d(2, 3, 3)), nn.Flatten(), parametrizations.spectral_norm(nn.Linear(12, 4))
        )
        optimiser, monitor = torch.optim.SGD(model.parameters(), lr=0.1), None
        if monitored:
            monitor = NormMonitor(model, certified_every=2)
        for _ in range(4):
            optimiser.zero_grad()
            model(torch.rand(5, 2, 4, 4)).square().sum().backward()
            optimiser.step()
            if monitor is not None:
                monitor.step()
        if monitor is not None:
            monitor.close()
            assert monitor.estimates["0"].norm <= 1.0 + 1e-3, "of the weight as the layer uses it"
        return model.state_dict() | dict(model.named_buffers())

    one, other = trained(False), trained(True)
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(UsageError, match="no plain parameter"):
        NormMonitor(limit_norm(nn.Linear(2, 2)), limit=1.0, on_limit="rescale")


def test_autocast_and_wrappers_make_no_difference() -> None:
    model = network()
    plain = NormMonitor(model).step()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert NormMonitor(model).step() == plain
    wrapped = nn.Module()
    wrapped._orig_mod = model  # as torch.compile does, which takes seconds to import
    assert NormMonitor(wrapped).step() == plain


def test_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With DistributedDataParallel, names are the model's, and what the first process decides is sent."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model, logged = network(), []
        plain, wrapped = NormMonitor(model).step(), nn.parallel.DistributedDataParallel(model)
        monitor = NormMonitor(
            wrapped, limit={"0": 0.5}, on_limit="rescale", log=lambda *entry: logged.append(entry)
        )
        with pytest.warns(UserWarning, match="above their limits"):
            assert plain.items() <= monitor.step().items()
        assert spectral_norm(model[0].weight).upper <= 0.5
        mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
        spread = distributed.tensor.distribute_module(nn.Linear(4, 4), mesh)
        with pytest.raises(UsageError, match="weights are spread over processes"):
            NormMonitor(spread)
        second = NormMonitor(model, limit=0.25, on_limit="rescale", log=lambda *entry: logged.append(entry))
        monkeypatch.setattr(distributed, "get_rank", lambda: 1)
        monkeypatch.setattr(distributed, "broadcast", lambda sent, src: sent.fill_(0.5 if src == 0 else 1.0))
        before, logged[:] = model[4].weight.detach().clone(), []
        second.step()
        second._certified_every = 1
        second.step()
        assert torch.equal(model[4].weight, before * 0.25)
        assert not logged
        assert not second.estimates
        assert second._certifier._thread is None
    finally:
        distributed.destroy_process_group()
