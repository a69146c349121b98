"""What `convsv check` judges by: the nearest budget, and a baseline where one is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from convsv_cli.budget import (
    Baseline,
    Budget,
    Configuration,
    Judge,
    baseline_of,
    nearest_configuration,
    read_configuration,
)
from convsv_cli.comparison import with_effort
from convsv_cli.errors import UsageError
from convsv_cli.report import Settings

INIT = "convsv check --init MODEL > convsv.toml writes one"


def configuration(path: Path | None, *, optional: bool, look: bool = True) -> Configuration:
    """The budget in that file, or in the nearest one; an empty one where there is none and it is optional.

    `look` is whether to look for the nearest one.

    Raises:
        ConvsvError: there is none, or it cannot be read.
    """
    if look and path is None:
        path = nearest_configuration(Path.cwd())
    if path is not None:
        return read_configuration(path)
    if optional:
        return Configuration(budget=Budget(path=""))
    missing = "no budget: neither convsv.toml nor a pyproject.toml with [tool.convsv], here or above"
    raise UsageError(missing, hint=INIT)


def audit_options(
    asked: Mapping[str, Any], found: Configuration, baseline: Baseline | None = None
) -> dict[str, Any]:
    """Arguments of an audit: what the command line says, else the file, else the effort of the baseline."""
    like = Settings() if baseline is None else with_effort(Settings(), baseline.audit.settings)
    tolerances = (asked["tolerance"], found.tolerance, like.tolerance)
    return {
        "exact": asked["exact"] or bool(found.exact),
        "input_size": asked["input_size"] or found.input_size,
        "input_shapes": asked["input_shapes"] or dict(found.input_shapes),
        "device": asked["device"] or found.device or "auto",
        "tolerance": next(tolerance for tolerance in tolerances if tolerance is not None),
        "work_limit": like.work_limit if asked["work_limit"] is None else asked["work_limit"],
        "input_range": asked["input_range"] or found.input_range,
        "as_layer": asked["as_layer"] or found.as_layer,
        "as_table": asked["as_table"] or found.as_table,
        "graph": asked["graph"],
    }


def check_limits(budget: Budget) -> None:
    """Complain of a budget that nothing could exceed.

    Raises:
        UsageError: it has neither limits nor ignores.
    """
    if not (budget.limited or budget.ignores):
        hint = "add max-lipschitz, max-layer or [[layer]], or give a --baseline"
        raise UsageError("no limits", where=budget.path, hint=hint)


def judges(
    budget: Budget, baseline: Path | None, increase: float | None, models: Sequence[Path], *, strict: bool
) -> Callable[[Path], Judge]:
    """Gives the judge of each of the models.

    Raises:
        ConvsvError: the baseline cannot be read, or is missing; for a model, that it has no audit of it.
    """
    judge = Judge(budget=budget, today=datetime.now(timezone.utc).date())
    if baseline is None:
        if increase is not None:
            raise UsageError("--max-increase needs a --baseline to compare with")
        if strict:
            raise UsageError("--baseline-strict needs a --baseline to compare with")
        return lambda _model: judge
    from convsv_cli.saved import read

    path, saved = str(baseline), read(baseline)

    def with_baseline(model: Path) -> Judge:
        others = {str(other) for other in models if other != model}
        found = baseline_of(str(model), saved, path, increase or 0.0, others=others)
        if found is None:
            raise UsageError(f"the baseline {path} has no audit of this model, or several", where=str(model))
        return replace(judge, baseline=replace(found, strict=strict))

    return with_baseline
