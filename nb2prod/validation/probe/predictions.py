"""What a prediction looks like, read off the notebook's own answers. Runs inside the notebook's kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .contract import look_values
from .rows import is_frame
from .seen import field_of, without_distinct

NAME = "prediction"


def field_of_answers(answers: Iterable[Any], *, batch: bool, typical: bool) -> dict[str, Any] | None:
    """The field of one prediction, over all answers; None if there is none.

    With `batch`, an answer has one prediction for each of its rows. `typical`: reference rows are among
    what was asked, so that few different texts are all the texts there are.
    """
    values = [row for answer in answers for row in (_rows(answer) if batch else [plain(answer)])]
    if not values:
        return None
    seen = look_values(values)
    return field_of(NAME, seen if typical else without_distinct(seen))


def _rows(answer: Any) -> list[Any]:
    if isinstance(answer, Mapping):
        columns = {str(name): plain(column) for name, column in answer.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rows = plain(answer)
    assert isinstance(rows, list)
    return rows


def plain(value: Any) -> Any:
    """A value as dicts, lists and scalars, as it will be in JSON; moments stay moments."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if is_frame(value):
        columns = {str(value.columns[i]): plain(value.iloc[:, i]) for i in range(value.shape[1])}
        return [{name: column[i] for name, column in columns.items()} for i in range(len(value))]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=repr)]
    if type(value).__module__ == "numpy" and value.dtype.kind == "M":
        # nanoseconds would come as bare integers
        return [plain(item) for item in value] if value.ndim else value if value == value else None
    return plain(value.tolist()) if hasattr(value, "tolist") else value
