"""The tables of the bound of the whole network."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import architectures, long_graphs
from benchmarks.dense_chains import random_chain, save_chain
from benchmarks.eclipse import eclipse_fast
from benchmarks.lipsdp import lipsdp_neuron
from benchmarks.measuring import Cell, Row, Section, progress, timed
from benchmarks.network_plan import Case, NetworkPlan
from benchmarks.one_bound import RULES, measured
from convsv_cli import audit
from convsv_cli.report import EFFORTS, NORMAL, QUICK
from convsv_cli.spectral.cores import one_thread_each

MB = 1e6
LARGE = 4  # how many times shorter the searches are for a large network
WIDE = 60  # neurons from which on times are compared


def networks(plan: NetworkPlan) -> Iterable[Section]:
    """Bounds, what no bound can be below, and their costs."""
    values: list[Row] = []
    costs: list[Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in plan.cases():
            path = case.path(Path(folder) / "network.onnx")
            found = {}
            for effort in (RULES, *plan.efforts):
                found[effort] = measured(path, effort, plan.seconds)
                progress(f"{case.name}, {effort}: {found[effort]}")
            values.append(_values(case.name, found) | _from_below(case, path, plan))
            progress(f"{case.name}: {values[-1]}")
            costs.append(_costs(case.name, found))
            notes += [
                f"{case.name}, {effort}: stopped after {result['stopped']:.0f} s"
                for effort, result in found.items()
                if "stopped" in result
            ]
    yield Section(
        title="networks: log10 of the bound",
        rows=values,
        notes=[
            "product: of all layers' norms, no bound where there are skips. sum rule: one number a tensor.",
            "floor: the largest norm found with any slopes in [0, 1]; no bound by slopes alone is below it.",
            "Jacobian: the largest one found at any input. Both are estimates, and the true ones larger.",
        ],
    )
    yield Section(
        title="networks: what the bound takes beyond the rest of `audit --exact`",
        rows=costs,
        notes=[
            "Each in a process of its own. audit: the rest of the audit, of the first effort. MB: the peak",
            "of the process's memory, less that of one which finds the layers' norms and the sum rule.",
            *notes,
        ],
    )


def chains(plan: NetworkPlan) -> Iterable[Section]:
    """Dense chains, which peers can read."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        path = save_chain(Path(folder) / "first.onnx", random_chain((3, 3, 3), 0))
        audit(path, network_effort=NORMAL)  # what is loaded on first use
        for seed, (depth, width) in enumerate((d, w) for w in plan.widths for d in plan.depths):
            progress(f"chain of {depth} layers of {width} neurons")
            weights = random_chain((*[width] * depth, plan.outputs), seed)
            bound = audit(save_chain(path, weights), network_effort=NORMAL).bound
            fast, exact = timed(lambda w=weights: eclipse_fast(w)), lipsdp_neuron(weights)
            rows.append(
                {
                    "layers": depth,
                    "neurons": width,
                    "product": math.prod(float(np.linalg.norm(weight, 2)) for weight in weights),
                    "eclipse": fast.result,
                    "lipsdp": exact.optimum,
                    "lipsdp_valid": exact.bound,
                    "ours": bound.lipschitz,
                    "by_eclipse": bound.lipschitz / fast.result,
                    "by_lipsdp": bound.lipschitz / exact.optimum,
                    "eclipse_s": fast.seconds,
                    "lipsdp_s": exact.seconds,
                    "ours_s": bound.seconds,
                    "faster_x": exact.seconds / bound.seconds,
                }
            )
    yield Section(
        title="chains: dense layers with ReLU, random weights, `normal`",
        rows=_rounded(rows),
        notes=[
            "eclipse: ECLipsE-Fast. lipsdp: LipSDP-Neuron by cvxpy and SCS, its optimum to about 0.1 %;",
            "valid: the bound that its multipliers prove. Times: ours beyond the norms, its solver's own.",
            *_verdict(rows),
        ],
    )


def cost(plan: NetworkPlan) -> Iterable[Section]:
    """Seconds of `quick` as networks grow."""
    by_width = [_grown(width, plan.cost_sizes[0], plan) for width in plan.cost_widths]
    by_size = [by_width[0], *(_grown(plan.cost_widths[0], n, plan) for n in plan.cost_sizes[1:])]
    exponents = f"width^{_exponent('width', by_width)} and as n^{_exponent('n', by_size)}"
    yield Section(
        title="cost: `quick` on ResNet-20s of random weights",
        rows=[*by_width, *by_size[1:]],
        notes=[
            "Each in a process of its own, whose whole peak of memory is told; norms of layers stop early.",
            f"seconds grow as {exponents} (least squares of the logarithms).",
        ],
    )


def composition(plan: NetworkPlan) -> Iterable[Section]:
    """What the rules cost beside the norms: a ResNet-50, and long graphs."""
    graphs = [*(long_graphs.resnets() if plan.resnet50 else []), *long_graphs.graphs(plan.graphs)]
    yield Section(
        title="composition: the sum rule, seconds without norms",
        rows=[long_graphs.measured(name, write) for name, write in graphs],
    )


SECTIONS: Mapping[str, Callable[[NetworkPlan], Iterable[Section]]] = {
    "networks": networks,
    "chains": chains,
    "cost": cost,
    "composition": composition,
}


def _values(name: str, found: Mapping[str, Any]) -> Row:
    logs = {"product": found[RULES].get("product"), "sum_rule": found[RULES].get("log10")}
    logs |= {effort: found.get(effort, {}).get("log10") for effort in EFFORTS}
    return {"network": name, **{key: _rounded_log(value) for key, value in logs.items()}}


def _rounded_log(value: float | None) -> float | None:
    """None for the logarithm of zero, too, which JSON has not."""
    return None if value is None or math.isinf(value) else round(value, 3)


def _from_below(case: Case, path: Path, plan: NetworkPlan) -> Row:
    from benchmarks.jacobian_search import PHASES, largest_jacobian
    from benchmarks.slope_search import floor
    from benchmarks.torch_graph import TorchGraph

    graph, share = TorchGraph(path), LARGE if case.large else 1
    points, phases = case.points(plan.shared, graph.shape), PHASES // share
    with one_thread_each():
        seen = largest_jacobian(graph, points, phases=phases, steps=plan.steps // share)
        least = floor(graph, starts=4 // share, steps=plan.passes)
    return {"floor": round(math.log10(max(least, seen)), 3), "jacobian": round(math.log10(seen), 3)}


def _costs(name: str, found: Mapping[str, Any]) -> Row:
    row: dict[str, Cell] = {"network": name}
    audits = [
        result["audit_s"] for effort, result in found.items() if effort != RULES and "audit_s" in result
    ]
    row["audit_s"] = audits[0] if audits else None
    row["sum_rule_s"] = found[RULES].get("bound_s")
    row |= {f"{effort}_s": found.get(effort, {}).get("bound_s") for effort in EFFORTS}
    return row | {f"{effort} MB": _beyond(found.get(effort, {}), found[RULES]) for effort in EFFORTS}


def _beyond(result: Mapping[str, Any], rules: Mapping[str, Any]) -> Cell:
    if "bytes" not in result or "bytes" not in rules:
        return None
    return _megabytes(max(0, result["bytes"] - rules["bytes"]))


def _megabytes(size: int | None) -> int | None:
    return None if size is None else round(size / MB)


def _grown(width: int, n: int, plan: NetworkPlan) -> Row:
    progress(f"ResNet-20 of width {width} at n = {n}")
    with tempfile.TemporaryDirectory() as folder:
        path = architectures.resnet20(Path(folder) / "network.onnx", width, n)
        result = measured(path, QUICK, plan.seconds, alone=True)
    return {
        "width": width,
        "n": n,
        "log10": result.get("log10"),
        "quick_s": result.get("bound_s"),
        "process MB": _megabytes(result.get("bytes")),
    }


def _exponent(key: str, rows: Sequence[Row]) -> str:
    """Of the growth of the seconds; those stopped are left out."""
    points = [(row[key], row["quick_s"]) for row in rows if row["quick_s"] is not None]
    if len(points) < 2:
        return "?"
    sizes, seconds = np.log(np.array(points, float)).T
    return f"{np.polyfit(sizes, seconds, 1)[0]:.2f}"


def _verdict(rows: Sequence[Row]) -> list[str]:
    """What the whole table says."""
    wide = [float(row["faster_x"] or 0) for row in rows if int(row["neurons"] or 0) >= WIDE]
    by_eclipse, by_lipsdp = (
        [float(row[f"by_{peer}"] or 0) for row in rows] for peer in ("eclipse", "lipsdp")
    )
    lines = [
        f"ours by ECLipsE-Fast: at most {max(by_eclipse):.4f}.",
        f"ours by LipSDP-Neuron: median {statistics.median(by_lipsdp):.4f}, at most {max(by_lipsdp):.4f}.",
    ]
    if wide:
        lines.append(f"times as fast as LipSDP, from {WIDE} neurons on: at least {min(wide):.3g}.")
    return lines


def _rounded(rows: Sequence[Row]) -> list[Row]:
    """Values to five digits; times as they are."""
    return [
        {
            key: float(f"{cell:.5g}") if isinstance(cell, float) and key[-2:] not in ("_s", "_x") else cell
            for key, cell in row.items()
        }
        for row in rows
    ]
