"""CROWN at samples, by convsv's own recursion: no balls at activations, and slopes that are fixed.

Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions, NeurIPS
2018. Boxes come from propagation alone (intervals, and rows times the radius), as in CROWN-IBP (Zhang et al.,
ICLR 2020); CROWN's own boxes are smaller, and take much longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from convsv_cli.api import load
from convsv_cli.certification.classifier import classifier_of, constants_of
from convsv_cli.certification.local import local_of
from convsv_cli.certification.samples import normalization_of, samples_in
from convsv_cli.local.arithmetic import REAL
from convsv_cli.local.certificate import certified
from convsv_cli.local.choices import crown_choices
from convsv_cli.local.problem import Problem
from convsv_cli.local.propagation import places
from convsv_cli.local.rows import samples_of
from convsv_cli.report import CertifySettings

TOGETHER = 8
"""Samples that are looked at at once."""
HALVINGS = 8


def problem_of(
    model: Path, data: Path, limit: int, mean: Sequence[float] = (), std: Sequence[float] = ()
) -> Problem:
    """A classifier at those of the first samples that it gets right, in real arithmetic.

    Args:
        model: an ONNX graph.
        data: an .npz file of samples and classes.
        limit: how many samples are looked at.
        mean, std: of the normalization before the network; empty for none.
    """
    settings = CertifySettings(data=str(data), input_mean=tuple(mean), input_std=tuple(std), limit=limit)
    samples = samples_in(data, limit, settings)
    classifier = classifier_of(load(model, input_size=samples.x.shape[2:]))
    normalization = normalization_of(settings, classifier.shape)
    raw = normalization.undone(samples.fitted(classifier.shape, str(data)).x)
    constants = constants_of(classifier, settings, lambda _what, _share: None)
    local, reason = local_of(constants, settings, normalization, raw, REAL)
    if local is None:
        raise ValueError(reason)
    classes = torch.from_numpy(samples.y)
    right = local.logits().argmax(1) == classes
    return Problem(program=local.program, x=local.x[right], classes=classes[right], constants=local.constants)


def decided(problem: Problem, radius: Tensor) -> Tensor:
    """Whether samples provably keep their classes in balls: bool [n].

    Args:
        problem: the samples; its Lipschitz constants are no part of CROWN, and left out.
        radius: of the balls, float64 [n].
    """
    problem = replace(problem, constants={})
    parts = torch.split(torch.arange(len(radius)), TOGETHER)
    return torch.cat([_decided(problem.take(part), radius[part]) for part in parts])


def radii(problem: Problem, largest: float) -> Tensor:
    """Radii at which samples keep their classes, by bisection: float64 [n].

    Args:
        problem: the samples.
        largest: radius that is looked at.
    """
    low = torch.zeros(len(problem.x), dtype=torch.float64)
    high = torch.full_like(low, largest)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        kept = decided(problem, middle)
        low, high = torch.where(kept, middle, low), torch.where(kept, high, middle)
    return low


def _decided(problem: Problem, radius: Tensor) -> Tensor:
    at = samples_of(problem.program, places(problem.program, problem.ball(radius)))
    sample, rival = problem.rivals()
    rows = at.rows(sample, problem.directions(sample, rival))
    kept = torch.ones(len(radius), dtype=torch.bool)
    kept[sample[certified(rows, crown_choices(rows)) <= 0]] = False
    return kept
