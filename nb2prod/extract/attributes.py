"""Which attributes serving code reads, by their names alone: whose they are, text cannot tell."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from nb2prod.extract.compared import nodes_of
from nb2prod.extract.units import Slice

ALL = "*"
"""Any attribute: by `vars`, or by a name that is computed."""

_FOR_STORING = frozenset(
    f"__{name}__"
    for name in (
        *("getstate", "setstate", "reduce", "reduce_ex", "getnewargs", "getnewargs_ex"),
        *("array_finalize", "copy", "deepcopy", "del", "init_subclass"),
    )
)
"""Methods that serving does not call to answer."""

_FOR_MAKING = frozenset({"__init__", "__new__", "__post_init__"})
"""Methods of which `vars(self)` is that of a new object."""

_FOR_TRAINING = frozenset({"fit", "partial_fit", "fit_transform", "fit_predict"})

_Method = tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]
"""A method, and whether it may be called by no name."""


def attributes_read(slice_: Slice) -> tuple[str, ...]:
    """What serving code reads as attributes, in the methods too that it or a library may call."""
    units = [*slice_.roots.values(), *slice_.units.values()]
    todo: list[ast.AST] = [node for unit in units for node in nodes_of(slice_, unit)]
    waiting: list[_Method] = []
    read: set[str] = set()
    while todo:
        top = todo.pop()
        found = {name for part in _walk(top, waiting) for name in _reads(part)}
        read |= found - ({ALL} if getattr(top, "name", "") in _FOR_MAKING else set())
        if not todo:
            todo += [method for method, free in waiting if free or method.name in read]
            waiting = [(method, free) for method, free in waiting if method not in todo]
    return tuple(sorted(read))


def _walk(node: ast.AST, waiting: list[_Method]) -> Iterator[ast.AST]:
    """A node and all in it, but for the methods of classes: they wait."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.ClassDef) and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name not in _FOR_STORING:
                waiting.append((child, _is_called_unseen(node, child.name)))
        else:
            yield from _walk(child, waiting)


def _is_called_unseen(owner: ast.ClassDef, method: str) -> bool:
    """Whether a method may be called by syntax, or by the library that has the class above."""
    return method.startswith("__") or (bool(owner.bases) and method not in _FOR_TRAINING)


def _reads(node: ast.AST) -> Iterable[str]:
    match node:
        case ast.Attribute(attr="__dict__"):
            return (ALL,)
        case ast.Attribute(attr=name, ctx=ast.Load()):
            return (name,)
        case ast.Name(id="vars" | "asdict" | "astuple"):
            return (ALL,)
        case ast.Call(func=ast.Name(id="getattr"), args=[_, key, *_]) if not isinstance(key, ast.Constant):
            return (ALL,)
        case ast.Constant(value=str(text)):  # `getattr(it, "name")`, `attrgetter("a.b")`
            return text.split(".") if all(part.isidentifier() for part in text.split(".")) else ()
    return ()
