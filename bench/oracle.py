"""A second opinion on a notebook's syntax and language, which shares no code with nb2prod.

Each cell as a real IPython shell would compile it; cell magics that run their body are looked into.
"""

from __future__ import annotations

import ast
import builtins
import functools
import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nb2prod.domain import Diagnostic

RUNS_ITS_BODY = ("time", "timeit", "capture", "prun")
SYNTAX = ("NB120", "NB121", "NB124", "NB125")
FOREIGN_KERNEL = re.compile(
    r"(ir\b|julia|iruby|ruby|scala|xcpp|xeus-cpp|bash|javascript|\.net|octave|matlab|sas\b|stata|gophernotes|rust"
    r"|clojure|haskell|perl|kotlin|groovy|ocaml|coq|maxima|gnuplot|tcl|wolfram|calysto|sos|robot|q\b|cadabra|xsqlite)",
    re.IGNORECASE,
)


def disagreements(file: Path, found: Iterable[Diagnostic]) -> dict[str, Any]:
    """Where nb2prod and this opinion differ: `unnamed` faults, and `invented` ones; and what was looked at.

    A notebook that is no JSON, or that holds no code, is not looked at.
    """
    findings = list(found)
    try:
        raw = json.loads(file.read_bytes())
        cells = list(_cells(raw))
    except (ValueError, TypeError, AttributeError, KeyError):
        return {}
    if not any(kind == "code" and source.strip() for kind, source in cells):
        return {}
    if foreign(raw.get("metadata") or {}):
        named = any(f.code == "NB103" for f in findings)
        return {"foreign": 1, "unnamed": [] if named else ["a foreign kernel"]}
    wrong = {n for n, (kind, source) in enumerate(cells, 1) if kind == "code" and not compiles(source)}
    named_cells = {f.number for f in findings if f.code in SYNTAX}
    invented = [f"cell {n}" for n in sorted(n for n in named_cells - wrong if n is not None)]
    if any(f.code == "NB103" for f in findings):
        invented.append("a foreign kernel")
    return {
        "cells": sum(kind == "code" for kind, _ in cells),
        "syntax_errors": len(wrong),
        "unnamed": []
        if invented[-1:] == ["a foreign kernel"]
        else [f"cell {n}" for n in wrong - named_cells],
        "invented": invented,
    }


def _cells(raw: Any) -> Iterator[tuple[str, str]]:
    sheets = raw.get("worksheets")
    for cell in [c for s in sheets for c in s["cells"]] if sheets else raw["cells"]:
        source = cell.get("source", cell.get("input", ""))
        text = "".join(source) if isinstance(source, list) else source
        yield cell["cell_type"], text.replace("\r\n", "\n")


def foreign(metadata: Any) -> bool:
    """True if any of the places that may say so says another language than Python."""
    info, spec = _object(metadata, "language_info"), _object(metadata, "kernelspec")
    said = [str(info.get("name") or spec.get("language") or metadata.get("language") or "python")]
    said += [str(spec["language"])] if spec.get("language") else []
    if any(re.fullmatch(r"i?python[23]?", language, re.IGNORECASE) is None for language in said):
        return True
    return not info.get("name") and FOREIGN_KERNEL.match(str(spec.get("name") or "")) is not None


def _object(holder: Any, key: str) -> Any:
    found = holder.get(key)
    return found if isinstance(found, dict) else {}


def compiles(source: str) -> bool:
    """True if IPython can compile a cell, and the body of a magic that runs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = _shell().transform_cell(source)
            flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            tree = compile(code, "<cell>", "exec", flags)
        except (SyntaxError, ValueError, RuntimeError, MemoryError):
            return False
        assert isinstance(tree, ast.Module)
        if any(isinstance(n, ast.Constant) and n.value in _NO_MAGIC for n in ast.walk(tree)):
            return "run_line_magic('%" not in code
        return all(compiles(body) for body in (*_bodies(tree), *_line_bodies(tree)))


_NO_MAGIC = frozenset(f"%{name}" for name in (*RUNS_ITS_BODY, "bash", "writefile"))
"""What IPython makes of a cell magic below the first line; it then fails to find it."""


@functools.cache
def _shell() -> Any:
    os.environ["IPYTHONDIR"] = tempfile.mkdtemp()
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()  # type: ignore[no-untyped-call]
    for name in ("display", "get_ipython", "__IPYTHON__"):
        vars(builtins).pop(name, None)  # which the shell has put there, for all code of the process
    return shell


def _bodies(tree: ast.Module) -> Iterator[str]:
    match tree.body:
        case [ast.Expr(value=ast.Call(func=ast.Attribute(attr="run_cell_magic"), args=arguments))]:
            name, _, body = (ast.literal_eval(argument) for argument in arguments)
            if name in RUNS_ITS_BODY:
                yield body


def _line_bodies(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(name), ast.Constant(line)]
            ):
                if name in RUNS_ITS_BODY:
                    words = line.split(" ")
                    while words and words[0].startswith("-"):
                        del words[: 2 if words[0] in ("-n", "-r", "-l", "-s", "-T", "-D", "-p", "-v") else 1]
                    yield " ".join(words)
