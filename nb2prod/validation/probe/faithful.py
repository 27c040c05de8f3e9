"""Whether a value that was read back is the same as the one that was stored, and if not, what differs.

As strict as can be: types, dtypes, memory order, bits (though one NaN equals another), labels, the
order of keys, and which parts are one object. What is known to none of the functions below is
compared by what pickle would write of it. Runs inside the notebook's kernel.
"""

from __future__ import annotations

import copyreg
import datetime as dt
import re
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from .pickling import type_name

_ATOMS = (str, bytes, int, bool, range)
_QUICK = (str, int, bool)
_NO_IDENTITY = (tuple, frozenset, complex, dt.date, dt.time, dt.timedelta, dt.tzinfo, Decimal, re.Pattern)
"""Nobody can tell whether two equal ones are one object, but by asking for just that."""


def difference(one: Any, other: Any) -> str | None:
    """The type of the innermost part that differs between two values; None if they are the same."""
    compare = _Comparison()
    # comparing runs the user's __reduce__ and __eq__, which may raise anything
    try:
        same = compare.same(one, other)
    except Exception:
        same = False
    return None if same else compare.differing or type_name(one)


class _Comparison:
    """Two values side by side. `_pairs` tells which object of the other stands for one of the first."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Any, Any]] = {}
        self._taken: dict[int, Any] = {}
        self.differing: str | None = None

    def same(self, one: Any, other: Any) -> bool:
        """Whether two parts are the same, and stand in the same places."""
        same = self._same(one, other)
        if not same and self.differing is None:
            self.differing = type_name(one)
        return same

    def _same(self, one: Any, other: Any) -> bool:
        kind = type(one)
        if kind is not type(other):
            return False
        if kind in _ATOMS:
            return bool(one == other)
        if kind is float:
            return bool(one.hex() == other.hex())
        if one is other:
            return True
        if not isinstance(one, _NO_IDENTITY) and not has_type(one, "numpy", "generic", "dtype"):
            if id(one) in self._pairs:
                return self._pairs[id(one)][1] is other
            if id(other) in self._taken:
                return False
            self._pairs[id(one)], self._taken[id(other)] = (one, other), other
        return next(walk for matches, walk in _WALKS if matches(one))(self, one, other)

    def each(self, ones: Iterable[Any], others: Iterable[Any]) -> bool:
        """Whether two series of parts are the same, one by one."""
        left, right = list(ones), list(others)
        return len(left) == len(right) and all(
            # most parts of long series are plain
            (type(a) in _QUICK and type(a) is type(b) and a == b) or self.same(a, b)
            for a, b in zip(left, right, strict=True)
        )

    def attributes(self, one: Any, other: Any, *names: str) -> bool:
        """Whether two objects have the same under each name; they may both have nothing."""
        return all(self.same(getattr(one, name, None), getattr(other, name, None)) for name in names)


def has_type(value: Any, module: str, *names: str) -> bool:
    """Whether a value is an instance of one of these classes; the module need not be loaded."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, tuple(getattr(loaded, name) for name in names))


# --- plain values and objects --------------------------------------------------------------------


def _sequence(compare: _Comparison, one: Any, other: Any) -> bool:
    return compare.each(one, other)


def _dict(compare: _Comparison, one: Any, other: Any) -> bool:
    return compare.each(one, other) and compare.each(one.values(), other.values())


def _set(compare: _Comparison, one: Any, other: Any) -> bool:
    # equal members of other types, such as 1 and True, have other texts
    return bool(one == other) and sorted(map(repr, one)) == sorted(map(repr, other))


def _named(compare: _Comparison, one: Any, other: Any) -> bool:
    return False  # classes and functions are the same only if they are one


def _object(compare: _Comparison, one: Any, other: Any) -> bool:
    return compare.each(_reduced(one), _reduced(other))


def _reduced(value: Any) -> list[Any]:
    registered = copyreg.dispatch_table.get(type(value))
    reduced = value.__reduce_ex__(4) if registered is None else registered(value)
    if isinstance(reduced, str):
        return [reduced]
    items = [list(each) if each is not None else None for each in reduced[3:5]]
    return [*reduced[:3], *items, *reduced[5:]]


# --- arrays --------------------------------------------------------------------------------------


def _array(compare: _Comparison, one: Any, other: Any) -> bool:
    if (one.dtype, one.dtype.metadata, one.shape) != (other.dtype, other.dtype.metadata, other.shape):
        return False
    if one.dtype.hasobject:
        return _order(one) == _order(other) and compare.each(one.ravel().tolist(), other.ravel().tolist())
    return _order(one) == _order(other) and _same_bits(one, other)


def _order(array: Any) -> str:
    """How an array lies in memory once it is stored: sums are rounded accordingly."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _same_bits(one: Any, other: Any) -> bool:
    import numpy as np

    if one.dtype.names is not None:
        return all(_same_bits(one[name], other[name]) for name in one.dtype.names)
    if one.dtype.kind == "c":
        return _same_bits(one.real, other.real) and _same_bits(one.imag, other.imag)
    missing = one != one
    equal = (one == other) | (missing & (other != other))
    if one.dtype.kind == "f":
        equal &= missing | (np.signbit(one) == np.signbit(other))
    return bool(np.all(equal))


def _scalar(compare: _Comparison, one: Any, other: Any) -> bool:
    import numpy as np

    return _array(compare, np.asarray(one), np.asarray(other))


def _dtype(compare: _Comparison, one: Any, other: Any) -> bool:
    return bool(one == other) and one.metadata == other.metadata


def _random(compare: _Comparison, one: Any, other: Any) -> bool:
    # what it will draw; where its first state came from, nobody can ask
    return compare.same(one.get_state(legacy=False), other.get_state(legacy=False))


def _sparse(compare: _Comparison, one: Any, other: Any) -> bool:
    return compare.attributes(one, other, "shape", "data", "indices", "indptr", "coords", "offsets")


def _is_sparse(value: Any) -> bool:
    formats = ("csr", "csc", "bsr", "coo", "dia")
    return type(value).__module__.startswith("scipy.sparse.") and getattr(value, "format", "") in formats


def _tensor(compare: _Comparison, one: Any, other: Any) -> bool:
    import torch

    if one.layout is not torch.strided or one.is_quantized or one.is_nested:
        return _object(compare, one, other)
    looks = ((t.device, t.dtype, t.shape, t.stride(), t.requires_grad) for t in (one, other))
    left, right = (t.detach().reshape(-1).contiguous().view(torch.uint8) for t in (one, other))
    return len(set(looks)) == 1 and torch.equal(left, right) and compare.same(vars(one), vars(other))


# --- pandas --------------------------------------------------------------------------------------


def _frame(compare: _Comparison, one: Any, other: Any) -> bool:
    left, right = ([frame.iloc[:, i].array for i in range(frame.shape[1])] for frame in (one, other))
    if _rows(one) != _rows(other):
        return False
    return _labels(compare, one, other, "columns") and compare.each(left, right)


def _rows(frame: Any) -> str:
    """A table of one dtype may lie in memory by rows or by columns."""
    one_kind = len(set(frame.dtypes)) == 1 and type(frame.dtypes.iloc[0]).__module__.startswith("numpy")
    return _order(frame.to_numpy()) if one_kind else ""


def _series(compare: _Comparison, one: Any, other: Any) -> bool:
    return _labels(compare, one, other, "name") and compare.same(one.array, other.array)


def _labels(compare: _Comparison, one: Any, other: Any, name: str) -> bool:
    flags = one.flags.allows_duplicate_labels == other.flags.allows_duplicate_labels
    return flags and compare.attributes(one, other, name, "index", "attrs")


def _index(compare: _Comparison, one: Any, other: Any) -> bool:
    if has_type(one, "pandas", "MultiIndex"):
        left, right = ([*index.names, *index.levels, *index.codes] for index in (one, other))
        return compare.each(left, right)
    if has_type(one, "pandas", "RangeIndex"):
        return compare.attributes(one, other, "name", "start", "stop", "step")
    return compare.attributes(one, other, "name", "freq") and compare.same(one.array, other.array)


def _extension(compare: _Comparison, one: Any, other: Any) -> bool:
    if one.dtype != other.dtype or repr(one.dtype) != repr(other.dtype) or len(one) != len(other):
        return False
    if hasattr(one, "_pa_array"):
        return bool(one._pa_array.equals(other._pa_array))
    if hasattr(one, "_mask"):
        there = ~one._mask
        return _same_bits(one._mask, other._mask) and _same_bits(one._data[there], other._data[there])
    if not hasattr(one, "_ndarray"):
        return _object(compare, one, other)
    plain = compare.attributes(one, other, "categories", "ordered")
    return plain and _array(compare, one._ndarray, other._ndarray)


_WALKS: tuple[tuple[Callable[[Any], bool], Callable[[_Comparison, Any, Any], bool]], ...] = (
    (lambda v: type(v) in (list, tuple), _sequence),
    (lambda v: type(v) is dict, _dict),
    (lambda v: type(v) in (set, frozenset), _set),
    (lambda v: isinstance(v, type) or hasattr(v, "__code__"), _named),
    (lambda v: has_type(v, "numpy", "ndarray") and type(v).__module__ == "numpy", _array),
    (lambda v: has_type(v, "numpy", "generic"), _scalar),
    (lambda v: has_type(v, "numpy", "dtype"), _dtype),
    (lambda v: has_type(v, "pandas", "DataFrame"), _frame),
    (lambda v: has_type(v, "pandas", "Series"), _series),
    (lambda v: has_type(v, "pandas", "Index"), _index),
    (lambda v: has_type(v, "pandas.api.extensions", "ExtensionArray"), _extension),
    (lambda v: has_type(v, "numpy.random", "RandomState"), _random),
    (_is_sparse, _sparse),
    (lambda v: has_type(v, "torch", "Tensor"), _tensor),
    (lambda v: True, _object),
)
