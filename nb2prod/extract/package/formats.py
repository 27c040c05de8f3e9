"""Formats of fitted state that libraries bring along: arrays, tables, tensors, boosters, estimators.

Values to bytes and back; `codecs.py` says which is for what. Reading any of them runs no code of the
file's. Libraries are imported where they are used: none is needed for what is not there.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Home = tuple[str, str]
"""A module of this package, and the name there of a function or class of the notebook."""

TREE = "tree.json"
TENSORS = "tensors.safetensors"
"""Files of an archive: the tree, and all tensors in it."""

ALONE = {"$npy": "npy", "$table": "parquet", "$skops": "skops"}
"""The leaves that are a file of their own if there is nothing else, and the codec's name then."""


class DamagedState(RuntimeError):
    """A state file is missing, or is not the one that the manifest names."""


class NoForm(Exception):
    """No codec but pickle knows a value; the text says why."""


def has_type(value: Any, module: str, *names: str) -> bool:
    """Whether a value is an instance of one of a module's classes; the module need not be loaded."""
    kinds = (getattr(sys.modules.get(module), name, None) for name in names)
    return isinstance(value, tuple(kind for kind in kinds if isinstance(kind, type)))


def type_name(value: Any) -> str:
    """`module.Class` of a value, builtins without their module."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def archive(parts: Mapping[str, bytes]) -> bytes:
    """Files by name as a ZIP file: the same bytes each time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, data in parts.items():
            how = zipfile.ZIP_DEFLATED if name.endswith((".json", ".txt")) else zipfile.ZIP_STORED
            made.writestr(zipfile.ZipInfo(name), data, how)
    return buffer.getvalue()


# --- numpy and scipy -----------------------------------------------------------------------------


def npy(array: Any) -> bytes:
    """An array as an npy file; NoForm if it holds objects."""
    import numpy as np

    if array.dtype.hasobject or array.dtype.metadata:
        raise NoForm(f"an array of {array.dtype} has no form in an npy file")
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_npy(data: bytes) -> Any:
    """The array of an npy file."""
    import numpy as np

    return np.load(io.BytesIO(data), allow_pickle=False)


def sparse(matrix: Any) -> bytes:
    """A sparse matrix or array as scipy's own npz file."""
    from scipy.sparse import save_npz

    buffer = io.BytesIO()
    save_npz(buffer, matrix, compressed=False)
    return buffer.getvalue()


def read_sparse(data: bytes) -> Any:
    """The matrix of scipy's npz file."""
    from scipy.sparse import load_npz

    return load_npz(io.BytesIO(data))


# --- pandas --------------------------------------------------------------------------------------


def table(value: Any) -> tuple[dict[str, Any], Any]:
    """A DataFrame, Series or Index as what a parquet file cannot say of it, and as Arrow's table."""
    import pandas as pd
    import pyarrow as pa

    index = value if isinstance(value, pd.Index) else value.index
    frame = pd.DataFrame(index=index) if value is index else pd.DataFrame(value)
    frame = frame.set_axis([str(i) for i in range(frame.shape[1])], axis="columns")
    frame.index = index.set_names([f"index {i}" for i in range(index.nlevels)])
    frame.attrs = {}
    about: dict[str, Any] = {"index": _axis(index), "dtypes": [str(dtype) for dtype in frame.dtypes]}
    about["nones"] = [str(i) for i in range(frame.shape[1]) if _has_none(frame[str(i)])]
    if value is not index:
        about |= {"attrs": value.attrs, "unique": not value.flags.allows_duplicate_labels}
    if isinstance(value, pd.DataFrame):
        about["columns"] = {"labels": value.columns.tolist(), **_axis(value.columns)}
        about["rows"] = by_rows(value)
    elif value is not index:
        about["name"] = value.name
    return about, pa.Table.from_pandas(frame, preserve_index="range" not in about["index"])


def _has_none(column: Any) -> bool:
    """Whether a column of objects holds None: Arrow has one word for that and for NaN."""
    return str(column.dtype) == "object" and any(value is None for value in column)


def _axis(index: Any) -> dict[str, Any]:
    import pandas as pd

    about: dict[str, Any] = {"names": list(index.names), "dtype": str(index.dtype)}
    if isinstance(index, pd.RangeIndex):
        about["range"] = [index.start, index.stop, index.step]
    elif isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        about["freq"] = index.freqstr
    return about


def by_rows(frame: Any) -> bool:
    """Whether a table lies in memory row by row: sums over it are rounded accordingly."""
    dtypes = set(frame.dtypes)
    if len(dtypes) != 1 or not type(dtypes.pop()).__module__.startswith("numpy"):
        return False
    flags = frame.to_numpy().flags
    return bool(flags.c_contiguous and not flags.f_contiguous)


def parquet(arrow: Any, about: bytes) -> bytes:
    """Arrow's table as a parquet file that carries our text."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(arrow.replace_schema_metadata({**arrow.schema.metadata, b"nb2prod": about}), buffer)
    return buffer.getvalue()


def read_parquet(data: bytes) -> tuple[bytes, Any]:
    """Our text in a parquet file, and Arrow's table."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Arrow learns of pandas' periods and intervals when it is first handed one; before, it misreads them
    pa.array(pd.PeriodIndex([], freq="D"))
    arrow = pq.ParquetFile(pa.BufferReader(data)).read()
    return arrow.schema.metadata[b"nb2prod"], arrow


def from_table(about: Mapping[str, Any], arrow: Any) -> Any:
    """The DataFrame, Series or Index that `table` was given."""
    frame = arrow.to_pandas()
    for name, dtype in zip(frame.columns, about["dtypes"], strict=True):
        if str(frame[name].dtype) != dtype:
            frame[name] = frame[name].astype(dtype)
        if name in about["nones"]:
            frame[name] = frame[name].where(frame[name].notna(), None)
    index = _index(about["index"], frame.index)
    if "attrs" not in about:
        return index
    frame.index = index
    if "name" in about:
        made = frame["0"]
        made.name = about["name"]
    else:
        made = _arranged(frame, about)
    made.attrs = about["attrs"]
    return made.set_flags(allows_duplicate_labels=False) if about["unique"] else made


def _index(about: Mapping[str, Any], found: Any) -> Any:
    import pandas as pd

    if "range" in about:
        return pd.RangeIndex(*about["range"], name=about["names"][0])
    index = found if str(found.dtype) == about["dtype"] else found.astype(about["dtype"])
    index = index.set_names(about["names"])
    if about.get("freq") is not None:
        index.freq = about["freq"]
    return index


def _arranged(frame: Any, about: Mapping[str, Any]) -> Any:
    """The frame with its column labels, in memory as it was."""
    import numpy as np
    import pandas as pd

    columns, names = about["columns"], about["columns"]["names"]
    if len(names) > 1:
        labels = pd.MultiIndex.from_tuples(columns["labels"], names=names)
    else:
        labels = _index(columns, pd.Index(columns["labels"], dtype=columns["dtype"]))
    if about["rows"]:
        return pd.DataFrame(np.ascontiguousarray(frame.to_numpy()), frame.index, labels, copy=False)
    frame.columns = labels
    return frame


# --- torch ---------------------------------------------------------------------------------------


def check_tensor(tensor: Any) -> None:
    """NoForm unless a safetensors file can hold the tensor."""
    import torch

    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or vars(tensor):
        raise NoForm(f"safetensors holds plain tensors, not {type_name(tensor)}")
    if tensor.layout is not torch.strided or tensor.is_quantized or not tensor.is_contiguous():
        raise NoForm("safetensors holds dense, contiguous tensors")
    if tensor.is_meta:
        raise NoForm("a tensor on the device meta has no values")


def safetensors(tensors: Mapping[str, Any], about: str) -> bytes:
    """Tensors by name as a safetensors file that carries our text."""
    from safetensors.torch import save

    held = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    data: bytes = save(held, {"nb2prod": about})
    return data


def on(device: str, tensor: Any) -> Any:
    """A tensor on the device where the notebook had it."""
    try:
        return tensor.to(device)
    except (AssertionError, RuntimeError) as error:  # PyTorch without CUDA has the first
        hint = "give the replica one, or move the model with `.cpu()` in the notebook"
        raise RuntimeError(f"the notebook had a tensor on {device}, which is not here: {hint}") from error


def read_safetensors(data: bytes) -> tuple[str, dict[str, Any]]:
    """Our text in a safetensors file, and its tensors by name."""
    from safetensors.torch import load

    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"]["nb2prod"], load(data)


# --- boosters ------------------------------------------------------------------------------------


def read_xgboost(data: bytes, config: str) -> Any:
    """The Booster of a UBJSON model and its configuration."""
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(data))
    booster.load_config(config)
    return booster


def read_lightgbm(data: bytes, state: Mapping[str, Any]) -> Any:
    """The Booster of a text model, and of what else pickle would keep of it."""
    import lightgbm

    booster = lightgbm.Booster.__new__(lightgbm.Booster)
    booster.__setstate__({**state, "_handle": data.decode()})
    return booster


# --- scikit-learn --------------------------------------------------------------------------------

TRUSTED = frozenset({"sklearn", "numpy", "scipy", "pandas", "xgboost", "lightgbm", "torch", "collections"})
"""Whose classes and functions a file may name; the manifest lists which ones it does."""


class _PassedBy:
    """Lets nobody find what sklearn has for its own tests, and for arrays of other libraries."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if re.match(r"pytest$|sklearn\.externals\.array_api_compat\.(torch|cupy|dask)", name):
            raise ImportError(name)


def _skops() -> Any:
    """skops.io. Its import looks through all of sklearn, and would load pytest and torch in passing."""
    finder: Any = _PassedBy()
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module("skops.io")
    finally:
        sys.meta_path.remove(finder)


MAX_WORDS = 5_000
"""Plain values in an estimator up to which skops is quick: each takes it 0.2 ms to write and read."""


def is_wordy(value: Any, left: int = MAX_WORDS) -> bool:
    """Whether an estimator holds a large vocabulary or the like."""
    return _words(value, left, set()) > left


def _words(value: Any, left: int, seen: set[int]) -> int:
    """How many plain values there are in an estimator's containers; counted no further than `left`."""
    if isinstance(value, str | int | float | None) or has_type(value, "numpy", "generic"):
        return 1
    if has_type(value, "sklearn.base", "BaseEstimator"):
        parts: Any = vars(value).values()
    elif isinstance(value, dict):
        parts = value.values()
    else:
        parts = value if isinstance(value, list | tuple | set | frozenset) else ()
    count = 0
    if id(value) not in seen:
        seen.add(id(value))
        for part in parts:
            count += _words(part, left - count, seen)
            if count > left:
                break
    return count


def skops(value: Any) -> tuple[bytes, set[str], list[str]]:
    """An estimator as a skops file, the modules that it names, and what its reader must trust."""
    io_ = _skops()
    data, modules, types = _renumbered(io_.dumps(value))
    named = sorted({*io_.get_untrusted_types(data=data), *_experimental() & types})
    strange = [name for name in named if not _is_trusted(name)]
    if strange:
        raise NoForm(f"skops would have to trust {', '.join(strange)}")
    return data, modules, named


def _experimental() -> set[str]:
    """Classes of sklearn that skops trusts only once an import has enabled them, as has been done here."""
    enabling = [m for name, m in sys.modules.items() if name.startswith("sklearn.experimental.")]
    kinds = (kind for module in enabling for kind in vars(module).values() if isinstance(kind, type))
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds}


def _is_trusted(name: str) -> bool:
    module, _, attribute = name.partition(".")
    if module == "builtins":
        return isinstance(getattr(sys.modules["builtins"], attribute, None), type)
    return module in TRUSTED or name == "functools.partial"


def read_skops(data: bytes, trusted: Sequence[str]) -> Any:
    """The value of a skops file; DamagedState if it names anything that is not trusted."""
    io_ = _skops()
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return io_.loads(data, trusted=list(trusted))
    except UntrustedTypesFoundException as error:
        raise DamagedState(f"it names what the manifest does not trust: {error}") from error


_NAMELESS = ("JsonNode", "TypeNode", "FunctionNode")
"""What may stand in many places: whether it is one object there differs from run to run."""


def _renumbered(data: bytes) -> tuple[bytes, set[str], set[str]]:
    """A skops file that is the same each time, and the modules and types that it names.

    skops names parts by their address in memory, and the file knows when it was written.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        schema = json.loads(file.read("schema.json"))
        numbers: dict[int, int] = {}
        names: dict[str, str] = {}
        types: set[str] = set()
        for node in _nodes(schema):
            types.add(f"{node['__module__']}.{node['__class__']}")
            identity = node.pop("__id__", None)
            if identity is not None and node["__loader__"] not in _NAMELESS:
                node["__id__"] = numbers.setdefault(identity, len(numbers) + 1)
            if isinstance(old := node.get("file"), str):
                node["file"] = names.setdefault(old, f"{len(names)}.{old.rpartition('.')[2]}")
        parts = {new: file.read(old) for old, new in names.items()}
    modules = {name.partition(".")[0] for name in types} - {"builtins"}
    return archive({"schema.json": json.dumps(schema).encode(), **parts}), modules, types


def _nodes(data: Any) -> Iterator[dict[str, Any]]:
    """The nodes of a skops schema, outermost first; members of sets come in the order of their text."""
    if isinstance(data, list):
        for item in data:
            yield from _nodes(item)
    elif isinstance(data, dict):
        if isinstance(data.get("__loader__"), str):
            if data["__loader__"] == "SetNode":
                data["content"].sort(key=lambda node: str(node.get("content")))
            yield data
        for item in data.values():
            yield from _nodes(item)
