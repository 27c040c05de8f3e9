"""How many of the larger notebooks are extracted exactly, how many are proven, and how long it takes.

Run from the root of the repository: python -m bench.larger [NAME ...]. Without names all are measured, one at
a time, and the results written to bench/results/larger.json.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nb2prod
from nb2prod.errors import Nb2prodError
from nb2prod.flow import Validated
from nb2prod.notebook import read
from tests.graphs import NAMES, is_exact, path_of, table_of

RESULTS = Path(__file__).parent / "results" / "larger.json"


@dataclass(frozen=True)
class Result:
    """One notebook: `outcome` is "proven" or the code of the refusal; seconds are of wall clock."""

    name: str
    cells: int
    exact: bool
    outcome: str
    message: str = ""
    rows: int = 0
    batch_safe: bool | None = None
    captured_exactly: bool | None = None
    warnings: tuple[str, ...] = ()
    state_kb: float = 0.0
    clean_run_s: float = 0.0
    prove_s: float = 0.0
    total_s: float = 0.0


def measure(name: str) -> Result:
    """A notebook from the file to the proof, or to the refusal."""
    cells, exact = len(read(path_of(name)).cells), is_exact(name)
    started = time.perf_counter()
    try:
        proven = nb2prod.validate(path_of(name), force=True)
    except Nb2prodError as error:
        seconds = round(time.perf_counter() - started, 1)
        message = " ".join(str(error).split())
        return Result(name, cells, exact, error.code, message, total_s=seconds)
    return _proven(name, cells, exact, proven, time.perf_counter() - started)


def _proven(name: str, cells: int, exact: bool, proven: Validated, seconds: float) -> Result:
    report, table = proven.report, table_of(name)
    assert proven.bundle.evidence is not None
    captured = {item.key for item in report.state} == table.state
    rehomed = set(proven.bundle.evidence.rehomed) == set(table.in_state)
    return Result(
        name,
        cells,
        exact,
        "proven",
        rows=report.rows_compared,
        batch_safe=report.batch_safe,
        captured_exactly=captured and rehomed,
        warnings=tuple(f"{d.code}: {d.message}" for d in report.diagnostics if d.severity == "warning"),
        state_kb=round(sum(item.bytes for item in report.state) / 1000, 1),
        clean_run_s=round(report.seconds["clean run"], 1),
        prove_s=round(report.seconds["prove"], 1),
        total_s=round(seconds, 1),
    )


def line(result: Result) -> str:
    """A result as a line of the table."""
    graph = "exact" if result.exact else "differs"
    rows = str(result.rows) if result.outcome == "proven" else "-"
    return f"{result.name:20}{result.cells:6}  {graph:8}{result.outcome:8}{rows:>6}{result.total_s:8.1f}"


def summary(results: Sequence[Result]) -> dict[str, object]:
    """The counts, the machine and every result, as JSON data."""
    proven = [r for r in results if r.outcome == "proven"]
    return {
        "exact": f"{sum(r.exact for r in results)} of {len(results)}",
        "proven": f"{len(proven)} of {len(results)}",
        "refused": {r.name: r.outcome for r in results if r.outcome != "proven"},
        "rows_compared": sum(r.rows for r in proven),
        "total_s": round(sum(r.total_s for r in results), 1),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "load_average_at_the_end": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "nb2prod": nb2prod.__version__,
        "notebooks": [asdict(r) for r in results],
    }


def main(names: Sequence[str]) -> None:
    """Measure, print a line each, write the results if none is left out."""
    results = []
    print(f"{'notebook':20}{'cells':>6}  {'graph':8}{'proof':8}{'rows':>6}{'seconds':>8}")
    with tempfile.TemporaryDirectory() as project:
        os.environ["NB2PROD_PROJECT"] = project
        for name in names or NAMES:
            results.append(measure(name))
            print(line(results[-1]), flush=True)
    found = summary(results)
    print(f"exact: {found['exact']}, proven: {found['proven']}, {found['total_s']} s")
    if not names:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
