"""Trainings that go on where they stopped: what an epoch leaves behind, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """One run, deterministic in its settings.

    Attributes:
        folder: for the file of this run.
        name: of the file.
        settings: plain values that decide the outcome; a file with other settings is refused.
        epochs: how many there are.
        parts: what has a `state_dict`: model, optimiser, schedule, penalty ...
        generator: for all random choices.
    """

    folder: Path
    name: str
    settings: Settings
    epochs: int
    parts: Mapping[str, Any]
    generator: torch.Generator

    @property
    def path(self) -> Path:
        """Of the state after the last whole epoch."""
        return self.folder / f"{self.name}.pt"

    def run(self, epoch: Callable[[int], None]) -> None:
        """Call `epoch(0)` .. `epoch(epochs - 1)`, less what an earlier run has done."""
        for number in range(self._restored(), self.epochs):
            epoch(number)
            self._keep(number + 1)

    def _restored(self) -> int:
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        if state["settings"] != _plain(self.settings):
            raise click.ClickException(
                f"{self.path} is of a run with other settings: remove it, or choose another --work folder"
            )
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        self.generator.set_state(state["generator"])
        done: int = state["epochs"]
        return done

    def _keep(self, epochs: int) -> None:
        state = {
            "settings": _plain(self.settings),
            "epochs": epochs,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "generator": self.generator.get_state(),
        }
        written(self.path, lambda path: torch.save(state, path))


def kept(path: Path, settings: Settings, compute: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What `compute` returns, as JSON; read from the file at `path` where that has the same settings."""
    wanted = _plain(settings)
    if path.exists():
        found = json.loads(path.read_text())
        if found["settings"] == wanted:
            return found["result"]
    result = _plain(compute())
    written(path, lambda to: to.write_text(json.dumps({"settings": wanted, "result": result}, indent=1)))
    return result


def written(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, then put it in its place; a full disk leaves the old one, and is told."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save wraps what the disk says
        reason = str(error).splitlines()[0]
        raise click.ClickException(
            f"cannot write {path}: {reason}; what was written before is kept, and the same command goes on"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # where the folder could not be made
            partial.unlink(missing_ok=True)


def needed(path: Path, holds: str) -> Path:
    """A file of data that must be there."""
    if not path.is_file():
        raise click.ClickException(f"no {holds} at {path}: give the folder of the archives with --data")
    return path


def _plain(values: Any) -> Any:  # noqa: ANN401
    """As they are after a way through JSON."""
    return json.loads(json.dumps(values))
