"""Bodies as Arrow IPC streams, both ways. pyarrow is imported once one comes, and not before.

For a model that takes a DataFrame, a table becomes that frame column by column, where every column plainly
keeps the contract; else its rows go the way of all requests, and are refused in the same words.

Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from nb2prod.serving.bodies import refuse, said_twice
from nb2prod.serving.core import Columns, Whole, named
from nb2prod.serving.http import Refused, Response, dumps
from nb2prod.serving.loader import LoadedRelease

STREAM = "application/vnd.apache.arrow.stream"
OUTPUT = "predictions"


class Table(Columns):
    """The table of a body; as many instances as it has rows."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def instances(self, release: LoadedRelease) -> list[Any] | Whole:
        """Its rows as this release takes them: the whole request, or one value each."""
        try:
            return _frame(self._table, release) or _rows(self._table, release)
        except (ValueError, OverflowError) as error:  # moments that Python cannot tell
            raise Refused(400, f"the body holds what cannot be read: {error}") from None


def read(body: bytes) -> Table:
    """The table in a body; Refused 400 if it is no stream, 415 without pyarrow, 422 for types not taken."""
    arrow = _pyarrow(415)
    try:
        with arrow.ipc.open_stream(body) as stream:
            for message in _messages(arrow, body):
                if _is_compressed(message):
                    refuse("the body", "buffers that are not compressed", "compressed ones")
            batches = [*stream]
            for batch in batches:
                batch.validate(full=True)
            table = arrow.Table.from_batches(batches, stream.schema)
        _check(arrow, table)
    except (arrow.ArrowException, ValueError, OSError, EOFError) as error:  # names that are no UTF-8, too
        raise Refused(400, f"the body is no Arrow IPC stream: {_why(body, error)}") from None
    return Table(table)


def _why(body: bytes, error: Exception) -> str:
    if body.startswith(b"ARROW1"):
        return "it is in Arrow's file format; write it with pyarrow.ipc.new_stream"
    if body[:1] in (b"{", b"["):
        return "it looks like JSON; send that as application/json"
    return f"{(str(error).splitlines() or [type(error).__name__])[0]:.200}"


def answer(release: LoadedRelease, predictions: list[Any]) -> Response:
    """Predictions as a table: a column for each of their fields, else the one column `predictions`."""
    arrow = _pyarrow(406)
    if all(isinstance(one, dict) for one in predictions) and len({tuple(one) for one in predictions}) == 1:
        columns = {name: _array(arrow, [one[name] for one in predictions]) for name in predictions[0]}
    else:
        columns = {OUTPUT: _array(arrow, predictions)}
    table = arrow.table(columns)
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(200, sink.getvalue().to_pybytes(), STREAM, named(release))


def _pyarrow(status: int) -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise Refused(status, f"{STREAM} needs pyarrow, which is not installed here; send JSON") from None
    return pyarrow


def _array(arrow: Any, values: Sequence[Any]) -> Any:
    try:
        return arrow.array(values)
    except (arrow.ArrowException, OverflowError):  # values of different kinds
        return arrow.array([value if isinstance(value, str) else dumps(value).decode() for value in values])


# --- what is taken -------------------------------------------------------------------------------


def _messages(arrow: Any, body: bytes) -> Any:
    reader = arrow.ipc.MessageReader.open_stream(body)
    try:
        while True:
            yield memoryview(reader.read_next_message().metadata)
    except StopIteration:
        return


def _is_compressed(message: memoryview) -> bool:
    """Whether a message's buffers are: of a small body they could make any number of bytes.

    Read from its flatbuffer, as Message.fbs lays it out: pyarrow does not tell.
    """
    table = _u32(message, 0)
    kind, header = _member(message, table, 1), _member(message, table, 2)
    if not kind or not header or message[kind] not in (2, 3):
        return False
    batch = header + _u32(message, header)
    if message[kind] == 2:  # a dictionary holds its batch
        inner = _member(message, batch, 1)
        batch = inner + _u32(message, inner)
    return bool(_member(message, batch, 3))


def _u32(message: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", message, at)[0])


def _member(message: memoryview, table: int, number: int) -> int:
    """Where a flatbuffer's table has a member; 0 if it has none."""
    vtable = table - struct.unpack_from("<i", message, table)[0]
    size = struct.unpack_from("<H", message, vtable)[0]
    at = 4 + 2 * number
    offset = struct.unpack_from("<H", message, vtable + at)[0] if at < size else 0
    return table + offset if offset else 0


def _check(arrow: Any, table: Any) -> None:
    names = table.column_names
    if twice := said_twice(names):
        refuse("the body", "columns of different names", f"{twice} twice")
    for column in table.schema:
        kind = column.type.value_type if arrow.types.is_dictionary(column.type) else column.type
        if not (arrow.types.is_null(kind) or _is_taken(arrow.types, kind)):
            refuse(column.name, "numbers, booleans, texts, moments, or lists and structs of them", str(kind))


def _is_taken(types: Any, kind: Any) -> bool:
    """Not types that hold more values than bytes, such as views: a small body could hold any number."""
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_taken(types, kind.value_type)
    if types.is_struct(kind):
        return all(_is_taken(types, part.type) for part in kind)
    plain = (types.is_integer, types.is_floating, types.is_boolean, types.is_timestamp, types.is_date)
    return any(fits(kind) for fits in (*plain, types.is_string, types.is_large_string))


# --- rows ----------------------------------------------------------------------------------------


def _rows(table: Any, release: LoadedRelease) -> list[Any]:
    columns = [_values(column, release) for column in table.columns]
    if release.predictor.takes_records:
        names = table.column_names
        if not names:
            return [{} for _ in range(table.num_rows)]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if len(columns) != 1:
        refuse("the body", "one column", f"{len(columns)} columns")
    return columns[0]


def _values(column: Any, release: LoadedRelease) -> list[Any]:
    """A column's values as JSON has them; infinities stay, for the contract to refuse."""
    return [value for chunk in column.chunks for value in _chunk(chunk, release)]


def _chunk(chunk: Any, release: LoadedRelease) -> list[Any]:
    if hasattr(chunk, "dictionary"):
        # each value once, however many rows have it
        values = [_plain(value, release) for value in chunk.dictionary.to_pylist()]
        return [None if code is None else values[code] for code in chunk.indices.to_pylist()]
    return [_plain(value, release) for value in chunk.to_pylist()]


def _plain(value: Any, release: LoadedRelease) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list):
        return [_plain(item, release) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item, release) for name, item in value.items()}
    return release.runtime.to_wire(value)


# --- the frame -----------------------------------------------------------------------------------


def _frame(table: Any, release: LoadedRelease) -> Whole | None:
    """The request of a model that takes a DataFrame; None where its rows must be looked at."""
    fields = {field["name"]: field for field in release.contract["fields"]}
    if release.predictor.kind != "frame" or {*table.column_names} != {*fields} or not table.num_rows:
        return None
    columns = {}
    for name, field in fields.items():
        found = _numbers(table.column(name), field)
        if found is None:
            found = _values(table.column(name), release)
            if not release.predictor.fits(name, found):
                return None
        columns[name] = found
    frame = release.predictor.frame(columns)
    return Whole(frame, table.num_rows, lambda: _rows(table, release))


def _numbers(column: Any, field: Any) -> Any:
    """A column of numbers as numpy has it; None if it is none, or must be looked at value by value."""
    import numpy as np

    try:
        wanted = np.dtype(field["python"])
    except TypeError:
        return None
    values = _plain_numbers(np, column, field, wanted)
    low, high = field["minimum"], field["maximum"]
    if values is None or low is None or high is None or wanted.kind == "b":
        return values
    # what the notebook's data did not have is counted, value by value
    return None if ((values < low) | (values > high)).any() else values


def _plain_numbers(np: Any, column: Any, field: Any, wanted: Any) -> Any:
    from pyarrow import types

    whole = types.is_integer(column.type)
    if wanted.kind == "b" and types.is_boolean(column.type) and not column.null_count:
        return column.to_numpy()
    if wanted.kind in "iu" and whole and not column.null_count:
        values, limits = column.to_numpy(), np.iinfo(wanted)
        fits = limits.min <= int(values.min()) and int(values.max()) <= limits.max
        return values.astype(wanted) if fits else None
    if wanted.kind == "f" and (whole or types.is_floating(column.type)):
        values = column.to_numpy().astype("float64")
        gaps = np.isnan(values)
        fits = field["nullable"] or not gaps.any()
        return values if fits and np.all(gaps | (np.abs(values) <= np.finfo(wanted).max)) else None
    return None
