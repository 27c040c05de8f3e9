"""What a definition or a constant is, as plain data that two processes can compare.

Standard library only, and no module beside it: the kernel and the proving process both use it.
"""

from __future__ import annotations

import bisect
import copyreg
import dis
import functools
import hashlib
import inspect
import io
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

DIGEST = "digest"
"""The part of a portrait that stands for content too long to be shown."""

LIBRARYS = " ._"
"""Begins the names of parts that a library keeps to itself, and may fill only once they are wanted."""

MAX_PARTS = 20_000
"""Parts of one value that are looked at; a larger one has no portrait."""

LONG = 1000
"""Letters of a text that is no longer kept as a whole."""

SHOWN = 60
"""Letters that are then shown."""

PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))

_CONTAINERS = (Mapping, list, tuple, deque, set, frozenset)
_CALLED = (type, FunctionType, functools.partial, MethodType, staticmethod, classmethod, property)
PYTHONS = (*_CONTAINERS, *_CALLED)
"""What is looked into as if it were of the notebook."""

Place = Callable[[CodeType], str]
"""Says where code comes from."""


def portrait(
    value: Any,
    own: Callable[[str], bool],
    changing: Collection[str] = (),
    place: Place = lambda code: "its definition",
) -> Any:
    """A value as JSON data: its parts by name, functions of the notebook with their code.

    `own` tells the notebook's modules by name; `changing` names what in closures and objects functions of the
    notebook change themselves. Objects of libraries count by what pickle would write of them, and by their
    type if it cannot. None if there is too much of it.
    """
    try:
        # some classes have something else in place of a module's name
        painter = _Painter(lambda name: isinstance(name, str) and own(name), frozenset(changing), place)
        return painter.of(value)
    except (_TooMuch, RecursionError):
        return None


def unlike(
    portraits: Iterable[Mapping[str, Any]], module_of: Callable[[str], ModuleType], own: Callable[[str], bool]
) -> dict[str, Any] | None:
    """The first of the portraits that is unlike what its `module` has by its `name`, and where it is."""
    for seen in portraits:
        there = vars(module_of(seen["module"]))
        if seen["name"] not in there or seen["portrait"] is None:
            continue
        here = portrait(there[seen["name"]], own, seen["others"])
        if found := first_difference(seen["portrait"], here):
            return {**seen, **dict(zip(("path", "notebook", "package"), found, strict=True))}
    return None


def first_difference(one: Any, other: Any, path: str = "") -> tuple[str, str, str] | None:
    """Where two portraits differ first, and what each has there; None if they are the same."""
    # what holds nothing is its name alone
    if isinstance(one, dict) and one.get("") == other:
        other = {"": other}
    elif isinstance(other, dict) and other.get("") == one:
        one = {"": one}
    if not isinstance(one, dict) or not isinstance(other, dict):
        return None if one == other else (path, _text(one), _text(other))
    if DIGEST in one and DIGEST in other:
        # of code for another version of Python nothing can be said
        same = one[DIGEST] == other[DIGEST] or one.get("for") != other.get("for")
        return None if same else (path, one[""], other[""])
    for name in {**one, **other}:
        pair = one.get(name, "None"), other.get(name, "None")
        if name.startswith(LIBRARYS) and ("None" in pair or "False" in pair):
            continue
        if name not in one or name not in other:
            return path + name, _text(one.get(name)), _text(other.get(name))
        if found := first_difference(one[name], other[name], path + name):
            return found
    return None


def _text(found: Any) -> str:
    if found is None:
        return "nothing"
    return found if isinstance(found, str) else str(found.get("", "something else"))


class _TooMuch(Exception):
    """More parts than are looked at."""


@dataclass(frozen=True, slots=True)
class _Content:
    """Content that is too long to be shown."""

    text: str

    def shown(self) -> dict[str, str]:
        """Its beginning, and what stands for all of it."""
        return {"": f"{self.text[:SHOWN]}...", DIGEST: hashlib.sha256(self.text.encode()).hexdigest()}


@dataclass(slots=True)
class _Painter:
    own: Callable[[Any], bool]
    changing: frozenset[str]
    place: Place
    above: set[int] = field(default_factory=set)
    parts: int = 0
    in_library: bool = False

    def of(self, value: Any) -> Any:
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise _TooMuch
        if inner := behind(value):
            return {
                "": f"a {type(value).__qualname__}",
                **{f" {name}": self.of(v) for name, v in inner.items()},
            }
        if isinstance(value, io.IOBase):
            return "a stream"  # where a process writes is another matter
        if self.in_library and self.own(value):
            return "the name of its module"  # as `logging.getLogger(__name__)` has it
        if self.in_library and type(value).__module__.startswith("numpy.random"):
            return self._kind(value)  # a library's own: `scipy.stats.norm(0, 1)` has one without a seed
        if isinstance(value, PLAIN):
            text = repr(value)
            return text if len(text) < LONG else _Content(text).shown()
        if isinstance(value, CodeType):
            return self._code(value)
        if isinstance(value, _Content):
            return value.shown()
        if id(value) in self.above:
            return "itself"
        self.above.add(id(value))
        found = {"": self._kind(value)}
        if not self._is_of_library(value) or self.in_library:
            found |= {name: self.of(part) for name, part in self._parts(value)}
        else:
            found |= self._of_library(value)
        self.above.discard(id(value))
        return found if len(found) > 1 else found[""]

    def _of_library(self, value: Any) -> dict[str, Any]:
        """The parts of a library's object; none if they are too many, so that all around it still counts."""
        painter = replace(self, above=set(self.above), parts=0, in_library=True)
        try:
            return {name: painter.of(part) for name, part in self._parts(value)}
        except (_TooMuch, RecursionError):
            return {}

    def _is_of_library(self, value: Any) -> bool:
        return not isinstance(value, PYTHONS) and not self.own(type(value).__module__)

    def _code(self, code: CodeType) -> dict[str, str]:
        tag = sys.implementation.cache_tag or ""
        return {"": f"from {self.place(code)}", DIGEST: digest_of(code), "for": tag}

    def _parts(self, it: Any) -> Iterator[tuple[str, Any]]:
        match it:
            case type():
                if self.own(it.__module__):
                    yield from ((f".{name}", v) for name, v in vars(it).items() if not _is_pythons(name, v))
            case FunctionType():
                if self._is_own(it):
                    yield from self._held(it)
                elif (inner := vars(it).get("__wrapped__")) is not None:
                    yield " called", inner
            case Mapping():
                yield from ((f"[{self._key(key)}]", value) for key, value in it.items())
            case list() | tuple() | deque():
                yield from ((f"[{i}]", value) for i, value in enumerate(it))
            case set() | frozenset():
                yield "", f"{type(it).__name__} of {sorted(map(self._key, it))}"
            case functools.partial():
                yield from ((" called", it.func), (" arguments", it.args), (" keywords", it.keywords))
            case MethodType() | staticmethod() | classmethod():
                yield " called", it.__func__
            case property():
                yield from ((f".{name}", getattr(it, name)) for name in ("fget", "fset", "fdel"))
            case PurePath() if it.is_absolute():
                pass  # where a process runs is another matter
            case _ if callable(inspect.getattr_static(it, "__wrapped__", None)):
                yield " called", it.__wrapped__
            case _ if self.own(type(it).__module__):
                yield from ((f".{name}", v) for name, v in attributes(it) if name not in self.changing)
            case _:
                yield from _in_library(it)

    def _held(self, function: FunctionType) -> Iterator[tuple[str, Any]]:
        yield " code", function.__code__
        yield from ((f".{n}", v) for n, v in vars(function).items() if n != "__wrapped__")
        yield " defaults", function.__defaults__
        yield " keyword defaults", function.__kwdefaults__
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # bound later, or never
                continue
            if name not in self.changing:
                yield f" {name}", content

    def _is_own(self, function: FunctionType) -> bool:
        return self.own(function.__globals__.get("__name__", ""))

    def _kind(self, value: Any) -> str:
        if isinstance(value, type | FunctionType):
            module = value.__module__ if isinstance(value, type) else value.__globals__.get("__name__", "")
            # what a library makes for the notebook may say that it is of the notebook
            home = "" if self.own(module) or self.own(value.__module__ or "") else f" of {module}"
            return f"{'class' if isinstance(value, type) else 'function'} {value.__qualname__}{home}"
        return (
            f"module {value.__name__}" if isinstance(value, ModuleType) else f"a {type(value).__qualname__}"
        )

    def _key(self, key: Any) -> str:
        return self._kind(key) if isinstance(key, type | FunctionType) else repr(key)


def behind(it: Any) -> dict[str, Any]:
    """What a proxy, as wrapt makes them, stands for: it says that it is of another class than it is."""
    # a proxy runs code of its own for whatever it is asked
    try:
        if it.__class__ is type(it):
            return {}
        inner = {"function": it.__wrapped__}
        return inner | {"wrapper": it._self_wrapper} if hasattr(type(it), "_self_wrapper") else inner
    except Exception:
        return {}


def attributes(it: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds under a name, in its `__dict__` and in slots."""
    yield from getattr(it, "__dict__", {}).items()
    for kind in type(it).__mro__:
        found = vars(kind).get("__slots__", ())
        for name in (found,) if isinstance(found, str) else found:
            mangled = f"_{kind.__name__.lstrip('_')}{name}" if name[:2] == "__" != name[-2:] else name
            if name not in ("__dict__", "__weakref__") and hasattr(it, mangled):
                yield name, getattr(it, mangled)


def _is_pythons(name: str, value: Any) -> bool:
    """Attributes that Python itself keeps in a class."""
    return name == "_abc_impl" or (name.startswith("__") and not isinstance(value, FunctionType))


# --- code ----------------------------------------------------------------------------------------


def digest_of(code: CodeType) -> str:
    """What code does, in one version of Python."""
    return hashlib.sha256(repr(_told(code)).encode()).hexdigest()


def _told(code: CodeType) -> list[Any]:
    # a call of what the module imports is compiled otherwise than one of what it binds: the same but for this
    steps = [step for step in dis.get_instructions(code) if step.opname != "PUSH_NULL"]
    places = [step.offset for step in steps]
    named = code.co_argcount + code.co_kwonlyargcount
    more = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    parameters = (code.co_posonlyargcount, code.co_kwonlyargcount, more, *code.co_varnames[:named])
    return [parameters, *(_step(step, places) for step in steps)]


def _step(step: dis.Instruction, places: list[int]) -> tuple[str, Any]:
    if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
        return step.opname, bisect.bisect_left(places, step.argval)
    return "LOAD_ATTR" if step.opname == "LOAD_METHOD" else step.opname, _constant(step.argval)


def _constant(it: Any) -> Any:
    match it:
        case CodeType():
            return _told(it)
        case tuple():
            return [_constant(each) for each in it]
        case frozenset():
            return sorted(map(repr, it))
    return repr(it)


# --- objects of libraries ------------------------------------------------------------------------


def _in_library(it: Any) -> list[tuple[str, Any]]:
    """What makes an object of a library what it is; nothing where that cannot be told."""
    # this runs the library's code, which may raise anything
    try:
        return [*_inside(it)]
    except Exception:
        return []


def _inside(it: Any) -> Iterator[tuple[str, Any]]:
    kind = type(it)
    if hasattr(kind, "iloc") and hasattr(kind, "columns"):
        yield from ((" index", it.index), (" columns", it.columns))
        yield from ((f"[{name!r}]", it.iloc[:, i].array) for i, name in enumerate(it.columns))
    elif hasattr(kind, "iloc"):
        yield from ((" name", it.name), (" index", it.index), (" values", it.array))
    elif hasattr(kind, "dtype") and hasattr(kind, "tolist"):
        kept = ((f" {name}", getattr(it, name, None)) for name in ("names", "categories", "ordered"))
        yield from ((" dtype", str(it.dtype)), *kept, (" values", _content(it)))
    else:
        yield from _reduced(it)


def _content(array: Any) -> Any:
    values = (array.to_numpy() if hasattr(type(array), "to_numpy") else array).tolist()
    text = repr(values)
    return values if len(text) < LONG or " at 0x" in text else _Content(text)


def _reduced(it: Any) -> Iterator[tuple[str, Any]]:
    """As pickle takes an object apart."""
    registered = copyreg.dispatch_table.get(type(it))
    found = it.__reduce_ex__(4) if registered is None else registered(it)
    if isinstance(found, str):
        yield " name", found
        return
    function, arguments, state, items, pairs = (*found, None, None, None)[:5]
    yield from ((" made by", function), (" arguments", arguments))
    if isinstance(state, dict):
        yield from ((f"{LIBRARYS[:-1] if str(n).startswith('_') else '.'}{n}", v) for n, v in state.items())
    else:
        yield " state", state
    yield from ((" items", items and [*items]), (" pairs", pairs and [*pairs]))
