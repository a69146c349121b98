"""Trainings that go on where they stopped: what an epoch leaves behind, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from sample_models import replacing

Settings = Mapping[str, Any]


class Clock:
    """Seconds that all epochs took on the clock, also those before an interruption."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def state_dict(self) -> dict[str, float]:
        """For the file of the training."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """As it was kept."""
        self.seconds = state["seconds"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """One run, deterministic in its settings.

    Attributes:
        folder: for the file of this run.
        name: of the file.
        settings: plain values that decide the outcome; a file with other settings is refused.
        epochs: how many there are.
        parts: what has a `state_dict`: model, optimiser, schedule, the `PowerState` of a penalty ...
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
    """Write a file whole or not at all; a full disk leaves the old one, and is told in one line."""
    replacing.written(path, write, "; what was written before is kept, and the same command goes on")


def published(out: Path, name: str, texts: Mapping[str, str]) -> None:
    """Write a page and what belongs to it, by suffix."""
    for suffix, text in texts.items():
        written(out / f"{name}.{suffix}", partial(_write, text))


def needed(path: Path, holds: str) -> Path:
    """A file of data that must be there."""
    if not path.is_file():
        raise click.ClickException(f"no {holds} at {path}: give the folder of the archives with --data")
    return path


def _plain(values: Any) -> Any:  # noqa: ANN401
    """As they are after a way through JSON."""
    return json.loads(json.dumps(values))


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")
