"""What no compared request has run: found within functions, told by cell and line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from nb2prod.extract import extract
from nb2prod.validation import prove, reached, write_package
from tests import plans
from tests.plans import book


def gaps(folder: Path, source: str, *requests: Any) -> list[tuple[int, int, str]] | None:
    """What asking `answer` of a module with `requests` does not run."""
    file = folder / "asked.py"
    file.write_text(dedent(source), "utf-8")
    spec = importlib.util.spec_from_file_location("asked", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["asked"] = module
    spec.loader.exec_module(module)
    followed = reached.Reached([file])
    with followed:
        for request in requests:
            module.answer(request)
    found = followed.gaps()
    del sys.modules["asked"]
    return found if found is None else [gap[1:] for gap in found]


GAPS = {
    "all of it": ("def answer(x):\n    y = x + 1\n    return y\n", []),
    "a branch": (
        "def answer(x):\n    if x > 9:\n        x = abs(x)\n        x += 1\n    return x\n",
        [(3, 4, "x = abs(x)")],
    ),
    "the rest after a return": (
        "def answer(x):\n    if x < 9:\n        return x\n    x = abs(x)\n    return -x\n",
        [(4, 5, "x = abs(x)")],
    ),
    "a part of an expression": (
        "def answer(x):\n    return x if x < 9 else abs(x)\n",
        [(2, 2, "abs(x)")],
    ),
    "a second operand": ("def answer(x):\n    return x < 9 or abs(x)\n", [(2, 2, "abs(x)")]),
    "an element": ("def answer(x):\n    return [abs(i) for i in range(x) if i > 9]\n", [(2, 2, "abs(i)")]),
    "a loop without rounds": (
        "def answer(x):\n    for i in []:\n        x += i\n    return x\n",
        [(3, 3, "x += i")],
    ),
    "a handler": (
        "def answer(x):\n    try:\n        return abs(x)\n    except TypeError:\n        return len(x)\n",
        [(4, 5, "except TypeError:")],
    ),
    "a case": (
        "def answer(x):\n    match x:\n        case [a]:\n            return abs(a)\n"
        "        case _:\n            return x\n",
        [(4, 4, "return abs(a)")],
    ),
    "a function that nothing calls": (
        "def other(x):\n    return x\ndef answer(x):\n    return other(x) if x > 9 else 0\n",
        [(1, 2, "def other(x):"), (4, 4, "other(x)")],
    ),
    "one of several functions": (
        "OF = {1: abs, 2: lambda x: -x}\ndef answer(x):\n    return OF[x](x)\n",
        [(1, 1, "lambda x: -x")],
    ),
    "a method by another class": (
        """\
        class A:
            def fit(self, x): self.x = x
            def give(self, x): return x
        class B:
            def give(self, x): return -x
            def show(self): return self.x
        def answer(x):
            return (A() if x < 9 else B()).give(x)
        """,
        [(5, 5, "def give(self, x): return -x"), (8, 8, "B()")],
    ),
    "code that raises": (
        "def answer(x):\n    if x > 9:\n        why = str(x)\n        raise ValueError(why)\n"
        "    try:\n        x += 1\n    except TypeError as e:\n        raise ValueError from e\n"
        "    assert x, f'not {x}'\n    return x\n",
        [],
    ),
    "code that may end before it raises": (
        "def answer(x):\n    if x < 9:\n        return x\n    if x < 99:\n        return -x\n"
        "    raise ValueError(x)\n",
        [(4, 6, "if x < 99:")],
    ),
    "a handler that may not raise": (
        "def answer(x):\n    try:\n        return abs(x)\n    except TypeError:\n        if x:\n"
        "            return len(x)\n        raise\n",
        [(4, 7, "except TypeError:")],
    ),
    "an abstract method": (
        "from abc import ABC, abstractmethod\n"
        "class A(ABC):\n    @abstractmethod\n    def give(self, x: int): ...\n"
        "class B(A):\n    def give(self, x: int): return x\ndef answer(x):\n    return B().give(x)\n",
        [],
    ),
    "a call of an object": (
        "class A:\n    def __init__(self): self.k = A\n    def __call__(self, x): return A\n"
        "OF = {1: abs, 2: A()}\ndef answer(x):\n    return OF[x](x)\n",
        [(3, 3, "def __call__(self, x): return A")],
    ),
    "a method by its name": (
        "class A:\n    def one(self, x): return x\n    def two(self, x): return -x\n"
        "def answer(x):\n    return getattr(A(), 'one' if x < 9 else 'two')(x)\n",
        [(3, 3, "def two(self, x): return -x")],
    ),
    "methods that a library calls": (
        """\
        from html.parser import HTMLParser
        class Text(HTMLParser):
            def handle_data(self, data): self.seen = data
            def handle_comment(self, data): self.seen = data
            def show(self): return self.seen
        def answer(x):
            Text().feed(str(x))
        """,
        [(4, 4, "def handle_comment(self, data): self.seen = data")],
    ),
    "methods that a library calls to train": (
        """\
        from sklearn.base import BaseEstimator, TransformerMixin
        class Own:
            def more(self, x): return x
        class Same(TransformerMixin, BaseEstimator, Own):
            def fit_transform(self, X, y=None): return X
            def get_params(self, deep=True): return {"deep": deep}
            def more(self, x): return x
            def transform(self, X): return X
        def answer(x):
            return Same().transform(x)
        """,
        [],
    ),
    "code that reads nothing": ("def answer(x):\n    if x > 9:\n        return -1\n    return x\n", []),
    "an inner function": (
        "def answer(x):\n    def inner(y):\n        return y\n    f = lambda y: y\n    return f(x)\n",
        [(2, 3, "def inner(y):")],
    ),
    "cleaning up, and waiting": (
        """\
        import asyncio, contextlib
        @contextlib.contextmanager
        def held():
            try:
                yield 1
            finally:
                print()
        async def later(x):
            with held() as one:
                return x + one
        def answer(x):
            return asyncio.run(later(x))
        """,
        [],
    ),
}


@pytest.mark.parametrize("name", GAPS)
def test_what_is_not_run(tmp_path: Path, name: str) -> None:
    source, expected = GAPS[name]
    assert gaps(tmp_path, source, 1) == expected


def test_requests_fill_each_others_gaps(tmp_path: Path) -> None:
    source = "def answer(x):\n    if x > 9:\n        x = abs(x)\n    else:\n        x = -x\n    return x\n"
    assert gaps(tmp_path, source, 1) == [(3, 3, "x = abs(x)")]
    assert gaps(tmp_path, source, 1, 10) == []


def test_too_many_steps_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reached, "MAX_STEPS", 1000)
    source = "def answer(x):\n    for i in range(x):\n        x += i\n    return x\n"
    assert gaps(tmp_path, source, 10) == []
    assert gaps(tmp_path, source, 1000) is None


WRAPPED = """
def twice(f):
    def inner(v):
        return f(f(v))
    return inner
@twice
def half(v):
    return v / 2
"""


def test_what_runs_as_the_modules_are_loaded_is_run(tmp_path: Path) -> None:
    notebook = book(
        tmp_path, ("", WRAPPED), ("example", "values = [1.0]"), ("model", "[half(v) for v in values]")
    )
    run = plans.run(notebook, extract(notebook).plan)
    bundle = extract(notebook, run.evidence)
    write_package(bundle, run.folder, tmp_path / "package")
    assert [d for d in prove(bundle, run, tmp_path / "package").diagnostics if d.code == "NB350"] == []


CELLS = (
    ("", "scale = float(len('four'))\ndef big(v):\n    return v / scale"),
    ("example", "values = [1.0, 2.0]"),
    ("model", "p = []\nfor v in values:\n    if v > 10:\n        v = big(v)\n    p.append(v)\np"),
)


@pytest.mark.parametrize(("past", "expected"), [("[1.0, 3.0]", [(1, 2), (3, 4)]), ("[1.0, 30.0]", [])])
def test_a_branch_that_no_request_takes_is_named(
    tmp_path: Path, past: str, expected: list[tuple[int, int]]
) -> None:
    notebook = book(tmp_path, *CELLS, ("reference", past))
    run = plans.run(notebook, extract(notebook).plan)
    bundle = extract(notebook, run.evidence)
    write_package(bundle, run.folder, tmp_path / "package")
    report = prove(bundle, run, tmp_path / "package")
    found = [d for d in report.diagnostics if d.code == "NB350"]
    assert [(d.number, d.line) for d in found] == expected
    assert {d.severity for d in found} <= {"warning"}
    assert all("nothing is proven of it" in d.message for d in found)
