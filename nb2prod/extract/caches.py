"""Functions that remember their answers: the next call gets the same, only sooner."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nb2prod.extract import names, usage

_CACHING_TEXT = (
    "alru_cache cache cached cached_property cachedmethod fifo_cache lfu_cache lru_cache rr_cache ttl_cache"
)
_CACHING = frozenset(_CACHING_TEXT.split())
"""Decorators of functools, cachetools and async_lru, and the one of a joblib.Memory."""


def caching(node: names.Function) -> str | None:
    """The decorator that keeps what a function gives, as it is written: `lru_cache`, `memory.cache`."""
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    called = (names.dotted(d.func if isinstance(d, ast.Call) else d) for d in decorators)
    return next((name for name in called if name.rpartition(".")[2] in _CACHING), None)


def is_cached(node: names.Function) -> bool:
    """Whether a decorator keeps what a function gives."""
    return caching(node) is not None


def caches_of(node: names.Function) -> set[str]:
    """Names of dicts around a function that it uses in no other way than to look up what it has put there.

    What it puts there must not depend on more than the key does: else the first call decides for all.
    """
    loads = [n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    looked = {id(n) for n in _looked_up(node)}
    used_otherwise = {n.id for n in loads if id(n) not in looked}
    return {n.id for n in loads if id(n) in looked} - used_otherwise


def _looked_up(node: names.Function) -> Iterator[ast.expr]:
    for child in ast.walk(node):
        match child:
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[known]):
                yield known
            case ast.Subscript(value=known, ctx=ast.Load()):
                yield known
            case ast.Call(func=ast.Attribute(value=known, attr="get")):
                yield known
            case ast.Assign(targets=[ast.Subscript(value=known, slice=key)], value=value):
                if _inputs(node, value) <= _inputs(node, key):
                    yield known


def _inputs(node: names.Function, expression: ast.expr) -> set[str]:
    """The parameters of a function that an expression in it is made from."""
    found, todo = set[str](), {n.id for n in ast.walk(expression) if isinstance(n, ast.Name)}
    made = [n for n in ast.walk(node) if isinstance(n, ast.Assign)]
    while todo - found:
        found |= todo
        for assign in made:
            if any(isinstance(t, ast.Name) and t.id in todo for t in assign.targets):
                todo |= {n.id for n in ast.walk(assign.value) if isinstance(n, ast.Name)}
    return found & set(usage.body_of(node).parameters)
