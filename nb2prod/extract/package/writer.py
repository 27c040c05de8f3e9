"""Writes fitted state: which format a value gets, and what its tree looks like. See codecs.py.

It runs in the notebook's kernel; it lies beside the reader, so that the two are of one mind.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from . import formats
from .formats import ALONE, TENSORS, TREE, Home, NoForm, has_type, type_name
from .plain import (
    ONE,
    PLAIN,
    SPLIT,
    is_nan,
    nan_of,
    split_objects,
    split_scalar,
    split_timestamp,
)

MAX_DEPTH = 200

_NEW = object().__reduce_ex__(4)[0]
"""What makes an empty object of a class, as pickle calls it."""


@dataclass(frozen=True, slots=True)
class Written:
    """A value as bytes. `modules` are needed to read it; `trusted` names what reading it may call."""

    codec: str
    data: bytes
    modules: frozenset[str] = frozenset()
    trusted: tuple[str, ...] = ()


def write(value: Any, home_of: Callable[[Any], Home | None] = lambda value: None) -> Written:
    """A value as bytes, in the plainest codec that knows it; NoForm if none does.

    `home_of` says where in the package a class of the notebook lives. Whether the value comes back as
    it was, only reading it again can tell.
    """
    writer = _Writer(home_of)
    # libraries and the user's objects may raise anything when they are asked for what they cannot do
    try:
        codec, data = writer.file(writer.tree(value))
    except NoForm:
        raise
    except ImportError as error:
        raise NoForm(f"{error.name or error} is not installed") from error
    except Exception as error:
        raise NoForm(f"{writer.busy} cannot hold it: {type(error).__name__}: {error}") from error
    modules = frozenset(writer.modules) - {"__main__", "builtins", ""}
    return Written(codec, data, modules, tuple(sorted(writer.trusted)))


class _Writer:
    """A value on its way to bytes. `parts` are its leaves by file name, `kinds` their formats."""

    def __init__(self, home_of: Callable[[Any], Home | None]) -> None:
        self.parts: dict[str, bytes] = {}
        self.kinds: dict[str, None] = {}
        self.modules: set[str] = set()
        self.trusted: set[str] = set()
        self.busy = "json"
        self.home_of = home_of
        self._tensors: dict[str, Any] = {}
        self._storages: set[int] = set()
        self._seen: dict[int, Any] = {}
        self._depth = 0

    def tree(self, value: Any) -> Any:
        """A value as JSON data; its leaves go to `parts`."""
        kind = type(value)
        if kind is float and (module := nan_of(value)) is not None:
            self.modules.add(module)
            return {"$nan": [module]}
        if kind in PLAIN or (kind is int and value.bit_length() < 1024):
            return value
        self._meet(value)
        self._depth += 1
        try:
            return self._branch(kind, value)
        finally:
            self._depth -= 1

    def _meet(self, value: Any) -> None:
        if self._depth > MAX_DEPTH:
            raise NoForm(f"it is nested more than {MAX_DEPTH} deep")
        if isinstance(value, (*ONE, Enum)) or has_type(value, "numpy", "generic") or _is_named(value):
            return
        if isinstance(value, tuple | frozenset) and all(isinstance(item, (*PLAIN, *ONE)) for item in value):
            return
        if id(value) in self._seen:
            raise NoForm(f"one {type_name(value)} stands in two places of it, and would become two")
        self._seen[id(value)] = value

    def _branch(self, kind: type, value: Any) -> Any:
        if kind is list:
            # NaN, unequal to itself, may be one that is known by identity
            return [item if type(item) in PLAIN and not is_nan(item) else self.tree(item) for item in value]
        if kind is dict and not _needs_tag(value):
            return {key: self.tree(item) for key, item in value.items()}
        if kind in SPLIT:
            tag, split = SPLIT[kind]
            return {tag: [self.tree(part) for part in split(value)]}
        for matches, put in _LEAVES:
            if matches(self, value):
                return put(self, value)
        raise NoForm(f"{type_name(value)} has no safer form")

    # -- leaves

    def _part(self, kind: str, extension: str, data: bytes, *modules: str) -> str:
        name = f"{len(self.parts)}.{extension}"
        self.parts[name] = data
        self.kinds[kind] = None
        self.modules.update(modules)
        return name

    def scalar(self, value: Any) -> Any:
        self.modules.add("numpy")
        return {"$scalar": [self.tree(part) for part in split_scalar(value)]}

    def timestamp(self, value: Any) -> Any:
        self.modules |= {"numpy", "pandas"}
        return {"$timestamp": split_timestamp(value)}

    def array(self, value: Any) -> Any:
        self.busy = "npy"
        if value.dtype == object:
            self.modules.add("numpy")
            return {"$objects": [self.tree(part) for part in split_objects(value)]}
        return {"$npy": [self._part("npy", "npy", formats.npy(value), "numpy")]}

    def sparse(self, value: Any) -> Any:
        self.busy = "npz"
        return {"$sparse": [self._part("npy", "npz", formats.sparse(value), "numpy", "scipy")]}

    def table(self, value: Any) -> Any:
        self.busy = "parquet"
        about, arrow = formats.table(value)
        inner = _Writer(self.home_of)
        text = json.dumps(inner.tree(about)).encode()
        if inner.parts:
            raise NoForm("the labels or attributes of a table have no safer form")
        modules = ("pandas", "pyarrow", "numpy", *inner.modules)
        return {"$table": [self._part("parquet", "parquet", formats.parquet(arrow, text), *modules)]}

    def categories(self, value: Any) -> Any:
        import pandas as pd

        return {"$dtype": [self.table(pd.Series(value.categories, dtype=value))]}

    def values(self, value: Any) -> Any:
        import pandas as pd

        return {"$values": [self.table(pd.Series(value, copy=False))]}

    def tensor(self, value: Any) -> Any:
        self.busy = "safetensors"
        formats.check_tensor(value)
        storage = value.untyped_storage().data_ptr()
        if storage in self._storages:
            raise NoForm("two of its tensors share memory, and would not any more")
        self._storages |= {storage} - {0}  # where an empty tensor lies
        name = str(len(self._tensors))
        self._tensors[name] = value
        self.modules |= {"torch", "safetensors"}
        device = [] if value.device.type == "cpu" else [str(value.device)]
        return {"$tensor": [name, has_type(value, "torch.nn", "Parameter"), value.requires_grad, *device]}

    def device(self, value: Any) -> Any:
        self.modules.add("torch")
        return {"$device": [str(value)]}

    def xgboost(self, value: Any) -> Any:
        self.busy = "xgboost"
        model = self._part("xgboost", "ubj", bytes(value.save_raw("ubj")), "xgboost", "numpy", "scipy")
        return {"$xgboost": [model, value.save_config()]}

    def lightgbm(self, value: Any) -> Any:
        self.busy = "lightgbm"
        state = value.__getstate__()
        name = self._part("lightgbm", "txt", state["_handle"].encode(), "lightgbm", "numpy", "scipy")
        return {"$lightgbm": [name, self.tree({**state, "_handle": None})]}

    def skops(self, value: Any) -> Any:
        self.busy = "skops"
        data, modules, trusted = formats.skops(value)
        self.trusted.update(trusted)
        return {"$skops": [self._part("skops", "skops", data, "skops", *modules)]}

    def estimator(self, value: Any) -> Any:
        """By skops; in its parts where skops does not know them all, or would take seconds."""
        if formats.is_wordy(value):
            return self.object(value)
        # skops raises whatever its vendors' objects do
        with contextlib.suppress(Exception):
            return self.skops(value)
        return self.object(value)

    def object(self, value: Any) -> Any:
        """As pickle would make it of nothing but its class and its attributes."""
        kind = type(value)
        made, arguments, *rest = value.__reduce_ex__(4)
        state = rest[0] if rest else None
        if made is not _NEW or arguments != (kind,) or any(item is not None for item in rest[1:]):
            raise NoForm(f"{type_name(value)} is made in a way of its own")
        reference = self._reference(kind)
        self.modules |= {base.__module__.partition(".")[0] for base in kind.__mro__}
        return {"$object": [reference, self.tree(state)]}

    def member(self, value: Any) -> Any:
        """A member of an enumeration of the notebook, or of a library that is trusted."""
        kind = type(value)
        if kind.__members__.get(value.name) is not value:  # several flags at once
            raise NoForm(f"{type_name(value)} is made in a way of its own")
        return {"$member": [self.tree(kind), value.name]}

    def named(self, value: Any) -> Any:
        """A function or class of the notebook, or of a library that is trusted."""
        reference = self._reference(value)
        module = reference.partition(":")[0].partition(".")[0]
        is_type = module == "builtins" and isinstance(value, type)
        if module and module not in formats.TRUSTED and not is_type:
            raise NoForm(f"{reference.replace(':', '.')} has no safer form")
        self.modules.add(module)
        return {"$named": [reference]}

    def _reference(self, value: Any) -> str:
        """A class or function by its name; NoForm if it cannot be imported."""
        home, name = self.home_of(value), value.__qualname__
        module = sys.modules.get(str(value.__module__))
        found = functools.reduce(lambda part, each: getattr(part, each, None), name.split("."), module)
        if home is None and (found is not value or value.__module__ == "__main__"):
            raise NoForm(f"{name} of {value.__module__} cannot be imported by that name")
        reference = f".{home[0]}:{home[1]}" if home is not None else f"{value.__module__}:{name}"
        self.trusted.add(reference)
        return reference

    # -- the whole

    def file(self, tree: Any) -> tuple[str, bytes]:
        """The codec and the bytes of a tree."""
        text = json.dumps(tree)
        if self._tensors and not self.parts:
            self.busy = "safetensors"
            return "safetensors", formats.safetensors(self._tensors, text)
        if not self.parts:
            return "json", text.encode()
        tag = next(iter(tree)) if isinstance(tree, dict) and len(tree) == 1 else ""
        if tag in ALONE:
            return ALONE[tag], next(iter(self.parts.values()))
        if self._tensors:
            self.kinds["safetensors"] = None
            self.parts[TENSORS] = formats.safetensors(self._tensors, "")
        codec = "npz" if list(self.kinds) == ["npy"] else f"zip({','.join(sorted(self.kinds))})"
        return codec, formats.archive({TREE: text.encode(), **self.parts})


def _needs_tag(mapping: dict[Any, Any]) -> bool:
    """Keys that are no text, or what would be taken for a tag."""
    if any(type(key) is not str for key in mapping):
        return True
    return len(mapping) == 1 and next(iter(mapping)).startswith("$")


def _is(value: Any, module: str, *names: str) -> bool:
    """Whether a value is of one of a module's classes, exactly."""
    return (
        type(value).__name__ in names
        and has_type(value, module, type(value).__name__)
        and (type(value) is getattr(sys.modules[module], type(value).__name__))
    )


def _is_from(value: Any, *modules: str) -> bool:
    return type(value).__module__.partition(".")[0] in modules


def _is_named(value: Any) -> bool:
    """A class or a function; libraries have kinds of functions of their own."""
    return callable(value) and all(isinstance(getattr(value, name, 0), str) for name in _NAME)


_NAME = ("__module__", "__qualname__")


def _is_sparse(value: Any) -> bool:
    formats_ = ("csr", "csc", "bsr", "coo", "dia")
    return type(value).__module__.startswith("scipy.sparse.") and getattr(value, "format", "") in formats_


_EXTENSIONS = "pandas.api.extensions"

_LEAVES: tuple[tuple[Callable[[_Writer, Any], bool], Callable[[_Writer, Any], Any]], ...] = (
    (lambda w, v: has_type(v, "numpy", "generic"), _Writer.scalar),
    (lambda w, v: _is(v, "numpy", "ndarray"), _Writer.array),
    (lambda w, v: _is_sparse(v), _Writer.sparse),
    (lambda w, v: _is(v, "pandas", "Timestamp"), _Writer.timestamp),
    (lambda w, v: _is(v, "pandas", "CategoricalDtype"), _Writer.categories),
    (lambda w, v: _is(v, "pandas", "DataFrame", "Series"), _Writer.table),
    (lambda w, v: _is_from(v, "pandas") and has_type(v, "pandas", "Index"), _Writer.table),
    (lambda w, v: _is_from(v, "pandas") and has_type(v, _EXTENSIONS, "ExtensionArray"), _Writer.values),
    (lambda w, v: has_type(v, "torch", "Tensor"), _Writer.tensor),
    (lambda w, v: has_type(v, "torch", "device"), _Writer.device),
    (lambda w, v: _is(v, "xgboost", "Booster"), _Writer.xgboost),
    (lambda w, v: _is(v, "lightgbm", "Booster"), _Writer.lightgbm),
    (lambda w, v: isinstance(v, Enum), _Writer.member),
    (lambda w, v: _is_named(v), _Writer.named),
    (lambda w, v: w.home_of(type(v)) is not None, _Writer.object),
    (lambda w, v: has_type(v, "torch.nn", "Module") or has_type(v, "xgboost", "XGBModel"), _Writer.object),
    (lambda w, v: has_type(v, "sklearn.base", "BaseEstimator"), _Writer.estimator),
    (lambda w, v: _is_from(v, "sklearn", "numpy", "scipy"), _Writer.skops),
)
