"""Reads tests/golden/traps/*.md, and runs such notebooks in a real IPython in this process.

A trap is a page for a reviewer: a title, one line that says why the expectation is right, the cells
as fenced blocks (the info string carries the tags), and then what must come of them:

    ## Answers `18`                          the notebook's own answer to its example, as `repr`
    ## model.py                              a module, byte for byte (and helpers.py, state.py, pipeline.py)
    ## Noted: NB210, cell 4, line 1          a warning or note, and a text that its hint must contain
    ## Refused: NB204, cell 3, line 1        an error, in the same form

The page shows every role module, helpers.py and state.py that the package has, and every finding
about the notebook; pipeline.py where it says something.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from nb2prod.domain import ROLES

FOLDER = Path(__file__).parent / "golden" / "traps"
SHOWN = ("helpers.py", *(f"{role}.py" for role in ROLES), "state.py")
"""Modules that a trap must show if the package has them."""

_FENCE = re.compile(r"^```python *(.*?)\n(.*?)^```$", re.M | re.S)
_FINDING = re.compile(r"(NB\d{3})(?:, cell (\d+))?(?:, line (\d+))?\n\nThe hint says \"(.+)\"\.\n?")


@dataclass(frozen=True, slots=True)
class Expected:
    """A finding that a trap expects."""

    code: str
    number: int | None
    line: int | None
    hint: str


@dataclass(slots=True)
class Trap:
    """One page of tests/golden/traps."""

    name: str
    title: str
    why: str
    cells: tuple[tuple[str, str], ...]
    answer: str | None = None
    modules: dict[str, str] = field(default_factory=dict)
    refused: list[Expected] = field(default_factory=list)
    noted: list[Expected] = field(default_factory=list)


def trap(path: Path) -> Trap:
    """The trap on a page; ValueError if something on the page would never be looked at."""
    head, *sections = re.split(r"^## ", path.read_text("utf-8"), flags=re.M)
    heading = re.match(r"# (.+)\n\n(.+)\n\n", head)
    if heading is None or _FENCE.sub("", head[heading.end() :]).strip():
        raise ValueError(f"{path.name}: not a title, one line and cells")
    cells = tuple((tags, source.removesuffix("\n")) for tags, source in _FENCE.findall(head))
    found = Trap(path.stem, heading[1], heading[2], cells)
    for section in sections:
        _put(found, section)
    if (found.answer is None) == (not found.refused) or (found.answer is None) != (not found.modules):
        raise ValueError(f"{path.name}: either an answer and modules, or a refusal")
    return found


def _put(found: Trap, section: str) -> None:
    if match := re.fullmatch(r"Answers `(.+)`\n*", section):
        found.answer = match[1]
    elif match := re.fullmatch(r"(\w+\.py)\n\n```python\n(.*?)```\n*", section, re.S):
        found.modules[match[1]] = match[2]
    elif match := re.fullmatch(rf"(Refused|Noted): {_FINDING.pattern}\n*", section):
        number, line = (int(text) if text else None for text in (match[3], match[4]))
        expected = Expected(match[2], number, line, match[5])
        (found.refused if match[1] == "Refused" else found.noted).append(expected)
    else:
        raise ValueError(f"{found.name}: {section.partition(chr(10))[0]}")


# --- running the notebook ------------------------------------------------------------------------


@contextmanager
def shell(folder: Path) -> Iterator[Any]:
    """An IPython as a kernel has it, without history; its profile lies in `folder`."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    main = sys.modules["__main__"]
    made = InteractiveShell(config=config, ipython_dir=str(folder), user_module=ModuleType("__main__"))
    made.displayhook.quiet = lambda: False  # a last semicolon hides the value from the reader only
    made.enable_gui = lambda gui=None: None  # a kernel has no window to draw in
    try:
        yield made
    finally:
        sys.modules["__main__"] = main


def fresh(shell: Any) -> Any:
    """The shell as at its start: no names, no `from __future__` (its own `reset` takes ten times as long)."""
    for name in set(shell.user_ns) - {"__name__", "__builtin__", "__builtins__"}:
        del shell.user_ns[name]
    shell.init_user_ns()
    shell.compile.reset_compiler_flags()
    return shell


def run(shell: Any, source: str) -> Any:
    """The value of a cell's last expression; raises what the cell raises."""
    done = shell.run_cell(source)
    done.raise_error()
    return done.result


def own_answer(shell: Any, found: Trap) -> Any:
    """What the notebook answers to its example, found without the engine.

    Inline: the last role cell's last expression, else the name that it binds last. Role functions
    are called at the end of the notebook, each with the answer before it.
    """
    value: Any = None
    inline: dict[str, Any] = {}
    for tags, source in found.cells:
        if "skip" in tags.split():
            continue
        result = run(shell, source)
        for role in {*ROLES, "example"} & set(tags.split()):
            inline[role] = _result(shell, source, result)
    value = inline.pop("example")
    for role in ROLES:
        if role in inline:
            answer = inline[role]
            value = answer(value) if callable(answer) else answer
            value = asyncio.run(value) if inspect.iscoroutine(value) else value
    return value


def _result(shell: Any, source: str, result: Any) -> Any:
    body = source.partition("\n")[2] if source.startswith("%%") else source
    last = ast.parse(shell.transform_cell(body)).body[-1]
    if isinstance(last, ast.For | ast.If | ast.Match | ast.Try | ast.With):  # what its last line has set
        return shell.user_ns[_set_last(last)]
    match last:
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            while isinstance(target, ast.Subscript | ast.Attribute):
                target = target.value  # type: ignore[assignment]
            return shell.user_ns[target.id]  # type: ignore[attr-defined]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return shell.user_ns[name]
    return result


def _set_last(node: ast.stmt) -> str:
    names: list[tuple[int, str]] = []
    for inner in ast.walk(node):
        match inner:
            case ast.Name(ctx=ast.Store()) | ast.Subscript(value=ast.Name(), ctx=ast.Store()):
                names.append((inner.lineno, getattr(inner, "id", "") or inner.value.id))  # type: ignore[union-attr]
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
                names.append((inner.lineno, name))
    return max(names)[1]
