"""A fitted model that onnxruntime answers for, as far as the proof has shown that it answers alike.

The stand-in takes over the methods that the manifest names, for input that looks like what the proof asked:
the same columns and types, no infinity, no text that the model may refuse. Everything else goes to the
original, which is loaded when it is first needed. NB2PROD_ACCELERATE=0 leaves the original in its place;
NB2PROD_ONNX_THREADS says how many threads a call may use (1).
"""

from __future__ import annotations

import functools
import importlib
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import codecs

HIGHEST = 2.0**53
"""Only smaller numbers are handed on: beyond it integers lose digits, and models may refuse."""

FEW = 1_000
"""Rows up to which a table of mixed columns is quickest read as one array of objects."""


def load(folder: Path, entry: Mapping[str, Any], original: Callable[[], Any]) -> Any:
    """What answers for a state entry that has an `accelerated` part; DamagedState if its file is another."""
    if os.environ.get("NB2PROD_ACCELERATE") == "0":
        return original()
    data = codecs.proven(folder, entry["accelerated"])
    session = None
    # no onnxruntime, or one that does not know the file: each has errors of its own
    with suppress(Exception):
        session = session_of(data)
    if session is None:
        return original()
    return StandIn(Accelerated(session, entry["accelerated"], original))


def session_of(data: bytes) -> Any:
    """An onnxruntime session for a model's bytes; ImportError if there is no onnxruntime."""
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("NB2PROD_ONNX_THREADS", "1"))
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


class Accelerated:
    """A session, what it may be asked, and the original behind it."""

    def __init__(self, session: Any, spec: Mapping[str, Any], load: Callable[[], Any]) -> None:
        self.spec = spec
        self._session = session
        self._load = load
        self._inputs = Inputs(spec["inputs"])
        self.methods = {
            name: functools.partial(self._answer, name, answer) for name, answer in spec["methods"].items()
        }

    @functools.cached_property
    def original(self) -> Any:
        """The model as the notebook fitted it."""
        return self._load()

    @property
    def kind(self) -> Any:
        """The original's class; the original itself need not be loaded for it."""
        module, _, name = self.spec["class"].partition(":")
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))

    def _answer(self, name: str, answer: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        feed = self._inputs.feed(args[0]) if len(args) == 1 and not kwargs else None
        if feed is not None:
            # what onnxruntime does not manage, whatever it raises, the original does, or says what is wrong
            with suppress(Exception):
                return shaped(self._session.run([answer["output"]], feed)[0], answer)
        return getattr(self.original, name)(*args, **kwargs)


def shaped(found: Any, answer: Mapping[str, Any]) -> Any:
    """What a session gave, in the type and shape of the original's answer."""
    if answer["column"] is not None:
        found = found[:, answer["column"]]
    if answer["ndim"] == 1:
        found = found.reshape(-1)
    return found.astype(answer["dtype"], copy=False)


class Inputs:
    """Tables or arrays on their way into a session: `feed` gives None for what the proof has not covered.

    Columns of numbers become the input `numbers`, those of text the input `texts`. `nan` are the columns of
    numbers that may hold NaN, `only` has what some of them may hold at all; `known` has for each column of
    text what it may hold, None where that is anything.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._columns = spec["columns"]
        self._dtypes: list[str] = spec["dtypes"]
        self._rows: int = spec["rows"]
        self._numbers: list[int] = spec["numbers"]
        self._texts: list[int] = spec["texts"]
        self._whole = [i for i, at in enumerate(self._numbers) if at not in spec["nan"]]
        self._known = [None if known is None else frozenset(known) for known in spec["known"]]
        self._only = {self._numbers.index(int(at)): values for at, values in spec["only"].items()}
        self._index: Any = None
        self._accepted: Any = None

    def feed(self, given: Any) -> dict[str, Any] | None:
        """The session's inputs for what a method was given."""
        kind = type(given)
        if kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "DataFrame":
            fits = self._columns is not None and self._fits_frame(given)
        elif kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            fits = self._columns is None and self._fits_array(given)
        else:
            return None
        if not fits or not 0 < len(given) <= self._rows:
            return None
        try:
            return self._read(given)
        except (TypeError, ValueError):  # pandas.NA, which is no float
            return None

    def _fits_frame(self, frame: Any) -> bool:
        dtypes = tuple(frame.dtypes)
        if self._accepted is not None:
            return dtypes == self._accepted and bool(frame.columns.equals(self._index))
        if [str(dtype) for dtype in dtypes] != self._dtypes or list(frame.columns) != self._columns:
            return False
        self._index, self._accepted = frame.columns, dtypes
        return True

    def _fits_array(self, array: Any) -> bool:
        width, dtype = len(self._dtypes), self._dtypes[0]
        return bool(array.ndim == 2 and array.shape[1] == width and str(array.dtype) == dtype)

    def _read(self, given: Any) -> dict[str, Any] | None:
        feed = {}
        if self._columns is not None:
            given = given.to_numpy() if len(given) <= FEW or not self._texts else given
        if self._numbers:
            feed["numbers"] = self._part(given, self._numbers).astype("float64", order="C")
            if not self._has_range(feed["numbers"]):
                return None
        if self._texts:
            feed["texts"] = self._part(given, self._texts).astype(object, order="C")
            if not all(map(_are_known, feed["texts"].T, self._known)):
                return None
        return feed

    def _part(self, given: Any, columns: Sequence[int]) -> Any:
        if hasattr(given, "iloc"):
            return given.iloc[:, columns].to_numpy()
        return given if len(columns) == given.shape[1] else given[:, columns]

    def _has_range(self, numbers: Any) -> bool:
        """Whether all numbers are ones that the proof knows: NaN only where it may be."""
        if not all(number in values for at, values in self._only.items() for number in numbers[:, at]):
            return False
        if (abs(numbers) < HIGHEST).all():
            return True
        missing = operator.ne(numbers, numbers)
        return not missing[:, self._whole].any() and bool((abs(numbers[~missing]) < HIGHEST).all())


def _are_known(texts: Any, known: frozenset[str] | None) -> bool:
    # a text of onnxruntime ends at its first NUL
    return all(
        type(text) is str and (text in known if known is not None else "\0" not in text) for text in texts
    )


_CHANGING = ("fit", "partial_fit", "set_")
"""How methods begin after which a model is no longer the one that was converted."""


class StandIn:
    """Stands where a fitted model stood: an instance of its class to `isinstance`, with all that it has."""

    __slots__ = ("_accelerated",)

    def __init__(self, accelerated: Accelerated) -> None:
        object.__setattr__(self, "_accelerated", accelerated)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self._accelerated.kind

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return vars(self._accelerated.original)

    def __getattr__(self, name: str) -> Any:
        accelerated = self._accelerated
        if name.startswith(_CHANGING):
            accelerated.methods.clear()
        return accelerated.methods.get(name) or getattr(accelerated.original, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._accelerated.methods.clear()
        setattr(self._accelerated.original, name, value)

    def __deepcopy__(self, memo: Any) -> Any:
        return importlib.import_module("copy").deepcopy(self._accelerated.original, memo)

    def __copy__(self) -> Any:
        return importlib.import_module("copy").copy(self._accelerated.original)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._accelerated.original.__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return repr(self._accelerated.original)

    def __len__(self) -> int:
        return len(self._accelerated.original)

    def __iter__(self) -> Any:
        return iter(self._accelerated.original)

    def __getitem__(self, key: Any) -> Any:
        return self._accelerated.original[key]

    def __bool__(self) -> bool:
        return bool(self._accelerated.original)

    def __eq__(self, other: object) -> bool:
        return self is other or bool(self._accelerated.original == other)

    def __hash__(self) -> int:
        return hash(self._accelerated.original)
