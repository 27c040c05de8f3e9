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
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table lies in memory: the columns of one type together, as a block.

    `numbers` and `texts` say of each column that is wanted in which block it is, and where there.
    """

    blocks: Sequence[tuple[Any, list[int]]]
    numbers: Sequence[tuple[int, int]]
    texts: Sequence[tuple[int, int]]

    def fits(self, frame: Any) -> bool:
        """Whether a table lies so, too."""
        return [block[:2] for block in _blocks(frame)] == self.blocks

    def read(self, frame: Any) -> tuple[Any, Any]:
        """Its numbers and its texts; None for what there is none of."""
        blocks = [values for _, _, values in _blocks(frame)]
        return _stacked(blocks, self.numbers, "float64"), _stacked(blocks, self.texts, "object")


def layout_of(frame: Any, numbers: Sequence[int], texts: Sequence[int]) -> Layout | None:
    """The layout of a table of which these columns are wanted; None if it is one that is not read so."""
    try:
        blocks = _blocks(frame)
    except AttributeError:  # another pandas
        return None
    place = {column: (i, row) for i, (_, at, _) in enumerate(blocks) for row, column in enumerate(at)}
    held = {place[column][0] for column in numbers}
    if any(getattr(blocks[i][0], "kind", "") not in tuple("fiub") or blocks[i][2].ndim != 2 for i in held):
        return None
    return Layout([b[:2] for b in blocks], [place[c] for c in numbers], [place[c] for c in texts])


def _blocks(frame: Any) -> list[tuple[Any, list[int], Any]]:
    """Type, columns and values of each block. pandas shows them to nobody; to ask for all columns one by one
    takes several times as long as a small model."""
    return [(block.dtype, block.mgr_locs.as_array.tolist(), block.values) for block in frame._mgr.blocks]


def _stacked(blocks: Sequence[Any], places: Sequence[tuple[int, int]], dtype: str) -> Any:
    """Columns of blocks side by side, as one array of rows."""
    import numpy as np

    if not places:
        return None
    first = blocks[places[0][0]]
    if first.ndim == 2 and places == [(places[0][0], row) for row in range(len(first))]:
        return first.T.astype(dtype, order="C")
    made = np.empty((first.shape[-1], len(places)), dtype)
    for column, (i, row) in enumerate(places):
        made[:, column] = blocks[i][row] if blocks[i].ndim == 2 else blocks[i]
    return made


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
        self._layout: Layout | None = None

    def feed(self, given: Any) -> dict[str, Any] | None:
        """The session's inputs for what a method was given."""
        kind = type(given)
        if kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "DataFrame":
            read = self._frame_reader(given)
        elif kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            read = self._read if self._fits_array(given) else None
        else:
            return None
        if read is None or not 0 < len(given) <= self._rows:
            return None
        try:
            return self._known_inputs(*read(given))
        except (TypeError, ValueError):  # pandas.NA, which is no float
            return None

    def _frame_reader(self, frame: Any) -> Callable[[Any], tuple[Any, Any]] | None:
        """What reads a table; None if it is another than the proof has asked for."""
        if self._layout is not None and self._layout.fits(frame) and frame.columns.equals(self._index):
            return self._layout.read
        if [str(dtype) for dtype in frame.dtypes] != self._dtypes or list(frame.columns) != self._columns:
            return None
        self._index, self._layout = frame.columns, layout_of(frame, self._numbers, self._texts)
        return self._read

    def _fits_array(self, array: Any) -> bool:
        width, dtype = len(self._dtypes), self._dtypes[0]
        return self._columns is None and bool(
            array.ndim == 2 and array.shape[1] == width and str(array.dtype) == dtype
        )

    def _read(self, given: Any) -> tuple[Any, Any]:
        """The numbers and the texts, as arrays; None for what there is none of."""
        if self._columns is not None:
            given = given.to_numpy() if len(given) <= FEW or not self._texts else given
        return (
            self._part(given, self._numbers).astype("float64", order="C") if self._numbers else None,
            self._part(given, self._texts).astype(object, order="C") if self._texts else None,
        )

    def _known_inputs(self, numbers: Any, texts: Any) -> dict[str, Any] | None:
        if numbers is not None and not self._has_range(numbers):
            return None
        if texts is not None and not all(map(_are_known, texts.T, self._known)):
            return None
        return {name: a for name, a in (("numbers", numbers), ("texts", texts)) if a is not None}

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
