"""Settings of a library, or of the process, that the notebook makes outside the code that serving runs.

What the text says. The clean run and the proof see which settings really are others in the package
(`validation/unset.py`), made under whatever name; those for how values are shown are left to them.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from nb2prod.domain import Diagnostic
from nb2prod.extract import names
from nb2prod.extract.findings import at
from nb2prod.extract.ipython import own_lines, sets_variable
from nb2prod.extract.program import Program, Statement

_CALLS = frozenset(
    {
        "calendar.setfirstweekday",
        "codecs.register_error",
        "csv.register_dialect",
        "decimal.setcontext",
        "jax.config.update",
        "locale.setlocale",
        "numpy.seterr",
        "os.chdir",
        "os.environ.pop",
        "os.environ.setdefault",
        "os.environ.update",
        "os.putenv",
        "os.unsetenv",
        "pandas.set_option",
        "sklearn.set_config",
        "time.tzset",
        "torch.set_default_dtype",
        "torch.set_grad_enabled",
        "tqdm.auto.tqdm.pandas",
        "tqdm.notebook.tqdm.pandas",
        "tqdm.tqdm.pandas",
        "warnings.filterwarnings",
        "warnings.simplefilter",
    }
)
"""Functions that set something which answers may depend on."""

_PLACES = ("decimal.getcontext().", "os.environ[", "pandas.options.")
"""Beginnings of what is set by assignment."""

_SCOPED = frozenset(
    {
        "decimal.localcontext",
        "numpy.errstate",
        "numpy.printoptions",
        "pandas.option_context",
        "sklearn.config_context",
        "warnings.catch_warnings",
    }
)
"""What gives settings back at the end of its `with`."""

_EVERYWHERE = frozenset({"codecs", "decimal", "locale", "numpy", "sklearn", "time", "warnings"})
"""Libraries whose settings hold for code that does not import them."""

_HARMLESS_OPTIONS = (
    "display.",
    "plotting.",
    "mode.chained_assignment",
    "mode.performance_warnings",
    "performance_warnings",
)
"""Options of pandas that no value depends on, but for texts."""

_HARMLESS = frozenset({"ignore", "once", "always", "default", "module", "warn", "print", "log"})
"""What numpy and `warnings` may be told to do without an effect on any value."""

_Known = dict[ast.AST, list[str]]
"""What functions set, as far as it has been asked for."""


def settings(
    program: Program, imported: Collection[str], kept: Collection[Statement | None], end: int
) -> Iterator[Diagnostic]:
    """NB238, a warning: a setting that serving code may depend on, which the package does not make.

    `imported`: the modules that the package imports; `kept`: the statements that go into it; `end`: how many
    have run when its answer is known.
    """
    roots = {*(module.partition(".")[0] for module in imported), *_EVERYWHERE}
    known: _Known = {}
    for statement in program.statements[:end]:
        if statement not in kept and statement.kind in ("value", "constant", "magic"):
            for line, what in _made_by(statement, program, known):
                if what.partition(".")[0] in roots:
                    yield _finding(statement, line, what)
                    break


def _finding(statement: Statement, line: int, what: str) -> Diagnostic:
    how = "is set here" if statement.node.lineno <= line else "is set by what is called here"
    hint = "If answers depend on it, move this line into the role cell that needs it."
    if statement.kind == "magic":
        hint = f"If answers depend on it, write it in the role cell that needs it, as Python: `{what} = …`."
    message = f"`{what}` {how} for the whole process, and the package does not set it"
    return at(statement, "NB238", message, hint, "warning", line or statement.node.lineno)


def _made_by(statement: Statement, program: Program, known: _Known) -> Iterator[tuple[int, str]]:
    """The settings that a statement makes, each with its line; 0 where a function makes it."""
    for own in own_lines(statement.node):
        if variable := sets_variable(own):
            yield own.line, f"os.environ[{variable!r}]"
    yield from _set_in(statement.node, program)
    for function in program.changes.come_to(statement.names.calls):
        if function not in known:
            body = [function.body] if isinstance(function, ast.Lambda) else function.body
            known[function] = [what for part in body for _, what in _set_in(part, program)]
        yield from ((0, what) for what in known[function])


def _set_in(code: ast.AST, program: Program) -> Iterator[tuple[int, str]]:
    for node in _run(code, program):
        if what := _set_by(node, program):
            yield node.lineno, what  # type: ignore[attr-defined]


def _run(node: ast.AST, program: Program) -> Iterator[ast.AST]:
    """What stands in code, less what is in functions, and in a `with` that takes settings back."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    if isinstance(node, ast.With):
        called = (names.call_of(item.context_expr).function for item in node.items)
        if any(program.changes.resolved(function) in _SCOPED for function in called):
            return
    for child in ast.iter_child_nodes(node):
        yield from _run(child, program)


def _set_by(node: ast.AST, program: Program) -> str | None:
    """What a part of code sets by itself: a path, or the function that sets."""
    for target in _targets(node):
        path = program.changes.resolved(ast.unparse(target))
        if path.startswith(_PLACES) and not _is_harmless_option(path.removeprefix("pandas.options.")):
            return path
    if isinstance(node, ast.Call):
        function = program.changes.resolved(names.dotted(node.func))
        if function in _CALLS and not _is_harmless(node):
            return function
    return None


def _targets(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            return targets
        case ast.AugAssign(target=target):
            return [target, ast.Subscript(target, ast.Constant("…"))]  # `os.environ |= {...}` sets items
    return []


def _is_harmless_option(option: str) -> bool:
    return option.startswith(_HARMLESS_OPTIONS)


def _is_harmless(call: ast.Call) -> bool:
    """`filterwarnings("ignore")`, `np.seterr(all="ignore")`, `set_config(display="diagram")`."""
    keywords = {k.arg: k.value for k in call.keywords}
    if keywords.keys() == {"display"}:
        return True
    said = [v.value for v in [*call.args[:1], *keywords.values()] if isinstance(v, ast.Constant)]
    texts = [text for text in said if isinstance(text, str)]
    if texts and _is_harmless_option(texts[0]):
        return True
    return bool(texts) and set(texts) <= _HARMLESS
