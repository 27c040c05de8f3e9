"""Settings of a library, or of the process, that the notebook makes outside the code that serving runs."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from nb2prod.domain import Diagnostic
from nb2prod.extract import names
from nb2prod.extract.findings import at
from nb2prod.extract.program import Program, Statement

_CALLS = frozenset(
    {
        "csv.register_dialect",
        "decimal.setcontext",
        "locale.setlocale",
        "numpy.seterr",
        "os.environ.setdefault",
        "os.environ.update",
        "os.putenv",
        "pandas.set_option",
        "sklearn.set_config",
        "time.tzset",
        "torch.set_default_dtype",
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

_EVERYWHERE = frozenset({"locale", "numpy", "sklearn", "time", "warnings"})
"""Libraries whose settings hold for code that does not import them."""

_SHOWN = tuple(
    f"{start}{part}" for start in ("", "pandas.options.") for part in ("display.", "plotting.", "mode.")
)
"""Options of pandas for what is shown, and for its warnings."""

_HARMLESS = frozenset({"ignore", "once", "always", "default", "module", "warn", "print", "log"})
"""What numpy and `warnings` may be told to do without an effect on any value."""


def settings(
    program: Program, imported: Collection[str], kept: Collection[Statement | None]
) -> Iterator[Diagnostic]:
    """NB238, a warning: a setting that serving code may depend on, which the package does not make.

    `imported`: the modules that the package imports; `kept`: the statements that go into it.
    """
    roots = {*(module.partition(".")[0] for module in imported), *_EVERYWHERE}
    for statement in program.statements:
        if statement not in kept and statement.kind in ("value", "constant"):
            made = (what for what in _made_by(statement, program) if what.partition(".")[0] in roots)
            if what := next(made, None):
                yield at(
                    statement,
                    "NB238",
                    f"`{what}` is set here for the whole process, and the package does not set it",
                    "If answers depend on it, move this line into the role cell that needs it.",
                    "warning",
                )


def _made_by(statement: Statement, program: Program) -> Iterator[str]:
    node = statement.node
    for target in node.targets if isinstance(node, ast.Assign) else ():
        path = program.changes.resolved(ast.unparse(target))
        if path.startswith(_PLACES) and not path.startswith(_SHOWN):
            yield path
    call = node.value if isinstance(node, ast.Expr | ast.Assign) else None
    if isinstance(call, ast.Call):
        function = program.changes.resolved(names.dotted(call.func))
        if function in _CALLS and not _is_harmless(call):
            yield function


def _is_harmless(call: ast.Call) -> bool:
    """`filterwarnings("ignore")`, `np.seterr(all="ignore")`, `pd.set_option("display.width", 120)`."""
    keywords = {k.arg: k.value for k in call.keywords}
    if keywords.keys() == {"display"}:
        return True
    said = [v.value for v in [*call.args[:1], *keywords.values()] if isinstance(v, ast.Constant)]
    texts = [text for text in said if isinstance(text, str)]
    if texts and texts[0].startswith(_SHOWN):
        return True
    return bool(texts) and set(texts) <= _HARMLESS
