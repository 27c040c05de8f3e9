"""Random small notebooks: the package answers as the notebook does, or extraction refuses.

Asked are the example and requests that take other branches, all by one copy of the package, which must not
remember any. What they should get is what the notebook answers when its example is that request.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from nb2prod.domain import CapturePlan
from nb2prod.errors import NotebookError
from nb2prod.extract import extract
from nb2prod.notebook import read
from tests.harness import Refused, StateChanged, described, outcomes, package_answer, run, run_plainly, whole
from tests.made import notebook

CODE = ("preprocess.py", "model.py", "postprocess.py", "helpers.py", "pipeline.py", "state.py")
NAMES = st.sampled_from("abc")
LISTS = st.sampled_from(["items", "more"])
NUMBERS = st.integers(0, 5)


def code(template: str, **parts: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    """Texts made from a template, each of its `<names>` drawn on its own."""
    return st.fixed_dictionaries(parts).map(lambda drawn: _filled(template, drawn))


def _filled(template: str, drawn: dict[str, object]) -> str:
    for name, value in drawn.items():
        template = template.replace(f"<{name}>", str(value))
    return template


ATOMS = st.one_of(NUMBERS.map(str), NAMES)
EXPRESSIONS = st.one_of(
    ATOMS,
    code("<x> + <y>", x=ATOMS, y=ATOMS),
    code("max([<x>, <y>])", x=NAMES, y=NUMBERS),
    code("sum(<x> for <x> in range(<y>))", x=NAMES, y=NUMBERS),
    code("sum([i * <x> for i in <l> if i > <y>])", x=ATOMS, l=LISTS, y=NUMBERS),
    code("{i: i + <x> for i in range(3)}[<y>]", x=NAMES, y=st.integers(0, 2)),
    code("(lambda <x>: <x> + <y>)(<z>)", x=NAMES, y=ATOMS, z=NUMBERS),
    code("(lambda: <x> + <y>)()", x=NAMES, y=ATOMS),
    code("f(<x>)", x=ATOMS),
    code("g(<x>)", x=ATOMS),
    code("rec(<x>)", x=NUMBERS),
    code("box.get() + <x>", x=ATOMS),
    code("Sub(<x>).get()", x=ATOMS),
    code("add(<x>)", x=ATOMS),
    code("median([<x>, 2, 3])", x=ATOMS),
    code("<l>[0] + <x>", l=LISTS, x=ATOMS),
    code("len(<l>) + <x>", l=LISTS, x=NUMBERS),
    code("math.floor(<x> + 0.5)", x=ATOMS),
    code("fl(<x>)", x=ATOMS),
    code("(<x> if <y> > <z> else <w>)", x=ATOMS, y=NAMES, z=NUMBERS, w=ATOMS),
    code("[<x> for _ in range(2)][<y> > 9]", x=ATOMS, y=NAMES),
    code("(<n> := <x>)", n=NAMES, x=ATOMS),
    code("int(f'{<x>}{<y>}')", x=NUMBERS, y=NUMBERS),
    code("sorted(<l>)[0]", l=LISTS),
    code("eval('<x> + 1')", x=NAMES),
)

SIMPLE = st.one_of(
    code("<n> = <x>", n=NAMES, x=EXPRESSIONS),
    code("<n> = <x>", n=NAMES, x=EXPRESSIONS),
    code("<n> += <x>", n=NAMES, x=ATOMS),
    code("<n>: int = <x>", n=NAMES, x=EXPRESSIONS),
    code("<n>, <m> = <x>, <y>", n=NAMES, m=NAMES, x=ATOMS, y=ATOMS),
    code("<l> = [<x>, <y>]", l=LISTS, x=EXPRESSIONS, y=NUMBERS),
    code("<l>.append(<x>)", l=LISTS, x=EXPRESSIONS),
    code("<l>[0] = <x>", l=LISTS, x=EXPRESSIONS),
    code("<l> += [<x>]", l=LISTS, x=ATOMS),
    code("push(<l>, <x>)", l=LISTS, x=ATOMS),
    code("<l> = <m>", l=LISTS, m=LISTS),
    code("<l> = <m>[:]", l=LISTS, m=LISTS),
    code("<l>.sort()", l=LISTS),
    code("box.put(<x>)", x=ATOMS),
    code("box = Sub(<x>)", x=ATOMS),
    code("box.v = <x>", x=ATOMS),
    code("table.update(k=<x>)", x=ATOMS),
    code("table['k'] = <x>", x=ATOMS),
    code("<n> = table['k'] + <x>", n=NAMES, x=ATOMS),
    code("add = adder(<x>)", x=ATOMS),
    code("f = lambda x: x - <x>", x=ATOMS),
    code("f = g", x=ATOMS),
    code("<n> = await later(<x>)", n=NAMES, x=ATOMS),
    code("<n> = sum([i async for i in each(<x>)])", n=NAMES, x=NUMBERS),
    code("import math as math", x=ATOMS),
)
BLOCKS = st.one_of(
    code("if <x> > <y>:\n    <s>", x=NAMES, y=NUMBERS, s=SIMPLE),
    code("if <x> > <y>:\n    <s>\nelse:\n    <t>", x=NAMES, y=NUMBERS, s=SIMPLE, t=SIMPLE),
    code("for i in range(<x>):\n    <s>", x=NUMBERS, s=SIMPLE),
    code("for <n> in [1, 2]:\n    <s>\nelse:\n    <t>", n=NAMES, s=SIMPLE, t=SIMPLE),
    code("while <n> < 3:\n    <n> += 1\n    <s>", n=NAMES, s=SIMPLE.filter(lambda text: "=" not in text)),
    code("try:\n    <s>\nexcept NameError:\n    <t>", s=SIMPLE, t=SIMPLE),
    code("try:\n    <s>\nfinally:\n    <t>", s=SIMPLE, t=SIMPLE),
    code("with kept(<x>) as <n>:\n    <s>", x=ATOMS, n=NAMES, s=SIMPLE),
    code(
        "match <x>:\n    case 1:\n        <s>\n    case <n>:\n        <t>",
        x=NAMES,
        n=NAMES,
        s=SIMPLE,
        t=SIMPLE,
    ),
    code("def f(x):\n    return x + <x>", x=NAMES),
    code("def f(x, <n>=<n>):\n    return x * <n>", n=NAMES),
    code("def f(x):\n    <n> = <x>\n    return g(x) + <n>", n=NAMES, x=EXPRESSIONS),
    code(
        "def g(x):\n    y = 0\n    def inner():\n        nonlocal y\n        y += <x>\n"
        "    inner()\n    return x + y",
        x=NAMES,
    ),
    code("@twice\ndef g(x):\n    return x + <x>", x=ATOMS),
    code("def g(x):\n    from math import floor\n    return floor(x) + <x>", x=ATOMS),
    code("class Sub(Box):\n    def get(self):\n        return super().get() + <x>", x=ATOMS),
    code(
        "class Box:\n    w = <x>\n    def __init__(self, v):\n        self.v = v\n    def get(self):\n"
        "        return self.v + self.w\n    def put(self, v):\n        self.v = v",
        x=ATOMS,
    ),
    code("del <n>\n<n> = <x>", n=NAMES, x=ATOMS),
    code(
        "def rec(n):\n    return 0 if n < 1 else cer(n - 1) + <x>\ndef cer(n):\n    return rec(n - 1)",
        x=ATOMS,
    ),
)
STATEMENTS = st.one_of(SIMPLE, SIMPLE, SIMPLE, BLOCKS)
BRANCHES = st.one_of(
    code("if r['v'] > 3:\n    <s>", s=SIMPLE),
    code("if r['v'] > 3:\n    <s>\nelse:\n    <t>", s=SIMPLE, t=SIMPLE),
    code("late(<l>, r['v'])", l=LISTS),
    code("late(to=<l>, x=r['v'])", l=LISTS),
    code("late(*(<l>, r['v']))", l=LISTS),
    code("late(part(rows), r['v'])\nseen += [sum(map(sum, rows))]"),
    code("row = part(rows)\nlate(row, r['v'])\nseen += [len(rows[0])]"),
    code("for row in rows:\n    late(row, r['v'])\nseen += [sum(map(sum, rows))]"),
    code("box.grow(r['v'])"),
    code("Keeper(<l>).keep(r['v'])", l=LISTS),
    code("keeper.keep(r['v'])\nseen += [len(keeper.kept)]"),
    code("keeper.add(<l>, r['v'])", l=LISTS),
    code("seen += [table.setdefault(r['v'], 7)]"),
    code("p = r['v'] * 10\nseen += [p + <x>]", x=NAMES),
)
"""What role cells do for some requests: the example, 2, takes no branch."""
CELLS = st.lists(st.one_of(STATEMENTS, BRANCHES), min_size=1, max_size=4).map("\n".join)
GLOBALS = code("def bump():\n    global <n>\n    <n> = <x>\nbump()", n=NAMES, x=ATOMS)
PLAIN = st.lists(st.one_of(STATEMENTS, STATEMENTS, STATEMENTS, GLOBALS), min_size=1, max_size=4).map(
    "\n".join
)
"""Cells between the roles, which may also re-bind globals from inside a function."""
BETWEEN = st.one_of(st.just([]), st.just([]), PLAIN.map(lambda cell: [cell]))
REQUESTS = code("r['v'] + <x>", x=EXPRESSIONS)

SETUP = """\
import math
from math import floor as fl
from statistics import *
from contextlib import contextmanager
a = 1
b = max([2, a])
c = 3
items = [b, 4]
more = [1, 2]
table = {'k': 1}
def twice(function):
    def inner(x):
        return function(function(x))
    return inner
def f(x):
    return x + b
@twice
def g(x):
    return x + 1
def rec(n):
    return 0 if n < 1 else 1 + rec(n - 1)
def push(to, x):
    to.append(x)
def adder(n):
    def inner(x):
        return x + n
    return inner
add = adder(b)
async def later(x):
    return x + b
async def each(x):
    for i in range(x):
        yield i
@contextmanager
def kept(x):
    yield x
class Box:
    w = 1
    def __init__(self, v):
        self.v = v
    def get(self):
        return self.v + self.w
    def put(self, v):
        self.v = v
    def grow(self, x):
        if x > 3:
            self.v += 1
class Sub(Box):
    pass
box = Box(c)
rows = [[b], [c]]
def late(to, x):
    if x > 3:
        to.append(x)
def part(of):
    return of[0]
class Keeper:
    def __init__(self, kept):
        self.kept = kept
    def keep(self, x):
        late(self.kept, x)
    def add(self, to, x):
        late(to, x)
keeper = Keeper([a])"""


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Setting up, an example, roles with ordinary cells between and after, inline or as functions."""
    cells = [("", SETUP)]
    cells += [("", cell) for cell in draw(st.lists(PLAIN, max_size=3))]
    cells.append(("example", "r = {'v': 2}"))
    functions = draw(st.integers(0, 3)) == 0
    if functions:
        cells.append(("model", f"def model(q):\n    return q['v'] + {draw(EXPRESSIONS)}"))
    else:
        cells.append(("preprocess", f"seen = []\n{draw(CELLS)}\nx = sum(seen) + {draw(REQUESTS)}"))
        cells += [("", cell) for cell in draw(BETWEEN)]
        cells.append(("model", f"seen = []\n{draw(CELLS)}\ny = x + sum(seen) + {draw(EXPRESSIONS)}"))
    if draw(st.booleans()):
        cells += [("", cell) for cell in draw(BETWEEN)]
        answer = f"[y, {draw(EXPRESSIONS)}]"
        functions = functions or draw(st.booleans())
        cells.append(("postprocess", f"def postprocess(y):\n    return {answer}" if functions else answer))
    cells += [("", cell) for cell in draw(st.lists(PLAIN, max_size=2))]
    return cells


OTHERS = (5, 2, 9, 2)
"""Requests after the example, by their one value."""

PROGRAMS = int(os.environ.get("NB2PROD_PROGRAMS", "200"))
SEARCH = 200
"""Programs of one search resemble each other: more are several searches, so that they differ more."""

REFUSED = 0.09
"""The share of such programs that is refused: 171 of 1,934, in twenty runs with seeds of their own."""

SPREAD = 3.0
"""Those runs varied three times as much as by chance alone."""


def most_refused(ran: int) -> float:
    """More than that is no chance: four standard deviations above what is to be expected."""
    return REFUSED * ran + 4 * math.sqrt(SPREAD * REFUSED * (1 - REFUSED) * ran)


def test_parity_or_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    """No random notebook is answered otherwise by its package, and few of those that run are refused."""
    outcomes: Counter[str] = Counter()

    @settings(
        max_examples=min(PROGRAMS, SEARCH),
        derandomize="NB2PROD_PROGRAMS" not in os.environ,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(programs())
    def every_program(cells: list[tuple[str, str]]) -> None:
        with tempfile.TemporaryDirectory() as name:
            outcomes[outcome(Path(name), cells)] += 1

    for _ in range(0, PROGRAMS, SEARCH):
        every_program()
    ran = outcomes["equal"] + outcomes["refused"]
    with capsys.disabled():
        print(f" {ran} of {outcomes.total()} programs ran, {outcomes['refused']} refused", end="")
    assert ran > PROGRAMS / 2
    assert outcomes["refused"] < most_refused(ran)


def outcome(folder: Path, cells: list[tuple[str, str]]) -> str:
    """What became of a notebook: "fails" by itself, "refused", "equal"; AssertionError if it differs."""
    book = replace(read(notebook(folder, *cells)), stars={"statistics": tuple(statistics.__all__)})
    try:
        run_plainly(book)
    except Exception:
        return "fails"
    try:
        ran = run(book, extract(book).plan)
        bundle = whole(book, ran)
    except (NotebookError, Refused):
        return "refused"
    note("\n".join(f"# {tags}\n{source}" for tags, source in cells))
    note("\n".join(f"## {n}\n{t}" for n, t in bundle.files.items() if n in CODE))
    try:
        got = described(lambda: package_answer(bundle, ran.stored, ran.request, folder, ran.portraits))
    except (StateChanged, Refused):
        return "refused"
    assert got == repr(ran.answer)
    want = [described(lambda: answer_to(value, cells, bundle.plan, folder)) for value in OTHERS]  # noqa: B023
    assert outcomes(bundle, ran.stored, [{"r": {"v": value}} for value in OTHERS], folder) == want
    return "equal"


def answer_to(value: int, cells: list[tuple[str, str]], plan: CapturePlan, folder: Path) -> Any:
    """What the notebook answers when its example is another request; nothing is watched or captured."""
    example = ("example", f"r = {{'v': {value}}}")
    book = read(notebook(folder, *(example if tags == "example" else (tags, text) for tags, text in cells)))
    return run(book, replace(plan, watched=(), state=())).answer
