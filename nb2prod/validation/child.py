"""The proving process: loads a package that it has never seen, and compares its answers with the notebook's.

Run by path as a script, with the path of a job file. Standard library only; imports nothing of
nb2prod, so that the package is shown to stand alone.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import json
import os
import pickle
import platform
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

KEPT = 5
"""Differing rows that are kept of each case."""

MAX_ALONE = 50
"""Rows that are asked by seeds of hashes, and calls that are timed."""

FEW = 5
"""Rows of each case that are asked again to see which settings answering reads."""

SECONDS = 1.0
"""Longest time spent on one measurement."""


class PackageFailed(Exception):
    """The package raised; `what` says during what."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def main(job_file: str) -> None:
    """Prove as the job says, and write the result as JSON where it says."""
    job = json.loads(Path(job_file).read_text("utf-8"))
    try:
        result = answer(job) if job["answers only"] else prove(job)
    except PackageFailed as failed:
        result = {"error": _error(failed, Path(job["package"])), "settings": _settings(job, lambda: None)}
    result["planted"] = _planted(job)
    Path(job["result"]).write_text(json.dumps(result), "utf-8")


def prove(job: Mapping[str, Any]) -> dict[str, Any]:
    """Load the package and try it in every way; PackageFailed if it raises."""
    compare, reached, touched = (_beside(name) for name in ("compare", "reached", "touched"))
    package = Path(job["package"])
    asked = _beside("asked").Asked(package)
    sys.meta_path.insert(0, asked)
    started = time.perf_counter()
    runtime, predictor = _guard("being loaded", lambda: _load(package))
    load_ms = (time.perf_counter() - started) * 1000
    unlike = _beside("probe/portrait").unlike(
        job["portraits"],
        lambda name: importlib.import_module(f"{runtime.__package__}.{name}"),
        lambda name: name.startswith(f"{runtime.__package__}."),
    )
    codecs = importlib.import_module(f"{runtime.__package__}.codecs")
    cases = pickle.loads(Path(job["cases"]).read_bytes())
    before = touched.fingerprints(runtime, compare.same)
    followed = reached.Reached({package / mapped["file"] for mapped in runtime.manifest()["source_map"]})
    with followed:
        answers = [_answers(case, predictor) for case in cases]
    example = cases[0]["instances"]
    rows = [row for case in reversed(cases) for row in case["instances"]]
    together = _beside("batches").verdict(rows, predictor, compare)
    latencies = _latencies(cases[-1]["instances"], predictor)
    repeat = _repeat(example, predictor, compare, job["rtol"])
    wire = _wire(predictor, compare, job["rtol"])
    # from here on nothing is predicted: what the notebook's answers import is no need of the package
    sys.meta_path.remove(asked)
    few = [row for case in cases for row in case["instances"][:FEW]]
    return {
        "error": None,
        "unlike": unlike,
        "changed": touched.changed(before, touched.fingerprints(runtime, compare.same)),
        "cases": [
            _compare_case(case, got, codecs, predictor.batch, compare, job["rtol"])
            for case, got in zip(cases, answers, strict=True)
        ],
        "repeat": repeat,
        "wire": wire,
        "batch_safe": together.safe,
        "batch_reason": together.reason,
        "mixed": together.mixed,
        "latency_ms": {"load": load_ms, **latencies},
        "peak_rss_mb": _peak_rss_mb(),
        "imports": asked.imports(),
        "python": platform.python_version(),
        "unreached": _gaps(followed, runtime),
        "settings": _settings(job, lambda: predictor.predict(few)),
    }


def answer(job: Mapping[str, Any]) -> dict[str, Any]:
    """What the package answers to the example and to a few rows."""
    _, predictor = _guard("being loaded", lambda: _load(Path(job["package"])))
    cases = pickle.loads(Path(job["cases"]).read_bytes())
    asked = [cases[0]["instances"], *(case["instances"][:MAX_ALONE] for case in cases[1:])]
    return {"error": None, "answers": _guard("asked", lambda: [predictor.predict(rows) for rows in asked])}


def _settings(job: Mapping[str, Any], call: Callable[[], Any]) -> Any:
    """Settings of the notebook's run that are others here."""
    with contextlib.suppress(Exception):  # rows together may fail where each alone does not
        return _beside("probe/settings").differing(job["settings"], call, job["package"])
    return []


def _planted(job: Mapping[str, Any]) -> list[tuple[bool, bool]]:
    """Of each attribute that the notebook set in a library: is there one here, and is it the package's?"""
    is_there, name = _beside("probe/planted").is_there, _name_of(Path(job["package"]))
    return [is_there(seen, lambda module: module.startswith(f"{name}.")) for seen in job["planted"]]


def _name_of(package: Path) -> str:
    """A name that hides no installed module."""
    return f"_proof_of_{package.name}"


def _load(package: Path) -> tuple[ModuleType, Any]:
    """Import the package, and make its predictor."""
    name = _name_of(package)
    _module(package / "__init__.py", name, [str(package)])
    runtime = importlib.import_module(f"{name}.runtime")
    return runtime, runtime.load()


def _beside(name: str) -> ModuleType:
    return _module(Path(__file__).parent / f"{name}.py", f"_nb2prod_{Path(name).name}")


def _module(path: Path, name: str, search: list[str] | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=search)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _gaps(followed: Any, runtime: ModuleType) -> Any:
    """What nothing has run, neither an answer nor the modules when they were loaded. Loads them once more."""
    gaps = followed.gaps()
    if not gaps:
        return gaps
    with followed:
        for file, *_ in gaps:
            # it has been loaded already; what it may raise now says nothing about its answers
            with contextlib.suppress(Exception):
                importlib.reload(sys.modules[f"{runtime.__package__}.{file.removesuffix('.py')}"])
    return followed.gaps()


def _guard(what: str, call: Callable[[], Any]) -> Any:
    # the package holds the user's code, which may raise anything
    try:
        return call()
    except Exception as error:
        raise PackageFailed(what) from error


# --- parity --------------------------------------------------------------------------------------


def _answers(case: Mapping[str, Any], predictor: Any) -> list[Any]:
    what = f"asked for the {case['name']}"
    answers: list[Any] = _guard(what, lambda: [predictor.run(r) for r in predictor.decode(case["instances"])])
    return answers


def _compare_case(
    case: Mapping[str, Any],
    got: list[Any],
    codecs: ModuleType,
    batch: bool,
    compare: ModuleType,
    rtol: float,
) -> dict[str, Any]:
    expected = _guard("compared with the notebook's answers", lambda: codecs.read(case["answers"], "pickle"))
    pair = (expected[0], got[0]) if batch else (expected, got)
    found = list(compare.mismatches(*pair, rtol))
    first = sorted(found, key=lambda mismatch: mismatch.row)[:KEPT]
    return {
        "name": case["name"],
        "disordered": batch and _is_disordered(got[0], len(case["instances"])),
        "rows": len(case["instances"]),
        "differing": len({mismatch.row for mismatch in found}),
        "first": [list(mismatch) for mismatch in first],
    }


def _is_disordered(answer: Any, count: int) -> bool:
    """True of a DataFrame or Series that still has the request's labels, 0 to n - 1, in another order."""
    index = getattr(answer, "index", None)
    if index is None or callable(index) or count < 3:
        return False
    labels = list(index)
    if any(type(label) is not int for label in labels):
        return False
    return labels != list(range(count)) and sorted(labels) == list(range(count))


def _repeat(instances: list[Any], predictor: Any, compare: ModuleType, rtol: float) -> list[Any] | None:
    """The first difference between two answers to one request, or None."""
    one, two = (_guard("asked for the example twice", lambda: predictor.predict(instances)) for _ in range(2))
    found = next(compare.mismatches(one, two, rtol), None)
    return list(found) if found is not None else None


def _wire(predictor: Any, compare: ModuleType, rtol: float) -> list[Any] | None:
    """The first difference between the contract's response and the package's, or None."""
    contract = predictor.contract
    got = _guard("asked for the contract's example", lambda: predictor.predict(contract["example"]))
    found = next(compare.mismatches(contract["response"], got, rtol), None)
    return list(found) if found is not None else None


# --- speed ---------------------------------------------------------------------------------------


def _latencies(instances: list[Any], predictor: Any) -> dict[str, float]:
    """Median milliseconds of warm calls: one instance, and all of them at once where they may be."""
    one = _median_ms("asked for one row alone", lambda: predictor.predict(instances[:1]))
    if not predictor.batch or len(instances) < 2:
        return {"one": one}
    return {
        "one": one,
        "batch": _median_ms("timed", lambda: predictor.predict(instances)),
        "batch_rows": len(instances),
    }


def _median_ms(what: str, call: Callable[[], Any]) -> float:
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    for _ in itertools.repeat(None, MAX_ALONE):
        started = time.perf_counter()
        _guard(what, call)
        times.append(time.perf_counter() - started)
        if time.perf_counter() > end:
            break
    return statistics.median(times) * 1000


def _peak_rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


# --- failure -------------------------------------------------------------------------------------


def _error(failed: PackageFailed, package: Path) -> dict[str, Any]:
    error = failed.__cause__
    assert error is not None
    missing = _missing(error)
    frames = traceback.extract_tb(error.__traceback__)[::-1]
    return {
        "what": failed.what,
        "type": type(error).__name__,
        "message": str(error),
        "variable": _variable(error),
        "module": missing.name if missing is not None else None,
        "frames": [[Path(f.filename).name, f.lineno] for f in frames if Path(f.filename).parent == package],
        "traceback": "".join(traceback.format_exception(error)),
    }


def _variable(error: BaseException) -> str | None:
    """The variable of the environment for lack of which the package fails."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    read = isinstance(error, KeyError) and codes[-1:] == [type(os.environ).__getitem__.__code__]
    return str(error.args[0]) if read else None


def _missing(error: BaseException) -> ModuleNotFoundError | None:
    """The missing module behind an error: libraries often say it in an ImportError of their own."""
    at: BaseException | None = error
    while isinstance(at, ImportError) and not isinstance(at, ModuleNotFoundError):
        at = at.__cause__ or at.__context__
    return at if isinstance(at, ModuleNotFoundError) else None


if __name__ == "__main__":
    main(sys.argv[1])
