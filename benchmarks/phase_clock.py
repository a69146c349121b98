"""An audit with its steps timed: python benchmarks/phase_clock.py audit MODEL [OPTION ...]; see `phases`.

Prints, to stderr, the exit code, the processor seconds of each step without the steps within it, and the peak
of the larger process in MB, as JSON. Nothing is imported here that the command line does not import itself.
"""

from __future__ import annotations

import importlib
import json
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = {
    "reading": ("convsv_cli.auditing:loaded", "convsv_cli.auditing.updates:held_by"),
    "hashing": ("convsv_cli.auditing.guarding:digest", "convsv_cli.auditing.summary:model_of"),
    "unfoldings": ("convsv_cli.spectral.norms:Norms.unfolding",),
    "supremum": ("convsv_cli.spectral.norms:Norms.supremum",),
    "exact": ("convsv_cli.spectral.norms:Norms.on_grid",),
    "zero padding": ("convsv_cli.spectral.zero_padding:zero_padded_norm",),
    "folded norms": ("convsv_cli.lipschitz.norms:kernel_norm",),
    "network": ("convsv_cli.lipschitz.bound:network_bound",),
    "rendering": ("convsv_cli.cli.output:write_report",),
}
"""Functions of each step, as module:name."""
WHOLE = "folded norms"
"""A step within which no other one counts."""


class Clock:
    """Seconds by step, each without the steps that it calls."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self._open: list[list[Any]] = []

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which counts as this step."""

        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            if self._open and self._open[-1][0] == WHOLE:
                return function(*arguments, **options)
            self._open.append([step, 0.0])
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                taken = time.process_time() - start
                self.times[step] = self.times.get(step, 0.0) + taken - self._open.pop()[1]
                if self._open:
                    self._open[-1][1] += taken

        return call

    def watch(self, step: str, place: str) -> None:
        """Count what is at `module:name` as this step, wherever it has been imported."""
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *within, last = path.split(".")
        for part in within:
            owner = getattr(owner, part)
        old = getattr(owner, last)
        new = self.timed(step, old)
        setattr(owner, last, new)
        for name, other in list(sys.modules.items()):
            if name.startswith("convsv_cli"):
                for known in [key for key, value in vars(other).items() if value is old]:
                    setattr(other, known, new)


def main() -> None:
    """Run the command line with a clock."""
    import convsv_cli.cli
    from convsv_cli.cli.running import importing
    from convsv_cli.loaders import warm_up

    clock = Clock()
    clock.times["start"] = time.process_time()
    warm_up(Path(sys.argv[2]))
    with importing():
        import convsv_cli.auditing
        import convsv_cli.spectral.zero_padding

    clock.times["imports"] = time.process_time() - clock.times["start"]
    for step, places in STEPS.items():
        for place in places:
            clock.watch(step, place)
    code = convsv_cli.cli.cli.main(sys.argv[1:], prog_name="convsv", standalone_mode=False)
    from convsv_cli.confinement import _close

    _close()
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    whole = own.ru_utime + own.ru_stime
    clock.times["rest"] = whole - sum(clock.times.values())
    clock.times |= {"all": whole, "child": others.ru_utime + others.ru_stime}
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]
    print(json.dumps([code, clock.times, max(peak, others.ru_maxrss) / 1e3]), file=sys.stderr)


if __name__ == "__main__":
    main()
