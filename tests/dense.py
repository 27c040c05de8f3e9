"""Notebooks made to be hard to follow: code in which all reaches all, and code that is just very long."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

Cells = tuple[tuple[str, str], ...]


def _around(*helpers: str, call: str) -> Cells:
    """A notebook that serves with one of its helpers."""
    model = ("model", f"answer = {call}\nanswer")
    start = ("", "shared = {}\nseen = []")
    return (start, *(("", helper) for helper in helpers), ("example", "request = [1.0, 2.0]"), model)


def _body(pick: random.Random, callees: list[str], lines: int = 6) -> Iterator[str]:
    """Lines that pass, store, return and change `a`, `b` and `x`."""
    yield "x = [a]"
    for _ in range(lines):
        f, one, other, into = pick.choice(callees), *pick.choices("abx", k=3)
        yield pick.choice(
            [
                f"{into} = {f}({one}, {other})",
                f"{into} = [{one}, {f}({other}, b=a)]",
                f"{into}.append({f}({one}, {other}))",
                f"{into}.kept = {other}",
                f"{into}[0] = {f}({one}, [{other}, x])",
                f"shared[{one!r}] = {other}",
                f"for {into} in {f}({one}, {other}): seen.append({into})",
                f"if {one}: return {other}",
                f"{into} = {{'k': {one}, 'l': {f}(shared, {other})}}",
                f"{into} = (lambda y: {f}(y, {one}))",
                f"{into} = {one}.go({other})",
            ]
        )
    yield f"return {pick.choice(['a', 'b', 'x', '[a, x]', '(x, b)', '{1: b}', 'x[0]'])}"


def _function(name: str, pick: random.Random, callees: list[str], parameters: str = "a, b=None") -> str:
    return f"def {name}({parameters}):\n" + "".join(f"    {line}\n" for line in _body(pick, callees))


def mutual(count: int = 60, seed: int = 1) -> Cells:
    """Functions of which each may call each other one."""
    pick, names = random.Random(seed), [f"f{i}" for i in range(count)]
    return _around(*(_function(name, pick, names) for name in names), call="f0(request)")


def earlier(count: int = 60, seed: int = 2) -> Cells:
    """Functions that call those before them."""
    pick, names = random.Random(seed), ["list"] + [f"f{i}" for i in range(count)]
    helpers = (_function(name, pick, names[:i]) for i, name in enumerate(names[1:], 1))
    return _around(*helpers, call=f"{names[-1]}(request)")


def classes(count: int = 12, methods: int = 10, seed: int = 3) -> Cells:
    """Classes whose methods call each other's by name, on whatever they have."""
    pick, made = random.Random(seed), []
    names = [f"m{i}" for i in range(methods)]
    callees = [f"{owner}.{name}" for owner in ("self", "a", "b", "x") for name in names]
    callees += [f"self.part.{name}" for name in names] + [f"C{i}" for i in range(count)]
    for i in range(count):
        body = "def __init__(self, a=None, b=None):\n    self.part = a\n    self.other = [b]\n"
        body += "".join(_function(name, pick, callees, "self, a, b=None") for name in names)
        made.append(f"class C{i}:\n" + "".join(f"    {line}\n" for line in body.splitlines()))
    return _around(*made, call="C0(request).m0(request)")


def both(functions: int = 60, count: int = 12, seed: int = 4) -> Cells:
    """Functions and classes that all call each other."""
    pick, names = random.Random(seed), [f"f{i}" for i in range(functions)]
    callees = names + [f"C{i}" for i in range(count)] + ["a.m1", "x.m2", "b.m3", "a.part.m4"]
    made = [cell for tag, cell in classes(count, 6, seed) if cell.startswith("class")]
    return _around(*made, *(_function(name, pick, callees) for name in names), call="f0(request)")


def nested_loops(statements: int = 300, deep: int = 4, seed: int = 5) -> Cells:
    """One function with loops in loops, in which names are passed around."""
    pick, lines, depth = random.Random(seed), ["p = q = r = s = a"], 0
    for _ in range(statements):
        one, other = pick.choices("apqrs", k=2)
        kind = pick.random()
        if depth < deep and kind < 0.25:
            lines.append(f"{'    ' * depth}for {one} in {other}:")
            depth += 1
        elif depth and kind < 0.35:
            lines.append(f"{'    ' * depth}pass")
            depth -= 1
            continue
        line = [f"{one} = {other}", f"{one}.append({other})", f"{one} = [{other}, q]", f"{one} = {other}[0]"]
        lines.append(f"{'    ' * depth}{pick.choice(line)}")
    body = "".join(f"    {line}\n" for line in [*lines, "return p"])
    return _around(f"def tangle(a):\n{body}", call="tangle(request)")


def closures(count: int = 200) -> Cells:
    """Functions that make functions, which call what others have made."""
    helpers = [
        "def make0(a):\n    def inner(b):\n        return [a, b]\n    return inner\ncall0 = make0(seen)\n"
    ]
    for i in range(1, count):
        helpers.append(
            f"def make{i}(a):\n    kept = [a]\n    def inner(b):\n        kept.append(b)\n"
            f"        return call{i - 1}(kept)\n    return inner\ncall{i} = make{i}(call{i - 1})\n"
        )
    return _around("\n".join(helpers), call=f"call{count - 1}(request)")


def long_cell(lines: int = 3000) -> Cells:
    """A cell of statements that follow from each other."""
    made = ["v0 = [1]"]
    kinds = [
        "v{i} = v{b} + [v{a}]",
        "v{i} = v{b}",
        "v{b}.append(v{a})\nv{i} = [v{b}]",
        "v{i} = {{'a': v{b}}}",
    ]
    made += [kinds[i % 4].format(i=i, b=i - 1, a=i // 2) for i in range(1, lines)]
    return _around("\n".join(made), "def serve(a):\n    return [a, v5]", call="serve(request)")


def chain(count: int = 400) -> Cells:
    """Helpers of which each calls the next, written down before it."""
    helpers = [f"def f{i}(a):\n    b = f{i + 1}([a])\n    return [b, a]\n" for i in range(count)]
    return _around(*helpers, f"def f{count}(a):\n    a.append(1)\n    return a", call="f0(request)")


def big_literal(entries: int = 2000) -> Cells:
    """A dict of lists in lists."""
    rows = "".join(f"    'k{i}': [{i}, [{i}, [{i}, ['x', {i}]]], ({i}, [1])],\n" for i in range(entries))
    helper = "def find(a):\n    found = table[a]\n    return [one for one in found] + list(table.values())"
    return _around("table = {\n" + rows + "}", helper, call="find('k1')")


def decorated(count: int = 60, seed: int = 6) -> Cells:
    """Decorators on everything, that keep what they are given and call it."""
    pick, helpers = random.Random(seed), []
    for i in range(8):
        helpers.append(
            f"def deco{i}(fn):\n    calls = []\n    def wrapper(*args, **kwargs):\n"
            f"        calls.append(args)\n        return fn(*args, **kwargs)\n    return wrapper\n"
        )
    names = [f"f{i}" for i in range(count)]
    for name in names:
        over = "".join(f"@deco{i}\n" for i in pick.sample(range(8), 3))
        helpers.append(over + _function(name, pick, names))
    return _around(*helpers, call="f0(request)")


DENSE: dict[str, Callable[[], Cells]] = {
    made.__name__: made
    for made in (
        mutual, earlier, classes, both, nested_loops, closures, long_cell, chain, big_literal, decorated
    )
}  # fmt: skip
