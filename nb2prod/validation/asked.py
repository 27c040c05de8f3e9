"""Who asks for which module while a package is loaded and answers.

Run in the proving process; standard library only.
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

_PATHS = {os.path.dirname(os.__file__), *map(sysconfig.get_path, ("stdlib", "platstdlib"))}
_LIBRARY = tuple(f"{path}{os.sep}" for path in {*_PATHS, *map(os.path.realpath, _PATHS)})
_PROVER = (
    __file__,
    *(os.path.join(os.path.dirname(__file__), f"{name}.py") for name in ("child", "batches")),
)
_SITES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class Asked:
    """A finder of no modules: it notes who is the first to ask for each module, and finds none itself."""

    def __init__(self, package: Path) -> None:
        self._package = str(package)
        self._by: dict[str, tuple[str | None, list[tuple[str, int]]]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Called by each import that is not yet loaded."""
        if name not in self._by:
            frames = _frames(sys._getframe(1))
            inner = next((f for f in frames if not _is_standard(f.f_code.co_filename)), None)
            by = inner.f_globals.get("__name__") if inner is not None else None
            at = [_line(f) for f in _frames(inner) if self._is_ours(f)] if self._is_ours(inner) else []
            self._by[name] = (by, at)

    def _is_ours(self, frame: FrameType | None) -> bool:
        return frame is not None and os.path.dirname(frame.f_code.co_filename) == self._package

    def imports(self) -> dict[str, dict[str, Any]]:
        """The modules outside the standard library and the package that were loaded: their file, who asked
        first (a module), and, if that was the package, its files and lines, innermost first."""
        found = {}
        for name, (by, at) in self._by.items():
            file = _file(sys.modules.get(name))
            if os.path.isfile(file) and not _is_standard(file) and os.path.dirname(file) != self._package:
                found[name] = {"file": file, "by": by, "at": at}
        return found


def _line(frame: FrameType) -> tuple[str, int]:
    return os.path.basename(frame.f_code.co_filename), frame.f_lineno


def _file(module: ModuleType | None) -> str:
    spec = getattr(module, "__spec__", None)
    return str(getattr(spec, "origin", None) or getattr(module, "__file__", None) or "")


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


@functools.cache
def _is_standard(file: str) -> bool:
    """Whether a file is of the standard library, which may hold the folder of all others, or the prover."""
    if file.startswith(_LIBRARY):
        return not any(site in file for site in _SITES)
    return file.startswith("<frozen") or file in _PROVER
