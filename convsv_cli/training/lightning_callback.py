"""A `NormMonitor` in a Lightning trainer; imported where there is one."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from convsv_cli.training.monitor import NormMonitor, functions


class NormCallback(Callback):  # type: ignore[misc]  # lightning need not be there
    """See `convsv_cli.training.callbacks`.

    Args:
        options: of the monitor.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self.monitor: NormMonitor | None = None
        self._seen = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, with what the trainer logs to."""

        def log(figures: dict[str, float], step: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(figures, step=step)

        logs = (log, *functions(self._options.get("log", ())))
        self.monitor = NormMonitor(pl_module, **{**self._options, "log": logs})
        self._seen = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Look at the weights where the optimiser has changed them, and stop where that is due."""
        if self.monitor is None or trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        self.monitor.step(self._seen)
        trainer.should_stop = trainer.should_stop or self.monitor.should_stop

    def on_train_end(self, *_: object) -> None:
        """Finish what is being certified, and hold the limits, before the last checkpoint is saved."""
        self._end(finish=True)

    def on_exception(self, *_: object) -> None:
        """Drop what is being certified."""
        self._end(finish=False)

    def _end(self, *, finish: bool) -> None:
        if self.monitor is not None:
            self.monitor.close(finish=finish)
