"""`%load_ext nb2prod`: %deploy, %validate, %status and `%nb2prod VERB`.

Each runs the command line in a process of its own, so that a busy or restarted kernel can neither
slow a deploy nor end it, and Ray and MLflow never enter the notebook's memory. An interrupt of the
cell leaves the deploy running.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class

NOTEBOOK_VERBS = frozenset({"check", "explain", "build", "validate", "deploy"})
CLEAN_RUN = "NB2PROD_CLEAN_RUN"
"""Set in the kernel of a clean run: a notebook that holds `%deploy` must not deploy itself from there."""

VERBS = NOTEBOOK_VERBS | {
    "diff",
    "export",
    "predict",
    "status",
    "logs",
    "dashboard",
    "up",
    "down",
    "doctor",
    "new",
}


class Result:
    """What a verb answered: `data` is its JSON document; shown as the command line shows it."""

    def __init__(self, verb: str, data: Any, text: str) -> None:
        self.verb = verb
        self.data = data
        self._text = text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/plain": self._text, "application/json": self.data}

    def __repr__(self) -> str:
        return self._text


@magics_class
class Nb2prodMagics(Magics):
    """The verbs as line magics, for the notebook that they stand in."""

    @line_magic
    def deploy(self, line: str) -> Result | None:
        """%deploy [-p NAME VALUE]... [--rtol X] [--force] [--no-accelerate] [--endpoint NAME]
        [--notebook PATH]

        Prove this notebook, release it and serve it. Save the notebook first.
        """
        return self._run("deploy", line)

    @line_magic
    def validate(self, line: str) -> Result | None:
        """%validate [-p NAME VALUE]... [--rtol X] [--force] [--isolated] [--no-accelerate] [--notebook PATH]

        Run this notebook clean and prove that the extracted package answers as it does; with
        --isolated also in an empty environment that holds its requirements.txt and nothing else.
        """
        return self._run("validate", line)

    @line_magic
    def status(self, line: str) -> Result | None:
        """%status: the endpoints, their state, version and URL."""
        return self._run("status", line)

    @line_magic
    def nb2prod(self, line: str) -> Result | None:
        """%nb2prod VERB [ARGUMENTS]: any verb of the command line, for this notebook."""
        verb, _, rest = line.strip().partition(" ")
        if verb not in VERBS:
            raise UsageError(f"%nb2prod VERB, one of: {', '.join(sorted(VERBS))}")
        return self._run(verb, rest)

    def _run(self, verb: str, line: str) -> Result | None:
        if os.environ.get(CLEAN_RUN):
            print(f"%{verb} does nothing in nb2prod's own clean run of this notebook.")
            return None
        try:
            arguments = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"%{verb}: {error}") from None
        if verb in NOTEBOOK_VERBS:
            arguments = self._with_notebook(arguments)
        elif verb == "diff":
            arguments = self._with_new_side(arguments)
        return run_verb(verb, arguments)

    def _with_notebook(self, arguments: list[str]) -> list[str]:
        if "--notebook" in arguments:
            i = arguments.index("--notebook")
            if i + 1 == len(arguments):
                raise UsageError("--notebook needs a path")
            return [arguments[i + 1], *arguments[:i], *arguments[i + 2 :]]
        path = notebook_path(self.shell.user_ns if self.shell else {})
        history = self.shell.history_manager if self.shell else None
        if history is not None and history.input_hist_raw:
            # the raw text: `In` holds magics as the calls that they stand for
            refuse_unsaved(path, str(history.input_hist_raw[-1]))
        return [str(path), *arguments]

    def _with_new_side(self, arguments: list[str]) -> list[str]:
        """This notebook is what is compared with, unless both sides are named."""
        if "--notebook" not in arguments and sum(not a.startswith("-") for a in arguments) > 1:
            return arguments
        notebook, *others = self._with_notebook(arguments)
        return [*others, notebook]


def notebook_path(namespace: dict[str, Any]) -> Path:
    """The file of the running notebook, as VS Code or the Jupyter server tells it; else UsageError."""
    for found in (namespace.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")):
        if found and Path(found).suffix == ".ipynb" and Path(found).is_file():
            return Path(found)
    raise UsageError("cannot tell which notebook this is. Say it: --notebook my_notebook.ipynb")


def refuse_unsaved(path: Path, running: str) -> None:
    """UsageError if the running cell is not in the file: then the file is older than the screen."""
    try:
        cells = json.loads(path.read_text("utf-8")).get("cells", [])
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    sources = {"".join(cell.get("source", "")).strip() for cell in cells}
    if running.strip() and running.strip() not in sources:
        raise UsageError(f"{path.name} on disk differs from what runs here: save the notebook first (Ctrl+S)")


def run_verb(verb: str, arguments: list[str]) -> Result:
    """Run a verb in a process of its own, its progress shown as it comes. UsageError says why it failed."""
    environment = {k: v for k, v in os.environ.items() if k != "JPY_SESSION_NAME"}
    process = subprocess.Popen(
        [sys.executable, "-m", "nb2prod", verb, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "NB2PROD_JSON_TOO": "1"},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        told = []
        for line in process.stderr:
            told.append(line)
            print(line, end="", flush=True)
        out = process.stdout.read()
        code = process.wait()
    except KeyboardInterrupt:
        raise UsageError(f"detached: process {process.pid} goes on; ask with %status") from None
    if code:
        raise UsageError("".join(told[-1:]).strip() and f"%{verb} failed (exit code {code}): see above")
    text, _, document = out.rpartition("\x1e")
    return Result(verb, json.loads(document) if document else None, text.rstrip() or out.rstrip())


def load_ipython_extension(shell: Any) -> None:
    """Register the magics."""
    shell.register_magics(Nb2prodMagics)
