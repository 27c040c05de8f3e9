"""Fitted state as bytes and back. One text: it writes in the notebook's kernel and reads in a replica.

    write(value)           the plainest codec that knows the value; NoForm if only pickle is left
    read(data, codec)      the value again
    load(folder, entry)    the value of a manifest's entry, its digest checked before anything is read

A value is taken for a tree. Containers and plain values are JSON (plain.py); arrays, tables, tensors and
models are leaves, each in a format of its own (formats.py). A tree without leaves is a JSON file, a leaf
alone a file of its format, anything else an archive: a ZIP file of `tree.json` and the leaves. Nothing
but pickle can run code when it is read, beyond the classes and functions that the manifest lists as
`trusted`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from . import formats
from .formats import ALONE, TENSORS, TREE, DamagedState, Home, NoForm
from .plain import JOIN
from .writer import Written, write

__all__ = ["DamagedState", "Home", "NoForm", "Unpickler", "Written", "load", "proven", "read", "write"]


def find_here(home: Home) -> Any:
    """What a module of this package has under a name, dotted for a class in a class."""
    module, name = home
    return functools.reduce(getattr, name.split("."), importlib.import_module(f"{__package__}.{module}"))


class Unpickler(pickle.Unpickler):
    """Reads a pickle whose persistent ids are homes, or the one NaN of a module; `modules` are the top-level
    ones it has asked for."""

    def __init__(self, data: bytes, find: Callable[[Home], Any] = find_here) -> None:
        super().__init__(io.BytesIO(data))
        self.modules: set[str] = set()
        self._find = find

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "$nan":
            self.modules.add(pid[1])
            return JOIN["$nan"]([pid[1]])
        return self._find(tuple(pid))

    def find_class(self, module: str, name: str) -> Any:
        self.modules.add(module.partition(".")[0])
        return super().find_class(module, name)


def load(folder: Path, entry: Mapping[str, Any], find: Callable[[Home], Any] = find_here) -> Any:
    """The value of a manifest's entry for the package in `folder`; DamagedState as `proven` says."""
    data = proven(folder, entry)
    try:
        return read(data, entry["codec"], entry.get("trusted", ()), find)
    except DamagedState as error:
        raise DamagedState(f"{entry['file']}: {error}") from error


def proven(folder: Path, entry: Mapping[str, Any]) -> bytes:
    """The bytes of the file that an entry names, in the package in `folder`.

    DamagedState, before it is read, if it is missing, lies elsewhere, or is not the one that was proven.
    """
    name: str = entry["file"]
    path: Path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DamagedState(f"{name} is no file of this package: the manifest was changed")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedState(f"{name}: {error}") from error
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise DamagedState(f"{name} is not the file that was proven: its SHA-256 differs")
    return data


def read(
    data: bytes, codec: str, trusted: Collection[str] = (), find: Callable[[Home], Any] = find_here
) -> Any:
    """The value that `write` or the probe's pickler was given. DamagedState if it needs more trust."""
    reader = _Reader(trusted, find)
    if codec == "pickle":
        return Unpickler(data, find).load()
    if codec == "json":
        return reader.tree(data)
    if codec == "safetensors":
        text, reader.tensors = formats.read_safetensors(data)
        return reader.tree(text)
    alone = {name: tag for tag, name in ALONE.items()}
    if codec in alone:
        reader.parts[""] = data
        return reader.leaf(alone[codec], [""])
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        reader.parts = {name: file.read(name) for name in file.namelist()}
    if TENSORS in reader.parts:
        _, reader.tensors = formats.read_safetensors(reader.parts[TENSORS])
    return reader.tree(reader.parts[TREE])


class _Reader:
    """Bytes on their way to a value."""

    def __init__(self, trusted: Collection[str], find: Callable[[Home], Any]) -> None:
        self.parts: dict[str, bytes] = {}
        self.tensors: dict[str, Any] = {}
        self._trusted = trusted
        self._find = find

    def tree(self, text: str | bytes) -> Any:
        return json.loads(text, object_hook=self._joined)

    def _joined(self, data: dict[str, Any]) -> Any:
        tag = next(iter(data)) if len(data) == 1 else ""
        if tag in JOIN:
            return JOIN[tag](data[tag])
        return self.leaf(tag, data[tag]) if tag in _READ else data

    def leaf(self, tag: str, arguments: list[Any]) -> Any:
        return _READ[tag](self, *arguments)

    def table(self, name: str) -> Any:
        about, arrow = formats.read_parquet(self.parts[name])
        return formats.from_table(self.tree(about), arrow)

    def tensor(self, name: str, is_parameter: bool, requires_grad: bool, device: str = "cpu") -> Any:
        tensor = self.tensors[name]
        if device != "cpu":
            tensor = formats.on(device, tensor)
        if is_parameter:
            import torch

            return torch.nn.Parameter(tensor, requires_grad=requires_grad)
        return tensor.requires_grad_(requires_grad)

    def named(self, reference: str) -> Any:
        if reference not in self._trusted:
            raise DamagedState(f"it names {reference}, which the manifest does not trust")
        module, _, name = reference.partition(":")
        if module.startswith("."):
            return self._find((module[1:], name))
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))

    def object(self, reference: str, state: Any) -> Any:
        kind = self.named(reference)
        made = kind.__new__(kind)
        if state is not None and hasattr(made, "__setstate__"):
            made.__setstate__(state)
        elif state is not None:
            vars(made).update(state)
        return made

    def skops(self, name: str) -> Any:
        return formats.read_skops(self.parts[name], [name for name in self._trusted if ":" not in name])


_READ: dict[str, Callable[..., Any]] = {
    "$npy": lambda reader, name: formats.read_npy(reader.parts[name]),
    "$sparse": lambda reader, name: formats.read_sparse(reader.parts[name]),
    "$table": _Reader.table,
    "$dtype": lambda reader, series: series.dtype,
    "$values": lambda reader, series: series.array,
    "$tensor": _Reader.tensor,
    "$device": lambda reader, name: importlib.import_module("torch").device(name),
    "$xgboost": lambda reader, name, config: formats.read_xgboost(reader.parts[name], config),
    "$lightgbm": lambda reader, name, state: formats.read_lightgbm(reader.parts[name], state),
    "$named": _Reader.named,
    "$object": _Reader.object,
    "$skops": _Reader.skops,
}
