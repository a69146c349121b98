"""Where the figures of a `NormMonitor` go: functions of a dict of figures and a step."""

from __future__ import annotations

import csv
import importlib
import re
from pathlib import Path
from typing import Any

from convsv_cli.errors import UsageError

AXIS = "norm_step"
"""The figure by which Weights & Biases draws the others."""
NO_METRIC = re.compile(r"[^\w\-. :/]", re.ASCII)
"""What MLflow allows in no name."""


class CsvLog:
    """Writes to a CSV file a row per figure: `step,figure,value`, with all digits of the value.

    Nothing in a row tells of which training it is: so there is one file for each, unless one goes on.

    Args:
        path: of the file, which is made where there is none. It is closed between calls.
        append: whether the training is that whose rows are in the file already, resumed.

    Raises:
        UsageError: there are rows already, and this is another training.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self._path = Path(path)
        if not append and self._path.is_file() and self._path.stat().st_size:
            hint = "choose another file, or append=True for a training that is resumed"
            raise UsageError("the file has the rows of an earlier training", where=str(path), hint=hint)

    def __call__(self, figures: dict[str, float], step: int) -> None:
        """Append them."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            if not file.tell():
                rows.writerow(("step", "figure", "value"))
            rows.writerows((step, name, value) for name, value in figures.items())


class TensorBoardLog:
    """Adds a scalar per figure to a TensorBoard log.

    Args:
        writer: a `SummaryWriter`, which whoever made it closes; or a folder, of which one is made, for which
            the package tensorboard is needed.

    Raises:
        UsageError: tensorboard is not installed.
    """

    def __init__(self, writer: Any) -> None:  # noqa: ANN401  (of torch, tensorboardX or lightning)
        if isinstance(writer, (str, Path)):
            writer = needed("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(writer))
        self._writer = writer

    def __call__(self, figures: dict[str, float], step: int) -> None:
        """Add them."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()


class WandbLog:
    """Logs to a run of Weights & Biases, by an axis of its own, `norm_step`: certified figures come late.

    The figures join the row that the next `run.log` of the training, or the end of the run, commits. Of
    figures that come twice before that, the run keeps the later ones.

    Args:
        run: what `wandb.init` gave; None for the run that it began last.

    Raises:
        UsageError: wandb is not installed, or has no run.
    """

    def __init__(self, run: Any = None) -> None:  # noqa: ANN401  (wandb need not be there)
        self._run = needed("wandb", "wandb").run if run is None else run
        if self._run is None:
            raise UsageError("wandb has no run", hint="call wandb.init() first")
        self._known: set[str] = set()

    def __call__(self, figures: dict[str, float], step: int) -> None:
        """Log them."""
        for kind in sorted({name.partition("/")[0] for name in figures} - self._known):
            self._run.define_metric(f"{kind}/*", step_metric=AXIS)
            self._known.add(kind)
        self._run.log({**figures, AXIS: step}, commit=False)


class MlflowLog:
    """Logs metrics to MLflow, with "_" for what it allows in no name.

    Args:
        run_id: of the run; None for the active one.

    Raises:
        UsageError: mlflow is not installed.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self._mlflow, self._run_id = needed("mlflow", "mlflow"), run_id

    def __call__(self, figures: dict[str, float], step: int) -> None:
        """Log them."""
        metrics = {NO_METRIC.sub("_", name): value for name, value in figures.items()}
        self._mlflow.log_metrics(metrics, step=step, run_id=self._run_id)


def needed(module: str, package: str) -> Any:  # noqa: ANN401  (a module)
    """A module of a package that convsv does not depend on.

    Raises:
        UsageError: it is not installed; with what installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{package} is not installed", hint=f"pip install {package}") from error
