"""The last log lines of an endpoint's replicas, from Ray's log files on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nb2prod.control.cluster import ClusterInfo
from nb2prod.errors import ClusterError

TAIL_BYTES = 2**20
"""How much of each file's end is read, in bytes."""

_STAMPED = re.compile(r"[A-Z]+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ")


def logs(info: ClusterInfo, home: Path, name: str, lines: int = 100) -> list[str]:
    """The last `lines` lines that the replicas of an endpoint logged, oldest first.

    Raises ClusterError for a cluster that RAY_ADDRESS names: its files are on its own machines.
    """
    if info.external:
        raise ClusterError(
            "the logs of this cluster are on its own machines",
            hint=f"See its Ray dashboard: {info.dashboard}" if info.dashboard else "See its Ray dashboard.",
        )
    folder = Path(info.folder) / "ray" / "session_latest" / "logs" / "serve"
    ours = re.compile(rf"replica_{re.escape(name)}_Release_[a-z0-9]+\.log")
    files = [file for file in sorted(folder.glob("replica_*.log")) if ours.fullmatch(file.name)]
    entries = sorted((entry for file in files for entry in _entries(file)), key=lambda entry: entry[0])
    return [line for _, text in entries for line in text][-lines:] if lines > 0 else []


def _entries(file: Path) -> Iterator[tuple[str, list[str]]]:
    """(time, lines) of each record; a traceback belongs to the record that it follows."""
    stamp, text = "", list[str]()
    for line in _tail(file):
        begins = _STAMPED.match(line)
        if begins:
            if text:
                yield stamp, text
            stamp, text = begins[1], []
        text.append(line)
    if text:
        yield stamp, text


def _tail(file: Path) -> list[str]:
    try:
        with file.open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(size - TAIL_BYTES, 0))
            return handle.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        # rotated away since it was listed
        return []
