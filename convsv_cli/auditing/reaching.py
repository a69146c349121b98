"""Audits of models wherever they are: of remote ones, by what stands for them on this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from convsv_cli.limits import allowing
from convsv_cli.remote import is_remote
from convsv_cli.remote.mirror import Mirror, mirrored
from convsv_cli.report import NOTE, Audit, Finding

READ = "file"
"""The rule of what a report notes about files."""


def reached(run: Callable[..., Audit], model: str | Path, *further: str | Path | None) -> Audit:
    """What is found of a model, as one piece of work, with addresses in place of this machine's paths.

    Args:
        run: audits a file on this machine, with what is in further ones, as its arguments.
        model, further: paths, or addresses; None for what there is not.

    Raises:
        ConvsvError: as `run`; or a remote file cannot be read.
    """
    mirrors: list[Mirror] = []
    with ExitStack() as stack:

        def here(path: str | Path) -> Path:
            if not is_remote(path):
                return Path(path)
            mirrors.append(stack.enter_context(mirrored(path)))
            return mirrors[-1].path

        with allowing():
            audit = run(here(model), *(None if path is None else here(path) for path in further))
    for mirror in mirrors:
        audit = _addressed(audit, mirror)
    return audit


def _addressed(audit: Audit, mirror: Mirror) -> Audit:
    note = Finding(rule=READ, severity=NOTE, node="", message=mirror.note())
    found = [replace(finding, message=mirror.told(finding.message)) for finding in audit.findings]
    path = mirror.told(audit.model.path)
    return replace(audit, model=replace(audit.model, path=path), findings=(note, *found))
