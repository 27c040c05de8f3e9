"""Larger notebooks as people write them: the engine's graphs against tables made by hand; two are proven.

Where engine and table differ, what Python does decides: a table is mended only if it is wrong, an engine
that is wrong is listed in DEVIATES. `python -m bench.larger` proves all of them, which takes minutes.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import nb2prod
from nb2prod.notebook import read
from tests.graphs import NAMES, captured_by, graph_of, is_exact, path_of, table_of

DEVIATES: dict[str, str] = {}
"""Notebooks on which the engine is wrong, and why."""

PROVEN = ("penguins_final_v2", "titanic_survival")
"""Two quick ones, inline code and role functions with classes inside the state: proven here, end to end."""


def marked(name: str) -> Any:
    marks = [pytest.mark.xfail(strict=True, reason=DEVIATES[name])] if name in DEVIATES else []
    return pytest.param(name, marks=marks)


# --- the graphs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [marked(name) for name in NAMES])
def test_graph_is_the_one_made_by_hand(name: str) -> None:
    table, book = table_of(name), read(path_of(name))
    assert graph_of(book, table.in_state) == table.graph
    assert captured_by(book) <= table.state


def test_how_many_graphs_are_exact() -> None:
    exact = [name for name in NAMES if is_exact(name)]
    print(f"exact graphs: {len(exact)} of {len(NAMES)}")
    assert len(NAMES) >= 12
    assert set(NAMES) - set(exact) == set(DEVIATES)


# --- the tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_table_names_what_its_cells_read(name: str) -> None:
    book = read(path_of(name))
    for cell in book.cells:
        listed = {entry["name"] for entry in table_of(name).live_ins.get(cell.number, [])}
        mentioned = {_name(node) for node in ast.walk(ast.parse(cell.code))}
        assert listed <= mentioned, cell.number
        assert bool(listed) <= bool(cell.roles), cell.number


@pytest.mark.parametrize("name", NAMES)
def test_table_says_where_names_are_bound(name: str) -> None:
    table, book = table_of(name), read(path_of(name))
    helpers = {(key.split()[0], "definition", key.split()[1]) for key in table.graph.helpers}
    embedded = {(key, "definition", at) for key, at in table.in_state.items()}
    for wanted, kind, at in table.graph.rows | helpers | embedded:
        if kind in ("request", "result"):
            continue
        number, line = map(int, at.split(":"))
        body = ast.parse(book.cells[number - 1].code).body
        statement = next(s for s in body if s.lineno == line)
        assert wanted in _binds(statement), (wanted, at)


@pytest.mark.parametrize("name", NAMES)
def test_table_keeps_out_what_the_notebook_has_besides(name: str) -> None:
    table = table_of(name)
    bound = {n for cell in read(path_of(name)).code for n in _binds(ast.parse(cell.code))}
    assert table.not_in
    assert table.not_in <= bound
    assert not table.not_in & {row[0] for row in table.graph.rows}


def _name(node: ast.AST) -> str | None:
    """The name that a node reads, takes as a parameter or imports."""
    if isinstance(node, ast.Name):
        return node.id
    return node.arg if isinstance(node, ast.arg) else _imported(node)


def _imported(node: ast.AST) -> str | None:
    return (node.asname or node.name.partition(".")[0]) if isinstance(node, ast.alias) else None


def _binds(tree: ast.AST) -> set[str | None]:
    """The names that are bound anywhere in a piece of code."""
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    defined = {
        n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    return stored | defined | {_imported(n) for n in ast.walk(tree)}


# --- end to end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVEN)
def test_package_is_proven(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NB2PROD_PROJECT", str(tmp_path))
    table, proven = table_of(name), nb2prod.validate(path_of(name))
    assert proven.report.passed
    assert proven.report.rows_compared > 1
    assert {item.key for item in proven.report.state} == table.state
    assert proven.bundle.evidence is not None
    assert set(proven.bundle.evidence.rehomed) == set(table.in_state)
