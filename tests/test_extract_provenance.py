"""What a value was computed from, on small notebooks: each expectation derived by hand."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, note, settings
from hypothesis import strategies as st

from nb2prod.extract.program import program_of
from nb2prod.extract.provenance import Provenance
from nb2prod.notebook import read
from tests.made import notebook
from tests.test_extract_property import PLAIN, SETUP

CASES: dict[str, tuple[tuple[str, ...], str]] = {
    # cells, and the lines behind `m` at the end, as cell.line
    "what it reads": (("a = 1", "b = 2", "m = a + 1"), "1.1 3.1"),
    "through other values": (("a = f()", "b = a", "c = b * 2", "m = c"), "1.1 2.1 3.1 4.1"),
    "a rebinding hides what was before": (("a = 1", "a = 2", "m = a"), "2.1 3.1"),
    "a rebinding after the read does not count": (("a = 1", "m = a", "a = 2"), "1.1 2.1"),
    "an augmented assignment needs what was before": (("m = 1", "m += 2"), "1.1 2.1"),
    "a branch may bind": (("m = 1", "if x:\n    m = 2"), "1.1 2.1"),
    "changed in place": (("m = [3]", "m.append(1)", "m[0] = 2"), "1.1 2.1 3.1"),
    "fitted": (("X = load()", "m = Model()", "m.fit(X)"), "1.1 2.1 3.1"),
    "shown only": (("m = load()", "print(m)", "m.head()", "m.isna().sum()", "len(m)", "m"), "1.1"),
    "plotted": (("import seaborn as sns\nm = load()", "sns.heatmap(m)\nm.plot()"), "1.2"),
    "scored only": (("m = fit()", "m.score(1)", "p = m.predict(1)", "p[0] = 1"), "1.1"),
    "a function of the notebook": (("def f(x):\n    return x", "m = f(1)"), "1.1 2.1"),
    "what a function reads when it is called": (
        ("k = 1", "def f():\n    return k", "k = 2", "m = f()", "k = 3"),
        "2.1 3.1 4.1",
    ),
    "through functions": (("k = 1", "def g():\n    return k", "def f():\n    return g()", "m = f()"),
                          "1.1 2.1 3.1 4.1"),
    "recursion": (("def f(n): return g(n)", "def g(n): return f(n - 1)", "m = f(3)"), "1.1 2.1 3.1"),
    "a default is read when the function is defined": (
        ("k = 1", "def f(x=k):\n    return x", "k = 2", "m = f()"),
        "1.1 2.1 4.1",
    ),
    "a function inside the value is called later": (
        ("k = 1", "def f(x):\n    return x * k", "m = Transformer(f)", "k = 2", "m.fit(1)", "k = 3"),
        # k as Transformer finds it, should it call f at once; as m.fit does; and as whoever uses m at the end
        "1.1 2.1 3.1 4.1 5.1 6.1",
    ),
    "a function that is only called stays behind": (
        ("k = 1", "def f(x):\n    return x * k", "m = f(2)", "k = 2"),
        "1.1 2.1 3.1",
    ),
    "an object of a class takes its methods along": (
        ("k = 1", "class C:\n    def go(self):\n        return k", "m = C()", "k = 2"),
        "1.1 2.1 3.1 4.1",
    ),
    "a lambda": (("k = 1", "m = [lambda x: x + k]", "k = 2"), "2.1 3.1"),
    "an alias changes it": (
        ("m = []", "other = m", "other.append(1)", "other = []", "other.append(2)"),
        "1.1 2.1 3.1",
    ),
    "a part of it changes": (("m = {'a': []}", "part = m['a']", "part.append(1)"), "1.1 2.1 3.1"),
    "a holder changes it": (
        ("m = net()", "o = Adam(m.parameters())", "for x in data:\n    loss = m(x)\n    o.step()"),
        "1.1 2.1 3.1",
    ),
    "a loop changes it by what text does not show": (
        ("m = net()", "o = optimizer_of(m)", "for x in data:\n    loss = m(x)\n    o.step()"),
        "1.1 2.1 3.1",
    ),
    "a trainer changes it": (("m = net()", "t = Trainer(model=m)", "t.run(5)"), "1.1 2.1 3.1"),
    "a pipeline around it": (("m = Model()", "p = Pipeline([('m', m)])", "p.fit(1)"), "1.1 2.1 3.1"),
    "an unknown function is given it": (("m = net()", "train(m, 5)"), "1.1 2.1"),
    "a function of the notebook changes its argument": (
        ("def put(d, k):\n    d[k] = 1", "m = {}", "n = put(m, 'a')"),
        "1.1 2.1 3.1",
    ),
    "it holds what changes": (("a = []", "m = [a]", "a.append(1)"), "1.1 2.1 3.1"),
    "it is given what changes": (("m = []", "a = []", "m.append(a)", "a.append(1)"), "1.1 2.1 3.1 4.1"),
    "its step is fitted": (
        ("s = Scaler()", "m = Pipeline([('s', s), ('m', None)])", "s.fit(1)"),
        "1.1 2.1 3.1",
    ),
    "it is put under a key": (("a = []", "m = {}", "m['a'] = a", "a.append(1)"), "1.1 2.1 3.1 4.1"),
    "an alias of an alias": (("a = []", "b = a", "m = b", "a.append(1)"), "1.1 2.1 3.1 4.1"),
    "a block changes an alias and binds it anew": (
        ("m = []", "b = m", "for i in x:\n    b.append(i)\nelse:\n    b = []"),
        "1.1 2.1 3.1",
    ),
    "an alias is added to": (("m = []", "b = m", "b += [1]"), "1.1 2.1 3.1"),
    "what it was fitted on changes": (("X = load()", "m = M()", "m.fit(X)", "X.sort()"), "1.1 2.1 3.1"),
    "arguments of a fit do not change": (("m = load()", "model.fit(m, y)"), "1.1"),
    "a seed": (
        ("import numpy\nimport torch", "numpy.random.seed(1)\ntorch.manual_seed(S)", "m = fit()", "seed(2)"),
        "1.1 1.2 2.1 2.2 3.1",
    ),
    "a seed's own value": (("import random as r", "s = 4", "r.seed(s)", "m = r.random()"), "1.1 2.1 3.1 4.1"),
    "only the import that it needs": (("import os, re", "m = re.compile('a')"), "1.1 2.1"),
    "with": (("with open(p) as f:\n    m = f.read()",), "1.1"),
    "a loop that fills it": (("names = ['a']", "m = {}", "for n in names:\n    m[n] = 1"), "1.1 2.1 3.1"),
    "deleted and made again": (("m = 1", "del m", "m = 2"), "3.1"),
    "nothing binds it": (("a = 1",), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_value_was_computed_from(name: str, tmp_path: Path) -> None:
    cells, expected = CASES[name]
    program = program_of(read(notebook(tmp_path, *(("", cell) for cell in cells))))
    found = Provenance(program).statements("m", len(program.statements))
    assert " ".join(f"{s.cell.number}.{s.node.lineno}" for s in found) == expected


NOTEBOOKS: dict[tuple[str, str, int], str] = {
    # name, state and the cell that reads it first
    (
        "flight_delays",
        "medians",
        34,
    ): "2.1 2.2 2.5 3.1 3.2 3.3 6.1 6.2 10.2 12.1 12.6 12.8 12.9 12.10 20.3 21.1 22.1 26.4 26.5",
    ("loan_default", "cutoff", 27): "2.1 2.5 2.7 2.9 2.10 2.12 2.13 2.14 3.1 3.2 3.3 4.1 4.2 11.1 11.2 11.5"
    " 11.10 12.1 12.2 14.1 14.5 14.9 16.1 18.1 20.1 20.3 20.4 20.5",
    ("review_sentiment", "vectorizer", 19): "2.2 2.3 2.6 2.8 3.1 3.2 4.1 4.2 6.5 6.6 11.1 13.2 16.3 16.4",
}


@pytest.mark.parametrize(("name", "state", "cell"), NOTEBOOKS)
def test_what_state_of_the_example_notebooks_was_computed_from(name: str, state: str, cell: int) -> None:
    book = read(Path(__file__).parent.parent / "notebooks" / f"{name}.ipynb")
    program = program_of(book)
    position = program.start(book.cells[cell - 1])
    found = Provenance(program).statements(state, position)
    assert " ".join(f"{s.cell.number}.{s.node.lineno}" for s in found) == NOTEBOOKS[name, state, cell]


def digests(folder: Path, *cells: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    program = program_of(read(notebook(folder, *(("", cell) for cell in cells))))
    return {b.cell: b.digest for b in Provenance(program).cells("m", len(program.statements))}


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("m = re.sub( 'a', 'b', 'c' )", "# why\nm = re.sub('a',\n  'b', 'c')", True),
        ("m = re.sub('a', 'b', 'c')", "m = re.sub('a', 'b', 'd')", False),
        ("m = re.sub('a', 'b', 'c')\nother = 1", "other = 2\nm = re.sub('a', 'b', 'c')", True),
    ],
)
def test_only_the_code_that_matters_is_in_a_digest(
    before: str, after: str, same: bool, tmp_path: Path
) -> None:
    one, other = digests(tmp_path, "import os, re", before), digests(tmp_path, "import sys, re", after)
    assert list(one) == list(other) == ["c1", "c2"]
    assert (one == other) is same
    assert one["c1"] == other["c1"]


def test_it_takes_about_as_long_again_for_twice_the_cells(tmp_path: Path) -> None:
    """A ratio of times, with room: quadratic would be 64 times as long for 8 times the cells."""

    def seconds(count: int) -> float:
        cells = ["import pandas as pd\ndf = pd.read_csv('x')\ndef f(d):\n    return d.assign(k=1)"]
        cells += [f"df = f(df)\ndf['c{i}'] = df['k'] * {i}\nv{i} = df.mean()" for i in range(count)]
        program = program_of(read(notebook(tmp_path, *(("", c) for c in [*cells, "m = fit(df)"]))))
        started = time.perf_counter()
        assert len(Provenance(program).statements("m", len(program.statements))) == 2 * count + 4
        return time.perf_counter() - started

    seconds(50)
    assert seconds(400) < 32 * seconds(50)


def test_many_names_that_hold_one_another_are_followed_once(tmp_path: Path) -> None:
    """Five lists that hold the same 40 models: there are far too many paths to go along each of them."""
    lists = [f"all{j}" for j in range(5)]
    cells = ["\n".join(f"{name} = []" for name in lists)]
    cells += [
        "\n".join([f"m{i} = Model()", *(f"{name}.append(m{i})" for name in lists), f"m{i}.fit(X)"])
        for i in range(40)
    ]
    program = program_of(read(notebook(tmp_path, *(("", c) for c in cells))))
    found = Provenance(program).statements("all0", len(program.statements))
    assert len(found) == 5 + 40 * 7


# --- no dependence is missed ---------------------------------------------------------------------

NAMES = ("a", "b", "c", "items", "more", "table", "box")


def values(cells: Sequence[str]) -> dict[str, str]:
    """What the names stand for after all cells have run; raises what they raise."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        done = eval(compile(cell, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), space)
        if inspect.iscoroutine(done):
            asyncio.run(done)
    shown = {name: repr(space.get(name)) for name in NAMES if name != "box"}
    return {**shown, "box": f"{vars(space['box'])} {space['box'].get()}"}


def behind(folder: Path, cells: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """By name: the cells behind its value at the end, with their digests."""
    book = read(notebook(folder, *(("", cell) for cell in cells)))
    program = program_of(dataclasses.replace(book, stars={"statistics": tuple(statistics.__all__)}))
    provenance, end = Provenance(program), len(program.statements)
    return {name: [(b.cell, b.digest) for b in provenance.cells(name, end)] for name in NAMES}


@settings(
    max_examples=int(os.environ.get("NB2PROD_PROGRAMS", "300")),
    derandomize="NB2PROD_PROGRAMS" not in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(PLAIN, min_size=2, max_size=6), st.data())
def test_a_value_that_an_edit_changes_has_the_edit_behind_it(before: list[str], data: st.DataObject) -> None:
    after = list(before)
    after[data.draw(st.integers(0, len(before) - 1))] = data.draw(PLAIN)
    before, after = [SETUP, *before], [SETUP, *after]
    try:
        old, new = values(before), values(after)
    except Exception:
        assume(False)
    with tempfile.TemporaryDirectory() as name:
        known, found = behind(Path(name), before), behind(Path(name), after)
    for name in NAMES:
        event(f"{'another' if old[name] != new[name] else 'the same'} value")
        if old[name] != new[name]:
            note("\n".join([name, *before[1:], "-" * 20, *after[1:]]))
            assert known[name] != found[name]
