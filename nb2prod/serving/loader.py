"""A generated package, imported and ready to answer.

Each load imports the package under a module name of its own, so that several versions of one
notebook live side by side in one process.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import itertools
import json
import re
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from nb2prod.serving.limits import LIMITS, Limits

_count = itertools.count(1)


@dataclass(frozen=True, slots=True)
class LoadedRelease:
    """A release in this process. `module` is the name that its package was imported under."""

    model_name: str
    version: int
    path: Path
    module: str
    predictor: Any
    runtime: Any
    limits: Limits = LIMITS

    @property
    def contract(self) -> Mapping[str, Any]:
        """The package's contract.json."""
        contract: Mapping[str, Any] = self.predictor.contract
        return contract

    @property
    def batch_safe(self) -> bool:
        """Whether the proof showed that rows of several requests may be asked together."""
        return self.runtime.manifest().get("batch_safe") is True

    @property
    def schema(self) -> Mapping[str, Any]:
        """The package's schema.json: requests and responses as JSON Schema."""
        schema: Mapping[str, Any] = json.loads((self.path / "schema.json").read_text("utf-8"))
        return schema


def load(path: Path | str, model_name: str, version: int, limits: Limits = LIMITS) -> LoadedRelease:
    """Import the package in the directory `path` and load its state.

    Raises whatever the package's code or state raises, with a note that names the notebook's lines;
    nothing of it then stays imported.
    """
    path = Path(path).resolve()
    plain = re.sub(r"\W", "_", model_name)
    module = f"nb2prod_release_{plain}_{version}_{next(_count)}"
    try:
        runtime = _import(path, module)
        return LoadedRelease(model_name, version, path, module, runtime.load(), runtime, limits)
    except BaseException as error:
        with suppress(Exception):  # what damaged the package may have damaged this as well
            _note_lines(error, sys.modules.get(f"{module}.runtime"))
        _forget(module)
        raise


def warm(release: LoadedRelease) -> None:
    """Predict the contract's example once; whatever that raises is raised, with a note as by `load`."""
    example = list(release.contract["example"])
    try:
        if example:
            release.predictor.predict(example)
    except BaseException as error:
        _note_lines(error, release.runtime)
        raise


def load_warm(path: Path | str, model_name: str, version: int, limits: Limits = LIMITS) -> LoadedRelease:
    """A release that has answered its example; raises as `load` and `warm` do, and then keeps nothing."""
    release = load(path, model_name, version, limits)
    try:
        warm(release)
    except BaseException:
        unload(release)
        raise
    release.predictor.on_unseen = limits.unseen
    return release


def settle() -> None:
    """Keep what is loaded by now out of the garbage collector's full rounds, which take 100 ms and more.

    Call it once a release serves.
    """
    gc.freeze()


def _note_lines(error: BaseException, runtime: Any) -> None:
    lines = runtime.notebook_lines(error) if runtime is not None else []
    if lines:
        with suppress(Exception):  # the error's own class may look its attributes up
            error.add_note("\n".join(f"notebook: {line}" for line in lines))


def trace_of(error: BaseException) -> str:
    """An error's traceback, whatever its own class makes of being looked at."""
    try:
        return "".join(traceback.format_exception(error)).rstrip()
    except Exception:  # the notebook's own code
        frames = vars(BaseException)["__traceback__"].__get__(error)
        return "".join(traceback.format_tb(frames)) + told(error)[0]


def told(error: BaseException) -> tuple[str, list[str]]:
    """What an error says in a line, and the lines of its notes, whatever its own class makes of them."""
    try:
        text = str(error)
    except Exception as beyond:  # the notebook's own code
        text = f"what it says cannot be told: {type(beyond).__name__}"
    notes = vars(BaseException)["__dict__"].__get__(error).get("__notes__")
    notes = notes if isinstance(notes, list) else []
    lines = [line for note in notes if isinstance(note, str) for line in note.splitlines() if line]
    return f"{type(error).__name__}: {text}".strip(": ").splitlines()[0], lines


def unload(release: LoadedRelease) -> None:
    """Let go of a release that answers no more: call it when none of its code runs.

    The modules' contents are cleared, not left to the garbage collector: Ray freezes what a replica
    holds at its start, and frozen cycles are never collected.
    """
    for module in _forget(release.module):
        vars(module).clear()


def _import(path: Path, name: str) -> ModuleType:
    entry = path / "__init__.py"
    if not entry.is_file():
        raise FileNotFoundError(f"{path} holds no package: {entry.name} is missing")
    spec = importlib.util.spec_from_file_location(name, entry, submodule_search_locations=[str(path)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return importlib.import_module(f"{name}.runtime")


def _forget(name: str) -> list[ModuleType]:
    ours = [key for key in list(sys.modules) if key == name or key.startswith(f"{name}.")]
    return [sys.modules.pop(key) for key in ours]
