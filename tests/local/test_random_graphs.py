"""Of random graphs of all operators, in all operator sets, onnxruntime's results are where they may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from convsv_cli.lipschitz.dependencies import ending_at, real_outputs, sources
from convsv_cli.loaders import load
from convsv_cli.local.arithmetic import FLOAT32
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball
from convsv_cli.local.propagation import places
from convsv_cli.local.steps import NoLocalCertificateError, Program
from convsv_cli.model.graph import Graph
from tests.support import runtime
from tests.support.local_nets import own_norms
from tests.support.random_graphs import random_graph
from tests.support.random_operators import TAME
from tests.support.sampling import one_in

SEEDS, STEP, TOGETHER = 40, 10, 8


def program_up_to(output: str, graph: Graph) -> Program | None:
    """None where some operator before it has no rule."""
    try:
        return lowered(ending_at(graph, output), own_norms())
    except NoLocalCertificateError:
        return None


def compared(seed: int, folder: Path) -> int:
    """How many outputs of a graph are where they may be; all that have steps."""
    onnx.save(random_graph(seed, TAME).model(), folder / "model.onnx")
    graph = load(folder / "model.onnx").graph
    assert graph is not None
    if len(sources(graph)) != 1:
        return 0
    made = {output: program_up_to(output, graph) for output in real_outputs(graph)}
    known = {output: program for output, program in made.items() if program is not None}
    for output, program in known.items():
        x = np.random.default_rng(seed).standard_normal(program.shapes[program.source]).astype(np.float32)
        feed = x.astype(np.float64) if graph.dtypes[program.source] == "double" else x
        (expected,) = runtime.session(folder / "model.onnx").run([output], {program.source: feed})
        at = torch.from_numpy(x).double()[None]
        ball = Ball(x=at, radius=torch.zeros(1, dtype=torch.float64), arithmetic=FLOAT32)
        found = places(program, ball)[program.output]
        assert found.low.shape[1:] == expected.shape
        assert ((found.low[0].numpy() <= expected) & (expected <= found.high[0].numpy())).all()
    return len(known)


@pytest.mark.parametrize("start", one_in(STEP, range(0, SEEDS * TOGETHER, TOGETHER)))
def test_runtimes_are_where_they_may_be(start: int, tmp_path: Path) -> None:
    assert sum(compared(seed, tmp_path) for seed in range(start, start + TOGETHER)) > 0
