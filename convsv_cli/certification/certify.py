"""The orchestrator: a network and samples become a `Certification`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from convsv_cli.auditing.summary import model_of
from convsv_cli.certification.attack import Target, smallest_broken_radii
from convsv_cli.certification.classifier import Classifier, Constants, classifier_of, constants_of
from convsv_cli.certification.routes import ROUTES
from convsv_cli.certification.routes.certifier import Problem, Proven
from convsv_cli.certification.run import agree, input_rounding, logits_of, precision_of, rounding_allowance
from convsv_cli.certification.samples import Normalization, Samples, normalization_of
from convsv_cli.certification.smooth_chain import NoChainError, SmoothChain, smooth_chain_of
from convsv_cli.errors import UsageError
from convsv_cli.lipschitz.bound import ARITHMETIC
from convsv_cli.model.network import Network
from convsv_cli.renderers.numbers import as_written, figure
from convsv_cli.report import (
    UPPER,
    Attack,
    Certification,
    CertifySettings,
    Route,
    SampleRadius,
)
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.version import __version__

SHARES = {"bound": 0.4, "logits": 0.5, "radii": 0.8, "attack": 1.0}
"""How far the work has come after each of its parts."""
ROUNDED = (
    "its logits are computed in {} precision; up to {} is subtracted from each as an allowance, not a proof"
)
FEW = 32
MISREAD = "convsv's reading of its layers is not what it computes"
HELD = "inputs that are not real numbers ({}) are held at 0"
INSIDE = "the radii hold for inputs that stay between {} and {}, as asked"
PROBABILITIES = "its outputs are probabilities; radii computed from logits would be larger"
AVERAGE = "distances between inputs are measured before the normalization, which stretches them by up to {}"
Progress = Callable[[str, float], None]


def certify_network(
    network: Network, samples: Samples, settings: CertifySettings, progress: Progress | None = None
) -> Certification:
    """Certify a classifier at samples.

    Args:
        network: as a loader gave it, at the size of the samples.
        samples: with their true classes.
        settings: what is wanted.
        progress: called with what is being done and the share of all work done, 0 to 1.

    Raises:
        UsageError: the network is no classifier, cannot be run, or does not fit the samples.
        UnsafeModelError: running it takes too long or too much memory, or crashes onnxruntime.
    """
    start = time.perf_counter()
    classifier = classifier_of(network)
    normalization = normalization_of(settings, classifier.shape)
    fitted = samples.fitted(classifier.shape)
    x, y = torch.from_numpy(normalization(fitted.x)), torch.from_numpy(samples.y)
    _check(x, y, classifier, settings)
    chain, reason = _chain_of(classifier, x)
    found = _Task(
        classifier=classifier,
        settings=settings,
        normalization=normalization,
        x=x,
        y=y,
        chain=chain,
        no_chain=reason,
        progress=progress or (lambda _what, _share: None),
    ).result(fitted.notes)
    return replace(found, seconds=time.perf_counter() - start)


def _chain_of(classifier: Classifier, x: torch.Tensor) -> tuple[SmoothChain | None, str]:
    """The classifier as a chain that computes what it does at some of the samples; or None, and why."""
    try:
        chain = smooth_chain_of(classifier)
    except NoChainError as error:
        return None, str(error)
    some = x[:FEW]
    same = agree(chain.logits(some), logits_of(classifier, some.numpy()))
    return (chain, "") if same else (None, MISREAD)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """A classifier at samples that fit it.

    Attributes:
        classifier: the network.
        settings: what is wanted.
        normalization: what samples have been through before they are `x`.
        x: inputs of the network, [n, *shape].
        y: their true classes, int64 [n].
        chain: the classifier as a chain of layers; None where it is none.
        no_chain: why it is none; empty where it is one.
        progress: called with what is being done and the share of all work done.
    """

    classifier: Classifier
    settings: CertifySettings
    normalization: Normalization
    x: torch.Tensor
    y: torch.Tensor
    chain: SmoothChain | None
    no_chain: str
    progress: Progress

    def result(self, notes: tuple[str, ...]) -> Certification:
        """All of it; the notes are on the samples."""
        constants = constants_of(self.classifier, self.settings, self._part(0.0, SHARES["bound"]))
        logits = self._logits()
        radii, routes = _combined(self._proven(self._problem(constants, logits)))
        predicted = logits.argmax(1)
        broken, attack = self._attack(predicted == self.y)
        rows = zip(self.y.tolist(), predicted.tolist(), radii.tolist(), broken, strict=True)
        return Certification(
            version=__version__,
            model=model_of(self.classifier.network),
            settings=self.settings,
            samples=tuple(SampleRadius(label=y, predicted=p, radius=r, broken=b) for y, p, r, b in rows),
            routes=routes,
            bound=constants.bound,
            attack=attack,
            typical_margin=_typical_margin(logits, self.y),
            notes=(*notes, *self._notes(logits)),
            seconds=0.0,
        )

    def _logits(self) -> torch.Tensor:
        told = partial(self._part(SHARES["bound"], SHARES["logits"]), "the network at the samples")
        logits = self._run(self.x, told)
        odd = int((~logits.isfinite().all(1)).sum())
        if odd:
            what = f"its logits are NaN or infinite at {odd:,} of {len(logits):,} samples"
            raise UsageError(what, where=self.classifier.network.path)
        return logits

    def _problem(self, constants: Constants, logits: torch.Tensor) -> Problem:
        return Problem(
            x=self.x,
            logits=logits,
            logit_error=self._logit_error(logits),
            input_error=self._input_error(),
            input_scale=self.normalization.largest_scale,
            constants=constants,
            chain=self.chain,
            no_chain=self.no_chain,
        )

    def _proven(self, problem: Problem) -> list[tuple[str, Proven]]:
        """What each of the routes leads to, by name."""
        told = self._part(SHARES["logits"], SHARES["radii"])
        return [(route.name, route.prove(problem, partial(told, route.name))) for route in ROUTES]

    def _input_error(self) -> torch.Tensor:
        """How far the type of the network's input moves each sample, before the normalization: [n]."""
        if self.chain is not None:
            return torch.zeros(len(self.x), dtype=torch.float64)
        largest = max(self.settings.input_std, default=1.0)
        return torch.from_numpy(input_rounding(self.classifier, self.x.numpy())) * largest

    def _attack(self, correct: torch.Tensor) -> tuple[list[float | None], Attack | None]:
        """Of the samples that are right: the smallest radius at which each was broken."""
        broken: list[float | None] = [None] * len(correct)
        if not self.settings.attack:
            return broken, None
        target = Target(
            classifier=self.classifier,
            run=self._run,
            normalization=self.normalization,
            box=self.settings.input_range,
        )
        told = partial(self._part(SHARES["radii"], SHARES["attack"]), "attack")
        with one_thread_each():
            found, attack = smallest_broken_radii(
                target, self.x[correct], self.y[correct], self.settings.eps, told
            )
        if not attack.failure:
            for index, eps in zip(correct.nonzero()[:, 0].tolist(), found.tolist(), strict=True):
                broken[index] = eps
        return broken, attack

    def _run(self, x: torch.Tensor, progress: Callable[[float], None] = lambda _share: None) -> torch.Tensor:
        if self.chain is not None:
            return self.chain.logits(x)
        return logits_of(self.classifier, x.numpy(), progress)

    def _logit_error(self, logits: torch.Tensor) -> float | torch.Tensor:
        """Of each logit."""
        if self.chain is not None:
            return self.chain.logit_error
        return rounding_allowance(logits, precision_of(self.classifier)[0])

    def _part(self, start: float, end: float) -> Progress:
        return lambda what, share: self.progress(what, start + (end - start) * share)

    def _notes(self, logits: torch.Tensor) -> tuple[str, ...]:
        notes = [*self.classifier.graph.assumed, ARITHMETIC]
        if self.chain is None:
            notes.append(
                ROUNDED.format(
                    precision_of(self.classifier)[1],
                    figure(float(torch.as_tensor(self._logit_error(logits)).max()), UPPER, digits=2),
                )
            )
        held = [name for name in self.classifier.graph.inputs if name != self.classifier.source]
        if held:
            notes.append(HELD.format(", ".join(held)))
        if self.settings.input_range is not None:
            notes.append(INSIDE.format(*map(as_written, self.settings.input_range)))
        if self.settings.input_std:
            notes.append(AVERAGE.format(figure(self.normalization.largest_scale, UPPER)))
        if self.classifier.gives_probabilities:
            notes.append(PROBABILITIES)
        return tuple(notes)


def _combined(proven: Sequence[tuple[str, Proven]]) -> tuple[torch.Tensor, tuple[Route, ...]]:
    """The largest radius of each sample, and the routes, each with how many samples it is the one for."""
    radii = torch.stack([found.radii for _, found in proven]).amax(0)
    left, routes = radii > 0, []
    for name, found in reversed(proven):
        best = left & (found.radii == radii)
        left = left & ~best
        routes.append(Route(name=name, reason=found.reason, constants=found.constants, best=int(best.sum())))
    return radii, tuple(reversed(routes))


def _check(x: torch.Tensor, y: torch.Tensor, classifier: Classifier, settings: CertifySettings) -> None:
    first, last = int(y.min()), int(y.max())
    if first < 0 or last >= classifier.classes:
        what = f"its classes range from {first} to {last}, but the network has {classifier.classes}"
        hint = "classes count from 0: save y - 1" if first == 1 and last == classifier.classes else ""
        raise UsageError(what, where=settings.data, hint=hint)
    box = settings.input_range
    if box is not None and not (box[0] <= x.min() and x.max() <= box[1]):
        raise UsageError(
            f"its samples leave the range {as_written(box[0])} to {as_written(box[1])}", where=settings.data
        )


def _typical_margin(logits: torch.Tensor, y: torch.Tensor) -> float | None:
    top = logits.topk(2, dim=1).values[logits.argmax(1) == y]
    return float((top[:, 0] - top[:, 1]).median()) if len(top) else None
