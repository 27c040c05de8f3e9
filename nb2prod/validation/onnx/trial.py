"""Asks a model and its ONNX form the same, and finds out for which input they answer alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from nb2prod.domain import ACCELERATED_RTOL
from nb2prod.validation.compare import mismatches
from nb2prod.validation.onnx.layout import MAX_TEXTS, Layout, column, filled, joined, taken, with_column
from nb2prod.validation.onnx.trees import Unsupported

TRIED = 20
"""Rows that are changed to see what a model makes of a gap, or of a value it has not seen."""

MIXED = 300
"""Rows that are put together at random from the known ones."""

UNSEEN = ("a text that nobody has seen", "")

SIZES = (1, 10, 100, 1_000)
"""Rows in a call whose time is taken."""

SLOWER = 1.25
"""How much slower many rows may be: more than measurements vary, so that the limit is the same each time."""

MAX_TIMES = 50
SECONDS = 0.5
"""How often, and for how long, calls are timed."""


@dataclass
class Trial:
    """A model, its session, and rows that it was asked. `answers` says which output is which method's."""

    model: Any
    session: Any
    layout: Layout
    rows: Any
    package: ModuleType
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    difference: float = 0.0
    compared: int = 0
    nan: list[int] = field(default_factory=list)
    known: dict[int, list[str] | None] = field(default_factory=dict)
    only: dict[int, list[float]] = field(default_factory=dict)

    def inputs(self, **given: Any) -> dict[str, Any]:
        """The inputs as they may be, by what is known so far."""
        return self.layout.inputs(**{"nan": self.nan, "known": self.known, "only": self.only, **given})

    def outputs(self, rows: Any, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the session gives, by output; None if such input goes to the original, or it fails."""
        feed = self.package.Inputs(inputs).feed(rows)
        if feed is None:
            return None
        names = [output.name for output in self.session.get_outputs()]
        with suppress(Exception):  # onnxruntime has errors of its own; where it fails, the original answers
            return dict(zip(names, self.session.run(None, feed), strict=True))
        return None

    def check(self, rows: Any, what: str) -> None:
        """Unsupported if the session answers rows that it may be given, and otherwise than the model."""
        found = self.outputs(rows, self.inputs())
        if found is None:
            return
        for name, answer in self.answers.items():
            expected = getattr(self.model, name)(rows)
            got = self.package.shaped(found[answer["output"]], answer)
            if text := different(expected, got):
                raise Unsupported(f"{name} differs for {what}: {text}")
            self.difference = max(self.difference, largest(expected, got))
        self.compared += len(rows)


def different(expected: Any, got: Any) -> str:
    """The first difference in words, beyond the tolerance; empty if there is none."""
    found = next(mismatches(expected, got, ACCELERATED_RTOL), None)
    return f"{found.expected} became {found.got} {found.detail}".strip() if found is not None else ""


def largest(expected: Any, got: Any) -> float:
    """The largest relative difference between two arrays of numbers."""
    if expected.dtype.kind != "f" or not expected.size:
        return 0.0
    one, other = expected.astype(np.float64), got.astype(np.float64)
    both = np.maximum(np.abs(one), np.abs(other))
    apart = np.divide(np.abs(one - other), both, out=np.zeros_like(both), where=both > 0)
    return float(np.nanmax(apart, initial=0.0))


# --- which output is which method's --------------------------------------------------------------


def assign(trial: Trial, methods: Iterator[str]) -> None:
    """Find the output that gives each method's answers; Unsupported if none does."""
    trial.known = {at: _seen(trial, at) for at in trial.layout.texts}
    free = trial.outputs(trial.rows, trial.inputs(nan=trial.layout.numbers))
    if free is None:
        raise Unsupported("the rows that it was asked hold what onnxruntime is not given: infinity, no text")
    for name in methods:
        expected = getattr(trial.model, name)(trial.rows)
        if type(expected) is not np.ndarray or expected.dtype.kind not in "biufUO":
            trial.left[name] = f"it answers {type(expected).__name__}"
        elif (answer := _match(trial.package, expected, free)) is not None:
            trial.answers[name] = answer
        else:
            trial.left[name] = _mismatch(trial.package, name, expected, free)
    if not trial.answers:
        raise Unsupported("; ".join(f"{name}: {why}" for name, why in trial.left.items()))


def _match(package: ModuleType, expected: Any, free: Mapping[str, Any]) -> dict[str, Any] | None:
    for answer in _candidates(expected, free):
        got = _shaped(package, free[answer["output"]], answer)
        if got is not None and not different(expected, got):
            return answer
    return None


def _candidates(expected: Any, free: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for output, found in free.items():
        pair = expected.ndim == 1 and found.ndim == 2 and found.shape[1] == 2
        for at in (None, 1) if pair else (None,):
            yield {"output": output, "dtype": str(expected.dtype), "ndim": expected.ndim, "column": at}


def _shaped(package: ModuleType, found: Any, answer: Mapping[str, Any]) -> Any:
    try:
        return package.shaped(found, answer)
    except (TypeError, ValueError):
        return None


def _mismatch(package: ModuleType, name: str, expected: Any, free: Mapping[str, Any]) -> str:
    for answer in _candidates(expected, free):
        got = _shaped(package, free[answer["output"]], answer)
        if got is not None and got.shape == expected.shape:
            return f"answers differ: {different(expected, got)}"
    shapes = ", ".join(f"{output} {found.shape}" for output, found in free.items())
    return f"no output looks like its answer {expected.shape}: {shapes}"


# --- for which input -----------------------------------------------------------------------------


def explore(trial: Trial) -> None:
    """Find which columns may have gaps, and which may hold only what was seen; then compare many rows."""
    few = filled(trial.layout, taken(trial.rows, np.arange(min(TRIED, len(trial.rows)))))
    trial.nan = _gaps(trial, few)
    for at in trial.layout.texts:
        free = {**trial.known, at: None}
        if str(column(few, at).dtype) != "category" and all(
            _alike(trial, _with(few, at, text), known=free) for text in UNSEEN
        ):
            trial.known = free
    _restrict(trial, few)
    trial.check(trial.rows, "the rows that it was asked")
    for number in range(len(few)):
        trial.check(taken(trial.rows, [number]), "a row alone")
    trial.check(_mixed(trial), "rows put together at random")


def _gaps(trial: Trial, few: Any) -> list[int]:
    """The columns that may hold NaN; asked for all at once, and one by one if that fails."""
    columns = [at for at in trial.layout.numbers if column(few, at).dtype.kind == "f"]
    if _alike(trial, _each(few, dict.fromkeys(columns, np.nan)), nan=columns):
        return columns
    return [at for at in columns if _alike(trial, _with(few, at, np.nan), nan=[at])]


def _restrict(trial: Trial, few: Any) -> None:
    """Find the columns of numbers that may hold only what was seen, as an encoder has it."""
    ends = {}
    for at in trial.layout.numbers:
        values = column(trial.rows, at).astype(np.float64)
        if len(values := values[np.isfinite(values)]):
            ends[at] = (float(values.min()) - 7, float(values.max()) + 7, values.tolist())
    if all(_alike(trial, _each(few, {at: one[side] for at, one in ends.items()})) for side in (0, 1)):
        return
    for at, (low, high, values) in ends.items():
        if not all(_alike(trial, _with(few, at, value)) for value in (low, high)):
            trial.only[at] = _distinct(trial, at, values)


def _seen(trial: Trial, at: int) -> list[str] | None:
    texts = [v for v in column(trial.rows, at) if isinstance(v, str) and "\0" not in v]
    return _distinct(trial, at, texts)


def _distinct(trial: Trial, at: int, values: list[Any]) -> list[Any]:
    found = sorted(set(values))
    if len(found) > MAX_TEXTS:
        name = trial.layout.columns[at] if trial.layout.columns else at
        raise Unsupported(f"column {name!r} has more than {MAX_TEXTS} values, and it refuses others")
    return found


def _alike(trial: Trial, rows: Any, **allowed: Any) -> bool:
    """Whether model and session answer these rows alike; no if the model refuses them."""
    found = trial.outputs(rows, trial.inputs(**allowed))
    if found is None:
        return False
    for name, answer in trial.answers.items():
        # a model has errors of its own kind for what it refuses
        try:
            expected = getattr(trial.model, name)(rows)
        except Exception:
            return False
        if different(expected, trial.package.shaped(found[answer["output"]], answer)):
            return False
    return True


def _with(few: Any, at: int, value: Any) -> Any:
    """The rows with one value in a column."""
    return with_column(few, at, [value] * len(few))


def _each(few: Any, values: Mapping[int, Any]) -> Any:
    """A row for each column, with its value there."""
    rows = taken(few, np.arange(max(len(values), 1)) % len(few))
    for i, (at, value) in enumerate(values.items()):
        cells = column(rows, at).copy()
        cells[i] = value
        rows = with_column(rows, at, cells)
    return rows


def _mixed(trial: Trial) -> Any:
    """Rows whose columns come from different rows, with some numbers moved, made 0 or left out."""
    random, count = np.random.default_rng(0), len(trial.rows)
    made = taken(trial.rows, random.integers(0, count, MIXED))
    for at in range(len(trial.layout.dtypes)):
        values = column(trial.rows, at)[random.integers(0, count, MIXED)].copy()
        if at in trial.layout.numbers and at not in trial.only and values.dtype.kind == "f":
            what = random.random(MIXED)
            values = np.where(what < 0.2, values * (1 + random.normal(size=MIXED)), values)
            values = np.where((what > 0.2) & (what < 0.3), 0.0, values)
            if at in trial.nan:
                values = np.where(what > 0.9, np.nan, values)
        made = with_column(made, at, values)
    return made


# --- speed ---------------------------------------------------------------------------------------


def speeds(trial: Trial, answering: Any) -> tuple[float, float, int]:
    """Milliseconds for one row, of the model and of `answering`; up to how many rows that is no slower."""
    first, most = (0.0, 0.0), 0
    for size in SIZES:
        rows = joined([trial.rows] * -(-size // len(trial.rows)), size)
        before, after = _best_ms(
            [
                [partial(getattr(owner, name), rows) for name in trial.answers]
                for owner in (trial.model, answering)
            ]
        )
        first = first if most else (before, after)
        if after > SLOWER * before:
            break
        most = size
    return *first, most


def _best_ms(calls: Sequence[Sequence[Callable[[], Any]]]) -> tuple[float, ...]:
    """The shortest time of each group of calls, in turn: what else the machine does only adds to it."""
    best = [math.inf] * len(calls)
    end = time.perf_counter() + SECONDS
    for count in range(MAX_TIMES):
        for i, group in enumerate(calls):
            started = time.perf_counter()
            for call in group:
                call()
            best[i] = min(best[i], time.perf_counter() - started)
        if count >= 3 and time.perf_counter() > end:
            break
    return tuple(1000 * seconds for seconds in best)
