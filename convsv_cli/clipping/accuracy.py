"""How often a classifier is right at samples, and the samples as it takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsv_cli.certification.classifier import Classifier, classifier_of
from convsv_cli.certification.run import logits_of
from convsv_cli.certification.samples import Samples, check_classes, normalization_of, samples_in
from convsv_cli.limits import allowing
from convsv_cli.loaders import load, load_with_graph
from convsv_cli.model.network import InputSize
from convsv_cli.report import CertifySettings, ClipSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Samples of a file, and how they are fed.

    Attributes:
        samples: with their classes.
        settings: of their normalization.
    """

    samples: Samples
    settings: CertifySettings

    @classmethod
    def of(cls, path: str, asked: ClipSettings) -> Data:
        """Of a file.

        Raises:
            UsageError: as `samples_in`.
        """
        settings = CertifySettings(
            data=path, input_mean=asked.input_mean, input_std=asked.input_std, normalized=asked.normalized
        )
        return cls(samples=samples_in(Path(path), asked.limit, settings), settings=settings)

    def classifier(self, model: Path, graph: Path | None) -> Classifier:
        """A model at the size of the samples.

        Raises:
            UsageError: it is no classifier.
        """
        size = InputSize(sample=self.samples.x.shape[1:])
        return classifier_of(load(model, size) if graph is None else load_with_graph(model, graph, size))

    def inputs(self, classifier: Classifier) -> NDArray[Any]:
        """What the classifier is fed: [n, *shape].

        Raises:
            UsageError: it does not fit them.
        """
        fitted = self.samples.fitted(classifier.shape, self.settings.data)
        return normalization_of(self.settings, classifier.shape)(fitted.x)


def rights(model: Path, graph: Path | None, data: Data) -> int:
    """How many of the samples are classified as they are said to be.

    onnxruntime runs an ONNX model, in a child process; of other formats, torch the graph as convsv reads it.

    Raises:
        UsageError: the model is no classifier, or does not fit the samples.
        UnsafeModelError: running it takes too long or too much memory, or crashes onnxruntime.
    """
    with allowing():
        classifier = data.classifier(model, graph)
        check_classes(data.samples.y, classifier.classes, data.settings.data)
        logits = logits_of(classifier, data.inputs(classifier)).numpy()
    return int(np.sum(logits.argmax(1) == data.samples.y))
