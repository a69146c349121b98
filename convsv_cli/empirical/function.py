"""An ONNX model as a function of one vector, run by onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convsv_cli.empirical.points import shapes_in
from convsv_cli.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

REAL = {
    f"tensor({name})": np.dtype(kind)
    for name, kind in (("float", "float32"), ("double", "float64"), ("float16", "float16"))
}
WHOLE = {
    "tensor(bool)": np.dtype("bool"),
    **{
        f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}")
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
BATCH, ENTRIES = 32, 2**22  # points a run, and entries of inputs
BESIDE = "session.model_external_initializers_file_folder_path"
AGREE = 1e-4  # of results in a batch and alone


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input: its shape for one point, and whether its first axis is a batch of any size."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    real: bool
    free: bool

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class Function:
    """Maps points [b, n], all real inputs one after the other, to values [b, m], all real outputs; float64.

    Attributes:
        ports: the inputs.
        fixed: values of those that are not real, by name; zeros where none are given.
        batch: how many points one run takes.
        precision: distance from 1 to the next number, in the coarsest type of its inputs and outputs.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401  (an InferenceSession)
        ports: tuple[Port, ...],
        only: str = "",
    ) -> None:
        self._session, self.ports = session, ports
        named = [each for each in session.get_outputs() if not only or each.name == only]
        outputs = {output.name: REAL[output.type] for output in named if output.type in REAL}
        self._outputs = list(outputs)
        self.fixed = {port.name: np.zeros(port.shape, port.dtype) for port in ports if not port.real}
        self.batch = 1
        if not self._outputs or not self.size:
            raise UsageError("the model has no real inputs or no real outputs to compare")
        types = [*outputs.values(), *(port.dtype for port in self.real)]
        self.precision = max(float(np.finfo(dtype).eps) for dtype in types)

    @classmethod
    def classifier(cls, path: Path, source: str, shape: tuple[int, ...], output: str) -> Function:
        """From one input to one output of a file, with zeros for all other inputs.

        Raises:
            UsageError: as `load`.
        """
        session = session_of(path)
        given = {source: shape}
        ports = [_port(each, given.get(each.name), None) for each in session.get_inputs()]
        return cls(session, tuple(replace(port, real=port.name == source) for port in ports), output)

    @classmethod
    def load(
        cls,
        path: Path,
        shapes: Mapping[str, tuple[int, ...]],
        data: Path | None = None,
        content: bytes = b"",
    ) -> Function:
        """Of a file; sizes that it leaves open are those of `shapes`, or else of the arrays in `data`.

        `content` is the ONNX model where the file is no such, but holds its constants.

        Raises:
            UsageError: onnxruntime is missing or does not read it; a size is not known, or contradicts.
        """
        session = session_of(path, content)
        inputs = session.get_inputs()
        unknown = sorted(set(shapes) - {each.name for each in inputs})
        if unknown:
            raise UsageError(f"the model has no input {unknown[0]!r}", where=str(path))
        found = shapes_in(data, [each.name for each in inputs if each.type in REAL]) if data else {}
        return cls(
            session, tuple(_port(each, shapes.get(each.name), found.get(each.name)) for each in inputs)
        )

    @property
    def real(self) -> tuple[Port, ...]:
        """The inputs that vary."""
        return tuple(port for port in self.ports if port.real)

    @property
    def size(self) -> int:
        """N."""
        return sum(port.size for port in self.real)

    def rounded(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The points as the model is given them."""
        with np.errstate(over="ignore"):
            parts = [part.astype(port.dtype).astype(np.float64) for port, part in self._split(points)]
        return np.concatenate(parts, axis=1)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values at points, some of them a run."""
        pieces = [self._run(points[i : i + self.batch]) for i in range(0, len(points), self.batch)]
        return np.concatenate(pieces)

    def alone(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values at points, one per run."""
        return np.concatenate([self._run(point[None]) for point in points])

    def try_batches(self, points: NDArray[np.float64]) -> None:
        """Run several points at once, if that gives what each of them gives alone."""
        if len(points) < 2 or not all(port.free and port.shape[:1] == (1,) for port in self.ports):
            return
        alone = self.alone(points)
        if not np.isfinite(alone).all():
            return
        try:
            together = self._run(points)
        except UsageError:
            return
        if together.shape == alone.shape and np.allclose(
            together, alone, rtol=AGREE, atol=AGREE * np.abs(alone).max()
        ):
            self.batch = max(1, min(BATCH, ENTRIES // max(self.size, alone.shape[1])))

    def _split(self, points: NDArray[np.float64]) -> list[tuple[Port, NDArray[np.float64]]]:
        ends = np.cumsum([port.size for port in self.real])[:-1]
        return list(zip(self.real, np.split(points, ends, axis=1), strict=True))

    def _run(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        count = len(points)
        feeds: dict[str, NDArray[Any]] = {
            port.name: part.astype(port.dtype).reshape(
                (count * port.shape[0], *port.shape[1:]) if count > 1 else port.shape
            )
            for port, part in self._split(points)
        }
        for name, value in self.fixed.items():
            feeds[name] = np.repeat(value, count, axis=0) if count > 1 else value
        with one_line("onnxruntime cannot run the model"):
            outputs: Sequence[NDArray[Any]] = self._session.run(self._outputs, feeds)
        if any(output.size % count for output in outputs):
            raise UsageError("its outputs are not one for each sample")
        return np.concatenate([output.reshape(count, -1).astype(np.float64) for output in outputs], axis=1)


def session_of(path: Path | None, content: bytes = b"") -> Any:  # noqa: ANN401
    """Of onnxruntime; UsageError where it is missing, or does not read the model.

    The model is the content, if there is any; further files of it lie next to the path.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("running a model needs onnxruntime", hint="pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # numpy works in between
    where = "" if path is None else str(path)
    if content and path is not None:
        options.add_session_config_entry(BESIDE, str(path.parent))
    given = content or where
    with one_line("onnxruntime cannot read the model", where):
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


@contextmanager
def one_line(what: str, where: str = "") -> Iterator[None]:
    """Errors of onnxruntime have many types and many lines."""
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"{what}: {lines[0]}", where=where) from error


def _port(declared: Any, asked: tuple[int, ...] | None, seen: tuple[int, ...] | None) -> Port:  # noqa: ANN401
    """An input with every size known: of the file, as asked for, as in the data, or one sample a batch."""
    name, real = declared.name, declared.type in REAL
    if not real and declared.type not in WHOLE:
        raise UsageError(f"the input {name!r} is not a tensor of numbers: {declared.type}")
    dims = [size if isinstance(size, int) and size > 0 else None for size in declared.shape]
    wanted = asked or (None if seen is None else (dims[0] or 1, *seen[1:]) if dims else ())
    if wanted is not None:
        if len(wanted) != len(dims) or any(d not in (None, w) for d, w in zip(dims, wanted, strict=True)):
            expected = "x".join("?" if size is None else str(size) for size in dims)
            raise UsageError(f"the input {name!r} is {expected}, not {'x'.join(map(str, wanted))}")
        sizes = tuple(wanted)
    elif None in dims[1:]:
        raise UsageError(f"the input {name!r} has a dynamic size", hint=f"give --input-shape {name}:1x...")
    else:
        sizes = tuple(size or 1 for size in dims)
    return Port(
        name=name,
        shape=sizes,
        dtype=REAL[declared.type] if real else WHOLE[declared.type],
        real=real,
        free=bool(dims) and dims[0] is None,
    )
