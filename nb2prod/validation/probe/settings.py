"""Settings of libraries and of the process, as data that two processes can compare.

Standard library only, and no module beside it: the kernel and the proving process both use it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from types import FrameType, ModuleType
from typing import Any

Settings = dict[str, str]
"""What holds, by what sets it; as a digest, for an environment may hold secrets."""

_HARMLESS = ("plotting.", "mode.chained_assignment", "mode.performance_warnings", "performance_warnings")
"""Options of pandas that no value depends on."""

READ_APART = (
    "logging.",
    "numpy.set_printoptions",
    "os.environ[",
    "pandas.options.display.",
    "pandas.options.styler.",
)
"""Beginnings of settings that only some code reads: for values as text, for the log, by name."""

_BY_KEY = ("csv.", "os.environ[")
"""What is there only once it is set."""

HELD = (dict, list, set, deque)
"""Containers of libraries that notebooks may change."""

_DEPTH = 3
"""Containers inside containers that are looked into."""

_CONTEXT = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps")


def settings() -> Settings:
    """The settings that hold now, of those libraries that are loaded."""
    found: Settings = {}
    for name, read in READERS.items():
        module = sys.modules.get(name)
        # a library may be half loaded, or of a version that keeps its settings otherwise
        try:
            items = dict(read(module)) if module is not None else {}
        except Exception:
            items = {}
        found |= {key: _digest(value) for key, value in items.items()}
    return found


def differing(notebook: Mapping[str, Collection[str]], call: Callable[[], Any], own: str) -> list[str]:
    """The settings of which this process holds none of the values that the notebook's roles have met.

    `call` asks the package, whose code lies in the folder `own`: some settings count only if that reads them.
    """
    here = settings()
    changed = {key: held for key in notebook.keys() - here.keys() if (held := registry(key)) is not None}
    here |= changed
    named = (key for key in notebook if key in here or key.startswith(_BY_KEY))
    found = [key for key in named if here.get(key) not in notebook[key]]
    apart = {key for key in found if key.startswith(READ_APART) and key not in changed}
    if not apart:
        return found
    read = read_by(call, own)
    return [key for key in found if key not in apart or key.startswith(tuple(read))]


def registry(path: str) -> str | None:
    """What a container of a library holds now, as a digest; None if there is none, or it is not loaded."""
    parts = path.split(".")
    module = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in sys.modules), 0)
    value: Any = sys.modules.get(".".join(parts[:module]))
    for part in parts[module:]:
        value = getattr(value, part, None)
    return _digest(_plain(value)) if isinstance(value, HELD) else None


def _plain(value: Any, depth: int = 0) -> Any:
    """As data that says the same in two processes."""
    if isinstance(value, str | bytes | int | float | complex | None):
        return value
    if isinstance(value, HELD) and depth < _DEPTH:
        items = [*dict.items(value)] if isinstance(value, dict) else value
        found = [_plain(item, depth + 1) for item in items]
        return sorted(found, key=repr) if isinstance(value, set) else found
    if isinstance(value, tuple):
        return tuple(_plain(item, depth) for item in value)
    return str((value if isinstance(value, type) or hasattr(value, "__code__") else type(value)).__qualname__)


def read_by(call: Callable[[], Any], own: str) -> set[str]:
    """The settings of `READ_APART` that a call reads, as beginnings. `own`: the folder of its code."""
    found: set[str] = set()

    def look(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event != "call":
            return
        if code.co_name in ("get_option", "_get_option") and "pandas" in code.co_filename:
            found.add(f"pandas.options.{frame.f_locals.get('pat')}")
        elif code.co_qualname == "_Environ.__getitem__":
            found.add(f"os.environ[{frame.f_locals.get('key')!r}]")
        elif code.co_filename.endswith("arrayprint.py"):
            found.add("numpy.set_printoptions")
        elif code.co_name in ("isEnabledFor", "getEffectiveLevel") and _is_of(frame.f_back, own):
            found.add("logging.")

    before = sys.getprofile()
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
        threading.setprofile(before)
    return found


def _is_of(caller: FrameType | None, folder: str) -> bool:
    return caller is not None and os.path.dirname(caller.f_code.co_filename) == folder


def _digest(value: Any) -> str:
    text = getattr(value, "__qualname__", "") if callable(value) else repr(value)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def _pandas(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Options that are no longer what pandas gave them, which looks at the process for some."""
    for name, known in sys.modules["pandas._config.config"]._registered_options.items():
        if not name.startswith(_HARMLESS):
            value = object.__getattribute__(module.options, "d")
            for part in name.split("."):
                value = value[part]
            yield f"pandas.options.{name}", () if value == known.defval else value


def _numpy(module: ModuleType) -> Iterator[tuple[str, Any]]:
    yield "numpy.seterr", [name for name, what in module.geterr().items() if what in ("raise", "call")]
    yield "numpy.set_printoptions", sorted(module.get_printoptions().items(), key=str)


def _decimal(module: ModuleType) -> Iterator[tuple[str, Any]]:
    context = module.getcontext()
    for name in _CONTEXT:
        value = getattr(context, name)
        shown = sorted(trap.__name__ for trap, on in value.items() if on) if name == "traps" else value
        yield f"decimal.getcontext().{name}", shown


def _sklearn(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in module.get_config().items():
        if name not in ("display", "print_changed_only"):
            yield f"sklearn.set_config({name})", value


def _process(module: ModuleType) -> Iterator[tuple[str, Any]]:
    yield "sys.setrecursionlimit", module.getrecursionlimit()
    yield "sys.set_int_max_str_digits", module.get_int_max_str_digits()


def _environment(module: ModuleType) -> Iterator[tuple[str, Any]]:
    yield from ((f"os.environ[{name!r}]", value) for name, value in module.environ.items())
    yield "os.chdir", module.getcwd()


def _logging(module: ModuleType) -> Iterator[tuple[str, Any]]:
    yield "logging.disable", module.root.manager.disable
    yield "logging.root.setLevel", module.root.level
    for name, logger in list(module.root.manager.loggerDict.items()):
        if isinstance(logger, module.Logger):
            yield f"logging.getLogger({name!r}).setLevel", logger.level


def _csv(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name in module.list_dialects():
        dialect = module.get_dialect(name)
        yield (
            f"csv.register_dialect({name!r})",
            [(a, getattr(dialect, a)) for a in dir(dialect) if a[:1] != "_"],
        )


def _copyreg(module: ModuleType) -> Iterator[tuple[str, Any]]:
    own = [
        kind.__qualname__
        for kind, reduce in module.dispatch_table.items()
        if any(f"{part.__module__}".startswith(("__main__", "_proof_of_")) for part in (kind, reduce))
    ]
    yield "copyreg.pickle", sorted(own)


def _torch(module: ModuleType) -> Iterator[tuple[str, Any]]:
    yield "torch.set_default_dtype", module.get_default_dtype()
    yield "torch.set_grad_enabled", module.is_grad_enabled()


READERS: Mapping[str, Callable[[Any], Any]] = {
    "calendar": lambda calendar: [("calendar.setfirstweekday", calendar.firstweekday())],
    "copyreg": _copyreg,
    "csv": _csv,
    "decimal": _decimal,
    "jax": lambda jax: [(f"jax.config.{name}", value) for name, value in jax.config.values.items()],
    "locale": lambda locale: [("locale.setlocale", locale.setlocale(locale.LC_ALL))],
    "logging": _logging,
    "mimetypes": lambda mime: [("mimetypes.add_type", mime.inited and sorted(mime.types_map.items()))],
    "numpy": _numpy,
    "os": _environment,
    "pandas": _pandas,
    "scipy.special": lambda special: [("scipy.special.seterr", sorted(special.geterr().items()))],
    "sklearn": _sklearn,
    "sys": _process,
    "time": lambda time: [("time.tzset", time.tzname)],
    "torch": _torch,
    "warnings": lambda warnings: [
        ("warnings.filterwarnings", [f for f in warnings.filters if f[0] == "error"])
    ],
}
"""How to read the settings of a module, each by what sets it."""
