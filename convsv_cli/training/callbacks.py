"""Monitors for trainers: callbacks of libraries that need not be installed."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from convsv_cli.errors import UsageError
from convsv_cli.training.logs import needed


def lightning_callback(**options: Any) -> Any:  # noqa: ANN401  (a Callback)
    """A `lightning.pytorch.Callback` that monitors the norms of a LightningModule's layers.

        trainer = lightning.Trainer(callbacks=[lightning_callback(every=10, certified_every=1000)])

    Figures go to the trainer's loggers. Steps are those of optimisers: batches whose gradients are only
    accumulated are no steps. "stop" sets `trainer.should_stop`. The monitor is the callback's `monitor`.

    Args:
        options: as of `NormMonitor`, but for the model; `log` is in addition to the loggers.

    Raises:
        UsageError: lightning is not installed; a monitor has no such option.
    """
    needed("lightning.pytorch", "lightning")
    _check(options)
    from convsv_cli.training.lightning_callback import NormCallback

    return NormCallback(options)


def transformers_callback(trainer: Any, **options: Any) -> Any:  # noqa: ANN401  (a TrainerCallback)
    """A `transformers.TrainerCallback` that monitors the norms of the layers of a Trainer's model.

        trainer.add_callback(transformers_callback(trainer, every=10, certified_every=1000))

    Figures go to wherever the trainer reports to (`report_to`), below "train/"; neither to the console nor to
    the history of the trainer's state. "stop" sets `control.should_training_stop`. The monitor is the
    callback's `monitor`.

    Args:
        trainer: that the callback is added to.
        options: as of `NormMonitor`, but for the model; `log` is in addition to the reports.

    Raises:
        UsageError: transformers is not installed; a monitor has no such option.
    """
    needed("transformers", "transformers[torch]")
    _check(options)
    from convsv_cli.training.transformers_callback import NormCallback

    return NormCallback(trainer, options)


def _check(options: Mapping[str, object]) -> None:
    """See now that a monitor takes these, and not when a training begins.

    Raises:
        UsageError: one is none of its options.
    """
    from convsv_cli.training.monitor import NormMonitor

    own = [name for name, each in signature(NormMonitor).parameters.items() if each.kind is each.KEYWORD_ONLY]
    for name in options:
        if name not in own:
            near = get_close_matches(name, own, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(own)}"
            raise UsageError(f"a monitor of norms has no option {name!r}", hint=hint)
