"""Line magics that run Python code (`%time`, `%prun`, `%timeit`), so that what they run can be seen.

`%time` is replaced by its code. `%prun` gives None whatever its code gives. `%timeit` runs its code in a
function, many times: it stays a call, with the code beside it in a lambda that nothing calls.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

OPTIONS = {
    "time": re.compile(r"(?:--no-raise-error\s+)?"),
    "prun": re.compile(r"(?:-[rq]+\s+|-[lsTD]\s*\S+\s+)*"),
    "timeit": re.compile(r"(?:-[tcqo]+\s+|-[nrpv]\s*\S+\s+)*"),
}
"""What may stand before the code."""

_CALL = re.compile(rf"\.run_line_magic\('(?:{'|'.join(OPTIONS)})'")
_BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class _Magic:
    """The call of such a magic, in the statement that it is or that binds its value."""

    statement: ast.stmt
    call: ast.Call
    name: str
    body: str
    in_function: bool


def parsed(code: str) -> ast.Module | None:
    """Code as a tree, with await at its top level as in a kernel; None if it is no Python."""
    try:
        tree = compile(code, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    assert isinstance(tree, ast.Module)
    return tree


def without_timing(code: str, plain: Callable[[str], str]) -> str:
    """Code in which such magics show what they run; `plain` turns a magic's own code into Python."""
    tree = parsed(code) if _CALL.search(code) else None
    if tree is None:
        return code
    lines = code.split("\n")
    for magic in _magics(tree, in_function=False):
        at = magic.call.lineno - 1
        lines[at] = _shown(lines[at], magic, plain(magic.body))
    return "\n".join(lines)


def _magics(node: ast.AST, *, in_function: bool) -> Iterator[_Magic]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr | ast.Assign | ast.AnnAssign):
            match child.value:
                case ast.Call(
                    func=ast.Attribute(
                        attr="run_line_magic", value=ast.Call(func=ast.Name(id="get_ipython"))
                    ),
                    args=[ast.Constant(value=str(name)), ast.Constant(value=str(body))],
                ) if name in OPTIONS:
                    code = OPTIONS[name].sub("", f"{body.strip()} ", count=1).strip()
                    yield _Magic(child, child.value, name, code, in_function)
        elif isinstance(child, _BLOCKS):
            yield from _magics(child, in_function=in_function or isinstance(child, _FUNCTIONS))


def _shown(line: str, magic: _Magic, body: str) -> str:
    """The line with what the magic runs; unchanged where that cannot be shown."""
    data = line.encode()
    start, end = magic.call.col_offset, magic.call.end_col_offset or len(data)
    before, after = data[: magic.statement.col_offset].decode(), data[end:].decode()
    target = data[magic.statement.col_offset : start].decode()
    tree = parsed(body)
    if tree is None:
        return before + target + body + after  # IPython fails here: Python names the line
    text = _text(magic, target, body, tree.body, data[start:end].decode())
    return line if text is None else before + text + after


def _text(magic: _Magic, target: str, body: str, code: list[ast.stmt], call: str) -> str | None:
    value = code[-1].value if code and isinstance(code[-1], ast.Expr) else None
    if magic.name == "time" and len(code) == 1 and value is not None:
        return target + body
    if magic.name == "time" and magic.in_function:
        return None  # its code runs in a copy of the function's names: what it binds is lost
    if magic.name == "time":
        return body if not target else _bound(target, code, value)
    if magic.name == "prun" and not target and not magic.in_function:
        return body if value is None else _joined([*code, ast.Expr(ast.Constant(None))])
    return _beside(target, code, call)


def _bound(target: str, code: list[ast.stmt], value: ast.expr | None) -> str | None:
    """`y = %time a = 1; a` binds `a`, and `y` to the last expression, or to None."""
    if not all(isinstance(s, ast.Expr | ast.Assign | ast.AugAssign | ast.AnnAssign) for s in code):
        return None
    first = code if value is None else code[:-1]
    return f"{_joined(first)}; {target}{'None' if value is None else ast.unparse(value)}" if first else None


def _beside(target: str, code: list[ast.stmt], call: str) -> str | None:
    """The call, and the code's expressions beside it, so that what they read and change is known."""
    kinds = (ast.Expr, ast.Assign, ast.AugAssign)
    values = [ast.unparse(s.value) for s in code if isinstance(s, kinds)]
    if len(values) < len(code) or not values:
        return None
    return f"{target}[{call}, lambda: [{', '.join(values)}]][0]"


def _joined(code: list[ast.stmt]) -> str:
    return "; ".join(ast.unparse(statement) for statement in code)
