"""The calls in a pickle: those that no checkpoint needs are refused, and functions of our own make tensors.

Nothing that a pickle names is called in any case. But a file that would start programs elsewhere is not to be
trusted, and the few calls that make plain containers and tensors are known by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.checkpoint.composed import (
    COMPRESSED,
    COO,
    INTEGERS,
    quantised,
    quantised_along,
    sparse,
)
from convsv_cli.loaders.checkpoint.values import (
    Global,
    Record,
    Storage,
    Tensor,
    as_key,
    as_shape,
    dtype_name,
)
from convsv_cli.loaders.names import begin_reading, role

_MODULES = frozenset((
    "_aix_support", "_pickle", "_posixsubprocess", "_winapi", "asyncio", "bdb", "cProfile", "codeop",
    "commands", "ctypes", "dill", "distutils", "doctest", "fcntl", "ftplib", "httplib", "imaplib",
    "importlib", "marshal", "mmap", "multiprocessing", "nt", "ntpath", "os", "pdb", "pickle", "pip",
    "pkgutil", "popen2", "poplib", "posix", "pty", "pydoc", "requests", "runpy", "setuptools", "shelve",
    "shutil", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tarfile",
    "telnetlib", "tempfile", "threading", "timeit", "urllib2", "venv", "webbrowser", "winreg", "zipfile",
    "zipimport",
))  # fmt: skip
"""By the first part of their names."""
_FUNCTIONS = frozenset((
    "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "execfile", "file", "globals", "help",
    "input", "locals", "map", "open", "print", "reduce", "setattr", "vars",
))  # fmt: skip
_BUILTINS = frozenset(("builtins", "__builtin__", "__builtins__"))
_OTHERS = frozenset((
    "_io.FileIO", "_io.open", "code.InteractiveConsole", "code.InteractiveInterpreter", "functools.reduce",
    "io.FileIO", "io.open", "io.open_code", "joblib.load", "numpy.load", "operator.methodcaller",
    "profile.run", "site.execsitecustomize", "torch.hub.load", "torch.jit.load", "torch.load",
    "torch.serialization.load", "trace.Trace", "types.CodeType", "types.FunctionType",
    "urllib.request.urlopen", "urllib.request.urlretrieve",
))  # fmt: skip
_ALLOCATORS = frozenset(("bytearray", "bytes", "range", "list"))
Look = Callable[[int], None]
MAX_BYTES = 1 << 26
MOST_SIZES = 3
"""Arguments of an allocator: start, stop and step of a range."""
NESTED = "its values are in a pickle within the pickle, which convsv does not read"
SPARSE_PARTS = 5
SPARSE = "sparse weights of a layout that convsv does not know"
QUANTISED = "quantised weights of a scheme that convsv does not know"
META = "a tensor on the meta device: it has no values"
ARRAY = "a NumPy array: save it as a tensor, or the network's state_dict()"
ATTRIBUTES = "its attribute {!r} may say what its values stand for, which convsv does not know"
TORCH = "torch._utils"
MAX_DTYPE = 20
_BUFFERS = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
_ARRAYS = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}


def refuse_hazards(maker: Any, args: Any) -> None:
    """Refuse the call of a function that starts programs, or reads, writes or evaluates.

    Raises:
        UnsafeModelError: it is such a call, or one that would take a lot of memory.
    """
    if not isinstance(maker, Global):
        return
    is_builtin = maker.module in _BUILTINS
    if (
        maker.module.partition(".")[0] in _MODULES
        or (is_builtin and maker.name.partition(".")[0] in _FUNCTIONS)
        or str(maker) in _OTHERS
    ):
        raise UnsafeModelError(
            f"loading this file would call {maker}; nothing of it was run",
            hint="do not load it with anything else either",
        )
    sizes = args[:MOST_SIZES] if isinstance(args, tuple) else ()
    if is_builtin and maker.name in _ALLOCATORS and any(isinstance(n, int) and n > MAX_BYTES for n in sizes):
        raise UnsafeModelError(f"loading this file would make a {maker.name} of more than {MAX_BYTES} bytes")


def rebuilt(maker: Any, args: tuple[Any, ...], look: Look) -> Any:
    """What the call gives: a plain value or a `Tensor` where it is a known one, else its `Record`.

    Args:
        maker: what is called.
        args: with what.
        look: is told how many things in containers are going to be looked at, and raises `UnsafeModelError`
            where they are too many: other calls may be with the same.
    """
    function = _KNOWN.get(str(maker)) if isinstance(maker, Global) else None
    return Record(maker, args) if function is None else function(maker, args, look)


def array(value: Record) -> Tensor | None:
    """A NumPy array as a tensor that cannot be used; None for any other record.

    Its state is a version, the shape, the type, the order and the values.
    """
    state = value.state
    if value.name in _BUFFERS and isinstance(value.args, tuple) and len(value.args) == 4:
        return Tensor(shape=as_shape(value.args[2]), dtype=_array_dtype(value.args[1]), unusable=ARRAY)
    if value.name not in _ARRAYS or not isinstance(state, tuple) or len(state) != 5:
        return None
    if isinstance(state[4], list):
        return None  # an array of objects, which may hold anything
    return Tensor(shape=as_shape(state[1]), dtype=_array_dtype(state[2]), unusable=ARRAY)


def _array_dtype(value: Any) -> str:
    """As NumPy abbreviates it: f4."""
    name = value.args[0] if isinstance(value, Record) and isinstance(value.args, tuple) and value.args else ""
    return name[:MAX_DTYPE] if isinstance(name, str) else "unknown"


def _mapping(maker: Global, args: tuple[Any, ...], look: Look) -> Any:
    """An OrderedDict of nothing or of pairs, or a defaultdict."""
    pairs = args[0] if args and isinstance(args[0], (list, tuple)) else ()
    look(len(pairs))
    if all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        return {as_key(key): value for key, value in pairs}
    return Record(maker, args)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> Tensor:
    """_rebuild_tensor and _rebuild_tensor_v2."""
    dtype = storage.dtype if isinstance(storage, Storage) else ""
    metadata = rest[2] if len(rest) > 2 else None
    return _described(storage, offset, shape, stride, dtype=dtype, metadata=metadata)


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *rest: Any
) -> Tensor:
    return _described(
        storage, offset, shape, stride, dtype=dtype_name(dtype) or "", metadata=rest[0] if rest else None
    )


def _described(storage: Any, offset: Any, shape: Any, stride: Any, *, dtype: str, metadata: Any) -> Tensor:
    if not isinstance(storage, Storage):
        return Tensor(shape=as_shape(shape), dtype=dtype or "unknown", unusable=NESTED)
    bits = [name for name in ("conj", "neg") if isinstance(metadata, dict) and metadata.get(name)]
    return Tensor(
        shape=as_shape(shape),
        dtype=dtype or "unknown",
        storage=storage,
        offset=as_shape((offset,))[0],
        stride=as_shape(stride),
        unusable=f"a view with the {bits[0]} bit set, which convsv does not read" if bits else "",
    )


def _quantised(storage: Any, offset: Any, shape: Any, stride: Any, quantiser: Any, *_rest: Any) -> Tensor:
    """_rebuild_qtensor: by (scheme, scale, zero point), or (scheme, scales, zero points, axis)."""
    dtype = storage.dtype if isinstance(storage, Storage) else "unknown"
    stored = _described(storage, offset, shape, stride, dtype=dtype, metadata=None)
    match quantiser:
        case (Global(), float(scale), int(zero)) if dtype in INTEGERS:
            return quantised(stored, scale, zero)
        case (Global(), Tensor() as scales, Tensor() as zeros, int(axis)) if dtype in INTEGERS:
            return quantised_along(stored, scales, zeros, axis)
    return Tensor(shape=as_shape(shape), dtype=dtype, unusable=QUANTISED)


def _sparse(layout: Any, data: Any) -> Tensor:
    """Indices (one or two tensors), values, size and perhaps a flag.

    Raises:
        TypeError: these are more than that.
    """
    if len(data) > SPARSE_PARTS:
        raise TypeError
    *_, size = (part for part in data if isinstance(part, (tuple, list)))
    parts = tuple(part for part in data if isinstance(part, Tensor))
    name = layout.args[0] if isinstance(layout, Record) and layout.args else None
    if (name == COO and len(parts) == 2) or (name in COMPRESSED and len(parts) == 3):
        return sparse(name, as_shape(size), parts)
    return Tensor(shape=as_shape(size), dtype=parts[-1].dtype, unusable=SPARSE)


def _meta(dtype: Any, shape: Any, *_rest: Any) -> Tensor:
    return Tensor(shape=as_shape(shape), dtype=dtype_name(dtype) or "unknown", unusable=META)


def _first_tensor(maker: Global, args: tuple[Any, ...], look: Look) -> Any:
    """A parameter, whose fourth argument is its own attributes."""
    if not args or not isinstance(args[0], Tensor):
        return Record(maker, args)
    return _attributed(args[0], args[3] if len(args) > 3 else None, look)


def _attributed(tensor: Tensor, state: Any, look: Look) -> Tensor:
    """The tensor, which cannot be used where attributes of its own may say what its values stand for."""
    states = state[:2] if isinstance(state, tuple) else (state,)  # a dict, and another one of slots
    dicts = [part for part in states if isinstance(part, dict)]
    look(sum(map(len, dicts)))
    attributes = [item for part in dicts for item in part.items()]
    begin_reading(sum(len(key) for key, _ in attributes if isinstance(key, str)), "a tensor's attributes")
    further = [
        key
        for key, item in attributes
        if isinstance(item, Tensor) or (isinstance(key, str) and role(key).scales)
    ]
    if not further or tensor.unusable:
        return tensor
    return replace(tensor, unusable=ATTRIBUTES.format(further[0]))


def _from_type(maker: Global, args: tuple[Any, ...], look: Look) -> Any:
    """_rebuild_from_type_v2(function, class, arguments, state): a subclass of Tensor with the same values."""
    inner = args[0] if args else None
    if len(args) < 3 or not isinstance(inner, Global) or inner == maker or not isinstance(args[2], tuple):
        return Record(maker, args)
    found = rebuilt(inner, args[2], look)
    state = args[3] if len(args) > 3 else None
    if isinstance(found, Record) and found.state is None:
        found.state = state
    return _attributed(found, state, look) if isinstance(found, Tensor) else found


def _called(function: Callable[..., Any]) -> Callable[[Global, tuple[Any, ...], Look], Any]:
    return lambda _maker, args, _look: function(*args)


_KNOWN: dict[str, Callable[[Global, tuple[Any, ...], Look], Any]] = {
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": lambda _maker, args, _look: (
        {} if len(args) < 2 else Record("defaultdict", args)
    ),
    "torch.Size": lambda _maker, args, _look: as_shape(args[0]) if args else (),
    "copy_reg._reconstructor": lambda _maker, args, _look: Record(args[0], args[1:]),
    "copyreg._reconstructor": lambda _maker, args, _look: Record(args[0], args[1:]),
    f"{TORCH}._rebuild_tensor": _called(_tensor),
    f"{TORCH}._rebuild_tensor_v2": _called(_tensor),
    f"{TORCH}._rebuild_tensor_v3": _called(_tensor_v3),
    f"{TORCH}._rebuild_qtensor": _called(_quantised),
    f"{TORCH}._rebuild_sparse_tensor": _called(_sparse),
    f"{TORCH}._rebuild_sparse_csr_tensor": _called(_sparse),
    f"{TORCH}._rebuild_meta_tensor_no_storage": _called(_meta),
    f"{TORCH}._rebuild_parameter": _first_tensor,
    f"{TORCH}._rebuild_parameter_with_state": _first_tensor,
    "torch.nn.parameter.Parameter": _first_tensor,
    "torch.autograd.variable.Variable": _first_tensor,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    **{
        f"torch.jit._pickle.{name}": lambda _maker, args, _look: args[0]
        for name in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")
    },
    "torch.jit._pickle.restore_type_tag": lambda _maker, args, _look: args[0],
}
