"""Whether two answers are the same: types, dtypes and values, NaN equal to NaN, index labels ignored.

Standard library only, and nothing of nb2prod: the kernel and the proving process load this file by path.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Path = tuple[Any, ...]


class Mismatch(NamedTuple):
    """A place where two answers differ; `row` counts from 0. `expected` and `got` are texts."""

    row: int
    expected: str
    got: str
    detail: str


def mismatches(expected: Any, got: Any, rtol: float = 0.0) -> Iterator[Mismatch]:
    """The places where two answers differ; numbers may differ by `rtol` relatively."""
    for path, one, other, why in _walk(expected, got, rtol, ()):
        at = next((i for i, step in enumerate(path) if isinstance(step, int)), None)
        inner = path if at is None else path[:at] + path[at + 1 :]
        detail = ": ".join(filter(None, (_text(inner), why)))
        yield Mismatch(0 if at is None else path[at], shown(one), shown(other), detail)


def same(expected: Any, got: Any, rtol: float = 0.0) -> bool:
    """Whether two answers are the same."""
    return next(mismatches(expected, got, rtol), None) is None


def shown(value: Any, limit: int = 80) -> str:
    """A value as one short line of text."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _text(path: Path) -> str:
    return "".join(f"[{step!r}]" if isinstance(step, int | str) else f".{step[0]}" for step in path)


_Found = Iterator[tuple[Path, Any, Any, str]]


def _walk(one: Any, other: Any, rtol: float, path: Path) -> _Found:
    if type(one) is not type(other):
        yield path, one, other, f"{_kind(one)} became {_kind(other)}"
        return
    for matches, walk in _WALKS:
        if matches(one):
            yield from walk(one, other, rtol, path)
            return
    if not _equal(one, other, rtol):
        yield path, one, other, ""


def _kind(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ + (f" of {dtype}" if dtype is not None and hasattr(value, "__len__") else "")


# --- containers ----------------------------------------------------------------------------------


def _walk_sequence(one: Sequence[Any], other: Sequence[Any], rtol: float, path: Path) -> _Found:
    if len(one) != len(other):
        yield path, one, other, f"{len(one)} items became {len(other)}"
        return
    for i, (left, right) in enumerate(zip(one, other, strict=True)):
        yield from _walk(left, right, rtol, (*path, i))


def _walk_mapping(one: Mapping[Any, Any], other: Mapping[Any, Any], rtol: float, path: Path) -> _Found:
    if one.keys() != other.keys():
        yield path, list(one), list(other), "other keys"
        return
    for key in one:
        yield from _walk(one[key], other[key], rtol, (*path, str(key)))


def _walk_frame(one: Any, other: Any, rtol: float, path: Path) -> _Found:
    if list(one.columns) != list(other.columns):
        yield path, list(one.columns), list(other.columns), "other columns"
    elif len(one) != len(other):
        yield path, one, other, f"{len(one)} rows became {len(other)}"
    else:
        for i, name in enumerate(one.columns):
            for at, *rest in _walk_column(one.iloc[:, i], other.iloc[:, i], rtol, ()):
                yield (*path, *at, str(name)), *rest


def _walk_column(one: Any, other: Any, rtol: float, path: Path) -> _Found:
    """Series, Index, Categorical and other arrays of pandas."""
    if one.dtype != other.dtype:
        yield path, one.dtype, other.dtype, f"dtype {one.dtype} became {other.dtype}"
    elif _is_numpy(one):
        yield from _walk_array(one.to_numpy(), other.to_numpy(), rtol, path)
    else:
        yield from _walk_sequence(list(one), list(other), rtol, path)


def _is_numpy(column: Any) -> bool:
    return type(column.dtype).__module__.startswith("numpy") and hasattr(column, "to_numpy")


def _walk_array(one: Any, other: Any, rtol: float, path: Path) -> _Found:
    if one.dtype != other.dtype or one.shape != other.shape:
        left, right = f"{one.dtype} {one.shape}", f"{other.dtype} {other.shape}"
        yield path, left, right, f"array of {left} became {right}"
    elif one.shape == ():
        yield from _walk(one.item(), other.item(), rtol, path)
    elif one.dtype.hasobject:
        yield from _walk_sequence(one.tolist(), other.tolist(), rtol, path)
    else:
        for index in _differing(one, other, rtol):
            yield (*path, *index), one[index], other[index], ""


def _differing(one: Any, other: Any, rtol: float) -> Iterator[tuple[int, ...]]:
    """Indices at which two arrays of one plain dtype and shape differ."""
    import numpy as np

    equal = (one == other) | ((one != one) & (other != other))
    if rtol and one.dtype.kind in "fc":
        with np.errstate(invalid="ignore"):
            equal |= np.abs(one - other) <= rtol * np.maximum(np.abs(one), np.abs(other))
    for index in np.argwhere(~equal):
        yield tuple(int(i) for i in index)


def _walk_sparse(one: Any, other: Any, rtol: float, path: Path) -> _Found:
    yield from _walk_array(one.toarray(), other.toarray(), rtol, path)


def _walk_tensor(one: Any, other: Any, rtol: float, path: Path) -> _Found:
    if one.dtype != other.dtype:
        yield path, one.dtype, other.dtype, f"dtype {one.dtype} became {other.dtype}"
    else:
        yield from _walk_array(one.detach().cpu().numpy(), other.detach().cpu().numpy(), rtol, path)


def _walk_object(one: Any, other: Any, rtol: float, path: Path) -> _Found:
    for name, value in vars(one).items():
        if not hasattr(other, name):
            yield path, one, other, f"no attribute {name}"
        else:
            yield from _walk(value, getattr(other, name), rtol, (*path, (name,)))


# --- values --------------------------------------------------------------------------------------


def _equal(one: Any, other: Any, rtol: float) -> bool:
    if isinstance(one, float) or getattr(getattr(one, "dtype", None), "kind", "") == "f":
        return _equal_floats(float(one), float(other), rtol)
    if _missing(one):
        return _missing(other)
    # comparing runs the user's __eq__, which may raise anything
    try:
        return bool(one == other)
    except Exception:
        return False


def _equal_floats(one: float, other: float, rtol: float) -> bool:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return True
    if not rtol or math.isinf(one) or math.isinf(other):
        return False
    return abs(one - other) <= rtol * max(abs(one), abs(other))


def _missing(value: Any) -> bool:
    is_moment = getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M")
    return type(value).__name__ in ("NaTType", "NAType") or (is_moment and bool(value != value))


def _is_user_object(value: Any) -> bool:
    """An instance whose class defines no equality of its own, so that `==` would only mean identity."""
    inherited = getattr(type(value), "__eq__", None) is getattr(object, "__eq__", None)
    plain = inherited and isinstance(getattr(value, "__dict__", None), dict)
    return (plain or dataclasses.is_dataclass(value)) and not isinstance(value, type) and not callable(value)


def _is_value(value: Any) -> bool:
    return isinstance(value, str | bytes | int | float)


def _walk_value(one: Any, other: Any, rtol: float, path: Path) -> _Found:
    if not _equal(one, other, rtol):
        yield path, one, other, ""


_WALKS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Any, float, Path], _Found]], ...] = (
    (_is_value, _walk_value),
    (lambda v: isinstance(v, Mapping), _walk_mapping),
    (lambda v: isinstance(v, list | tuple), _walk_sequence),
    (lambda v: hasattr(v, "columns") and hasattr(v, "iloc"), _walk_frame),
    (lambda v: hasattr(v, "toarray") and hasattr(v, "nnz"), _walk_sparse),
    (lambda v: hasattr(v, "detach") and hasattr(v, "cpu"), _walk_tensor),
    (lambda v: hasattr(v, "dtype") and hasattr(v, "isna") and hasattr(v, "__len__"), _walk_column),
    (lambda v: hasattr(v, "dtype") and hasattr(v, "shape") and hasattr(v, "__len__"), _walk_array),
    (_is_user_object, _walk_object),
)
