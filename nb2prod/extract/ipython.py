"""IPython's own lines in a notebook (`%magic`, `!shell`): what they mean for extraction.

The reader has rewritten each as a call on `get_ipython()`. Most are harmless where they stand; in serving
code there is no IPython to answer them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nb2prod.domain import Cell, Diagnostic, Notebook
from nb2prod.extract.display import is_display
from nb2prod.extract.findings import at, place
from nb2prod.extract.program import NOT_PYTHON, Program, Statement, parse

_HARMLESS_TEXT = (
    "autoreload aimport cat colors conda config doctest_mode env gui history less load_ext ls lsmagic lprun"
    " mamba matplotlib memit micromamba mprun pdb pdef pdoc pfile pinfo pinfo2 pip precision prun psearch"
    " psource pwd reload_ext tb tensorboard time timeit unload_ext uv watermark who who_ls whos xmode"
)
HARMLESS = frozenset(_HARMLESS_TEXT.split())
"""Line magics that only show, time or set up something: role code loses nothing without them."""

_INSTALL = re.compile(
    r"^\s*[!%]{0,2}\s*(?:sudo\s+)?(?:\S*python[\d.]*\s+-m\s+)?(?:uv\s+)?"
    r"(?:pip[\d.]*|conda|mamba|micromamba|uv)\s+(?:install|add)\b"
)
_SHELLS = frozenset({"bash", "sh", "script", "!", "sx", "system", "cmd", "zsh"})


@dataclass(frozen=True, slots=True)
class OwnLine:
    """One line of IPython's: `name` is the magic, or "!" for the shell; `line` counts from 1 in the cell."""

    name: str
    arguments: str
    line: int


def own_lines(tree: ast.AST) -> Iterator[OwnLine]:
    """The lines of IPython's in a piece of code, in order."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr=method, value=ast.Call(func=ast.Name(id="get_ipython"))),
                args=[ast.Constant(value=str(first)), *rest],
            ):
                magic = method in ("run_line_magic", "run_cell_magic")
                second = rest[0].value if rest and isinstance(rest[0], ast.Constant) else ""
                name, arguments = (first, str(second)) if magic else ("!", first)
                found.append(OwnLine(name, arguments, node.lineno))
    return iter(sorted(found, key=lambda own: own.line))


def written(cell: Cell, line: int) -> str:
    """A line of a cell as the notebook has it, cut to a length that fits into a message."""
    lines = cell.source.split("\n")
    text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    return text if len(text) <= 80 else f"{text[:77]}..."


# --- in serving code -----------------------------------------------------------------------------


def refused(statement: Statement) -> Diagnostic:
    """NB123: serving code that asks IPython for something."""
    own = next(own_lines(statement.node), None)
    line = own.line if own is not None else statement.node.lineno
    return _refused(statement.cell, line)


def dropped(program: Program, cells: Iterable[Cell]) -> Iterator[Diagnostic]:
    """NB123 for lines of inline role code that would be left out as display, but do more than show."""
    for cell in cells:
        for statement in program.of_cell(cell):
            if statement.kind == "magic" and is_display(statement, program):
                lines = (own for own in own_lines(statement.node) if not _is_harmless(own))
                yield from (_refused(cell, own.line, sets_variable(own)) for own in lines)


def sets_variable(own: OwnLine) -> str | None:
    """The environment variable that a line sets: `%env UNIT=km`; `%env UNIT` only shows it."""
    said = own.arguments.replace("=", " ").split()
    return said[0] if own.name in ("env", "set_env") and len(said) > 1 else None


def _is_harmless(own: OwnLine) -> bool:
    if sets_variable(own):
        return False
    return own.name in HARMLESS or _INSTALL.match(_command(own)) is not None


def is_own(name: str) -> bool:
    """True for names that IPython alone binds: `get_ipython`, `display`, `_`, `Out`, `_3`, `_exit_code`, …"""
    return name in _OWN or re.fullmatch(r"_{1,3}|_i{0,3}|_i?\d+", name) is not None


_OWN = frozenset({"get_ipython", "display", "In", "Out", "_ih", "_oh", "_dh", "_exit_code"})


def only_there(name: str, reader: Statement) -> Diagnostic:
    """NB123: serving code that reads a name of IPython's own."""
    if name == "get_ipython":
        return refused(reader)
    line = next((n.lineno for n in ast.walk(reader.node) if isinstance(n, ast.Name) and n.id == name), None)
    hint = "Leave it out of code that serves, or use print."
    if name != "display":
        hint = f"Give the value a name where it is computed, and read that instead of `{name}`."
    return at(reader, "NB123", f"serving code reads `{name}`, which only IPython binds", hint, line=line)


def _refused(cell: Cell, line: int, variable: str | None = None) -> Diagnostic:
    text = written(cell, line)
    hint = (
        "A replica has no IPython and no shell. Move the line to a cell above, outside the role cells, or"
        " write it in Python."
    )
    if variable is not None:
        hint = f"A replica has no IPython. Write it in Python: `os.environ[{variable!r}] = …`."
    return at(
        cell,
        "NB123",
        f"serving code runs a line of IPython's: {text}",
        hint,
        line=line,
    )


# --- names that come from elsewhere --------------------------------------------------------------


def perhaps_bound(program: Program, name: str, before: int) -> Statement | Cell | None:
    """The last place above a position that may bind a name unseen: `%run`, `%store -r`, `exec`."""
    number = program.statements[before].cell.number if before < len(program.statements) else None
    for cell in reversed(program.notebook.code):
        if (number is None or cell.number < number) and cell.magic and _names(cell, name):
            return cell
    return next((s for s in reversed(program.statements[:before]) if _opens(s)), None)


def _names(cell: Cell, name: str) -> bool:
    """True if a cell that is not plain Python seems to bind a name."""
    binds = rf"^\s*(?:(?:cp|c)?def\s.*?|class\s+|(?:export\s+)?){re.escape(name)}\s*(?:=(?!=)|<-|\(|:)"
    return re.search(binds, cell.source, re.M) is not None


def _opens(statement: Statement) -> bool:
    executes = statement.kind == "value" and statement.names.dynamic.keys() & {"exec", "globals"}
    return bool(executes) or any(
        o.name in ("run", "pylab") or (o.name == "store" and o.arguments.split()[:1] == ["-r"])
        for o in own_lines(statement.node)
    )


def elsewhere(name: str, where: Statement | Cell, reader: Statement) -> Diagnostic:
    """NB126: a name that nothing binds in sight, but something may have brought along."""
    cell = where if isinstance(where, Cell) else where.cell
    line = 1 if isinstance(where, Cell) else where.node.lineno
    there = f"cell {cell.number}, line {line}" if isinstance(where, Cell) else place(where)
    return at(
        reader,
        "NB126",
        f"`{name}` is read here, and may come from `{written(cell, line)}` in {there}: nb2prod cannot see",
        f"Bind `{name}` in a cell of this notebook, or import it: `from module import {name}`.",
    )


# --- what the notebook installs ------------------------------------------------------------------


def installs(notebook: Notebook) -> Iterator[Diagnostic]:
    """NB137: the first line that installs packages, as a note; the package pins by what is imported."""
    found = [(cell, line) for cell in notebook.code if "skip" not in cell.tags for line in _installing(cell)]
    if found:
        cell, line = found[0]
        others = len(found) - 1
        more = f" (and {others} more such line{'s' * (others > 1)})" if others else ""
        yield at(
            cell,
            "NB137",
            f"packages are installed here: {written(cell, line)}{more}",
            "The clean run installs them again; the package pins what serving imports, as installed then.",
            "info",
            line,
        )


def _installing(cell: Cell) -> Iterator[int]:
    lines = cell.source.split("\n")
    if cell.magic is not None:
        in_shell = cell.magic in _SHELLS
        yield from (n for n, text in enumerate(lines, 1) if in_shell and _INSTALL.match(text))
    elif "install" in cell.source and "get_ipython" in cell.code:
        yield from (o.line for o in _own_lines_of(cell) if _INSTALL.match(_command(o)))


def _command(own: OwnLine) -> str:
    return own.arguments if own.name == "!" else f"{own.name} {own.arguments}"


def _own_lines_of(cell: Cell) -> Iterator[OwnLine]:
    try:
        yield from own_lines(parse(cell.code))
    except NOT_PYTHON:
        return  # a finding of its own
