"""Whether reference rows come back from JSON as they were. Runs inside the notebook's kernel."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .contract import is_missing, kind_of_missing
from .finding import Finding
from .rows import Rows
from .seen import Seen

CLOSE = 1e-6
"""Relative difference between a number and the same in the narrower type of the example."""

Row = tuple[Any, ...]
"""The values of a row, one for each field."""

ONE_KIND = (
    "Let the notebook hold one kind: `df[c] = df[c].astype(object).where(df[c].notna(), None)` makes it None."
)


def real_rows(data: Rows, indices: Sequence[int]) -> list[Row]:
    """Some rows as they are, before JSON; copies, for later cells may change them."""
    columns = [data.column(name) for name in data.names] or [data.data]
    return list(zip(*(_picked(column, indices) for column in columns), strict=True))


def _picked(column: Any, indices: Sequence[int]) -> list[Any]:
    if hasattr(column, "iloc"):
        return [_copy(value) for value in column.iloc[list(indices)].tolist()]
    return [_copy(column[i]) for i in indices]


def _copy(value: Any) -> Any:
    return copy.deepcopy(value) if isinstance(value, dict | list) else value


def two_kinds(fields: Mapping[str, Seen]) -> Iterator[Finding]:
    """A warning NB337 for each field that holds several kinds of missing values."""
    for name, field in fields.items():
        for part in _mixed(field):
            where = repr(name) if part is field else f"a value inside {name!r}"
            message = f"{where} holds {' and '.join(part.missing)} for missing values: JSON has one null"
            yield _warning(f"{message}, which becomes {part.missing[0]}", ONE_KIND)


def _mixed(field: Seen) -> list[Seen]:
    return [part for part in field.all_parts() if len(part.missing) > 1]


def changed_rows(
    fields: Mapping[str, Seen], real: Sequence[Row], decoded: Sequence[Row], rows: str
) -> Iterator[Finding]:
    """A warning NB337 for each other field in which rows come back from JSON otherwise than they were."""
    for i, (name, field) in enumerate(fields.items()):
        pairs = [(one[i], other[i]) for one, other in zip(real, decoded, strict=True)]
        changed = [pair for pair in pairs if not same(*pair)]
        if changed and not _mixed(field):
            before, after = (f"{value!r:.40} ({type(value).__name__})" for value in changed[0])
            message = f"{len(changed)} of {len(real)} {rows} hold {before} in {name!r}"
            yield _warning(
                f"{message}, which requests bring as {after}",
                f"The package answers them as if they held that. Let {name!r} hold what the example holds.",
            )


def _warning(message: str, hint: str) -> Finding:
    return Finding("NB337", message, hint, severity="warning")


def same(one: Any, other: Any) -> bool:
    """Whether a value has come back as it was: numbers by value, all else by type and value."""
    if is_missing(one) or is_missing(other):
        return is_missing(one) and is_missing(other) and _same_missing(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(v, other[k]) for k, v in one.items())
        )
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if _is_number(one) and _is_number(other):
        return bool(one == other) or math.isclose(one, other, rel_tol=CLOSE)
    one, other = _plain(one), _plain(other)
    return type(one) is type(other) and bool(one == other)


def _plain(value: Any) -> Any:
    return (
        value.item()
        if type(value).__name__ in ("str_", "bool", "bool_") and hasattr(value, "item")
        else value
    )


def _same_missing(one: Any, other: Any) -> bool:
    kinds = {kind_of_missing(value) for value in (one, other)}
    return len(kinds) == 1 or kinds <= {"", "nan", "np.nan"}


def _is_number(value: Any) -> bool:
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return kind in ("i", "u", "f") or (isinstance(value, int | float) and not isinstance(value, bool))
