"""Reads, checks and extracts every notebook of public repositories, and counts what happens.

    python bench/public_notebooks.py CLONE_OR_FOLDER ... [--out FILE] [--extract SEEDS] [--packages FOLDER]

Each argument is a git repository (bare or not: its HEAD is read) or a plain folder. One worker process
does the work, one notebook after the other, so that times are its own; the parent kills it where a
notebook takes longer than LIMIT_S, so that a hang is seen and counted. What `check` says of syntax and
language is held against a second opinion (bench/oracle.py). With `--extract`, each notebook is also tagged
by chance (bench/tagging.py), once for each seed, and extracted; `--packages` keeps what came out.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench import oracle, tagging
from nb2prod.domain import digest
from nb2prod.errors import NotebookError
from nb2prod.extract import check, extract
from nb2prod.notebook import read

LIMIT_S = 30.0
SLOWEST = 10
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Book:
    """A notebook: which repository, which path in it, and where its bytes lie now."""

    repository: str
    path: str
    file: Path


@dataclass
class Repository:
    """A source of notebooks: its commit where it has one, how many it holds, how many are not stored."""

    name: str
    commit: str | None
    books: list[Book] = field(default_factory=list)
    missing: int = 0


# --- finding notebooks ---------------------------------------------------------------------------


def repository(place: Path, folder: Path) -> Repository:
    """The notebooks of a repository's HEAD, written to `folder`; a plain folder's stay where they are."""
    git = _git(place, "rev-parse", "HEAD")
    if git is None:
        files = sorted(place.rglob("*.ipynb"))
        found = Repository(place.name, None)
        found.books = [Book(found.name, str(f.relative_to(place)), f) for f in files]
        return found
    inner = place.parent if place.name in ("repo", ".git") else place
    inner = inner.parent if inner.name == "repo" else inner
    found = Repository(inner.name.replace("+", "/"), git.strip())
    for number, (blob, path) in enumerate(_blobs(place)):
        data = subprocess.run(["git", "-C", place, "cat-file", "blob", blob], capture_output=True)
        if data.returncode:
            found.missing += 1
            continue
        file = folder / f"{inner.name}-{number}.ipynb"
        file.write_bytes(data.stdout)
        found.books.append(Book(found.name, path, file))
    return found


def _git(place: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", place, *arguments], capture_output=True)
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _blobs(place: Path) -> Iterator[tuple[str, str]]:
    """(blob, path) of each notebook in HEAD, each content once."""
    seen = set()
    for entry in (_git(place, "ls-tree", "-r", "-z", "--full-tree", "HEAD") or "").split("\0"):
        head, _, path = entry.partition("\t")
        if path.endswith(".ipynb") and not head.startswith("120000"):
            blob = head.split()[2]
            if blob not in seen:
                seen.add(blob)
                yield blob, path


# --- one notebook, in the worker -----------------------------------------------------------------


def work(connection: Connection, packages: Path | None) -> None:
    """Answer requests (file, seeds) with what was seen, until told None."""
    _warm()
    connection.send("ready")
    while (request := connection.recv()) is not None:
        file, seeds = request
        connection.send(look(file, seeds, packages))


def _warm() -> None:
    """Load what the first notebook with a magic, or in an old format, would load."""
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}
    cell = {"cell_type": "code", "metadata": {}, "source": "%time x = 1\n!ls"}
    new = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [cell]}
    with tempfile.TemporaryDirectory() as folder:
        for data in (old, new):
            path = Path(folder) / "warm.ipynb"
            path.write_text(json.dumps(data), "utf-8")
            looked_at(path)


def look(file: Path, seeds: list[int], packages: Path | None) -> dict[str, Any]:
    """What reading, checking and extracting one notebook did: times in ms, codes, faults."""
    started, cpu = time.perf_counter(), time.process_time()
    seen = looked_at(file)
    seen["ms"] = (time.perf_counter() - started) * 1e3
    seen["cpu_ms"] = (time.process_time() - cpu) * 1e3
    seen["bytes"] = file.stat().st_size
    seen["disagreements"] = oracle.disagreements(file, seen.pop("found"))
    if not seen["unreadable"]:
        seen["extractions"] = [_extracted(file, seed, packages) for seed in seeds]
    return seen


def looked_at(file: Path) -> dict[str, Any]:
    """Read and check: `codes` found, `crash` as a traceback if it was anything but a finding."""
    seen: dict[str, Any] = {"codes": [], "found": (), "crash": None, "unreadable": False, "cells": 0}
    try:
        book = read(file, "book")
        seen["cells"] = len(book.code)
        seen["found"] = check(book)
    except NotebookError as error:
        seen["found"], seen["unreadable"] = error.diagnostics, True
    except Exception:
        seen["crash"], seen["unreadable"] = traceback.format_exc(), True
    seen["codes"] = sorted({f.code for f in seen["found"]})
    return seen


def _extracted(file: Path, seed: int, packages: Path | None) -> dict[str, Any]:
    book = tagging.tagged(read(file, "book"), seed)
    if book is None:
        return {"outcome": "nothing to tag"}
    started = time.perf_counter()
    seen: dict[str, Any] = {"outcome": "extracted", "seed": seed}
    try:
        bundle = extract(book)
        seen["ms"] = (time.perf_counter() - started) * 1e3
        for path, text in bundle.files.items():
            if path.endswith(".py"):
                compile(text, path, "exec")
        if packages is not None:
            tagging.keep(bundle, packages / f"p{digest(str(file), str(seed))[:16]}")
    except NotebookError as error:
        first = next(f for f in error.diagnostics if f.severity == "error")
        seen |= {"outcome": first.code, "message": first.message}
        seen.setdefault("ms", (time.perf_counter() - started) * 1e3)
    except Exception:
        seen |= {"outcome": "crash", "crash": traceback.format_exc()}
    return seen


# --- all notebooks, in the parent ----------------------------------------------------------------


class Worker:
    """The process that does the work; a new one in its place where it hangs or dies."""

    def __init__(self, packages: Path | None) -> None:
        self._packages = packages
        self._start()

    def _start(self) -> None:
        here, there = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=work, args=(there, self._packages), daemon=True
        )
        self._process.start()
        there.close()
        self._pipe = here
        assert self._pipe.recv() == "ready"

    def ask(self, file: Path, seeds: list[int]) -> dict[str, Any]:
        """What was seen of a notebook; `crash` says "hang" or "died" where nothing came back."""
        self._pipe.send((file, seeds))
        try:
            if self._pipe.poll(LIMIT_S * (1 + len(seeds))):
                answer: dict[str, Any] = self._pipe.recv()
                return answer
            why = "hang"
        except EOFError:
            why = "died"
        self._process.kill()
        self._process.join()
        self._start()
        return {"crash": why, "codes": [], "ms": LIMIT_S * 1e3, "cpu_ms": LIMIT_S * 1e3, "cells": 0}

    def close(self) -> None:
        """Let the process end."""
        self._pipe.send(None)
        self._process.join()


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the values don't exceed, to three digits."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def _times(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    shares = {"median": 0.5, "p90": 0.9, "p99": 0.99}
    return {name: percentile(values, share) for name, share in shares.items()} | {
        "max": round(max(values), 3)
    }


def summary(repositories: list[Repository], seen: list[tuple[Book, dict[str, Any]]]) -> dict[str, Any]:
    """The counts that are committed: no notebook's content, only paths and numbers."""
    slowest = sorted(seen, key=lambda pair: -pair[1]["ms"])[:SLOWEST]
    return {
        "notebooks": len(seen),
        "code_cells": sum(s["cells"] for _, s in seen),
        "megabytes": round(sum(s.get("bytes", 0) for _, s in seen) / 1e6),
        "python": sys.version.split()[0],
        "read_and_check_ms": _times([s["ms"] for _, s in seen]),
        "read_and_check_cpu_ms": _times([s["cpu_ms"] for _, s in seen]),
        "crashes": sum(s["crash"] not in (None, "hang") for _, s in seen),
        "hangs": sum(s["crash"] == "hang" for _, s in seen),
        "oracle": _opinions(seen),
        "notebooks_by_code": _by_code(seen),
        "slowest": [
            {"notebook": f"{b.repository}: {b.path}", "ms": round(s["ms"], 1), "bytes": s.get("bytes")}
            for b, s in slowest
        ],
        "extraction": _extractions(seen),
        "repositories": [
            {"name": r.name, "commit": r.commit, "notebooks": len(r.books), "not_stored": r.missing}
            for r in repositories
        ],
    }


def _opinions(seen: list[tuple[Book, dict[str, Any]]]) -> dict[str, int]:
    opinions = [s["disagreements"] for _, s in seen if "disagreements" in s]
    total: collections.Counter[str] = collections.Counter()
    for opinion in opinions:
        total.update({key: value if isinstance(value, int) else len(value) for key, value in opinion.items()})
    return dict(sorted(total.items()))


def _by_code(seen: list[tuple[Book, dict[str, Any]]]) -> dict[str, int]:
    return dict(sorted(collections.Counter(code for _, s in seen for code in s["codes"]).items()))


def _extractions(seen: list[tuple[Book, dict[str, Any]]]) -> dict[str, Any]:
    tried = [e for _, s in seen for e in s.get("extractions", ())]
    outcomes = collections.Counter(e["outcome"] for e in tried)
    return {
        "tries": len(tried),
        "outcomes": dict(outcomes.most_common()),
        "ms": _times([e["ms"] for e in tried if "ms" in e]),
    }


def _faults(seen: list[tuple[Book, dict[str, Any]]]) -> Iterator[str]:
    for book, s in seen:
        where = f"{book.repository}: {book.path}"
        if s["crash"]:
            yield f"{where}: {s['crash']}"
        for kind in ("unnamed", "invented"):
            for what in s.get("disagreements", {}).get(kind, ()):
                yield f"{where}: {kind}: {what}"
        for e in s.get("extractions", ()):
            if "crash" in e:
                yield f"{where}: seed {e['seed']}: {e['crash']}"


def main() -> int:
    """Exit code 1 if anything crashed, hung or was not named."""
    parser = argparse.ArgumentParser(description="Read and check the notebooks of public repositories.")
    parser.add_argument("places", nargs="+", type=Path, help="git repositories or folders")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "public_notebooks.json")
    parser.add_argument("--extract", type=int, default=0, metavar="SEEDS", help="taggings for each notebook")
    parser.add_argument("--packages", type=Path, help="keep what was extracted in this folder")
    parser.add_argument("--details", type=Path, help="write what was seen of each notebook as JSON lines")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        repositories = [repository(place, folder) for place in options.places]
        seen = _all(repositories, list(range(options.extract)), options.packages)
    finally:
        shutil.rmtree(folder)
    if options.details:
        rows = [{"repository": b.repository, "path": b.path, **s} for b, s in seen]
        options.details.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    data = summary(repositories, seen)
    options.out.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    faults = list(_faults(seen))
    print(
        "\n".join(faults[:100]), json.dumps({k: v for k, v in data.items() if k != "repositories"}, indent=1)
    )
    return 1 if faults else 0


def _all(
    repositories: list[Repository], seeds: list[int], packages: Path | None
) -> list[tuple[Book, dict[str, Any]]]:
    worker = Worker(packages)
    seen = [(book, worker.ask(book.file, seeds)) for found in repositories for book in found.books]
    worker.close()
    return seen


if __name__ == "__main__":
    sys.exit(main())
