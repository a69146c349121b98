"""Runs workers over many inputs, and counts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SILENCE = 60.0
"""Seconds in which a worker says nothing, before it is ended."""


@dataclass
class Tally:
    """What came of the inputs of a format."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[int, list[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    @property
    def inputs(self) -> int:
        return sum(self.outcomes.values())

    def add(self, line: dict[str, Any]) -> None:
        self.outcomes[line["outcome"]] += 1
        self.reasons[re.sub(r"'.*'|\".*\"|[0-9]+|: .*", "…", line.get("why", ""))[:60]] += 1
        self.slowest = max(self.slowest, line.get("seconds", 0.0))
        if line["faults"]:
            self.faults[line["number"]] = line["faults"]


def fuzz(kind: str, first: int, last: int, seconds: float) -> Tally:
    """The inputs of these numbers, or as many as there is time for; a worker that dies is replaced."""
    tally, end = Tally(), time.monotonic() + seconds
    while first < last and time.monotonic() < end:
        died = _work(kind, first, last, end, tally)
        if died is None:
            break
        number, why = died
        tally.add({"number": number, "outcome": "died", "faults": [why]})
        first = number + 1
    return tally


def _work(kind: str, first: int, last: int, end: float, tally: Tally) -> tuple[int, str] | None:
    """One worker, to its end; the input at which it died, and how."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fuzzing.worker", kind, str(first), str(last)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if not os.environ.get("CONVSV_FUZZ_STDERR") else None,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    assert process.stdout is not None
    number, done, silent = first, False, threading.Event()
    try:
        while True:
            timer = threading.Timer(SILENCE, lambda: (silent.set(), process.kill()))
            timer.start()
            line = process.stdout.readline()
            timer.cancel()
            if not line:
                break
            said = json.loads(line)
            number, done = said["number"], "outcome" in said
            if done:
                tally.add(said)
                if time.monotonic() > end:
                    return None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    if done and number == last - 1:
        return None
    how = "silent" if silent.is_set() else f"exit code {process.returncode}"
    return (number + 1 if done else number), f"the worker died: {how}"
