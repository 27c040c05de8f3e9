"""What functions, classes and partials hold since they were made: attributes, defaults, closures, arguments.

Runs inside the notebook's kernel.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Iterator
from types import FunctionType, MappingProxyType, MethodType
from typing import Any

from .portrait import attributes, behind, digest_of

CODE = "its code"

PLAIN = (str, bytes, int, float, complex, bool, type(None))


def held(definition: Any, own: Collection[str] = ()) -> dict[str, Any]:
    """The values that a definition holds, each by where; `own` names those that it changes itself."""
    return dict(_held("", definition, own, set()))


def _held(path: str, it: Any, own: Collection[str], seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(it) in seen:
        return
    seen.add(id(it))
    for part, value in _parts(it, own):
        where = f"{path}: {part}" if path else part
        if _holds(value):
            yield where, id(value)
            yield from _held(where, value, own, seen)
        elif part == CODE or not isinstance(it, FunctionType) or _is_of_notebook(it):
            yield where, value


def _parts(it: Any, own: Collection[str]) -> Iterator[tuple[str, Any]]:
    match it:
        case _ if inner := behind(it):
            yield from ((f"its {name}", value) for name, value in inner.items())
        case type():
            yield from ((f".{name}", v) for name, v in vars(it).items() if not _is_pythons(name, v))
        case FunctionType():
            yield CODE, digest_of(it.__code__)
            yield from ((f".{name}", value) for name, value in vars(it).items() if name != "__wrapped__")
            yield "its defaults", (it.__defaults__, it.__kwdefaults__)
            for name, cell in zip(it.__code__.co_freevars, it.__closure__ or (), strict=True):
                if name not in own and (content := _content(cell)) is not None:
                    yield f"the {name} that it holds", content[0]
        case dict():
            yield from ((f"[{key!r}]", value) for key, value in it.items())
        case list() | tuple():
            yield from ((f"[{i}]", value) for i, value in enumerate(it))
        case functools.partial():
            yield "its function", it.func
            yield from ((f"its argument {n}", value) for n, value in enumerate(it.args, 1))
            yield from ((f"its argument {name}", value) for name, value in it.keywords.items())
        case MethodType():
            yield "its function", it.__func__
        case staticmethod() | classmethod():
            yield "its function", it.__func__
        case property():
            yield from ((f".{name}", f) for name in ("fget", "fset", "fdel") if (f := getattr(it, name)))
        case _ if _wraps(it):
            yield "its function", it.__wrapped__
        case _ if type(it).__module__ == "__main__":
            yield from ((f".{name}", v) for name, v in attributes(it) if name not in own)


def _content(cell: Any) -> tuple[Any] | None:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return None  # bound later, or never


def _holds(value: Any) -> bool:
    """Whether a value is a function, or made of one: what it is is looked at part by part."""
    kinds = (FunctionType, functools.partial, MethodType, staticmethod, classmethod, property)
    return isinstance(value, kinds) or (callable(value) and _wraps(value))


def _wraps(value: Any) -> bool:
    """Whether a value has a function inside, asked without running code of the user's."""
    return callable(inspect.getattr_static(value, "__wrapped__", None))


def _is_of_notebook(function: FunctionType) -> bool:
    return function.__globals__.get("__name__") == "__main__"


def _is_pythons(name: str, value: Any) -> bool:
    """Attributes that Python itself keeps in a class, such as `__slotnames__` once it has been pickled."""
    return name == "_abc_impl" or (name.startswith("__") and not isinstance(value, FunctionType))


def text(value: Any) -> str:
    """Plain data by what it holds, anything else by which object it is."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(text, value))})"
    if isinstance(value, dict | MappingProxyType):
        return f"dict({', '.join(f'{text(k)}: {text(v)}' for k, v in value.items())})"
    if isinstance(value, set | frozenset):
        return f"set({', '.join(sorted(map(text, value)))})"
    return f"{type(value).__name__} {id(value):x}"
