"""A model as ONNX with two inputs at most: `numbers` and `texts`, one column each for the model's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from nb2prod.validation.onnx.layout import Layout
from nb2prod.validation.onnx.trees import Unsupported

AsOnnx = Callable[[Any, list[tuple[str, Any]]], Any]


def packed(model: Any, layout: Layout, as_onnx: AsOnnx, *, split: bool, whole: frozenset[int]) -> bytes:
    """The ONNX file of a model.

    With `split`, the model sees a column for each name, those at `whole` as whole numbers; else one array.
    """
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType

    if not split:
        made = as_onnx(model, [("numbers", DoubleTensorType([None, len(layout.numbers)]))])
    else:
        kinds = [
            StringTensorType if at in layout.texts else Int64TensorType if at in whole else DoubleTensorType
            for at in range(len(layout.dtypes))
        ]
        assert layout.columns is not None
        pairs = zip(layout.columns, kinds, strict=True)
        made = as_onnx(model, [(name, kind([None, 1])) for name, kind in pairs])
        _pack(made.graph, layout, whole)
    _describe(made, layout)
    data: bytes = made.SerializeToString()
    return data


def _pack(graph: Any, layout: Layout, whole: frozenset[int]) -> None:
    """Put `numbers` and `texts` in front of a graph that has an input for each column."""
    from onnx import TensorProto, helper

    assert layout.columns is not None
    columns = {name: at for at, name in enumerate(layout.columns)}
    if any(given.name not in columns for given in graph.input):
        raise Unsupported("skl2onnx gave its columns other names")
    used = [columns[given.name] for given in graph.input]
    inner = {name: f"column {at}" for name, at in columns.items()}
    for node in graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
    front: list[Any] = []
    inputs: list[Any] = []
    for name, kind, places in (
        ("numbers", TensorProto.DOUBLE, layout.numbers),
        ("texts", TensorProto.STRING, layout.texts),
    ):
        if places:
            inputs.append(helper.make_tensor_value_info(name, kind, [None, len(places)]))
            front += _columns(graph, name, [(i, at) for i, at in enumerate(places) if at in used], whole)
    rest = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*front, *rest])
    graph.input.extend(inputs)


def _columns(graph: Any, name: str, places: list[tuple[int, int]], whole: frozenset[int]) -> list[Any]:
    from onnx import TensorProto, helper, numpy_helper

    made = []
    for i, at in places:
        index = f"{name} {i}"
        graph.initializer.append(numpy_helper.from_array(_one(i), index))
        taken = f"column {at}" + (" as it comes" if at in whole else "")
        made.append(helper.make_node("Gather", [name, index], [taken], axis=1))
        if at in whole:
            made.append(helper.make_node("Cast", [taken], [f"column {at}"], to=TensorProto.INT64))
    return made


def _one(number: int) -> Any:
    import numpy as np

    return np.array([number], np.int64)


def _describe(made: Any, layout: Layout) -> None:
    """Say in the file what its inputs are."""
    names = layout.columns or range(len(layout.dtypes))
    about = {
        "numbers": [names[at] for at in layout.numbers],
        "texts": [names[at] for at in layout.texts],
    }
    entry = made.metadata_props.add()
    entry.key, entry.value = "columns", json.dumps(about)
