"""The orchestrator: a network and samples become a `Certification`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from convsv_cli import deadline
from convsv_cli.auditing.summary import model_of
from convsv_cli.certification.attack import Target, smallest_broken_radii
from convsv_cli.certification.classifier import Classifier, Constants, classifier_of, constants_of
from convsv_cli.certification.local import Local, arithmetic_of, local_of
from convsv_cli.certification.proving import WHY, Proving
from convsv_cli.certification.results import Listener, Outcome, Results
from convsv_cli.certification.routes.certifier import Problem, inscribed
from convsv_cli.certification.run import agree, input_rounding, logits_of, precision_of, rounding_allowance
from convsv_cli.certification.samples import (
    Normalization,
    Samples,
    check_classes,
    check_range,
    normalization_of,
)
from convsv_cli.certification.smooth_chain import NoChainError, SmoothChain, smooth_chain_of
from convsv_cli.confinement import lacking
from convsv_cli.errors import UsageError
from convsv_cli.lipschitz.bound import ARITHMETIC
from convsv_cli.local.arithmetic import Arithmetic
from convsv_cli.model.network import Network
from convsv_cli.renderers.numbers import as_written, figure
from convsv_cli.report import REAL, UPPER, Attack, Certification, CertifySettings
from convsv_cli.spectral.cores import one_thread_each

SHARES = {"bound": 0.4, "logits": 0.5, "radii": 0.8, "attack": 1.0}
"""How far the work has come after each of its parts."""
ROUNDED = (
    "its logits are computed in {} precision; up to {} is subtracted from each as an allowance, not a proof"
)
FEW = 32
MISREAD = "convsv's reading of its layers is not what it computes"
EXECUTED = (
    "the radii hold for the network as runtimes execute it in {}, in any order of summation; TF32, sums in "
    "16 bits and fast convolution algorithms are not covered"
)
TAKEN = "the constants that it computes from others are taken as convsv computes them, in the order of numpy"
INSIDE = "the radii hold for inputs that stay between {} and {}{}, as asked"
BEFORE = " before the normalization"
PROBABILITIES = "its outputs are probabilities; radii computed from logits would be larger"
AVERAGE = "distances between inputs are measured before the normalization, which stretches them by up to {}"
Progress = Callable[[str, float], None]


def certify_network(
    network: Network,
    samples: Samples,
    settings: CertifySettings,
    progress: Progress | None = None,
    so_far: Listener | None = None,
) -> Certification:
    """Certify a classifier at samples; what is proven when Ctrl-C comes is kept, and says so.

    Args:
        network: as a loader gave it, at the size of the samples.
        samples: with their true classes.
        settings: what is wanted.
        progress: called with what is being done and the share of all work done, 0 to 1.
        so_far: called with what is proven by then, every ten seconds.

    Raises:
        UsageError: the network is no classifier, cannot be run, or does not fit the samples.
        UnsafeModelError: running it takes too long or too much memory, or crashes onnxruntime.
    """
    start = time.monotonic()
    classifier = classifier_of(network, settings.source, settings.target)
    normalization = normalization_of(settings, classifier.shape)
    fitted = samples.fitted(classifier.shape, settings.data)
    x, y = torch.from_numpy(normalization(fitted.x)), torch.from_numpy(samples.y)
    check_classes(samples.y, classifier.classes, settings.data)
    check_range(x, settings.input_range, "--input-range", settings.data)
    check_range(normalization.undone(fitted.x), settings.pixel_range, "--pixel-range", settings.data)
    chain, reason = _chain_of(classifier, x)
    return _Task(
        classifier=classifier,
        settings=settings,
        normalization=normalization,
        x=x,
        y=y,
        raw=normalization.undone(fitted.x),
        arithmetic=arithmetic_of(classifier, settings),
        chain=chain,
        no_chain=reason,
        progress=progress or (lambda _what, _share: None),
        so_far=so_far or (lambda _found: None),
        start=start,
    ).result(fitted.notes)


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
        raw: the samples before the normalization, float64 [n, *shape].
        y: their true classes, int64 [n].
        arithmetic: in which the network is run.
        chain: the classifier as a chain of layers; None where it is none.
        no_chain: why it is none; empty where it is one.
        progress: called with what is being done and the share of all work done.
        so_far: called with what is proven by then.
        start: when that began.
    """

    classifier: Classifier
    settings: CertifySettings
    normalization: Normalization
    x: torch.Tensor
    raw: torch.Tensor
    y: torch.Tensor
    arithmetic: Arithmetic
    chain: SmoothChain | None
    no_chain: str
    progress: Progress
    so_far: Listener
    start: float

    def result(self, notes: tuple[str, ...]) -> Certification:
        """All of it; the notes are on the samples."""
        constants = constants_of(self.classifier, self.settings, self._part(0.0, SHARES["bound"]))
        logits = self._logits()
        local, no_local = self._local(constants, logits)
        problem = self._problem(constants, logits, local, no_local)
        results = Results(
            model=model_of(self.classifier.network),
            settings=replace(self.settings, arithmetic=self.arithmetic.name),
            y=self.y,
            logits=logits,
            bound=constants.bound,
            notes=(*notes, *self._notes(problem)),
            start=self.start,
        )
        proving = self._prove(problem, results)
        return results.report(proving, self._tried(proving, results))

    def _prove(self, problem: Problem, results: Results) -> Proving:
        """By all routes, with reports on the way."""
        part = self._part(SHARES["logits"], SHARES["radii"])

        def told(name: str, share: float, *, more: bool) -> None:
            if more:
                name = f"{name}: {results.certified(proving)}"
                results.on_the_way(proving, self.so_far)
            part(name, share)

        proving = Proving(problem=problem, predicted=results.logits.argmax(1), told=told)
        proving.run()
        return proving

    def _tried(self, proving: Proving, results: Results) -> Outcome:
        """The attack, if one is asked for and the run has not ended before."""
        if not self.settings.attack:
            return results.untried(None)
        with proving.stopping():
            deadline.check()
            if not proving.stopped:
                return self._attack(proving.predicted == self.y)
        return results.untried(Attack(failure=WHY[proving.stopped]))

    def _local(self, constants: Constants, logits: torch.Tensor) -> tuple[Local | None, str]:
        """The classifier as steps that compute what it does at some of the samples; or None, and why."""
        local, reason = local_of(constants, self.settings, self.normalization, self.raw, self.arithmetic)
        if local is None:
            return None, reason
        same = agree(replace(local, x=local.x[:FEW]).logits(), logits[:FEW])
        return (local, "") if same else (None, MISREAD)

    def _logits(self) -> torch.Tensor:
        """As the network computes them."""
        told = partial(self._part(SHARES["bound"], SHARES["logits"]), "the network at the samples")
        logits = self._run(self.x, told)
        odd = int((~logits.isfinite().all(1)).sum())
        if odd:
            what = f"its logits are NaN or infinite at {odd:,} of {len(logits):,} samples"
            raise UsageError(what, where=self.classifier.network.path)
        return logits

    def _problem(
        self, constants: Constants, logits: torch.Tensor, local: Local | None, no_local: str
    ) -> Problem:
        exact, arithmetic = local is not None or self.chain is not None, self.arithmetic
        correct = logits.argmax(1) == self.y
        if local is not None and self.chain is None:
            logits = local.logits()
        nothing, classes = torch.zeros(len(self.x), dtype=torch.float64), logits.argmax(1)
        return Problem(
            x=self.x,
            logits=logits,
            logit_error=self._logit_error(logits, local),
            execution=lambda radii: nothing if local is None else local.execution(classes, radii),
            arithmetic=REAL if local is None else arithmetic.name,
            input_error=nothing if exact else self._input_error(),
            inscribed=inscribed(self.settings.norm, self.x[0].numel()),
            input_scale=self.normalization.largest_scale,
            constants=constants,
            chain=self.chain,
            no_chain=self.no_chain,
            local=local,
            no_local=no_local,
            wanted=None if self.settings.radii else self.settings.eps,
            correct=correct,
            known=nothing,
        )

    def _input_error(self) -> torch.Tensor:
        """How far the type of the network's input moves each sample, before the normalization: [n]."""
        largest = max(self.settings.input_std, default=1.0)
        return torch.from_numpy(input_rounding(self.classifier, self.x.numpy())) * largest

    def _attack(self, correct: torch.Tensor) -> Outcome:
        """Of the samples that are right: the smallest radius at which each was broken."""
        broken: list[float | None] = [None] * len(correct)
        target = Target(
            classifier=self.classifier,
            run=self._run,
            normalization=self.normalization,
            box=self.settings.input_range,
            norm=self.settings.norm,
        )
        tell = partial(self._part(SHARES["radii"], SHARES["attack"]), "attack")

        def told(share: float) -> None:
            tell(share)
            deadline.check()

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

    def _logit_error(self, logits: torch.Tensor, local: Local | None) -> float | torch.Tensor:
        """Of each logit."""
        if self.chain is not None:
            return self.chain.logit_error
        if local is not None:
            return local.rounding()
        return rounding_allowance(logits, precision_of(self.classifier)[0])

    def _part(self, start: float, end: float) -> Progress:
        return lambda what, share: self.progress(what, start + (end - start) * share)

    def _notes(self, problem: Problem) -> tuple[str, ...]:
        real = problem.arithmetic == REAL
        notes = [*self.classifier.graph.assumed, ARITHMETIC if real else EXECUTED.format(problem.arithmetic)]
        if not real and self.classifier.rounds_constants:
            notes.append(TAKEN)
        if problem.local is None and self.chain is None:
            notes.append(
                ROUNDED.format(
                    precision_of(self.classifier)[1],
                    figure(float(torch.as_tensor(problem.logit_error).max()), UPPER, digits=2),
                )
            )
        notes += [*self.classifier.notes, *lacking()]
        for box, where in ((self.settings.input_range, ""), (self.settings.pixel_range, BEFORE)):
            if box is not None:
                notes.append(INSIDE.format(*map(as_written, box), where))
        if self.settings.input_std:
            notes.append(AVERAGE.format(figure(self.normalization.largest_scale, UPPER)))
        if self.classifier.gives_probabilities:
            notes.append(PROBABILITIES)
        return tuple(notes)
