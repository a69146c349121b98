"""The bound of the whole network: how small it is beside other bounds, and what it costs.

    python benchmarks/network.py [--only networks,chains] [--efforts quick,normal] [--json FILE] [--quick]

networks: the product of norms, the sum rule, and the bounds of `audit --network-effort`, with what none of
    these can be below; seconds and memory. Trained networks, and well-known shapes with random weights.
chains: random dense chains beside LipSDP-Neuron (cvxpy: `pip install '.[benchmark]'`) and ECLipsE-Fast.
cost: seconds of `quick` against the width of a network and the size of its images.
composition: what the rules of the sum rule cost beside the norms of layers, on graphs of up to 1,000 nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.spectral import RESTARTED, restart  # noqa: E402
from convsv_cli.report import EFFORTS  # noqa: E402

PARTS = ("networks", "chains", "cost", "composition")


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and write table by table, so that an interrupted run leaves what it has."""
    from rich.console import Console

    from benchmarks.measuring import machine, table
    from benchmarks.network_plan import NetworkPlan, quick
    from benchmarks.network_sections import SECTIONS

    console = Console(width=200)
    plan = quick(arguments.shared) if arguments.quick else NetworkPlan(shared=arguments.shared)
    chosen = {"networks": arguments.networks, "efforts": arguments.efforts}
    plan = replace(plan, **{name: value for name, value in chosen.items() if value})
    document = {"machine": machine(), "quick": arguments.quick, "tables": []}
    console.print(", ".join(f"{key} {value}" for key, value in document["machine"].items()), "")
    for part in arguments.only:
        start = time.perf_counter()
        for section in SECTIONS[part](plan):
            console.print(table(section), *section.notes, "", sep="\n")
            seconds = time.perf_counter() - start
            document["tables"].append({"part": part, "seconds": seconds, **vars(section)})
        if arguments.json:
            text = json.dumps(document, indent=2, allow_nan=False)
            arguments.json.write_text(text + "\n", encoding="utf-8")


def _some(names: tuple[str, ...], text: str) -> tuple[str, ...]:
    chosen = text.split(",")
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}: there are {', '.join(names)}")
    return tuple(name for name in names if name in chosen)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shared", type=Path, default=ROOT.parent / "shared", help="folder of the real models"
    )
    parser.add_argument(
        "--only", type=lambda text: _some(PARTS, text), default=PARTS, help="some of the parts, with commas"
    )
    parser.add_argument("--networks", metavar="GLOB", help="only networks with such names")
    parser.add_argument("--efforts", type=lambda text: _some(EFFORTS, text), help="only these, with commas")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--quick", action="store_true", help="small cases, in a minute")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores"
    )
    return parser.parse_args()


def main() -> None:
    """Start again in a fair environment, or measure."""
    arguments = _arguments()
    if RESTARTED not in os.environ:
        restart(arguments.threads)
    run(arguments)


if __name__ == "__main__":
    main()
