"""The messages of inference.proto, made from its text: no generated code, and nothing that another copy of
the protocol in the same process (a client's) could clash with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE = Path(__file__).with_name("inference.proto")
SERVICE = "inference.GRPCInferenceService"

Field = descriptor_pb2.FieldDescriptorProto
TYPES = ("double", "float", "int64", "uint64", "int32", "bool", "string", "bytes", "uint32")


def messages() -> Mapping[str, Any]:
    """The message classes, by name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="nb2prod/serving/inference.proto", package="inference", syntax="proto3"
    )
    words = _words(FILE.read_text("utf-8"))
    for word in words:
        if word == "message":
            file.message_type.append(_message(words))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))
        for name in names
    }


def _words(text: str) -> Iterator[str]:
    return iter(re.findall(r"\w+|[{}<>]", re.sub(r"//.*", "", text)))


def _message(words: Iterator[str]) -> Any:
    made = descriptor_pb2.DescriptorProto(name=next(words))
    assert next(words) == "{"
    for word in words:
        if word == "}":
            break
        if word == "message":
            made.nested_type.append(_message(words))
        elif word == "oneof":
            _oneof(made, words)
        elif word == "map":
            _map(made, words)
        else:
            repeated = word == "repeated"
            _field(made, next(words) if repeated else word, words, repeated=repeated)
    return made


def _field(made: Any, kind: str, words: Iterator[str], *, repeated: bool = False) -> Any:
    label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
    field = made.field.add(name=next(words), number=int(next(words)), label=label)
    if kind in TYPES:
        field.type = Field.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type, field.type_name = Field.TYPE_MESSAGE, kind
    return field


def _oneof(made: Any, words: Iterator[str]) -> None:
    made.oneof_decl.add(name=next(words))
    assert next(words) == "{"
    for word in words:
        if word == "}":
            return
        _field(made, word, words).oneof_index = len(made.oneof_decl) - 1


def _map(made: Any, words: Iterator[str]) -> None:
    """A map is a repeated message of keys and values, by the language's own rule."""
    assert next(words) == "<"
    key, value = next(words), next(words)
    assert next(words) == ">"
    field = _field(made, "", words, repeated=True)
    field.type_name = f"{field.name.title().replace('_', '')}Entry"
    entry = made.nested_type.add(name=field.type_name)
    entry.options.map_entry = True
    _field(entry, key, iter(("key", "1")))
    _field(entry, value, iter(("value", "2")))
