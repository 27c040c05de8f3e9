"""Settings that the notebook makes and its package does not, as the proof has found them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nb2prod.domain import Bundle, CleanRun, Diagnostic
from nb2prod.validation.probe.settings import READERS

_BY_NAME = frozenset({"calendar", "csv", "mimetypes"})
"""Libraries whose settings hold only for code that imports them; others are used by what is imported."""

_HINT = "If answers depend on it, set it in the role cell that needs it."


def not_made(bundle: Bundle, run: CleanRun, found: Iterable[str]) -> tuple[Diagnostic, ...]:
    """NB238 for each line that has made settings which are others where the package answers."""
    return tuple(_by_cell(bundle, run, found))


def _by_cell(bundle: Bundle, run: CleanRun, found: Iterable[str]) -> Iterator[Diagnostic]:
    imported = {module.partition(".")[0] for module in bundle.imports}
    told = {(d.cell, _root(d)) for d in bundle.diagnostics if d.code == "NB238"}
    places = set[tuple[str, int]]()
    for key in found:
        seen, root = run.settings[key], key.partition(".")[0]
        cell, line = seen["cell"], seen["line"]
        by_name = root in _BY_NAME or "by name" in seen
        if (cell, root) in told or (cell, line) in places or (by_name and root not in imported):
            continue
        places.add((cell, line))
        how = "is set here" if cell else "is set"
        message = f"`{key}` {how} for the whole process, and the package does not set it"
        yield Diagnostic("NB238", "warning", message, cell, seen["number"], line, _HINT)


def likely_cause(bundle: Bundle, unset: Iterable[Diagnostic], found: Iterable[str]) -> str | None:
    """Why a package may answer otherwise or fail: settings that it lacks, if there are any."""
    alike = READERS.keys() - {key.partition(".")[0] for key in found}
    said = (d for d in bundle.diagnostics if d.code == "NB238" and _root(d) not in alike)
    words = " ".join(f"{d.where}: {d.message}. {d.hint}" for d in (*unset, *said))
    return f"Likely the cause: {words}" if words else None


def _root(known: Diagnostic) -> str:
    """The library that a finding is about."""
    return known.message.strip("`").partition(".")[0]
