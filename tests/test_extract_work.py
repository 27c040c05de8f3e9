"""How the work of extraction grows with what makes it hard: counted in calls, not in seconds."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from nb2prod.domain import Notebook
from nb2prod.extract import check, extract
from nb2prod.notebook import read
from tests.made import notebook

_NAMES = itertools.count()
SERVE = (("", "def serve(a):\n    return [a]"), ("example", "request = [1.0]"), ("model", "serve(request)"))


def book(folder: Path, *cells: str) -> Notebook:
    """A notebook that has not been seen before."""
    return read(notebook(folder, *(("", cell) for cell in cells), *SERVE, name=f"made{next(_NAMES)}"))


def work(function: Callable[[], object]) -> int:
    """How many calls of Python functions a call takes."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return counted


def in_loops(depth: int, line: str, *inside: str) -> str:
    """A cell of blocks in blocks, each opened by a line with its depth, around others."""
    lines = [f"{' ' * i}{line.format(i)}" for i in range(depth)]
    return "p = [[]]\n" + "\n".join([*lines, *(f"{' ' * depth}{one}" for one in inside)])


def functions_in_loops(depth: int) -> tuple[str, ...]:
    """Loops in functions in loops."""
    lines = [f"for a{i} in p:\n{' ' * (2 * i + 1)}def f{i}(x):" for i in range(depth)]
    opened = "\n".join(f"{' ' * 2 * i}{line}" for i, line in enumerate(lines))
    return (f"p = [[]]\n{opened}\n{' ' * 2 * depth}p.append(x)",)


def loops(depth: int) -> tuple[str, ...]:
    """Loops in loops, which pass on what they find."""
    return (in_loops(depth, "for p in [p, q]:", "q = [p]", "q.append(q[0])").replace("[[]]", "q = [[]]"),)


def comprehensions(depth: int) -> tuple[str, ...]:
    """Comprehensions in comprehensions, of which the innermost changes what all go through."""
    return ("p = [[]]\nq = " + "[" * depth + "p.append(x)" + " for x in p]" * depth,)


def heirs(count: int) -> tuple[str, ...]:
    """Classes each of which comes from the one before, with methods that call those above."""
    method = "super().{0}(a)\n        self.k{1}.append(a)"
    body = "    def __init__(self, a):\n        super().__init__(a)\n        self.k{0} = [a]\n"
    first = (
        "class C0:\n    def __init__(self, a):\n        self.k = a\n    def m(self, a):\n        self.k = a"
    )
    others = (
        f"class C{i}(C{i - 1}):\n{body.format(i)}    def m(self, a):\n        {method.format('m', i)}"
        for i in range(1, count)
    )
    return (first, *others)


def many_classes(count: int) -> tuple[str, ...]:
    """Classes with a method of the same name, called on an object of any of them."""
    methods = (
        "    def __init__(self, a):\n        self.k = [a]\n    def m(self, a):\n        self.k.append(a)"
    )
    made = ", ".join(f"C{i}(1)" for i in range(count))
    return (*(f"class C{i}:\n{methods}" for i in range(count)), f"found = [one.m(2) for one in ({made})]")


def modules(count: int) -> tuple[str, ...]:
    """Networks as people write them: modules of modules, each with a state that is handed on and kept."""
    base = "import library\nfrom library import Base"
    call = "    def __call__(self, *given):\n        return self.forward(*given)\n"
    small = (
        "class Small(Base):\n    def __init__(self, k):\n        super().__init__()\n"
        "        self.a, self.b = library.Dense(k), library.Drop(k)\n"
        f"    def forward(self, x, y=None):\n        return self.a(self.b(y) + x)\n{call}"
    )
    made = "".join(f"        self.s{i} = Small(k)\n" for i in range(count))
    used = "".join(f"        x = self.s{i}(x, state[{i}])\n        state[{i}] = x\n" for i in range(count))
    block = (
        f"class Block(Base):\n    def __init__(self, k):\n        super().__init__()\n{made}"
        f"    def forward(self, x, state):\n{used}        return x, state\n{call}"
    )
    whole = (
        "class Whole(Base):\n    def __init__(self, k):\n        super().__init__()\n"
        "        self.parts = library.Sequential()\n        for i in range(k):\n"
        "            self.parts.add(Block(k))\n"
        "    def forward(self, x, state):\n        self.kept = [None] * len(self.parts)\n"
        "        for i, part in enumerate(self.parts):\n            x, state = part(x, state)\n"
        f"            self.kept[i] = part.s0.a.weights\n        return x, state\n{call}"
    )
    return base, small, block, whole


@pytest.mark.parametrize(
    ("made", "size", "most"),
    [
        (functions_in_loops, 5, 3.0),
        (loops, 8, 3.0),
        (comprehensions, 10, 3.0),
        (heirs, 15, 3.0),
        (many_classes, 40, 3.2),
        (modules, 5, 3.0),
    ],
)
def test_twice_the_size_is_not_much_more_work(
    made: Callable[[int], tuple[str, ...]], size: int, most: float, tmp_path: Path
) -> None:
    once, twice = (book(tmp_path, *made(n)) for n in (size, 2 * size))
    assert work(lambda: check(twice)) < most * work(lambda: check(once))


def test_what_check_has_read_is_not_read_again(tmp_path: Path) -> None:
    found = book(tmp_path, *heirs(10), *functions_in_loops(3))
    assert work(lambda: check(found)) > 2 * work(lambda: extract(found))


def names_in_a_loop(count: int) -> str:
    """A loop in which the shared list goes from name to name."""
    shifts = "".join(f"        v{i} = v{i + 1}\n" for i in range(count))
    start = " = ".join(f"v{i}" for i in range(count + 1))
    loop = f"    for _ in range(99):\n{shifts}        v{count} = log\n"
    return f"def f(a):\n    {start} = []\n{loop}    v0.append(a)"


def functions_inside(count: int) -> str:
    """Functions inside another, of which each calls the one below it."""
    inner = "".join(f"    def g{i}(b):\n        g{i + 1}(b)\n" for i in range(count))
    return f"def f(a):\n{inner}    def g{count}(b):\n        log.append(b)\n    g0(a)"


@pytest.mark.parametrize("count", [5, 40])
@pytest.mark.parametrize("made", [names_in_a_loop, functions_inside])
def test_a_way_is_followed_however_long_it_is(made: Callable[[int], str], count: int, tmp_path: Path) -> None:
    """Up to a number of rounds exactly, and then by taking all for possible."""
    found = (("", "log = []"), ("", made(count)), ("example", "request = [1]"), ("model", "f(request)"))
    assert "NB228" in {f.code for f in check(read(notebook(tmp_path, *found)))}


@pytest.mark.parametrize("line", ["for a{} in p:", "def f{}(p):", "with p:", "class C{}:", "if p:"])
def test_deep_code_is_followed(line: str, tmp_path: Path) -> None:
    """As deep as Python can read it."""
    inner = "[" * 70 + "p" + " for x in p]" * 70
    assert {f.code for f in check(book(tmp_path, in_loops(97, line, f"q = {inner}")))} <= {"NB120"}
