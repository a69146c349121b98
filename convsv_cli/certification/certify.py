"""The orchestrator of certificates: a network and samples become a `Certification`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from convsv_cli.auditing import audit_network
from convsv_cli.certification.attack import Target, attacked
from convsv_cli.certification.classifier import Classifier, classifier_of
from convsv_cli.certification.margins import margins_of
from convsv_cli.certification.normalization import normalization_of
from convsv_cli.certification.run import allowance, logits_of, moved, precision_of
from convsv_cli.certification.samples import Samples
from convsv_cli.certification.smooth_chain import DeepError, Shallow, shallow
from convsv_cli.errors import UsageError
from convsv_cli.network import Network
from convsv_cli.renderers.numbers import as_written, figure
from convsv_cli.report import (
    CURVATURE,
    UPPER,
    Attack,
    Audit,
    Certification,
    CertifySettings,
    Route,
    SampleRadius,
    Settings,
)
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.version import __version__

SHARES = {"bound": 0.4, "logits": 0.5, CURVATURE: 0.8}
"""How far the work has come after each of its parts."""
NOT_COUNTED = "the network computes in real numbers: its own rounding is not counted"
ROUNDED = "its logits are computed in {} precision; up to {} is taken off each of them, which is no proof"
FEW = 32
AGREE = 1e-3
"""Of the largest logit: how far a chain may be off the network that it was read from."""
HELD = "inputs that are no real numbers ({}) are held at 0"
INSIDE = "the radii hold for inputs that stay between {} and {}, as asked"
PROBABILITIES = "its outputs are probabilities; of logits the radii would be larger"
AVERAGE = "differences of inputs are counted before the normalization, which stretches them by up to {}"
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
    return _Run(classifier_of(network), samples, settings, progress or (lambda _what, _share: None)).result()


class _Run:
    """One certification, step by step."""

    def __init__(
        self, classifier: Classifier, samples: Samples, settings: CertifySettings, progress: Progress
    ) -> None:
        self._start = time.perf_counter()
        self._classifier, self._settings = classifier, settings
        self._progress = progress
        self._normalization = normalization_of(settings, classifier.shape)
        self._samples = samples.fitted(classifier.shape)
        self._x = torch.from_numpy(self._normalization(self._samples.x))
        self._y = torch.from_numpy(samples.y)
        _check(self._x, self._y, classifier, settings)
        self._chain: Shallow | None = None
        self._deep = ""
        try:
            self._chain = self._checked(shallow(classifier))
        except DeepError as error:
            self._deep = str(error)

    def result(self) -> Certification:
        """All of it."""
        audit = audit_network(
            self._classifier.network,
            Settings(
                device=self._settings.device,
                tolerance=self._settings.tolerance,
                input_range=self._settings.input_range,
            ),
            self._part(0.0, SHARES["bound"]),
        )
        logits = self._logits()
        radii, routes = self._radii(audit, logits)
        predicted = logits.argmax(1)
        broken, attack = self._attack(predicted == self._y)
        rows = zip(self._y.tolist(), predicted.tolist(), radii.tolist(), broken, strict=True)
        return Certification(
            version=__version__,
            model=audit.model,
            settings=self._settings,
            samples=tuple(SampleRadius(label=y, predicted=p, radius=r, broken=b) for y, p, r, b in rows),
            routes=routes,
            bound=audit.bound,
            attack=attack,
            typical_margin=_typical_margin(logits, self._y),
            notes=self._notes(logits),
            seconds=time.perf_counter() - self._start,
        )

    def _checked(self, chain: Shallow) -> Shallow:
        """The chain, if it computes what the network does.

        Raises:
            DeepError: it does not.
        """
        ours, theirs = chain.logits(self._x[:FEW]), self._run(self._x[:FEW])
        if not (ours - theirs).abs().max() <= AGREE * theirs.abs().max():
            raise DeepError("convsv's reading of its layers is not what it computes")
        return chain

    def _logits(self) -> torch.Tensor:
        told = partial(self._part(SHARES["bound"], SHARES["logits"]), "the network at the samples")
        logits = self._run(self._x, told)
        odd = int((~logits.isfinite().all(1)).sum())
        if odd:
            what = f"its logits are NaN or infinite at {odd:,} of {len(logits):,} samples"
            raise UsageError(what, where=self._classifier.network.path)
        return logits

    def _radii(self, audit: Audit, logits: torch.Tensor) -> tuple[torch.Tensor, tuple[Route, ...]]:
        """The larger one of each sample, and the routes to it."""
        scale = self._normalization.stretch
        margins = margins_of(self._classifier, audit)
        by_margin = margins.radii(logits, input_scale=scale, logit_error=self._error(logits))
        if self._chain is None:
            by_margin = (by_margin - self._moved()).clamp_min(0.0)
            best = int((by_margin > 0).sum())
            return by_margin, (margins.route(best), Route(name=CURVATURE, reason=self._deep))
        told = partial(self._part(SHARES["logits"], SHARES[CURVATURE]), "curvature")
        by_curvature, route = self._chain.radii(self._x, input_scale=scale, progress=told)
        nearer = by_margin > by_curvature
        return torch.maximum(by_margin, by_curvature), (
            margins.route(int(nearer.sum())),
            replace(route, best=int((~nearer & (by_curvature > 0)).sum())),
        )

    def _moved(self) -> torch.Tensor:
        """How far the type of the input moves each sample, in units of what comes before normalization."""
        largest = max(self._settings.input_std, default=1.0)
        return torch.from_numpy(moved(self._classifier, self._x.numpy())) * largest

    def _attack(self, correct: torch.Tensor) -> tuple[list[float | None], Attack | None]:
        """Of the samples that are right: the smallest radius at which each was broken."""
        broken: list[float | None] = [None] * len(correct)
        if not self._settings.attack:
            return broken, None
        target = Target(
            classifier=self._classifier,
            run=self._run,
            normalization=self._normalization,
            box=self._settings.input_range,
        )
        told = partial(self._part(SHARES[CURVATURE], 1.0), "attack")
        with one_thread_each():
            found, attack = attacked(target, self._x[correct], self._y[correct], self._settings.eps, told)
        if not attack.failure:
            for index, eps in zip(correct.nonzero()[:, 0].tolist(), found.tolist(), strict=True):
                broken[index] = eps
        return broken, attack

    def _run(self, x: torch.Tensor, progress: Callable[[float], None] = lambda _share: None) -> torch.Tensor:
        if self._chain is not None:
            return self._chain.logits(x)
        return logits_of(self._classifier, x.numpy(), progress)

    def _error(self, logits: torch.Tensor) -> float | torch.Tensor:
        """Of each logit."""
        if self._chain is not None:
            return self._chain.logit_error
        return allowance(logits, precision_of(self._classifier)[0])

    def _part(self, start: float, end: float) -> Progress:
        return lambda what, share: self._progress(what, start + (end - start) * share)

    def _notes(self, logits: torch.Tensor) -> tuple[str, ...]:
        notes = [*self._samples.notes, *self._classifier.graph.assumed, NOT_COUNTED]
        if self._chain is None:
            notes.append(
                ROUNDED.format(
                    precision_of(self._classifier)[1],
                    figure(float(torch.as_tensor(self._error(logits)).max()), UPPER, digits=2),
                )
            )
        held = [name for name in self._classifier.graph.inputs if name != self._classifier.source]
        if held:
            notes.append(HELD.format(", ".join(held)))
        if self._settings.input_range is not None:
            notes.append(INSIDE.format(*map(as_written, self._settings.input_range)))
        if self._settings.input_std:
            notes.append(AVERAGE.format(figure(self._normalization.stretch, UPPER)))
        if self._classifier.gives_probabilities:
            notes.append(PROBABILITIES)
        return tuple(notes)


def _check(x: torch.Tensor, y: torch.Tensor, classifier: Classifier, settings: CertifySettings) -> None:
    first, last = int(y.min()), int(y.max())
    if first < 0 or last >= classifier.classes:
        what = f"its classes go from {first} to {last}, and the network has {classifier.classes}"
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
