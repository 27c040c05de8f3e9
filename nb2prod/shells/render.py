"""Nouns as text for people. Everything here takes a noun and returns lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

from nb2prod.domain import (
    Accelerated,
    Bundle,
    Deployment,
    Diagnostic,
    EndpointStatus,
    Manner,
    Report,
    Step,
    sized,
)
from nb2prod.errors import Nb2prodError, ParityError, RequestError, RunError

if TYPE_CHECKING:
    from nb2prod.shells.api import Exported

MARKS = {"error": "✗", "warning": "!", "info": "·"}
SHOWN_PROBLEMS = 20
SHOWN_WHY = 160


def diagnostics(found: Iterable[Diagnostic], title: str = "") -> Iterator[str]:
    """One or two lines each: mark, code, place, message; then what to do."""
    for item in found:
        place = ", ".join(part for part in (title, item.where) if part)
        head = f"{MARKS[item.severity]} {item.code} " + (f"{place}: " if place else "")
        yield head + item.message
        if item.hint:
            yield f"    {item.hint}"


def error(problem: Nb2prodError) -> Iterator[str]:
    """Everything that an error carries."""
    yield from diagnostics(problem.diagnostics)
    if isinstance(problem, RunError) and problem.source:
        yield ""
        yield from _numbered(problem.source, problem.line)
        if problem.traceback:
            yield ""
            yield from (f"    {line}" for line in problem.traceback.rstrip().split("\n"))
    if isinstance(problem, ParityError) and problem.report is not None:
        yield from differences(problem.report)
    if isinstance(problem, RequestError):
        for item in problem.problems[:SHOWN_PROBLEMS]:
            yield f"    instance {item.get('instance')}, field {item.get('field')}: expected " + (
                f"{item.get('expected')}, got {item.get('got')}"
            )


def _numbered(source: str, line: int | None) -> Iterator[str]:
    lines = source.split("\n")
    low, high = (max(line - 4, 0), line + 3) if line else (0, 10)
    for i, text in enumerate(lines[low:high], low + 1):
        yield f"  {'→' if i == line else ' '} {i:>3} {text}"


def differences(report: Report) -> Iterator[str]:
    """The first rows that differ."""
    for item in report.differences:
        answers = f"notebook {item.expected}, package {item.got} {item.detail}".rstrip()
        yield f"  {item.case}, row {item.row}: {answers}"


def bundle(made: Bundle, folder: str) -> Iterator[str]:
    """What was built, and where."""
    yield f"{made.name}: draft package in {folder}"
    for stage in made.plan.stages:
        yield f"  {stage.role + '.py':<15} {stage.function}({', '.join(stage.inputs)})"
    for item in made.plan.state:
        if item.expected:
            yield f"  state: {item.key:<10} from cell {item.bound_number}, line {item.bound_line}"
    yield "Next: nb2prod validate NOTEBOOK captures the state and proves the package."


def report(found: Report, *, reused: bool) -> Iterator[str]:
    """What validation saw."""
    again = " (nothing changed since: not run again)" if reused else ""
    yield f"{found.name}: proven{again}"
    tolerance = "exactly" if not found.within else f"within a relative tolerance of {found.within:g}"
    yield f"  parity      {found.rows_compared} answers equal {tolerance}"
    if found.batch_safe is not None:
        yield f"  batching    {'safe' if found.batch_safe else 'unsafe'}: {found.batch_reason}"
    yield from (f"  metric      {name} = {value:.6g}" for name, value in found.metrics.items())
    yield from (f"  state       {s.key}: {s.type}, {sized(s.bytes)}, {s.codec}" for s in found.state)
    yield from (f"  pickle      {s.key} ({s.type}): {s.why}" for s in found.pickled)
    yield from map(_accelerated, found.acceleration or ())
    yield from _requirements(found)
    one, load = found.latency_ms.get("one"), found.latency_ms.get("load")
    if one is not None and load is not None:
        before = found.latency_ms.get("original")
        one_ms = f"{one:.1f} ms" + (f" (the originals: {before:.1f} ms)" if before is not None else "")
        costs = f"loads in {load:.0f} ms, one instance takes {one_ms}, {found.peak_rss_mb:.0f} MB"
        yield f"  in process  {costs}"


def _accelerated(item: Accelerated) -> str:
    costs = f"one row {item.before_ms:.2f} ms, now {item.after_ms:.3f} ms"
    if item.why:
        took = f" ({costs.replace('now', 'then')})" if item.before_ms else ""
        return f"  original    {item.key or 'models'}: {item.why}{took}"
    alike = f"largest difference {item.difference:.1g} over {item.rows} rows"
    left = "".join(f"; {name} by the original ({why})" for name, why in item.left.items())
    return f"  accelerated {item.key}: {', '.join(item.methods)}: {costs}; {alike}{left}"


def exported(made: Exported) -> Iterator[str]:
    """What the file takes and gives."""
    yield f"{made.file}: the model {made.key}"
    kinds = {"numbers": "float64", "texts": "string"}
    for name, columns in made.inputs.items():
        yield f"  {name:<8} {kinds[name]} (rows, {len(columns)}): {', '.join(map(str, columns))}"
    yield from (f"  output   {output}: what {method} answers" for method, output in made.outputs.items())


def _requirements(found: Report) -> Iterator[str]:
    pins = [item.pin for item in found.requirements if not item.via]
    more = len(found.requirements) - len(pins)
    yield f"  requires    {', '.join(pins) or 'nothing'}" + (
        f" (and {more} that these import)" if more else ""
    )
    if (alone := found.isolated) is not None:
        costs = f"{alone.packages} packages, {sized(alone.megabytes * 1e6)}, {alone.installer}"
        took = " and ".join(f"{name} {seconds:.1f} s" for name, seconds in alone.seconds.items())
        yield f"  isolated    proven with nothing else installed: {costs}; {took}"


def step(done: Step) -> str:
    """One step with its time."""
    mark = "=" if done.reused else "✓"
    note = " (unchanged)" if done.reused else ""
    return f"{mark} {done.name:<9} {done.seconds:>6.1f} s  {done.outcome}{note}"


def deployment(made: Deployment) -> Iterator[str]:
    """What its proof warns of, where it answers, and a line to paste."""
    yield from diagnostics(d for d in made.diagnostics if d.severity == "warning")
    release = made.release
    if not made.changed:
        yield f"Nothing changed: {release.model_name} version {release.version} already serves."
    yield ""
    yield f"  {made.endpoint.url}/predict    (docs: {made.endpoint.url}/docs)"
    if made.endpoint.grpc:
        yield f"  gRPC at {made.endpoint.grpc}, model {made.endpoint.name}"
    yield ""
    yield made.curl


def statuses(found: Iterable[EndpointStatus]) -> Iterator[str]:
    """A table of endpoints."""
    rows = [("ENDPOINT", "STATE", "VERSION", "REPLICAS", "URL")]
    notes = []
    for item in found:
        versions = ", ".join(str(r.version) for r in item.endpoint.routes)
        rows.append((item.endpoint.name, item.state, versions, str(item.replicas), item.endpoint.url))
        notes += [f"{item.endpoint.name}: {item.message}"] if item.message else []
        notes += [f"{item.endpoint.name}: {line}" for manner in item.manners for line in _manner(manner)]
    if len(rows) == 1:
        yield "No endpoints. Deploy one: nb2prod deploy NOTEBOOK"
        return
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    yield from (
        "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    yield from sorted({f"gRPC at {item.endpoint.grpc}" for item in found if item.endpoint.grpc})
    yield from notes


def _manner(found: Manner | None) -> Iterator[str]:
    if found is None:
        return
    why = _line(found.why) or "its proof does not say why; `nb2prod deploy --force` proves it anew"
    yield f"requests that wait {'go together' if found.together else 'go one by one'}: {why}"
    if found.models is None:
        yield "not accelerated: it was proven without"
    elif not found.models:
        yield "not accelerated: it has no fitted model of scikit-learn, xgboost or lightgbm"
    for key, why in (found.models or {}).items():
        yield (
            f"{key or 'models'} not accelerated: {_line(why)}"
            if why
            else f"{key} accelerated: onnxruntime answers"
        )


def _line(text: str) -> str:
    """A text of any length as one line."""
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_WHY else f"{text[:SHOWN_WHY]} …"


class Terminal:
    """Shows steps as they happen; one line each, rewritten in place on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.shown = 0.0

    def begin(self, name: str) -> None:
        """A step begins."""
        if self.live:
            self._put(f"… {name}", "")

    def move(self, name: str, done: int, total: int, note: str) -> None:
        """A step has come `done` of `total` along."""
        last = done >= total
        if self.live:
            self._put(f"… {name:<9} {done}/{total} {note}", "")
        elif last or time.monotonic() - self.shown > 5:
            self.shown = time.monotonic()
            self._put(f"… {name:<9} {done}/{total} {note}", "\n")

    def end(self, done: Step) -> None:
        """A step has ended."""
        self._put(step(done), "\n")

    def _put(self, text: str, end: str) -> None:
        clear = "\r\x1b[2K" if self.live else ""
        self.stream.write(f"{clear}{text}{end}")
        self.stream.flush()
