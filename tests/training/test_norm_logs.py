"""Where figures of monitors go: files, and loggers and trainers by stand-ins of what of their API is used.

`test_monitored_trainings.py` has real ones.
"""

from __future__ import annotations

import csv
import sys
from concurrent import futures
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from convsv_cli import (
    CsvLog,
    MlflowLog,
    NormMonitor,
    TensorBoardLog,
    WandbLog,
    lightning_callback,
    transformers_callback,
)
from convsv_cli.errors import UsageError


def test_csv_files_have_all_digits_and_go_on(tmp_path: Path) -> None:
    path, model = tmp_path / "norms.csv", nn.Linear(3, 2)
    figures = [NormMonitor(model, log=[CsvLog(path, append=again)]).step(7) for again in (False, True)]
    with pytest.raises(UsageError, match="append=True for a training that is resumed"):
        CsvLog(path)
    header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    assert header == ["step", "figure", "value"]
    assert rows == [["7", name, repr(value)] for each in figures for name, value in each.items()]
    assert figures[0].keys() == {
        "norm_estimate/weight",
        "stable_rank/weight",
        "product_of_layer_norms/estimate",
    }


class Writer:
    """What of a SummaryWriter is used."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        pass


def test_tensorboard_writers_get_scalars() -> None:
    writer = Writer()
    TensorBoardLog(writer)({"a/b": 1.5}, 3)
    assert writer.scalars == [("a/b", 1.5, 3)]


class Run:
    """What of a run of Weights & Biases is used: `commit` ends a row."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = [{}]
        self.axes: dict[str, str] = {}

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes[name] = step_metric

    def log(self, figures: dict[str, float], commit: bool = True) -> None:
        self.rows[-1].update(figures)
        if commit:
            self.rows.append({})


def test_wandb_draws_by_the_step_and_rows_stay_the_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=run))
    log = WandbLog()
    for step in (1, 2):
        log({"norm_estimate/0": 2.0 * step}, step)
        run.log({"loss": 0.1})
    log({"norm_certified/0": 2.5}, 1)
    assert run.rows == [
        {"norm_estimate/0": 2.0, "norm_step": 1, "loss": 0.1},
        {"norm_estimate/0": 4.0, "norm_step": 2, "loss": 0.1},
        {"norm_certified/0": 2.5, "norm_step": 1},
    ]
    assert run.axes == {"norm_estimate/*": "norm_step", "norm_certified/*": "norm_step"}
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=None))
    with pytest.raises(UsageError, match="no run"):
        WandbLog()


def test_mlflow_gets_names_that_it_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    fake = SimpleNamespace(log_metrics=lambda metrics, *, step, run_id: calls.append((metrics, step, run_id)))
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    MlflowLog("4711")({"norm_estimate/blocks[0].é": 1.0}, 5)
    assert calls == [({"norm_estimate/blocks_0_._": 1.0}, 5, "4711")]


@pytest.mark.parametrize(
    ("module", "make", "words"),
    [
        ("wandb", WandbLog, r"^wandb is not installed \(pip install wandb\)$"),
        ("mlflow", MlflowLog, r"^mlflow is not installed \(pip install mlflow\)$"),
        ("torch.utils.tensorboard", lambda: TensorBoardLog("runs"), r"\(pip install tensorboard\)$"),
        ("lightning.pytorch", lightning_callback, r"^lightning is not installed \(pip install lightning\)$"),
        ("transformers", lambda: transformers_callback(None), r"\(pip install transformers\[torch\]\)$"),
    ],
)
def test_what_is_not_installed_is_named(
    module: str, make: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=words):
        make()


class Reporter:
    """A callback that reports, as that for TensorBoard does."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, float]]] = []

    def on_log(self, _: object, state: Any, __: object, *, logs: dict[str, float], **___: object) -> None:
        self.seen.append((state.global_step, logs))


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What of transformers and its Trainer is used."""
    kinds = {
        name: type(name, (), {})
        for name in ("PrinterCallback", "ProgressCallback", "TrainerCallback", "Trainer")
    }
    states = {name: type(name, (), {}) for name in ("TrainerControl", "TrainerState")}
    for name, values in (("transformers", kinds), ("transformers.trainer_callback", states)):
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "convsv_cli.training.transformers_callback", raising=False)
    handler = SimpleNamespace(callbacks=[Reporter(), kinds["ProgressCallback"]()])
    return SimpleNamespace(callback_handler=handler, args=None, state=SimpleNamespace(global_step=0))


def test_trainers_of_transformers_report_and_stop(
    trainer: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"no option 'certifed_every' \(did you mean certified_every\?\)"):
        transformers_callback(trainer, certifed_every=1)
    model, control = nn.Linear(3, 3), SimpleNamespace(should_training_stop=False)
    callback = transformers_callback(trainer, certified_every=1, limit={"*": 2.0}, on_limit="stop")
    trainer.callback_handler.callbacks.append(callback)
    callback.on_train_begin(None, trainer.state, control, model=model)
    for trainer.state.global_step in (1, 2, 3):
        if trainer.state.global_step == 3:
            model.weight.data.copy_(4 * torch.eye(3))
            with pytest.warns(UserWarning, match="step 3: norms above"):
                callback.on_step_end(None, trainer.state, control)
        else:
            callback.on_step_end(None, trainer.state, control)
            assert not control.should_training_stop
        futures.wait(callback.monitor._certifier._begun)
    assert control.should_training_stop
    callback.on_train_end(None, trainer.state, control)
    seen = trainer.callback_handler.callbacks[0].seen
    assert [step for step, figures in seen if "norm_estimate/weight" in figures] == [1, 2, 3]
    certified = [
        (step, figures["norm_certified/weight"])
        for step, figures in seen
        if "norm_certified/weight" in figures
    ]
    assert [step for step, _ in certified] == [1, 2, 3]
    assert certified[-1][1] == pytest.approx(4.0)
    assert trainer.state.global_step == 3
    monkeypatch.delitem(sys.modules, "convsv_cli.training.transformers_callback")
