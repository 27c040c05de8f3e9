"""Containers inside libraries that the notebook's text changes, as `html5["deg_c;"] = "°C"` does.

Runs inside the notebook's kernel. What they hold is compared in the proving process. Libraries fill many by
themselves, so only those are looked at that a statement of the notebook names.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from .settings import HELD

_ADDS = re.compile(r"(un|de)?register\w*|add[_A-Z]\w*")
"""Functions that change something of their own module, or of their own class."""

_CHANGES = frozenset(
    (
        *("add", "append", "appendleft", "clear", "discard", "extend", "insert"),
        *("pop", "popitem", "remove", "setdefault", "update"),
    )
)
"""Methods that change a container."""

_MAY = re.compile(r"\]\s*(\S{0,2}=|,)|\bdel\b|\|=|\.(" + "|".join(_CHANGES) + r")\(|(register|add)\w*\(")
"""What no text lacks that changes one."""

_QUIET = frozenset({"__main__", "builtins", "os", "sys", "warnings"})
"""Where no container is looked at: what is set there is looked at otherwise, or only leads to modules."""


def changed_by(
    source: str, names: Mapping[str, Any], plain: Callable[[str], str]
) -> Iterator[tuple[str, int]]:
    """The containers of libraries, by their paths, that a cell's text changes, each with the line.

    `names` are what the notebook's names are bound to; `plain` makes Python of a text with magics.
    """
    if not _MAY.search(source):
        return
    # the lines below `%%time` are the cell's own
    body = "\n" + source.partition("\n")[2] if source.startswith("%%") else source
    try:
        tree = ast.parse(plain(body))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        for target in _targets(node):
            for path in _paths(target, names):
                yield path, target.lineno


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    """What a statement or call changes in place, or registers with: expressions."""
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            yield from (target.value for target in targets if isinstance(target, ast.Subscript))
        case (
            ast.AugAssign(target=ast.Subscript(value=target))
            | ast.AugAssign(target=ast.Attribute() as target)
        ):
            yield target
        case ast.Call(func=ast.Attribute(value=receiver, attr=name)) if name in _CHANGES:
            yield receiver
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name) as function) if _ADDS.fullmatch(name):
            # a class is what is registered with, or where: both are looked at
            yield from (function, *node.args, *(keyword.value for keyword in node.keywords))
            if isinstance(function, ast.Attribute):
                yield function.value


def _paths(target: ast.expr, names: Mapping[str, Any]) -> Iterator[str]:
    value = _value(target, names)
    if type(value) in (FunctionType, BuiltinFunctionType):
        yield from _of_function(
            value, _value(target.value, names) if isinstance(target, ast.Attribute) else None
        )
    elif isinstance(value, type):
        for kind in value.__mro__:
            yield from _of(vars(kind), f"{kind.__module__}.{kind.__qualname__}")
    elif issubclass(type(value), HELD):
        yield from _homes(target, value, names)


def _value(target: ast.expr, names: Mapping[str, Any]) -> Any:
    """What an expression of names and attributes of modules and classes gives; else None."""
    if isinstance(target, ast.Name):
        return names.get(target.id)
    if not isinstance(target, ast.Attribute):
        return None
    holder = _value(target.value, names)
    if type(holder) is not ModuleType and not issubclass(type(holder), type):
        return None
    # a module may load what it is asked for, and fail
    try:
        return getattr(holder, target.attr, None)
    except Exception:
        return None


def _of_function(function: Any, receiver: Any) -> Iterator[str]:
    """The containers that a function reads as globals; those of its module, if it is not Python."""
    if isinstance(function, FunctionType):
        module, read = function.__module__, function.__code__.co_names
        held = {name: function.__globals__[name] for name in read if name in function.__globals__}
        yield from _of(held, str(module))
    elif isinstance(receiver, ModuleType):
        yield from _of(vars(receiver), receiver.__name__)


def _of(held: Mapping[str, Any], where: str) -> Iterator[str]:
    if where.partition(".")[0] not in _QUIET:
        inside = ((name, value) for name, value in list(held.items()) if name[:2] != "__")
        yield from (f"{where}.{name}" for name, value in inside if issubclass(type(value), HELD))


def _homes(target: ast.expr, value: Any, names: Mapping[str, Any]) -> Iterator[str]:
    """Where a container stands that a path, or a name that is imported, leads to."""
    if isinstance(target, ast.Attribute):
        holder = _value(target.value, names)
        inside = f"{holder.__module__}.{holder.__qualname__}" if isinstance(holder, type) else holder.__name__
        yield from _of({target.attr: value}, inside)
    elif isinstance(target, ast.Name):
        for name, module in list(sys.modules.items()):
            if type(module) is ModuleType and vars(module).get(target.id) is value:
                yield from _of({target.id: value}, name)
