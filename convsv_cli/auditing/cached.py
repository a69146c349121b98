"""Figures of earlier audits: those of a layer by its weight, those of a network by its file.

Only what another run would find again is kept: nothing that a limit on memory or steps, or an interruption,
has cut short. What cannot be read is as if it were not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from threading import Lock
from typing import Any

from convsv_cli import deadline, limits
from convsv_cli.auditing.plan import Task
from convsv_cli.auditing.repeats import Repeats
from convsv_cli.cache import Entries, key_of
from convsv_cli.errors import ConvsvError
from convsv_cli.model.layer import Layer
from convsv_cli.report import (
    AUDITED,
    BOUNDED,
    COMPLETE,
    NOT_APPLICABLE,
    UNBOUNDED,
    Audit,
    LayerAudit,
    Measurement,
    Model,
    Report,
    Settings,
)

Figures = tuple[tuple[str, Measurement], ...]
LAYER, AUDIT = "layer", "audit"
"""Kinds of entries."""
_TOUCHING = Lock()
"""Held while an entry of a layer is read or written: layers are measured on several cores."""


class Known:
    """What earlier audits have found, and a place for what this one finds; without a cache, neither.

    Args:
        store: the cache; None for none.

    Attributes:
        repeats: what this audit has found so far.
    """

    def __init__(self, store: Entries | None = None) -> None:
        self._store = store
        self.repeats = Repeats()

    def row(self, task: Task, blank: LayerAudit) -> LayerAudit | None:
        """The row with the figures, and the notes on them, of the same weight in the same place.

        Args:
            task: what is asked for.
            blank: the row before anything is measured, with the digest of its weight.
        """
        with _TOUCHING:
            data = self._store and self._store.get(_layer_key(task, blank))
        if not data:
            return None
        from convsv_cli.saved import strict
        from convsv_cli.wire.form import read
        from convsv_cli.wire.layer import Layer as Form

        names = [calculator.method.name for calculator in task.calculators]
        try:
            known = read(strict(data), Form).layer(names)
        except (ValueError, RecursionError):
            return None
        if len(known.measurements) < len(names):
            return None
        return replace(blank, measurements=known.measurements, assumed=(*blank.assumed, *known.assumed))

    def keep_row(self, task: Task, blank: LayerAudit, row: LayerAudit) -> None:
        """Keep the figures of a row, unless a limit, or the end of the run, has cut them short.

        A larger file with the same weight may take more than this one, and its audit asks by the same key.
        """
        notes = row.assumed[len(blank.assumed) :]
        asked = {calculator.method.name for calculator in task.calculators}
        whole = {name for name, _ in row.measurements} == asked
        if self._store is None or not whole or limits.refused() or deadline.outcome():
            return
        from convsv_cli.wire.form import members
        from convsv_cli.wire.layer import Layer as Form

        form = members(Form.filled(replace(row, name="", weight="", aliases=(), assumed=notes)))
        with _TOUCHING:
            self._store.put(_layer_key(task, blank), json.dumps(form).encode())

    def audit(self, model: Model, settings: Settings) -> Audit | None:
        """The audit of a file of the same content, asked for in the same way, as one of this file."""
        data = model.sha256 and self._store and self._store.get(_audit_key(model, settings))
        if not data:
            return None
        from convsv_cli.saved import parsed

        try:
            (known,) = parsed(data, model.path).audits
        except (ConvsvError, ValueError):
            return None
        return replace(known, model=model, settings=settings)

    def keep_audit(self, audit: Audit) -> None:
        """Keep an audit that found all that there is to find, of files that were the same all the time."""
        kept = audit.model.sha256 and _is_complete(audit) and limits.unchanged()
        if self._store is None or not kept:
            return
        from convsv_cli.wire.audit import document

        found = document(Report(command="audit", audits=(audit,)))
        self._store.put(_audit_key(audit.model, audit.settings), json.dumps(found).encode())


def _layer_key(task: Task, blank: LayerAudit) -> str:
    layer, asked = task.layer, task.settings
    depends: Mapping[str, Any] = {
        "weight": blank.weight_sha256,
        "geometry": asdict(layer.geometry) if isinstance(layer, Layer) else {},
        "input_size": blank.input_size,
        "tolerance": asked.tolerance,
        "work_limit": asked.work_limit,
        "dtype": asked.dtype,
        "device": asked.device,
        "limits": limits.granted(),
    }
    return key_of(LAYER, depends)


def _audit_key(model: Model, settings: Settings) -> str:
    depends: Mapping[str, Any] = {
        "sha256": model.sha256,
        "format": model.format,
        "inputs": model.input_shape,
        "settings": asdict(settings),
        "limits": limits.granted(),
    }
    return key_of(AUDIT, depends)


def _is_complete(audit: Audit) -> bool:
    """Whether nothing was cut short, and nothing is about another file, as what was observed on data is."""
    rows = all(row.status in (AUDITED, NOT_APPLICABLE) for row in audit.layers)
    notes = (note for row in audit.layers for note in row.assumed)
    bounded = audit.bound.status in (BOUNDED, UNBOUNDED) or bool(audit.settings.layers)
    limited = any(limits.STEP_OPTION in note or limits.MEMORY_OPTION in note for note in notes)
    return audit.status == COMPLETE and rows and bounded and not limited and not audit.settings.empirical
