"""What `from module import *` brings: asked of the interpreter that the notebook's kernel runs."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace

from nb2prod.domain import Cell, Notebook
from nb2prod.errors import NotebookError
from nb2prod.validation import kernels

TIMEOUT_S = 120.0
"""Longest time that importing the modules may take."""

_ASK = """
import contextlib, importlib, io, json, sys
found = {}
for name in json.loads(sys.argv[1]):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            module = importlib.import_module(name)
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"
        continue
    public = [n for n in vars(module) if not n.startswith("_")]
    found[name] = sorted(getattr(module, "__all__", public))
print(json.dumps(found))
"""


def expand(notebook: Notebook, kernel: str | None = None) -> Notebook:
    """The notebook with the names that its star imports bring, in `stars`.

    Only the modules are imported, by the kernel's interpreter, in the notebook's folder. Raises
    NotebookError NB205 if one cannot be; UsageError NB115.
    """
    stars = dict(_stars(notebook))
    if not stars:
        return notebook
    answers = _ask(notebook, list(stars), kernel)
    for module, cell in stars.items():
        if isinstance(answers[module], str):
            raise NotebookError(
                f"nb2prod cannot tell what `from {module} import *` brings: {answers[module]}",
                code="NB205",
                hint="Import by name: `from module import name`.",
                cell=cell.id,
                number=cell.number,
            )
    return replace(notebook, stars={module: tuple(names) for module, names in answers.items()})


def _stars(notebook: Notebook) -> Iterator[tuple[str, Cell]]:
    """The modules whose names are all imported, with a cell that does so."""
    for cell in notebook.code:
        if "skip" in cell.tags or "import" not in cell.code or "*" not in cell.code:
            continue
        for node in _statements(cell):
            if isinstance(node, ast.ImportFrom) and node.module and any(a.name == "*" for a in node.names):
                yield node.module, cell


def _statements(cell: Cell) -> Iterator[ast.AST]:
    try:
        tree = compile(cell.code, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:
        return  # a finding of its own
    yield from ast.walk(tree)


def _ask(notebook: Notebook, modules: list[str], kernel: str | None) -> Mapping[str, list[str] | str]:
    name, _ = kernels.choose(notebook, kernel)
    command = [_interpreter(name), "-c", _ASK, json.dumps(modules)]
    try:
        done = subprocess.run(
            command, cwd=notebook.path.parent, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return dict.fromkeys(modules, f"{type(error).__name__}: {error}")
    answers: Mapping[str, list[str] | str] = json.loads(done.stdout.splitlines()[-1])
    return answers


def _interpreter(kernel: str) -> str:
    if kernel == kernels.OWN:
        return sys.executable
    from jupyter_client.kernelspec import KernelSpecManager

    command: str = KernelSpecManager().get_kernel_spec(kernel).argv[0]
    return shutil.which(command) or command
