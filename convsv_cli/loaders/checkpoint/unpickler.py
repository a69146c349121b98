"""A pickle to inert values: a machine of its own, which has no way to import or call anything.

It follows the opcodes as `pickletools` decodes them. Where Python would call a class or a function it makes
a `Record` of the call; the few calls that make plain containers or tensors are known by name (`calls`).
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

from convsv_cli import limits
from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.checkpoint.calls import rebuilt, refuse_hazards
from convsv_cli.loaders.checkpoint.packed import restored
from convsv_cli.loaders.checkpoint.values import Global, Record, Storage, as_key

PersistentLoad = Callable[[Any], Any]
MEMORY = 300 << 20
"""Bytes that the objects of a pickle may take; the tensors' values are not among them."""
OPERATIONS = 3_000_000
ARGUMENT = 64 << 20
"""Bytes of one argument, such as a string."""
LINE = 1 << 16
OPERATION_BYTES = 24
RECORD_BYTES = 256
"""Bytes of a record and its empty containers, which `sys.getsizeof` does not count."""
_DAMAGE = (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, RecursionError)


def unpickle(file: IO[bytes], persistent_load: PersistentLoad) -> Any:
    """The value of the pickle that begins here; the file is left just after it.

    Raises:
        UnsafeModelError: it is larger than any checkpoint's, or calls what could do harm.
        UnreadableModelError: it is damaged, or refers to what is not in it.
    """
    try:
        return _Machine(_Stream(file), persistent_load).run()
    except ConvsvError:
        raise
    except _DAMAGE as error:
        raise UnreadableModelError(
            f"a damaged pickle ({type(error).__name__})", hint="download or save it again"
        ) from error


class _Stream:
    """A file as `pickletools.genops` reads it; counts what a pickle costs and refuses to go on forever."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._operations = self._memory = 0
        self._most_operations, self._most_memory = limits.most(OPERATIONS), limits.most(MEMORY)

    def read(self, size: int) -> bytes:
        """Exactly as a file, for moderate sizes."""
        if size > ARGUMENT:
            raise UnsafeModelError(f"a single object of {size} bytes in a pickle")
        return self._file.read(size)

    def readline(self) -> bytes:
        """A line; of an overlong one the beginning, which a reader takes for a damaged one."""
        return self._file.readline(LINE)

    def tell(self) -> int:
        """Nothing: positions are not needed, and asking the file for them is slow."""
        return 0

    def charge(self, made: Any = None, *, extra: int = 0) -> None:
        """Count an operation, the memory of what it made, and the extra bytes.

        Raises:
            UnsafeModelError: it was one too many.
        """
        self.look(1)
        self._memory += OPERATION_BYTES + extra + (0 if made is None else sys.getsizeof(made))
        if self._memory > self._most_memory:
            raise _endless(f"{self._most_memory >> 20:,} MiB")

    def look(self, count: int) -> None:
        """Count so many things that are looked at: each may be in any number of containers.

        Raises:
            UnsafeModelError: they were too many.
        """
        self._operations += count
        if self._operations > self._most_operations:
            raise _endless(f"{self._most_operations:,} operations")


def _endless(most: str) -> UnsafeModelError:
    return UnsafeModelError(
        f"a pickle of more objects than any checkpoint has: it takes more than {most}",
        hint=limits.MORE_OBJECTS,
    )


class _Machine:
    """The stack, the stacks below its marks, and the memo."""

    def __init__(self, stream: _Stream, persistent_load: PersistentLoad) -> None:
        self.stream = stream
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for opcode, argument, _ in pickletools.genops(cast(IO[bytes], self.stream)):
            name = opcode.name
            self.stream.charge(argument)
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _FIXED:
                self.push(_FIXED[name]())
            else:
                _RULES[name](self, argument)
        return self.stack.pop()

    def push(self, value: Any) -> None:
        self.stream.charge(value)
        self.stack.append(value)

    def marked(self) -> list[Any]:
        """What lies above the last mark, taken off with it."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def call(self, maker: Any, args: Any) -> None:
        refuse_hazards(maker, args)
        self.stream.charge(args, extra=RECORD_BYTES)
        self.stream.look(len(_only(tuple, args)))
        self.push(rebuilt(maker, args, self.stream.look))


def _mark(machine: _Machine, _: Any) -> None:
    machine.below.append(machine.stack)
    machine.stack = []
    machine.stream.charge(machine.stack)


def _pop(machine: _Machine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.marked()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.marked()


def _collect(kind: Callable[[list[Any]], Any]) -> _Rule:
    return lambda machine, _: machine.push(kind(machine.marked()))


def _tuple_of(count: int) -> _Rule:
    def rule(machine: _Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise IndexError
        items = tuple(machine.stack[-count:])
        del machine.stack[-count:]
        machine.push(items)

    return rule


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {as_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _extend(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    machine.stream.charge(items)
    (target.items if isinstance(target, Record) else _only(list, target)).extend(items)


def _update(machine: _Machine, items: list[Any]) -> None:
    target, pairs = machine.stack[-1], _pairs(items)
    machine.stream.charge(pairs)
    (target.entries if isinstance(target, Record) else _only(dict, target)).update(pairs)


def _only(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _update(machine, [key, value])


def _put(machine: _Machine, index: Any) -> None:
    machine.stream.charge((None, None, None))
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _reduce(machine: _Machine, _: Any) -> None:
    args, maker = machine.stack.pop(), machine.stack.pop()
    machine.call(maker, args)


def _new_with_keywords(machine: _Machine, _: Any) -> None:
    keywords, args, maker = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    machine.call(maker, (args, keywords))


def _instance(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.call(Global(module, name), tuple(machine.marked()))


def _object(machine: _Machine, _: Any) -> None:
    maker, *args = machine.marked()
    machine.call(maker, tuple(args))


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.push(Global(module, name))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.push(Global(_only(str, module), _only(str, name)))


def _persistent(machine: _Machine, argument: Any) -> None:
    machine.push(machine.persistent_load(machine.stack.pop() if argument is None else argument))


def _build(machine: _Machine, _: Any) -> None:
    """Set the attributes of a record; of a dict, only those beyond its own description; of tensors, none."""
    state, target = machine.stack.pop(), machine.stack[-1]
    if isinstance(target, Record):
        target.state = restored(target, state)
    elif isinstance(target, dict) and isinstance(state, dict) and len(state) > ("_metadata" in state):
        target["__dict__"] = state
    elif isinstance(target, Storage):
        raise TypeError


_Rule = Callable[[_Machine, Any], None]
_VALUES = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
))  # fmt: skip
_FIXED: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_RULES: Mapping[str, _Rule] = {
    **{name: lambda _machine, _argument: None for name in ("PROTO", "FRAME", "STOP")},
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **{
        name: lambda machine, index: machine.stack.append(machine.memo[index])
        for name in ("GET", "BINGET", "LONG_BINGET")
    },
    **{
        name: lambda machine, code: machine.push(Global("copyreg", f"extension {code}"))
        for name in ("EXT1", "EXT2", "EXT4")
    },
    **{name: lambda machine, _: _extend(machine, machine.marked()) for name in ("APPENDS", "ADDITEMS")},
    **dict.fromkeys(("PERSID", "BINPERSID"), _persistent),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _reduce),
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "TUPLE": _collect(tuple),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "LIST": _collect(list),
    "FROZENSET": _collect(list),
    "DICT": _collect(_pairs),
    "APPEND": lambda machine, _: _extend(machine, [machine.stack.pop()]),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: _update(machine, machine.marked()),
    "NEWOBJ_EX": _new_with_keywords,
    "INST": _instance,
    "OBJ": _object,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "BUILD": _build,
}
