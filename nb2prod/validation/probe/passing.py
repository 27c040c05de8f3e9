"""State that holds only here and now: paths of this machine, and the time of this run. In the kernel."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from .finding import Finding

MAX_PARTS = 10_000
"""Parts of a piece of state that are looked at."""


def passing(item: Mapping[str, Any], value: Any, started: dt.datetime) -> Iterator[Finding]:
    """A warning NB338 for a path of this machine, a note for the time of the run that began at `started`."""
    where = {"cell": item["bound_cell"], "number": item["bound_number"], "line": item["bound_line"]}
    parts = list(_parts(value))
    path = next((part for part in parts if _is_here(part)), None)
    if path is not None:
        message = f"the state {item['name']!r} holds a path of this machine: {str(path)!r}"
        hint = "It need not exist where the package serves: read the file in a cell above."
        yield Finding("NB338", message, hint, severity="warning", **where)
    moment = next((part for part in parts if _is_now(part, started)), None)
    if moment is not None:
        message = f"the state {item['name']!r} holds the time of this run: {moment.isoformat()}"
        hint = "It stays as it is for all requests: if now is meant, ask for it in a role cell."
        yield Finding("NB338", message, hint, severity="info", **where)


def _parts(value: Any) -> Iterator[Any]:
    todo, seen = [value], 0
    while todo and seen < MAX_PARTS:
        part = todo.pop()
        seen += 1
        if isinstance(part, Mapping):
            todo += part.values()
        elif isinstance(part, list | tuple | set | frozenset):
            todo += part
        else:
            yield part


def _is_here(value: Any) -> bool:
    if not isinstance(value, str | PurePath) or not str(value).startswith(("~/", Path.cwd().anchor)):
        return False
    # texts may be anything, and no path at all
    try:
        path = Path(value).expanduser()
        return any(path.is_relative_to(base) for base in (Path.cwd(), Path.home()) if base.name)
    except (RuntimeError, ValueError, OSError):
        return False


def _is_now(value: Any, started: dt.datetime) -> bool:
    if isinstance(value, dt.datetime):
        # pandas' NaT is one, and has no time; far years have no local time
        if value != value or abs(value.year - started.year) > 1:
            return False
        plain = dt.datetime.combine(value.date(), value.time(), value.tzinfo)
        zones = (plain.tzinfo,) if plain.tzinfo is not None else (None, dt.UTC)
        return any(_in_run(plain.replace(tzinfo=zone), started) for zone in zones)
    return isinstance(value, dt.date) and started.astimezone().date() <= value <= dt.date.today()


def _in_run(moment: dt.datetime, started: dt.datetime) -> bool:
    """Whether a moment (without a zone: local time) lies in the run, or is the beginning of its day."""
    midnight = started.astimezone(moment.tzinfo).replace(hour=0, minute=0, second=0, microsecond=0)
    now = moment.astimezone(dt.UTC)
    return started <= now <= dt.datetime.now(dt.UTC) or now == midnight.astimezone(dt.UTC)
