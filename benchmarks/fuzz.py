"""Damaged and hostile files, 50,000 of each format: python benchmarks/fuzz.py [--seconds S] [FORMAT ...].

Each is audited as the command line does it, in a process that may use 1 GB more than it has at the start, and
10 seconds. A fault is: an exception other than convsv's own, a limit that is reached, anything that is
executed, or a document that is not whole. The same numbers are the same inputs.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.fuzzing.runs import Tally, fuzz
from tests.support.fuzzing.seeds import MAKERS
from tests.support.fuzzing.worker import AUDITED, REFUSED, SNIFFED, UNSAFE


def main() -> int:
    """1 where there are faults."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(MAKERS))
    parser.add_argument("--inputs", type=int, default=50_000, help="of each format")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--seconds", type=float, default=7200, help="for each format, at most")
    parser.add_argument("--workers", type=int, default=2, help="formats at a time")
    asked = parser.parse_args()
    names = " ".join(f"{name:>8}" for name in (SNIFFED, REFUSED, UNSAFE, AUDITED))
    print(f"{'format':<18} inputs {names} faults", flush=True)

    def run(kind: str) -> Tally:
        start = time.monotonic()
        tally = fuzz(kind, asked.first, asked.first + asked.inputs, asked.seconds)
        report(kind, tally, time.monotonic() - start)
        return tally

    with ThreadPoolExecutor(asked.workers) as pool:
        tallies = list(pool.map(run, asked.formats or MAKERS))
    return 1 if any(tally.faults for tally in tallies) else 0


def report(kind: str, tally: Tally, seconds: float) -> None:
    """Print what came of a format."""
    total = max(1, tally.inputs)
    shares = " ".join(f"{tally.outcomes[name] / total:>8.1%}" for name in (SNIFFED, REFUSED, UNSAFE, AUDITED))
    print(f"{kind:<18} {tally.inputs:>6} {shares} {len(tally.faults):>6}", flush=True)
    common = [(reason, count) for reason, count in tally.reasons.most_common(4) if reason]
    print("  most often: " + "; ".join(f"{count / total:.1%} {reason}" for reason, count in common))
    print(f"  slowest: {tally.slowest:.1f} s; all: {seconds:.0f} s", flush=True)
    for fault, numbers in kinds_of(tally).items():
        print(f"  {len(numbers)} inputs ({', '.join(map(str, numbers[:5]))} ...): {fault}", flush=True)


def kinds_of(tally: Tally) -> dict[str, list[int]]:
    """Inputs by what is wrong with them, numbers and quoted names aside."""
    kinds: dict[str, list[int]] = {}
    for number, faults in tally.faults.items():
        kinds.setdefault(re.sub(r"'[^']*'|[0-9.]+", "…", "; ".join(faults)), []).append(number)
    return kinds


if __name__ == "__main__":
    sys.exit(main())
