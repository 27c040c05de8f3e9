"""Tensors of the Open Inference Protocol, as JSON or as bytes, from and to plain values.

Source: https://github.com/kserve/open-inference-protocol, and for bytes Triton's extension:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import math
import operator
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

from nb2prod.serving.bodies import kind_of
from nb2prod.serving.http import Refused, dumps

CODES = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""Data types of a fixed size, and their letter in the struct module."""

DATATYPES = (*CODES, "BYTES")


DIMENSIONS = 32
"""Most sizes of a shape."""

SPARE = 100_000
"""How many lists rows may be made of, beyond a few for each row and value."""


class BadTensor(Refused):
    """A tensor that does not say what it holds."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


@dataclass(frozen=True, slots=True)
class Tensor:
    """Values in row-major order: numbers, booleans, texts; None for NaN."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    flat: Sequence[Any]

    def rows(self) -> list[Any]:
        """A value for each row, nested as the shape has it; BadTensor if that costs far more than they do."""
        lists = sum(accumulate(self.shape[:-1], operator.mul))
        if lists > 4 * (len(self.flat) + self.shape[0]) + SPARE:
            shape, held = list(self.shape), len(self.flat)
            raise BadTensor(f"{self.name}: shape {shape} makes {lists} lists of {held} values")
        return nested(self.flat, self.shape)


@dataclass(frozen=True, slots=True)
class Sent:
    """A tensor of a request, of which nothing is made yet: its rows are counted first."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Callable[[], Iterable[Any]]

    def __len__(self) -> int:
        if not self.shape:
            raise BadTensor(f"{self.name}: expected a shape that begins with the number of rows, got []")
        return self.shape[0]

    def tensor(self) -> Tensor:
        """The tensor; BadTensor if its values are not those that it says it holds."""
        flat = [*self.values()]
        if len(flat) != math.prod(self.shape):
            shape, wanted = list(self.shape), math.prod(self.shape)
            raise BadTensor(f"{self.name}: shape {shape} holds {wanted} values, got {len(flat)}")
        plain = [_plain(value, self.datatype) for value in flat]
        _check(self, plain)
        return Tensor(self.name, self.datatype, self.shape, plain)


def nested(flat: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """Values in row-major order as lists of lists."""
    if len(shape) == 1:
        return list(flat)
    step = math.prod(shape[1:])
    return [nested(flat[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def read(data: Any, blob: memoryview) -> tuple[Sent, memoryview]:
    """A tensor of a request, and what is left of the bytes behind its JSON; BadTensor."""
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise BadTensor("each of inputs is an object with name, shape, datatype and data")
    name, datatype, shape = data["name"], data.get("datatype"), data.get("shape")
    if datatype not in DATATYPES:
        raise BadTensor(f"{name}: expected one of {', '.join(DATATYPES)} as datatype, got {datatype!r:.60}")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise BadTensor(f"{name}: expected a list of sizes as shape, got {shape!r:.60}")
    if len(shape) > DIMENSIONS:
        raise BadTensor(f"{name}: expected at most {DIMENSIONS} sizes as shape, got {len(shape)}")
    parameters = data.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return Sent(name, datatype, tuple(shape), partial(_flat, _listed(data, name))), blob
    if type(size) is not int or not 0 <= size <= len(blob):
        raise BadTensor(f"{name}: binary_data_size is {size!r:.60}, and {len(blob)} bytes are there")
    if data.get("data") is not None:
        raise BadTensor(f"{name}: expected either data or binary_data_size, got both")
    return Sent(name, datatype, tuple(shape), partial(_unpacked, blob[:size], datatype, name)), blob[size:]


def _listed(data: Any, name: str) -> list[Any]:
    found = data.get("data")
    if not isinstance(found, list):
        raise BadTensor(f"{name}: expected a list as data, got {kind_of(found)}")
    return found


def _flat(data: list[Any]) -> Iterator[Any]:
    waiting = [iter(data)]
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, list):
                waiting.append(iter(value))
                break
            yield value
        else:
            waiting.pop()


def _plain(value: Any, datatype: str) -> Any:
    if datatype == "BOOL" and type(value) is int and value in (0, 1):
        return bool(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _check(sent: Sent, flat: Sequence[Any]) -> None:
    """BadTensor for a value that is none of its datatype. BYTES may hold any, of which the contract tells."""
    there = [value for value in flat if value is not None]
    if sent.datatype not in CODES or not there:
        return
    types, low, high, expected = _bounds(sent.datatype)
    if types.issuperset(map(type, there)) and low <= min(there) and max(there) <= high:
        return
    for value in there:
        # JSON may write 3 as 3.0
        whole = type(value) is float and int in types and low <= value <= high and value == int(value)
        if not whole and not (type(value) in types and low <= value <= high):
            got = json.dumps(value) if isinstance(value, str | int | float) else kind_of(value)
            raise BadTensor(f"{sent.name}: {sent.datatype} is {expected}, got {got:.60}")


def _bounds(datatype: str) -> tuple[set[type], float, float, str]:
    """Types of values of a datatype, the lowest, the highest, and these in words."""
    if datatype == "BOOL":
        return {bool}, 0, 1, "true or false"
    if datatype.startswith("FP"):
        return {float, int}, -math.inf, math.inf, "a number"
    bits = 8 * struct.calcsize(f"<{CODES[datatype]}")
    low, high = (0, 2**bits - 1) if datatype[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return {int}, low, high, f"an integer from {low} to {high}"


def _unpacked(blob: memoryview, datatype: str, name: str) -> Iterable[Any]:
    if datatype == "BYTES":
        return _texts(blob, name)
    code = CODES[datatype]
    size = struct.calcsize(f"<{code}")
    if len(blob) % size:
        raise BadTensor(f"{name}: {len(blob)} bytes are no whole number of {datatype}")
    return struct.unpack(f"<{len(blob) // size}{code}", blob)


def _texts(blob: memoryview, name: str) -> Iterator[str]:
    at = 0
    while at < len(blob):
        end = at + 4
        (size,) = struct.unpack("<I", blob[at:end]) if end <= len(blob) else (len(blob),)
        if end + size > len(blob):
            raise BadTensor(f"{name}: its bytes end within an element")
        try:
            yield str(blob[end : end + size], "utf-8")
        except UnicodeDecodeError as error:
            raise BadTensor(f"{name}: an element is not UTF-8: {error}") from None
        at = end + size


def pack(tensor: Tensor) -> bytes:
    """A tensor as bytes, little-endian."""
    if tensor.datatype == "BYTES":
        parts = [b"" if value is None else str(value).encode() for value in tensor.flat]
        return b"".join(piece for part in parts for piece in (struct.pack("<I", len(part)), part))
    if tensor.datatype == "FP64" and sys.byteorder == "little":
        return array("d", [math.nan if value is None else value for value in tensor.flat]).tobytes()
    flat = [math.nan if value is None else value for value in tensor.flat]
    return struct.pack(f"<{len(flat)}{CODES[tensor.datatype]}", *flat)


def of_column(name: str, values: Sequence[Any]) -> Tensor:
    """Predictions as a tensor: of the narrowest kind that holds them all, else of JSON texts."""
    shape = _shape(values)
    flat = [*_flat([*values])] if shape is not None else [*values]
    kinds = {type(value) for value in flat}
    datatype = next((datatype for fits, datatype in _KINDS if kinds <= fits), None)
    if datatype == "INT64" and not all(-(2**63) <= value < 2**63 for value in flat):
        datatype = None
    if shape is None or datatype is None:
        texts = [value if isinstance(value, str) else dumps(value).decode() for value in values]
        return Tensor(name, "BYTES", (len(texts),), texts)
    return Tensor(name, datatype, shape, flat)


_KINDS: tuple[tuple[set[type], str], ...] = (
    ({bool}, "BOOL"),
    ({int}, "INT64"),
    ({int, float, type(None)}, "FP64"),
    ({str, type(None)}, "BYTES"),
)


def _shape(values: Sequence[Any]) -> tuple[int, ...] | None:
    """The shape of lists of lists; None if they are ragged."""
    inner = {_shape(value) if isinstance(value, list) else () for value in values}
    if len(inner) > 1 or None in inner:
        return None
    (rest,) = inner or {()}
    return (len(values), *rest)  # type: ignore[misc]
