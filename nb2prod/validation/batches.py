"""Whether rows of several requests may be asked in one call: rows asked alone, and in much company.

Run in the proving process; standard library only. Rows of the notebook's data are chosen to cover what each
field holds, and more are made of them: nulls, values beyond those seen, and rows that share the value of one
field, or all but one, with another row. That a made row changes another's answer says enough; what it is
answered itself matters only where it is asked alone.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

MAX_ROWS = 50
"""Rows of the notebook's data that are asked, and rows made with other values."""

MAX_FIELDS = 100
"""Fields whose values are given to other rows."""

FEW_CATEGORIES = 20

ALONE_SECONDS = 3.0
"""Time for asking rows one by one."""

MAX_SECONDS = 10.0
"""Time for small companies; and large ones, always asked, are cut to about that where a row takes long."""

ROUNDING = 1e-9
"""Relative difference that comes from the order of additions."""

Row = Any
Key = Any
"""The name of a field of a row, or its place in a list."""


class Verdict(NamedTuple):
    """Whether rows may go together (None: they never do), why, and whether one row changes the answer to
    another by more than rounding."""

    safe: bool | None
    reason: str
    mixed: bool = False


class Company(NamedTuple):
    """Rows to ask together; `known` says which of them have been asked alone, by their number there."""

    what: str
    rows: Sequence[Row]
    known: Sequence[int | None]


def verdict(instances: Sequence[Row], predictor: Any, compare: ModuleType) -> Verdict:
    """What is found of rows of the notebook's data."""
    if not predictor.batch:
        return Verdict(None, f"one call takes one {predictor.kind}")
    if len(instances) < 2:
        return Verdict(False, "only one row is known, so that nothing can be compared")
    started, numbers = time.perf_counter(), covering(instances)
    # code may well need more than one row; that is no fault, but it forbids to mix requests
    try:
        answers = _alone([instances[i] for i in numbers], predictor)
    except Exception as error:
        return Verdict(False, f"a row alone fails: {_said(error)}")
    most = MAX_SECONDS * len(answers) / (time.perf_counter() - started)
    pairs = sorted(zip(numbers, answers, strict=False), key=lambda pair: pair[0])
    numbers, answers = [number for number, _ in pairs], [answer for _, answer in pairs]
    rows = [instances[i] for i in numbers]
    labels = [f"row {i}" for i in numbers]
    for label, row, answer in _others(rows, numbers, predictor):
        labels, rows, answers = [*labels, label], [*rows, row], [*answers, answer]
    asked = itertools.chain(large(rows, len(numbers), int(most)), _while_time(small(rows, len(numbers))))
    return _asked_together(_Known(rows, answers, labels, len(numbers)), asked, predictor, compare)


class _Known(NamedTuple):
    """Rows with their answers alone; the first `own` are of the notebook's data."""

    rows: Sequence[Row]
    answers: Sequence[Any]
    labels: Sequence[str]
    own: int

    def alone(self, i: int) -> str:
        """What a row is answered alone."""
        return f"{self.labels[i]} alone gives {self.answers[i]!r:.80}"


def _while_time(companies: Iterable[Company]) -> Iterator[Company]:
    end = time.perf_counter() + MAX_SECONDS
    return itertools.takewhile(lambda _: time.perf_counter() < end, companies)


def _asked_together(
    known: _Known, companies: Iterable[Company], predictor: Any, compare: ModuleType
) -> Verdict:
    rounded = ""
    for company in companies:
        try:
            company, together = _together(company, predictor)
        except Exception as error:
            what = f"{len(company.rows)} rows{company.what} fail together, and not alone: {_said(error)}"
            return Verdict(False, what, True)
        for i, other in zip(company.known, together, strict=True):
            if i is None or known.answers[i] == other:
                continue
            if not compare.same(known.answers[i], other, ROUNDING):
                beside = _beside_one(known, i, company, predictor, compare)
                among = f"among {len(company.rows)} rows{company.what} {other!r:.80}"
                return Verdict(False, f"{known.alone(i)}, {beside or among}", True)
            found = f"{known.labels[i]}: {known.answers[i]!r:.80} and {other!r:.80}"
            rounded = rounded or f", but for rounding ({found})"
    return Verdict(True, f"{known.own} rows answered alike alone and together{rounded}")


def _beside_one(known: _Known, i: int, company: Company, predictor: Any, compare: ModuleType) -> str | None:
    """The first row of a company that changes the answer to another all by itself, and what that becomes."""
    end = time.perf_counter() + MAX_SECONDS
    for j in dict.fromkeys(n for n in company.known if n is not None and n != i):
        with contextlib.suppress(Exception):
            answer = predictor.predict([known.rows[i], known.rows[j]])[0]
            if not compare.same(known.answers[i], answer, ROUNDING):
                return f"beside {known.labels[j]} {answer!r:.80}"
        if time.perf_counter() > end:
            break
    return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _alone(rows: Sequence[Row], predictor: Any) -> list[Any]:
    """The answers to rows asked one by one: to the first ones, if all would take too long."""
    answers: list[Any] = []
    end = time.perf_counter() + ALONE_SECONDS
    for row in rows:
        answers += predictor.predict([row])
        if len(answers) > 1 and time.perf_counter() > end:
            break
    return answers


def _together(company: Company, predictor: Any) -> tuple[Company, list[Any]]:
    """The answers to a company; without the made rows that fail alone too, should it fail with them."""
    try:
        return company, predictor.predict(company.rows)
    except Exception:
        pairs = zip(company.rows, company.known, strict=True)
        kept = [(row, i) for row, i in pairs if i is not None or _answers(row, predictor)]
        if len(kept) == len(company.rows):
            raise
        left = Company(company.what, [row for row, _ in kept], [i for _, i in kept])
        return left, predictor.predict(left.rows) if kept else []


def _answers(row: Row, predictor: Any) -> bool:
    with contextlib.suppress(Exception):
        return bool(predictor.predict([row]))
    return False


# --- companies -----------------------------------------------------------------------------------


def large(rows: Sequence[Row], own: int, most: int) -> Iterator[Company]:
    """Rows to ask together, the first `own` of which are of the notebook's data: these and all, each way
    round, twice, and among at most so many rows that are made alike."""
    everyone = [*range(len(rows))]
    orders = [everyone[:own], everyone, everyone[::-1]] if own < len(rows) else [everyone, everyone[::-1]]
    for order in orders:
        yield _of(rows, order)
    yield _of(rows, [*everyone, *everyone], ", each of them twice,")
    made = _spread([row for _, row, _ in _sharing(rows[:own])], max(most // 2, 2))
    numbers = [*[None] * len(made), *everyone, *[None] * len(made)]
    yield Company(", some of them with values of others,", [*made, *rows, *made[::-1]], numbers)


def small(rows: Sequence[Row], own: int) -> Iterator[Company]:
    """The same in sevens and twos of a shuffled order, and each beside a row that is made alike."""
    shuffled = random.Random(0).sample(range(len(rows)), len(rows))
    parts = [shuffled[i : i + size] for size in (7, 2) for i in range(0, len(rows), size)]
    twins = (
        Company(f" {what},", [rows[i], row, rows[i]], [i, None, i]) for i, row, what in _sharing(rows[:own])
    )
    for pair in itertools.zip_longest((_of(rows, part) for part in parts), twins):
        yield from (company for company in pair if company is not None)


def _of(rows: Sequence[Row], order: Sequence[int], what: str = "") -> Company:
    return Company(what, [rows[i] for i in order], order)


def _sharing(rows: Sequence[Row]) -> Iterator[tuple[int, Row, str]]:
    """Rows made of two: one that differs from the numbered row in one field alone, and one that shares but
    one field with it. Of each field, two pairs of rows where it differs."""
    chance = random.Random(0)
    for key in _spread(_keys(rows), MAX_FIELDS):
        pairs = ((i, j) for i in chance.sample(range(len(rows)), len(rows)) for j in (i - 1, i - 2))
        differing = ((i, j) for i, j in pairs if not _alike(_get(rows[i], key), _get(rows[j], key)))
        for i, j in itertools.islice(differing, 2):
            yield i, _with(rows[i], key, _get(rows[j], key)), f"that differ in {_shown(key)} alone"
            if key is not None:
                yield i, _with(rows[j], key, _get(rows[i], key)), f"that share {_shown(key)}"


def _alike(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


# --- rows that cover the data --------------------------------------------------------------------


def covering(instances: Sequence[Row]) -> list[int]:
    """Numbers of at most MAX_ROWS rows, the most telling first: of each field a null, the least and greatest
    value, the rarest and each of a few; and rows from all over."""
    count = len(instances)
    if count <= MAX_ROWS:
        return [*range(count)]
    keys = _spread(_keys(instances[:1]), MAX_FIELDS)
    wanted = [_telling([_get(row, key) for row in instances]) for key in keys]
    in_turn = (i for round_ in itertools.zip_longest(*wanted) for i in round_ if i is not None)
    telling = [*dict.fromkeys(in_turn)][: MAX_ROWS * 4 // 5]
    return [*dict.fromkeys([*telling, *_spread(range(count), MAX_ROWS)])][:MAX_ROWS]


def _telling(values: Sequence[Any]) -> list[int]:
    """Where the values of a field are null, least, greatest, rare, and each of a few."""
    texts = [repr(value) for value in values]
    counted, first = Counter(texts), dict[str, int]()
    for i, text in enumerate(texts):
        first.setdefault(text, i)
    rare = sorted(first, key=lambda text: counted[text])
    found = [first["None"]] if "None" in first else []
    there = [i for i in first.values() if values[i] is not None]
    with contextlib.suppress(TypeError):
        found += [f(there, key=values.__getitem__) for f in (min, max) if there]
    return [*found, *(first[text] for text in rare[:1] + (rare if len(rare) <= FEW_CATEGORIES else []))]


def _others(rows: Sequence[Row], numbers: Sequence[int], predictor: Any) -> Iterator[tuple[str, Row, Any]]:
    """Rows made with a null or a value beyond those seen, where they keep the contract and are answered."""
    end = time.perf_counter() + ALONE_SECONDS
    fields = predictor.contract["fields"]
    found = [_beyond(key, _field(fields, key), rows) for key in _spread(_keys(rows), MAX_FIELDS)]
    in_turn = (made for round_ in itertools.zip_longest(*found) for made in round_ if made is not None)
    for n, (key, value) in enumerate(itertools.islice(in_turn, MAX_ROWS)):
        if time.perf_counter() > end:
            return
        row = _with(rows[n % len(rows)], key, value)
        # made rows may be such as the model cannot take
        with contextlib.suppress(Exception):
            (answer,) = predictor.predict([row])
            yield f"row {numbers[n % len(rows)]} with {_shown(key)} {value!r:.40}", row, answer


def _field(fields: Sequence[Any], key: Key) -> Any:
    """What the contract says of a part of rows."""
    return next((f for f in fields if f["name"] == key), fields[0] if fields else {})


def _beyond(key: Key, field: Any, rows: Sequence[Row]) -> list[tuple[Key, Any]]:
    """Values for a field: null, if it may be, twice; far below and above all; the other one, other words."""
    seen = [value for row in rows if (value := _get(row, key)) is not None]
    values: list[Any] = [None, None] if field.get("nullable") else []
    if seen and isinstance(seen[0], bool):
        values += [not seen[0]]
    elif seen and all(isinstance(value, int | float) for value in seen):
        low, high = min(seen), max(seen)
        values += [
            far for n in (10, 1000) for far in (high + n * (high - low or 1), low - n * (high - low or 1))
        ]
        values += [0]
    elif seen and all(isinstance(value, str) for value in seen):
        values += [*(field.get("categories") or ())[:FEW_CATEGORIES], f"{max(seen, key=len)} {seen[0]}", ""]
        values += [f"{year}{seen[0][4:]}" for year in (1970, 2100) if field.get("dtype") == "datetime"]
    return [(key, value) for value in values]


# --- rows and their fields -----------------------------------------------------------------------


def _keys(rows: Sequence[Row]) -> list[Key]:
    """The fields of rows, the places in lists, or one that stands for a whole row."""
    row = rows[0]
    if isinstance(row, dict):
        return [*dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row)]
    return [*range(len(row))] if isinstance(row, list) and len({len(row) for row in rows}) == 1 else [None]


def _get(row: Row, key: Key) -> Any:
    if key is None:
        return row
    return row.get(key) if isinstance(row, dict) else row[key]


def _with(row: Row, key: Key, value: Any) -> Row:
    if key is None:
        return value
    if isinstance(row, dict):
        return {**row, key: value}
    return [*row[:key], value, *row[key + 1 :]]


def _shown(key: Key) -> str:
    return f"`{key}`" if isinstance(key, str) else "the value" if key is None else f"item {key}"


def _spread(items: Sequence[Any] | Iterable[Any], count: int) -> list[Any]:
    """At most so many of the items, from all over, the first and last among them."""
    items = [*items]
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
