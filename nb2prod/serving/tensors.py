"""Tensors of the Open Inference Protocol, as JSON or as bytes, from and to plain values.

Source: https://github.com/kserve/open-inference-protocol, and for bytes Triton's extension:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nb2prod.serving.http import dumps

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


class BadTensor(ValueError):
    """A tensor that does not say what it holds."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Values in row-major order: numbers, booleans, texts; None for NaN."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    flat: Sequence[Any]

    def rows(self) -> list[Any]:
        """A value for each row, nested as the shape has it; BadTensor if there are no rows."""
        if not self.shape:
            raise BadTensor(f"{self.name}: expected a shape that begins with the number of rows, got []")
        return nested(self.flat, self.shape)


def nested(flat: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """Values in row-major order as lists of lists."""
    if len(shape) == 1:
        return list(flat)
    step = math.prod(shape[1:])
    return [nested(flat[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def read(data: Any, blob: memoryview) -> tuple[Tensor, memoryview]:
    """A tensor of a request, and what is left of the bytes behind its JSON; BadTensor."""
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise BadTensor("each of inputs is an object with name, shape, datatype and data")
    name, datatype = data["name"], data.get("datatype")
    if datatype not in DATATYPES:
        raise BadTensor(f"{name}: expected one of {', '.join(DATATYPES)} as datatype, got {datatype!r}")
    shape = data.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise BadTensor(f"{name}: expected a list of sizes as shape, got {shape!r:.60}")
    parameters = data.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        flat = [*_flat(data.get("data"), name)]
    else:
        if type(size) is not int or not 0 <= size <= len(blob):
            raise BadTensor(f"{name}: binary_data_size is {size!r}, and {len(blob)} bytes are there")
        flat, blob = [*_unpacked(blob[:size], datatype, name)], blob[size:]
    if len(flat) != math.prod(shape):
        raise BadTensor(f"{name}: shape {shape} holds {math.prod(shape)} values, got {len(flat)}")
    flat = [_plain(value, datatype) for value in flat]
    return Tensor(name, datatype, tuple(shape), flat), blob


def _flat(data: Any, name: str) -> Iterator[Any]:
    if not isinstance(data, list):
        raise BadTensor(f"{name}: expected a list as data, got {type(data).__name__}")
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
    flat = [*_flat([*values], name)] if shape is not None else [*values]
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
