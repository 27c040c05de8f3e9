"""Random small notebooks: the package answers as the notebook does, or extraction refuses."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from nb2prod.errors import NotebookError
from nb2prod.extract import extract
from nb2prod.notebook import read
from tests.harness import Refused, StateChanged, package_answer, run, run_plainly, whole
from tests.made import notebook

OUTCOMES: Counter[str] = Counter()

CODE = ("preprocess.py", "model.py", "helpers.py", "pipeline.py", "state.py")
NAMES = st.sampled_from("abc")
NUMBERS = st.integers(0, 5)

EXPRESSIONS = st.one_of(
    NUMBERS.map(str),
    NAMES,
    st.builds("{} + {}".format, NAMES, NUMBERS),
    st.builds("max([{}, {}])".format, NAMES, NUMBERS),
    st.builds("sum({0} for {0} in range({1}))".format, NAMES, NUMBERS),
    st.builds("(lambda {0}: {0} + {1})({2})".format, NAMES, NUMBERS, NUMBERS),
    st.builds("f({})".format, NAMES),
    st.builds("items[0] + {}".format, NAMES),
    st.builds("len(items) + {}".format, NUMBERS),
)

STATEMENTS = st.one_of(
    st.builds("{} = {}".format, NAMES, EXPRESSIONS),
    st.builds("{} += {}".format, NAMES, NUMBERS),
    st.builds("items = [{}, {}]".format, EXPRESSIONS, NUMBERS),
    st.builds("items.append({})".format, EXPRESSIONS),
    st.builds("items[0] = {}".format, EXPRESSIONS),
    st.builds("if {} > {}:\n    {} = {}".format, NAMES, NUMBERS, NAMES, EXPRESSIONS),
    st.builds("for {} in range({}):\n    {} = {}".format, st.sampled_from("ij"), NUMBERS, NAMES, EXPRESSIONS),
    st.builds("def f(x):\n    return x + {}".format, NAMES),
    st.builds("def f(x, {0}={0}):\n    return x * {0}".format, NAMES),
    st.builds("f = lambda x: x - {}".format, NAMES),
    st.builds("try:\n    {} = {}\nexcept NameError:\n    {} = {}".format, NAMES, EXPRESSIONS, NAMES, NUMBERS),
    st.builds("({} := {})".format, NAMES, EXPRESSIONS),
    st.builds("del {}".format, NAMES),
)

CELLS = st.lists(STATEMENTS, min_size=1, max_size=4).map("\n".join)
REQUESTS = st.builds("r['v'] + {}".format, EXPRESSIONS)


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Setting up, an example, two roles with ordinary cells between and after, inline or as functions."""
    cells = [("", "a = 1\nb = max([2, a])\nc = 3\nitems = [b, 4]\ndef f(x):\n    return x + b")]
    cells += [("", cell) for cell in draw(st.lists(CELLS, max_size=3))]
    cells.append(("example", "r = {'v': 2}"))
    if draw(st.booleans()):
        cells.append(("model", f"def model(q):\n    return q['v'] + {draw(EXPRESSIONS)}"))
    else:
        cells.append(("preprocess", f"{draw(CELLS)}\nx = {draw(REQUESTS)}"))
        cells += [("", cell) for cell in draw(st.lists(CELLS, max_size=1))]
        cells.append(("model", f"{draw(CELLS)}\nx + {draw(EXPRESSIONS)}"))
    cells += [("", cell) for cell in draw(st.lists(CELLS, max_size=2))]
    return cells


@settings(
    max_examples=int(os.environ.get("NB2PROD_PROGRAMS", "200")),
    derandomize="NB2PROD_PROGRAMS" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(programs())
def test_parity_or_refusal(cells: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        OUTCOMES[outcome(Path(name), cells)] += 1


def outcome(folder: Path, cells: list[tuple[str, str]]) -> str:
    """What became of a notebook: "fails" by itself, "refused", "equal"; AssertionError if it differs."""
    book = read(notebook(folder, *cells))
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
        got = repr(package_answer(bundle, ran.state, ran.request, folder))
    except StateChanged:
        return "refused"
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
    assert got == repr(ran.answer)
    return "equal"
