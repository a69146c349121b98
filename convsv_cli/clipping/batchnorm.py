"""The statistics of BatchNorm, estimated anew from samples once the weights before it have changed."""

from __future__ import annotations

from pathlib import Path

import torch

from convsv_cli.certification.classifier import Classifier
from convsv_cli.clipping.accuracy import Data
from convsv_cli.clipping.writing import Edit, edits
from convsv_cli.differentiable import OPERATORS, UndifferentiableError
from convsv_cli.differentiable.operators import Values
from convsv_cli.errors import UsageError
from convsv_cli.limits import allowing, credit, hold
from convsv_cli.model.graph import Graph, Node, UnknownValueError
from convsv_cli.model.home import NoHomeError
from convsv_cli.model.layer import CONV, MATRIX, TRANSPOSED
from convsv_cli.spectral.cores import one_thread_each

BATCHNORM = "BatchNormalization"
NONE = "it has no BatchNorm whose statistics could be estimated anew"
MEAN, VARIANCE = 3, 4
"""Inputs of a BatchNorm."""
Tensors = dict[str, torch.Tensor]


def followed_by_batchnorm(graph: Graph) -> int:
    """How many results of nodes with weights go to a BatchNorm."""
    weighted = (node for node in graph.main.nodes if node.op in (CONV, TRANSPOSED, MATRIX))
    made = {name for node in weighted for name in node.outputs}
    return sum(node.op == BATCHNORM and node.input(0) in made for node in graph.main.nodes)


def reestimated(model: Path, graph: Path | None, data: Data) -> list[Edit]:
    """What stores the mean and the variance of what each BatchNorm is given for samples.

    All samples go through the nodes together, in order, and each BatchNorm divides by what was just found, so
    that those after it see what they will see: as in training with one batch of all samples.

    Raises:
        UsageError: the network has no BatchNorm, is no classifier, or one of its operators is not known.
    """
    with allowing(), torch.no_grad(), one_thread_each():
        credit(Path(data.settings.data))
        classifier = data.classifier(model, graph)
        samples = torch.from_numpy(data.inputs(classifier)).float()
        if not any(node.op == BATCHNORM for node in classifier.nodes):
            raise UsageError(NONE, where=str(model), hint="leave --batchnorm out")
        try:
            return _pass(classifier, samples)
        except UndifferentiableError as error:
            raise UsageError(f"cannot run it: {error}", where=str(model)) from error
        except NoHomeError as error:
            raise UsageError(f"statistics of BatchNorm: {error}", where=str(model)) from error


def _pass(classifier: Classifier, samples: torch.Tensor) -> list[Edit]:
    """One pass of all samples, [n, 1, *shape] each; tensors go when nothing needs them any more."""
    nodes, graph = classifier.nodes, classifier.graph
    fixed, varying = _constants(graph, nodes), {classifier.source: samples[:, None]}
    last = {name: index for index, node in enumerate(nodes) for name in node.inputs}
    wanted: list[Edit] = []
    for index, node in enumerate(nodes):
        if node.op == BATCHNORM and node.input(0) in varying:
            wanted += _found(node, graph, fixed, varying[node.input(0)])
        _apply(node, fixed, varying)
        for name in [name for name in node.inputs if last[name] == index]:
            varying.pop(name, None)
        hold(3 * sum(4 * each.numel() for each in varying.values()), "samples in all of its layers")
    return wanted


def _found(node: Node, graph: Graph, fixed: Tensors, values: torch.Tensor) -> list[Edit]:
    """The statistics of [n, 1, channels, ..], also put where the node takes them from."""
    channels = values.double().movedim(2, 0).flatten(1)
    found = {MEAN: channels.mean(1), VARIANCE: channels.var(1)}
    wanted: list[Edit] = []
    for index, statistic in found.items():
        name = node.input(index)
        fixed[name] = statistic.float()
        wanted += edits(graph.constants[name]().home(), statistic)
    return wanted


def _apply(node: Node, fixed: Tensors, varying: Tensors) -> None:
    """Add what a node makes: for each sample where an input is, as one."""
    if node.op not in OPERATORS:
        raise UndifferentiableError(f"convsv does not compute {node.op}")
    moving = [name for name in dict.fromkeys(node.inputs) if name in varying]

    def single(*parts: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        own = dict(zip(moving, parts, strict=True))
        inputs = tuple((own[name] if name in own else fixed[name]) if name else None for name in node.inputs)
        return OPERATORS[node.op](Values(node=node, inputs=inputs))

    found = torch.vmap(single)(*(varying[name] for name in moving)) if moving else single()
    made = found if isinstance(found, tuple) else (found,)
    (varying if moving else fixed).update(zip(node.outputs, made, strict=False))


def _constants(graph: Graph, nodes: tuple[Node, ...]) -> Tensors:
    """Those of the nodes, in single precision where they are real."""
    names = {name for node in nodes for name in node.inputs if name in graph.constants}
    try:
        values = {name: torch.from_numpy(graph.constants[name]().read().copy()) for name in sorted(names)}
    except (UnknownValueError, TypeError) as error:
        raise UndifferentiableError(f"one of its constants is {error}") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in values.items()}
