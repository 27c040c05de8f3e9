"""Runs a notebook with papermill, and the probe between its cells. Imports papermill: import it late."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine

from nb2prod.domain import Cell
from nb2prod.errors import (
    Nb2prodError,
    NotebookError,
    ParityError,
    RunError,
    SetupError,
    StateError,
)
from nb2prod.validation import kernels

PROBE = "_nb2prod_probe"

_HINTS = {
    "NameError": "The clean run begins with nothing: is it bound further down, by hand, or in a `skip` cell?",
    "ModuleNotFoundError": "Install it in the environment of the notebook's kernel.",
    "FileNotFoundError": "The clean run starts in the notebook's own folder.",
}

Progress = Callable[[int, int, str], None]

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

# loads the probe under a name of its own; an expression, so that it binds nothing in the notebook
_BOOT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location(name, path + "/__init__.py", submodule_search_locations=[path])
module = sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.start(job)
"""


@dataclass(frozen=True, slots=True)
class Work:
    """What to run and to look at. `cells` maps ids in the executed notebook, `watched` holds cell ids."""

    kernel: str
    home: Path
    folder: Path
    cells: Mapping[str, Cell]
    watched: frozenset[str]
    progress: Progress
    cell_timeout: float | None
    start_timeout: float


def execute(nb: Any, work: Work) -> None:
    """Run a notebook to its end; `executed.ipynb` is written as it goes.

    Raises RunError (NB300 to NB303, NB330, NB331), StateError, ParityError or NotebookError for the
    notebook's faults, SetupError NB304 if the kernel does not start.
    """
    _Engine.execute_notebook(
        nb, work.kernel, output_path=str(work.folder / "executed.ipynb"), progress_bar=False, work=work
    )


class _Engine(Engine):  # type: ignore[misc]
    """Papermill's engine, with our client."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> None:
        work: Work = kwargs["work"]
        with open(work.folder / "kernel.log", "wb") as log:
            _Client(nb_man, work).run(log)


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """Papermill's client, asking the probe between cells by silent requests that leave no trace."""

    def __init__(self, nb_man: Any, work: Work) -> None:
        log = logging.getLogger("nb2prod.validation")
        log.addHandler(logging.NullHandler())
        super().__init__(
            nb_man,
            km=kernels.manager(work.kernel),
            kernel_name=work.kernel,
            resources={"metadata": {"path": str(work.home)}},
            startup_timeout=int(work.start_timeout),
            # not `timeout`: that would bound the probe too
            timeout_func=_constant(work.cell_timeout) if work.cell_timeout else None,
            log=log,
        )
        self._work = work
        self._done = 0

    def run(self, log: Any) -> None:
        """Start the kernel, run the cells, stop the kernel: at once if anything went wrong."""
        try:
            with self.setup_kernel(cleanup_kc=True, env=_environment(), stdout=log, stderr=log):
                try:
                    self._run_cells()
                except BaseException:
                    self.shutdown_kernel = "immediate"
                    raise
        except (RuntimeError, OSError) as error:
            raise _no_kernel(error, self._work) from error

    def _run_cells(self) -> None:
        self._load_probe()
        for index, cell in enumerate(self.nb.cells):
            try:
                self.nb_man.cell_start(cell, index)
                self._run_cell(cell, index)
            except BaseException as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                raise
            finally:
                self.nb_man.cell_complete(cell, cell_index=index)
        self._ask("finish()")
        self._work.progress(self._done, self._done, "done")
        self.set_widgets_metadata()

    def _run_cell(self, node: Any, index: int) -> None:
        cell = self._work.cells.get(node.id)
        if cell is None:  # prose, or the parameters that papermill injected
            self.execute_cell(node, index)
            return
        self._work.progress(self._done, len(self._work.cells), _label(cell))
        watched = cell.id in self._work.watched
        try:
            if watched:
                self._ask(f"before({cell.id!r})", cell)
            self.execute_cell(node, index)
            if watched:
                self._ask(f"after({cell.id!r})", cell)
        except CellExecutionError as error:
            raise self._failed(cell, error) from error
        except DeadKernelError as error:
            raise _died(cell, self._work) from error
        except CellTimeoutError as error:
            message = f"cell {cell.number} ran longer than {self._work.cell_timeout:g} s"
            raise RunError(message, code="NB302", source=cell.source, **_at(cell)) from error
        self._done += 1

    def _failed(self, cell: Cell, error: CellExecutionError) -> RunError:
        line = self._ask(f"failed({cell.id!r})", cell)
        what = f"{error.ename}: {error.evalue}" if error.evalue else str(error.ename)
        is_check = "check" in cell.tags
        return RunError(
            f"check failed in cell {cell.number}: {what}"
            if is_check
            else f"cell {cell.number} failed: {what}",
            code="NB330" if is_check else "NB300",
            hint=None if is_check else _HINTS.get(str(error.ename)),
            source=cell.source,
            traceback=_ANSI.sub("", str(error.traceback)),
            **{**_at(cell), "line": int(line) if line.isdigit() else None},
        )

    # --- the probe -------------------------------------------------------------------------------

    def _load_probe(self) -> None:
        names = {
            "name": PROBE,
            "path": str(Path(__file__).with_name("probe")),
            "job": str(self._work.folder / "job.json"),
        }
        self._evaluate(f"exec({_BOOT!r}, {names!r})")

    def _ask(self, call: str, cell: Cell | None = None) -> str:
        answer = self._evaluate(f"__import__('sys').modules[{PROBE!r}].{call}")
        if answer == "refused":
            finding = json.loads((self._work.folder / "finding.json").read_text("utf-8"))
            _raise(finding, cell)
        if answer == "crashed":
            crash = json.loads((self._work.folder / "crash.json").read_text("utf-8"))
            raise _internal(crash["traceback"], cell)
        return answer

    def _evaluate(self, expression: str) -> str:
        """The text that an expression evaluates to, in the kernel, unseen by the notebook."""
        request = self.kc.execute("", silent=True, store_history=False, user_expressions={"it": expression})
        reply = self.wait_for_reply(request)
        found = reply["content"].get("user_expressions", {}).get("it", {}) if reply else {}
        if found.get("status") != "ok":
            raise _internal("\n".join(found.get("traceback", [])) or repr(reply and reply["content"]), None)
        return str(found["data"]["text/plain"]).strip("'\"")


def _environment() -> dict[str, str]:
    """Ours, but not the name of the session that we may run in; and a sign that this is no one's session."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("JPY_")}
    return {**env, "NB2PROD_CLEAN_RUN": "1"}


def _constant(value: float) -> Callable[[Any], float]:
    return lambda cell: value


def _label(cell: Cell) -> str:
    return f"cell {cell.number}" + (f" ({', '.join(cell.tags)})" if cell.tags else "")


def _at(cell: Cell) -> dict[str, Any]:
    return {"cell": cell.id, "number": cell.number}


def _raise(finding: Mapping[str, Any], cell: Cell | None) -> NoReturn:
    """The probe's finding as the error that it is."""
    code = str(finding["code"])
    where = {key: finding[key] for key in ("hint", "cell", "number", "line")}
    if code == "NB321":
        raise ParityError(finding["message"], code=code, **where)
    if code.startswith("NB31"):
        raise StateError(finding["message"], code=code, **where)
    if code in ("NB300", "NB303", "NB330", "NB331"):
        source = cell.source if cell is not None else ""
        raise RunError(finding["message"], code=code, source=source, traceback=finding["traceback"], **where)
    raise NotebookError(finding["message"], code=code, **where)


def _internal(text: str, cell: Cell | None) -> Nb2prodError:
    where = f" at cell {cell.number}" if cell is not None else ""
    return Nb2prodError(
        f"nb2prod failed to look into the notebook{where}:\n{_ANSI.sub('', text).strip()}",
        hint="This is a mistake in nb2prod: please report it with this text.",
    )


def _log_tail(work: Work) -> str:
    with suppress(OSError):
        return (work.folder / "kernel.log").read_bytes()[-2000:].decode("utf-8", "replace").strip()
    return ""


def _died(cell: Cell, work: Work) -> RunError:
    return RunError(
        f"the kernel died in cell {cell.number}",
        code="NB301",
        hint="It ran out of memory, crashed in native code, or the cell ends the process.",
        source=cell.source,
        traceback=_log_tail(work),
        **_at(cell),
    )


def _no_kernel(error: Exception, work: Work) -> SetupError:
    tail = _log_tail(work)
    return SetupError(
        f"the kernel {work.kernel!r} did not start: {error}" + (f"\n{tail}" if tail else ""),
        code="NB304",
        hint="Is ipykernel installed in its environment? `nb2prod doctor` looks.",
    )
