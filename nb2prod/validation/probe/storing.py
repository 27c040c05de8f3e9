"""Chooses how a piece of state is stored: the safest codec that gives back the very same value.

Runs inside the notebook's kernel; `codecs` is the package's own module, which will read it in a replica.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .faithful import difference, has_type
from .pickling import Home, Homes, pickled, type_name
from .places import described

EXTENSIONS = {"pickle": "pkl"}
"""Of the codecs whose files are not called like them."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a stored value, whose bytes lie in a file.

    `used` names the notebook's functions and classes in it, `trusted` all that its reader may call.
    `modules` are imported to read it; of a pickle, only reading it tells them. `why` says why it is one.
    `weight` is its size in bytes, in memory or on disk, whichever is known to be larger.
    """

    codec: str
    type: str
    size: int
    weight: int
    sha256: str
    homes: Homes
    used: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    trusted: tuple[str, ...] = ()
    why: str = ""

    @property
    def extension(self) -> str:
        """How the name of its file ends."""
        return "zip" if self.codec.startswith("zip") else EXTENSIONS.get(self.codec, self.codec)


def store(value: Any, homes: Homes, codecs: ModuleType) -> tuple[Stored, bytes]:
    """A value in the safest codec that is faithful, and its bytes; Unstorable if there is none."""
    used: set[str] = set()
    written, why = _written(value, homes, used, codecs)
    if written is not None:
        facts = (frozenset(used), written.modules, written.trusted)
        return _stored(value, homes, written.codec, written.data, *facts), written.data
    pickle = pickled(value, homes)
    return _stored(value, homes, "pickle", pickle.data, pickle.used, why=why), pickle.data


def _written(value: Any, homes: Homes, used: set[str], codecs: ModuleType) -> tuple[Any, str]:
    """The value as bytes that give it back, or None and why it must be a pickle."""

    def home_of(part: Any) -> Home | None:
        home = homes.by_id.get(id(part))
        used.update([home[1].partition(".")[0]] if home else [])
        return home

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            written = codecs.write(value, home_of)
        except codecs.NoForm as error:
            return None, str(error)
        # reading back runs the user's __setstate__, which may raise anything
        try:
            back = codecs.read(written.data, written.codec, written.trusted, homes.find)
        except Exception as error:
            return None, f"{written.codec} does not give it back: {described(error)}"
        part = difference(value, back)
    return (written, "") if part is None else (None, f"{written.codec} gives back another {part} in it")


def _stored(
    value: Any,
    homes: Homes,
    codec: str,
    data: bytes,
    used: frozenset[str],
    modules: frozenset[str] = frozenset(),
    trusted: tuple[str, ...] = (),
    why: str = "",
) -> Stored:
    weight, sha256 = max(len(data), _memory(value)), hashlib.sha256(data).hexdigest()
    return Stored(codec, type_name(value), len(data), weight, sha256, homes, used, modules, trusted, why)


def _memory(value: Any) -> int:
    """Bytes that an array or a table takes in memory; 0 for anything else."""
    if has_type(value, "pandas", "DataFrame"):
        return int(value.memory_usage().sum())
    if has_type(value, "pandas", "Series", "Index"):
        return int(value.memory_usage())
    return int(value.nbytes) if has_type(value, "numpy", "ndarray") else 0
