"""Certified norms of convolutions beside other ways to them, in one run, with the same threads.

    python benchmarks/spectral.py [--shared ../shared] [--sections real,random] [--json FILE] [--quick]

Sections: real (kernels of a trained ResNet-18), large (at n = 224), random (every method), growth (with the
image), channels, flat (orthogonal and random symbols), audit (the command line). Most of the time without
--quick, some minutes, is the peers'.

Peers are written anew from their papers (benchmarks/peers.py). Times are the best of up to 5 runs, of a
single one where it takes seconds; nothing is judged by them. Some machines set OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE, which slow NumPy, and so the peers, down: the script starts itself again without them, with
the number of threads fixed for NumPy and torch alike.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.measuring import Section

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("real", "large", "random", "growth", "channels", "flat", "audit")
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
RESTARTED = "CONVSV_BENCHMARK_RESTARTED"


def restart(threads: int) -> None:
    """Begin again in an environment that is fair to all, where the checkout is importable."""
    environment = {name: value for name, value in os.environ.items() if name not in SLOWING}
    environment |= dict.fromkeys(THREADS, str(threads))
    environment |= {RESTARTED: "1", "PYTHONPATH": os.pathsep.join(_import_path())}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and write section by section, so that an interrupted run leaves what it has."""
    from rich.console import Console

    from benchmarks.measuring import machine, table
    from benchmarks.plan import Plan, quick
    from benchmarks.sections import SECTIONS

    console = Console(width=200)
    plan = quick(arguments.shared) if arguments.quick else Plan(shared=arguments.shared)
    document = {"machine": machine(), "quick": arguments.quick, "sections": {}}
    console.print(", ".join(f"{key} {value}" for key, value in document["machine"].items()), "")
    for name in arguments.sections:
        start = time.perf_counter()
        section = SECTIONS[name](plan)
        console.print(table(section), *section.notes, "", sep="\n")
        document["sections"][name] = _values(section, time.perf_counter() - start)
        if arguments.json:
            arguments.json.write_text(
                json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8"
            )


def _values(section: Section, seconds: float) -> dict[str, object]:
    return {"title": section.title, "rows": section.rows, "notes": section.notes, "seconds": seconds}


def _import_path() -> list[str]:
    inherited = os.environ.get("PYTHONPATH")
    return [str(ROOT), *([inherited] if inherited else [])]


def _sections(text: str) -> list[str]:
    chosen = text.split(",")
    unknown = sorted(set(chosen) - set(NAMES))
    if unknown:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}: there are {', '.join(NAMES)}")
    return [name for name in NAMES if name in chosen]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shared", type=Path, default=ROOT.parent / "shared", help="folder of the real models"
    )
    parser.add_argument(
        "--sections", type=_sections, default=list(NAMES), help="some of the sections, with commas"
    )
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--quick", action="store_true", help="small cases, in a minute")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores"
    )
    return parser.parse_args()


def main() -> None:
    """Start again, or measure."""
    arguments = _arguments()
    if RESTARTED not in os.environ:
        restart(arguments.threads)
    run(arguments)


if __name__ == "__main__":
    main()
