"""The notebook's own lines in generated code: none lost, none changed, each with its cell and line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from nb2prod.domain import Bundle, Notebook
from nb2prod.errors import NotebookError
from nb2prod.extract import extract
from nb2prod.notebook import read
from tests.made import notebook
from tests.test_extract import AGREE, EXAMPLE, same_answer
from tests.test_extract_style import FORMATTED
from tests.test_golden import NOTEBOOKS
from tests.traps import FOLDER, trap


def code(folder: Path, *cells: tuple[str, str], file: str = "model") -> str:
    return extract(read(notebook(folder, *cells))).files[f"{file}.py"]


SETUP = ("", "from functools import cache, wraps")


def body(folder: Path, *sources: str) -> str:
    """The body of the function that an inline model of these cells becomes."""
    text = code(folder, SETUP, EXAMPLE, *(("model", source) for source in sources))
    function = ast.parse(text).body[-1]
    assert isinstance(function, ast.FunctionDef)
    lines = text.split("\n")[function.body[0].end_lineno :]
    return "\n".join(line.removeprefix("    ") for line in lines).strip("\n")


# --- comments and blank lines --------------------------------------------------------------------

INLINE: dict[str, tuple[str, str]] = {
    "comments stay where they are": (
        "# first\nx = request['a']  # beside\n# after x\n\n# before y\n\ny = x\n# answer\ny + 1  # it",
        "# first\nx = request['a']  # beside\n# after x\n\n# before y\n\ny = x\n# answer\nreturn y + 1  # it",
    ),
    "comments at the end": (
        "request['a']\n\n# return request['b']\n# see #12\n",
        "return request['a']\n\n# return request['b']\n# see #12",
    ),
    "many blank lines become one": ("x = request['a']\n\n\n\nx", "x = request['a']\n\nreturn x"),
    "a comment right above what only shows goes with it": (
        "x = request['a']\n# look at it\nprint(x)\n# the answer\nx",
        "x = request['a']\n# the answer\nreturn x",
    ),
    "a comment above what only shows, a blank line between, stays": (
        "# features\n\nprint(request)\nx = request['a']\n\nprint(x)\n\nx",
        "# features\n\nx = request['a']\n\nreturn x",
    ),
    "a comment above an import stays": (
        "# one row at a time\nimport math\nmath.floor(request['a'])",
        "# one row at a time\nreturn math.floor(request['a'])",
    ),
    "a comment at the end of a block keeps its indent": (
        "y = 0\nfor x in request:\n    y = x\n    # so much for x\n# and y\ny",
        "y = 0\nfor x in request:\n    y = x\n    # so much for x\n# and y\nreturn y",
    ),
    "a cell marker and a coding line are comments": (
        "# %% model\n# -*- coding: latin-1 -*-\nrequest['a']",
        "# %% model\n# -*- coding: latin-1 -*-\nreturn request['a']",
    ),
    "type comments and pragmas": (
        "x = []  # type: list[int]\nx += [request['a']]  # noqa: X\nx  # fmt: skip",
        "x = []  # type: list[int]\nx += [request['a']]  # noqa: X\nreturn x  # fmt: skip",
    ),
    "what looks like a comment inside a text": (
        "x = '''\n# no comment\n'''\n# a comment\nx + str(request['a'])",
        "x = '''\n# no comment\n'''\n# a comment\nreturn x + str(request['a'])",
    ),
    "texts side by side": (
        "x = (\n    'a'\n    f'{request}'\n    \"\"\"b\n  c\"\"\" 'd'\n)\nx",
        "x = (\n    'a'\n    f'{request}'\n    \"\"\"b\n  c\"\"\" 'd'\n)\nreturn x",
    ),
    "continued lines": (
        "x = request['a'] + \\\n    1\nx + \\\n  2",
        "x = request['a'] + \\\n    1\nreturn x + \\\n  2",
    ),
    "statements on one line, each with its own text": (
        "x = request[ 'a' ]; y = 'ä' ; print(y)  # shown\nx;y",
        "x = request[ 'a' ]\ny = 'ä'\nreturn y",
    ),
    "statements on one line, over several lines": (
        "x = [request['a'],\n     1]; y = '''ä\n  b'''  # both\n(x,\n y)",
        "x = [request['a'],\n     1]\ny = '''ä\n  b'''  # both\nreturn (x,\n y)",
    ),
    "a semicolon at the end": (
        "x = request['a'];  # a\n(x\n );  # hidden",
        "x = request['a'];  # a\nreturn (x\n )  # hidden",
    ),
    "the second of two on a line is the answer": (
        "x = request['a']; x + 1 ;",
        "x = request['a']\nreturn x + 1",
    ),
    "decorators, comments between them": (
        "# cached\n@cache\n# really\n@wraps(len)\ndef f(x):\n    return x\nf(request['a'])",
        "# cached\n@cache\n# really\n@wraps(len)\ndef f(x):\n    return x\nreturn f(request['a'])",
    ),
    "tabs and odd indents": (
        "x = 0\nif request:\n\tx = 1\n   # odd\n\nx",
        "x = 0\nif request:\n\tx = 1\n   # odd\n\nreturn x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INLINE)
def test_an_inline_cell_keeps_its_lines_and_comments(case: str, tmp_path: Path) -> None:
    source, expected = INLINE[case]
    assert body(tmp_path, source) == expected


def test_cells_of_one_role_are_told_apart(tmp_path: Path) -> None:
    found = body(tmp_path, "# one\nx = request['a']\n\n", "\n# two\nprint(x)\n\nx + 1\n# end")
    assert found == "# cell 3\n# one\nx = request['a']\n\n# cell 4\nreturn x + 1\n# end"


def test_comments_of_a_cell_of_functions(tmp_path: Path) -> None:
    cell = (
        "#!/usr/bin/env python\n# The model.\nimport math\n\n# --- unused ---\n\ndef plot(x):\n    pass\n\n"
        "# limits\n\nLOW = 1\n# not used\nHIGH = 9\n\n# clips\ndef clip(x):\n"
        "    return max(x, LOW)\n    # done\n\n\n\n\n@staticmethod\n# entry\ndef model(r):\n"
        "    return clip(math.floor(r['a']))\n\n# older:\n# return 1\n"
    )
    expected = (
        "#!/usr/bin/env python\n# The model.\n\n# limits\n\nLOW = 1\n\n\n# clips\ndef clip(x):\n"
        "    return max(x, LOW)\n    # done\n\n\n@staticmethod\n# entry\ndef model(r):\n"
        "    return clip(math.floor(r['a']))\n\n# older:\n# return 1\n"
    )
    text = code(tmp_path, ("model", cell), EXAMPLE)
    assert text == f'"""The role `model` of made.ipynb: cell 1."""\n\nimport math\n\n{expected}'


def test_helpers_have_the_comments_right_above_them_and_their_cell(tmp_path: Path) -> None:
    cells = (
        ("", "# start\n\n# of f\ndef f(x):\n    return x + K\n# of g\ndef g(x):\n    return f(x)\n# nothing"),
        ("", "# plot\nshow = print\n# of K\nK = 1  # beside"),
        EXAMPLE,
        ("model", "g(request['a'])"),
    )  # fmt: skip
    assert code(tmp_path, *cells, file="helpers") == (
        '"""Functions and constants of made.ipynb that its roles use."""\n\n\n'
        "# cell 1\n# of f\ndef f(x):\n    return x + K\n\n\n# of g\ndef g(x):\n    return f(x)\n\n\n"
        "# cell 2\n# of K\nK = 1  # beside\n"
    )


def test_a_role_of_several_cells_names_the_cell_of_each_function(tmp_path: Path) -> None:
    cells = (
        ("model", "def double(x):\n    return 2 * x"),
        ("", "LIMIT = 9"),
        ("model", "def model(r):\n    return min(double(r['a']), LIMIT)"),
        EXAMPLE,
    )
    assert code(tmp_path, *cells) == (
        '"""The role `model` of made.ipynb: cells 1 and 3."""\n\n\n'
        "# cell 1\ndef double(x):\n    return 2 * x\n\n\n# cell 2\nLIMIT = 9\n\n\n"
        "# cell 3\ndef model(r):\n    return min(double(r['a']), LIMIT)\n"
    )  # fmt: skip


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems(end: str, tmp_path: Path) -> None:
    sources = ("# of f\ndef f(x):\n    return '''a\nb''' * x\n", "# c\nx = f(request['a'])\n\nx")
    helper, model = (source.replace("\n", end) for source in sources)
    bundle, answer = same_answer(tmp_path, (("", helper), EXAMPLE, ("model", model)))
    assert answer == "a\nb" * 3
    assert "# of f\ndef f(x):\n    return" in bundle.files["helpers.py"]
    assert "    # c\n    x = f" in bundle.files["model.py"]


# --- the source map ------------------------------------------------------------------------------


def check_source_map(bundle: Bundle, book: Notebook) -> None:
    """Each mapped line is the notebook's, moved in by four blanks or not, perhaps after `return `."""
    assert bundle.source_map
    for mapped in bundle.source_map:
        made = bundle.files[mapped.file].split("\n")[mapped.line - 1]
        cell = book.cell(mapped.cell)
        original = cell.code.split("\n")[mapped.cell_line - 1]
        assert cell.number == mapped.number
        forms = {original, f"    {original}", f"return {original}", f"    return {original}"}
        if ";" in original:  # one of several statements on a line, or one whose value is hidden
            made = made.strip().removeprefix("return ").partition("  #")[0]
            assert made in original, (made, original)
        else:
            assert made in forms, (made, original)


@pytest.mark.parametrize("case", {**AGREE, **FORMATTED})
def test_every_mapped_line_is_the_notebooks(case: str, tmp_path: Path) -> None:
    book = read(notebook(tmp_path, *(AGREE[case][0] if case in AGREE else FORMATTED[case])))
    check_source_map(extract(book), book)


@pytest.mark.parametrize("case", INLINE)
def test_every_mapped_line_of_an_odd_cell_is_the_notebooks(case: str, tmp_path: Path) -> None:
    book = read(notebook(tmp_path, SETUP, EXAMPLE, ("model", INLINE[case][0])))
    check_source_map(extract(book), book)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_mapped_line_of_the_examples_is_the_notebooks(path: Path) -> None:
    book = read(path)
    check_source_map(extract(book), book)


def test_every_mapped_line_of_the_traps_is_the_notebooks(tmp_path: Path) -> None:
    checked = 0
    for found in map(trap, sorted(FOLDER.glob("*.md"))):
        book = read(notebook(tmp_path, *found.cells, name=found.name))
        try:
            bundle = extract(book)
        except NotebookError:
            continue
        check_source_map(bundle, book)
        checked += 1
    assert checked > 100


OURS = re.compile(
    r'("""|( {4})?# cell|from |import |(async )?def |__all__).*|    """.*|'
    r"    \w+ = (deepcopy\()?_\w+\)?|    return \w+(, \w+)*|"
)
"""What stands in a role's module without being the notebook's."""


@pytest.mark.parametrize("case", AGREE)
def test_every_line_that_is_not_ours_is_mapped(case: str, tmp_path: Path) -> None:
    bundle = extract(read(notebook(tmp_path, *AGREE[case][0])))
    mapped = {(m.file, m.line) for m in bundle.source_map}
    for role in {stage.role for stage in bundle.plan.stages}:
        for number, line in enumerate(bundle.files[f"{role}.py"].split("\n"), 1):
            assert (f"{role}.py", number) in mapped or OURS.fullmatch(line), line


@pytest.mark.parametrize("case", INLINE)
def test_an_odd_cell_answers_as_the_notebook(case: str, tmp_path: Path) -> None:
    same_answer(tmp_path, (SETUP, EXAMPLE, ("model", INLINE[case][0])))
