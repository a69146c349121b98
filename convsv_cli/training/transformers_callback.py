"""A `NormMonitor` in a Trainer of transformers; imported where there is one."""

from __future__ import annotations

from copy import copy
from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState

from convsv_cli.training.monitor import NormMonitor, functions


class NormCallback(TrainerCallback):  # type: ignore[misc]  # transformers need not be there
    """See `convsv_cli.training.callbacks`.

    Args:
        trainer: that it is added to.
        options: of the monitor.
    """

    def __init__(self, trainer: Trainer, options: dict[str, Any]) -> None:
        self._trainer, self._options = trainer, options
        self.monitor: NormMonitor | None = None
        self._open = False

    def on_train_begin(self, _: object, __: TrainerState, control: TrainerControl, **others: Any) -> None:  # noqa: ANN401
        """Begin, with what the trainer reports to."""

        def log(figures: dict[str, float], step: int) -> None:
            trainer, state = self._trainer, copy(self._trainer.state)
            state.global_step = step
            for each in trainer.callback_handler.callbacks:
                if not isinstance(each, (PrinterCallback, ProgressCallback, NormCallback)):
                    each.on_log(trainer.args, state, copy(control), logs=dict(figures), model=others["model"])

        logs = (log, *functions(self._options.get("log", ())))
        self.monitor = NormMonitor(others["model"], **{**self._options, "log": logs})
        self._open = True

    def on_step_end(self, _: object, state: TrainerState, control: TrainerControl, **__: Any) -> None:  # noqa: ANN401
        """Look at the weights, which the optimiser has changed, and stop the training where that is due."""
        if self.monitor is None:
            return
        self.monitor.step(state.global_step)
        control.should_training_stop = control.should_training_stop or self.monitor.should_stop
        if control.should_training_stop:
            self._end()

    def on_train_end(self, *_: object, **__: Any) -> None:  # noqa: ANN401
        """Where something else than the number of steps ended the training."""
        self._end()

    def _end(self) -> None:
        """Finish what is being certified, and hold the limits, before the last checkpoint is saved."""
        if self.monitor is not None and self._open:
            self._open = False
            self.monitor.close()
