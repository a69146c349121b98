"""The models of ONNX's backend suite, bounded or not: python benchmarks/backend_suite.py [KIND ...].

Each is audited as it is shipped, where all its inputs vary, and as networks hold such nodes, where only the
first real one does and the others are stored. Of each bound, pairs of inputs are held against it, at every
operator set that changed the operator. A model without one is unbounded by nature only where two inputs
are found whose difference quotient is above 1e6; else it is not bounded yet.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.backend_nature import REASONS
from convsv_cli.api import audit
from convsv_cli.errors import ConvsvError
from convsv_cli.report import BOUNDED, QUICK, UNKNOWN, NetworkBound
from tests.support.backend_functions import Function
from tests.support.backend_models import KINDS, Shipped, shipped
from tests.support.backend_pairs import Steep, confirmed, exceeded, steepest
from tests.support.opset_cases import versions

NATURE, NOT_YET, NOT_REAL = "unbounded by nature", "not yet", "no real input or output"
STATUSES = (BOUNDED, NATURE, NOT_YET, NOT_REAL)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of a model.

    Attributes:
        name: of the case.
        operator: that the case is of.
        stored: all inputs but one are stored.
        opset: at which it is looked at, where that is not its own; 0 else.
        status: one of `STATUSES`.
        why: the first obstacle, in words.
        quotient: of the two inputs that show that there is none; infinite where sizes of outputs differ.
        pairs: held against the bound.
        ratio: the largest quotient of one over the bound.
    """

    name: str
    operator: str
    stored: bool
    opset: int = 0
    status: str
    why: str = ""
    quotient: float = 0.0
    pairs: int = 0
    ratio: float = 0.0


def main() -> int:
    """1 where a bound is violated, or too many float-valued models have none yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kinds", nargs="*", default=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--points", type=int, default=120, help="inputs of each model that has a bound")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each, at most")
    parser.add_argument("--rows", type=Path, help="where to write what is known of each model, a line each")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows: list[Row] = []
    operators: dict[str, str] = {}
    known: dict[tuple[str, bool], Steep] = {}
    with tempfile.TemporaryDirectory() as name:
        for case in shipped(asked.kinds):
            operator = operators.setdefault(_plain(case.name), _operator(case))
            for variant in filter(None, (case, case.stored())):
                for each, opset in ((variant, 0), *_older(variant)):
                    row = Row(
                        name=each.name, operator=operator, stored=variant is not case, opset=opset, status=""
                    )
                    rows.append(_looked_at(each, row, Path(name) / "m.onnx", asked, known))
                    _write(asked.rows, rows[-1])
    return report(rows)


def _write(path: Path | None, row: Row) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def _plain(name: str) -> str:
    """The name of the case whose function is written out in this one."""
    return name.partition(" ")[0].partition("_expanded")[0]


def _operator(case: Shipped) -> str:
    nodes = case.model.graph.node
    return nodes[0].op_type if len(nodes) == 1 else "several"


def _older(case: Shipped) -> Iterator[tuple[Shipped, int]]:
    """The same node at older operator sets, as far as it is valid there."""
    nodes = case.model.graph.node
    if len(nodes) != 1 or nodes[0].domain not in ("", "ai.onnx"):
        return
    own = next((each.version for each in case.model.opset_import if each.domain in ("", "ai.onnx")), 0)
    since = [version for version in versions(nodes[0].op_type) if version <= own]
    for version in since[:-1]:
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        del model.opset_import[:]
        model.opset_import.append(onnx.helper.make_opsetid("", version))
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError):
            continue
        yield replace(case, model=model), version


def _looked_at(
    case: Shipped,
    row: Row,
    path: Path,
    asked: argparse.Namespace,
    known: dict[tuple[str, bool], Steep],
) -> Row:
    path.write_bytes(case.model.SerializeToString())
    try:
        bound = audit(path, network_effort=QUICK).bound
    except ConvsvError as error:
        return replace(row, status=NOT_YET, why=str(error))
    if bound.status == UNKNOWN:
        return replace(row, status=NOT_REAL, why=bound.reason)
    try:
        function = Function(case)
    except LookupError:
        return replace(row, status=BOUNDED if bound.status == BOUNDED else NOT_YET, why="no runtime has it")
    if not len(function.base):
        return replace(row, status=NOT_REAL, why="its real inputs have no entries")
    if bound.status == BOUNDED:
        pairs, ratio = exceeded(function, bound.lipschitz, points=asked.points, seconds=asked.seconds)
        return replace(row, status=BOUNDED, pairs=pairs, ratio=ratio)
    return _unbounded(function, bound, row, asked.seconds, known)


def _unbounded(
    function: Function, bound: NetworkBound, row: Row, seconds: float, known: dict[tuple[str, bool], Steep]
) -> Row:
    """By nature, where inputs show it: those of the case whose function is written out come first."""
    why = f"{bound.obstacles[0].op}: {bound.obstacles[0].reason}" if bound.obstacles else bound.reason
    if row.opset:
        return replace(row, status=NOT_YET, why=why)  # its own operator set says as much
    place = (_plain(row.name), row.stored)
    steep = known.get(place)
    if not confirmed(function, steep):
        steep = steepest(function, seconds=seconds)
    if steep is None:
        return replace(row, status=NOT_YET, why=why)
    known.setdefault(place, steep)
    return replace(row, status=NATURE, why=why, quotient=steep.quotient)


def report(rows: list[Row]) -> int:
    """Print tables by operator, and what is wrong; 1 where something is."""
    bad = 0
    for stored in (False, True):
        own = [row for row in rows if row.stored == stored and not row.opset]
        print(f"\n{'stored: one input varies' if stored else 'as shipped: all inputs vary'}")
        _table(own)
        counts = Counter(row.status for row in own)
        real = len(own) - counts[NOT_REAL]
        share = counts[NOT_YET] / max(1, real)
        print(", ".join(f"{counts[status]} {status}" for status in STATUSES), f"({share:.1%} not yet)")
        bad |= share > 0.05 and not stored
    pairs, sets = sum(row.pairs for row in rows), sum(1 for row in rows if row.opset and row.pairs)
    worst = max(rows, key=lambda row: row.ratio, default=None)
    print(f"\n{pairs:,} pairs, {sets} models at older operator sets")
    if worst is not None:
        print(f"closest to its bound: {worst.ratio:.9f} of it, {worst.name} {worst.opset or ''}")
    for row in rows:
        if row.ratio > 1 + 1e-6:
            print(f"VIOLATED: {row.name} {row.opset or ''}: {row.ratio:.6f} times the bound")
            bad = 1
    return int(bad)


def _table(rows: list[Row]) -> None:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.operator].append(row)
    print(f"{'operator':<28} {'bounded':>7} {'nature':>7} {'not yet':>7} {'not real':>8}  why")
    for operator, own in sorted(groups.items()):
        counts = Counter(row.status for row in own)
        numbers = " ".join(f"{counts[status]:>7}" for status in STATUSES)
        reasons = Counter(
            REASONS.get(operator, row.why) if row.status == NATURE else row.why
            for row in own
            if row.status in (NATURE, NOT_YET)
        )
        print(f"{operator:<28} {numbers}   {'; '.join(reason for reason, _ in reasons.most_common(2))[:110]}")


if __name__ == "__main__":
    sys.exit(main())
