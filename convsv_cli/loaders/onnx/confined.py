"""Shape inference and inlining in a child process, which sees no weights."""

from __future__ import annotations

from onnx import ModelProto

from convsv_cli.confinement import Limits, confined
from convsv_cli.confinement.limits import MB

TASK = "convsv_cli.loaders.onnx.inference:{}"


class ContradictionError(Exception):
    """The model makes no sense, as the text says."""


def run(task: str, model: ModelProto) -> ModelProto:
    """What a function of `inference` makes of a model.

    Raises:
        ContradictionError: it raised.
        StoppedError: it reached a limit, or crashed.
    """
    payload = model.SerializeToString()
    try:
        answer = confined(TASK.format(task), payload, limits(len(payload)))
    except RuntimeError as error:
        raise ContradictionError(str(error)) from error
    result: ModelProto = ModelProto.FromString(answer)
    return result


def limits(size: int) -> Limits:
    """For a model of so many bytes without its weights, of which 10 MB may take seconds."""
    processor = 5 + size // (200 << 10)
    return Limits(
        seconds=2.0 * processor, processor=processor, memory=512 * MB + 20 * size, answer=16 * MB + 4 * size
    )
