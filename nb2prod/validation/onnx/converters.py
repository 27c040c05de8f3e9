"""Converters that skl2onnx is given in place of its own, or for models that it does not know.

Its trees compute in single precision, its histogram boosting writes attributes of a type that ONNX refuses,
and its imputers use an operator that onnxruntime has for single precision alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nb2prod.validation.onnx.trees import (
    Forest,
    Unsupported,
    attributes,
    boosted_of,
    forest_of,
    histogram_of,
    lightgbm_of,
    xgboost_of,
)

FLOAT, INT64, STRING, DOUBLE = 1, 7, 8, 11
"""ONNX's numbers for types of elements."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A forest, and what makes an answer of its scores.

    `link`: "identity", "sigmoid" (of `scale` times the score), "softmax" or "exp". `above` is the operator
    that two classes are told apart by, with their one score and 0. `raw` asks for the scores themselves.
    """

    forest: Forest
    link: str = "identity"
    scale: float = 1.0
    above: str = "Greater"
    raw: bool = False


# --- what each model's scores mean ---------------------------------------------------------------


def _forest(model: Any) -> Scored:
    return Scored(forest_of(model))


def _boosted(model: Any) -> Scored:
    loss = type(model._loss).__name__
    links = {
        "HalfBinomialLoss": Scored(boosted_of(model), "sigmoid", above="GreaterOrEqual"),
        "ExponentialLoss": Scored(boosted_of(model), "sigmoid", 2.0, "GreaterOrEqual"),
        "HalfMultinomialLoss": Scored(boosted_of(model), "softmax"),
    }
    return links.get(loss) or Scored(boosted_of(model))


def _histogram(model: Any) -> Scored:
    loss, forest = type(model._loss).__name__, histogram_of(model)
    links = {"HalfBinomialLoss": "sigmoid", "HalfMultinomialLoss": "softmax"}
    links |= dict.fromkeys(("HalfPoissonLoss", "HalfGammaLoss"), "exp")
    return Scored(forest, links.get(loss, "identity"))


def _xgboost(model: Any) -> Scored:
    forest, objective = xgboost_of(model)
    links = {
        "binary:logistic": "sigmoid",
        "multi:softprob": "softmax",
        "reg:squarederror": "identity",
        "reg:absoluteerror": "identity",
    }
    if objective not in links:
        raise Unsupported(f"the objective {objective} has no such form")
    return Scored(forest, links[objective])


def _lightgbm(model: Any) -> Scored:
    forest, objective = lightgbm_of(model)
    name, *options = objective.split() or [""]
    settings = dict(option.split(":", 1) for option in options if ":" in option)
    if name == "binary":
        return Scored(forest, "sigmoid", float(settings["sigmoid"]))
    if name == "multiclass":
        return Scored(forest, "softmax")
    if name not in ("regression", "regression_l1", "huber", "fair", "quantile", "mape") or "sqrt" in options:
        raise Unsupported(f"the objective {name} has no such form")
    return Scored(forest)


# --- as operators --------------------------------------------------------------------------------


class Graph:
    """Nodes written into one of skl2onnx's containers. `kind` is the type of its numbers."""

    def __init__(self, scope: Any, container: Any, kind: int = DOUBLE) -> None:
        self._scope = scope
        self._container = container
        self.kind = kind

    def node(self, kind: str, inputs: list[str], output: str = "", domain: str = "", **given: Any) -> str:
        """A node; the name of its one output."""
        output = output or self._scope.get_unique_variable_name(kind.lower())
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, inputs, [output], op_domain=domain, name=name, **given)
        return output

    def constant(self, value: Any, kind: int | None = None) -> str:
        """An array as a value of the graph."""
        array, kind = np.asarray(value), self.kind if kind is None else kind
        name: str = self._scope.get_unique_variable_name("constant")
        self._container.add_initializer(name, kind, list(array.shape), array.ravel().tolist())
        return name

    def cast(self, value: str, kind: int, output: str = "") -> str:
        """A value in another type."""
        return self.node("Cast", [value], output, to=kind)


def _scores(graph: Graph, value: str, forest: Forest) -> str:
    """The forest's scores of each row."""
    if forest.single:
        value = graph.cast(value, FLOAT)
    given, table = attributes(forest)
    numbers = graph.cast(value, graph.kind)
    trees = graph.node("TreeEnsemble", [numbers], domain="ai.onnx.ml", op_version=3, **given)
    if table is None:
        base = np.broadcast_to(np.asarray(forest.base, np.float64), (forest.targets,))
        return graph.node("Add", [graph.constant(base), trees])
    leaves = graph.node("Gather", [graph.constant(table), graph.cast(trees, INT64)], axis=0)
    sums = graph.node("ReduceSum", [leaves, graph.constant([1], INT64)], keepdims=0)
    return graph.node("Div", [sums, graph.constant([float(len(forest.trees))])])


def _linked(graph: Graph, scores: str, scored: Scored) -> str:
    """What the scores mean; in doubles, as onnxruntime's own functions of floats are approximations."""
    if scored.link == "sigmoid" and graph.kind == FLOAT:  # as xgboost rounds it, step by step
        ones = graph.constant([1.0])
        power = graph.node("Exp", [graph.cast(graph.node("Neg", [scores]), DOUBLE)])
        return graph.node("Div", [ones, graph.node("Add", [graph.cast(power, FLOAT), ones])])
    made = _link(graph, graph.cast(scores, DOUBLE), scored)
    return graph.cast(made, graph.kind)


def _link(graph: Graph, scores: str, scored: Scored) -> str:
    if scored.link == "softmax":
        return graph.node("Softmax", [scores], axis=1)
    if scored.link == "exp":
        return graph.node("Exp", [scores])
    if scored.link == "sigmoid":
        if scored.scale != 1.0:
            scores = graph.node("Mul", [scores, graph.constant([scored.scale], DOUBLE)])
        return graph.node("Sigmoid", [scores])
    return scores


def _write_regressor(scored: Scored, graph: Graph, operator: Any) -> None:
    value = _linked(graph, _scores(graph, operator.inputs[0].full_name, scored.forest), scored)
    graph.node("Identity", [value], operator.outputs[0].full_name)


def _write_classifier(scored: Scored, graph: Graph, operator: Any) -> None:
    scores = _scores(graph, operator.inputs[0].full_name, scored.forest)
    values = _linked(graph, scores, scored)
    label, probabilities = operator.outputs
    if scored.link == "sigmoid":
        rest = graph.node("Sub", [graph.constant([1.0]), values])
        pair = [graph.node("Neg", [scores]), scores] if scored.raw else [rest, values]
        graph.node("Concat", pair, probabilities.full_name, axis=1)
        above = graph.node(scored.above, [scores, graph.constant([0.0])])
        flat = graph.node("Reshape", [above, graph.constant([-1], INT64)])
        chosen = graph.cast(flat, INT64)
    else:
        graph.node("Identity", [scores if scored.raw else values], probabilities.full_name)
        chosen = graph.node("ArgMax", [values], axis=1, keepdims=0)
    kind, classes = _labels(operator.raw_operator)
    graph.node("Gather", [graph.constant(classes, kind), chosen], label.full_name, axis=0)


def _labels(model: Any) -> tuple[int, Any]:
    """The type of a classifier's labels and all of them: integers where they are whole, or texts."""
    classes = np.asarray(model.classes_)
    if all(isinstance(label, str) for label in classes):
        return STRING, np.array([label.encode() for label in classes])
    if classes.dtype.kind in "biuf" and (classes == classes.astype(np.int64)).all():
        return INT64, classes.astype(np.int64)
    raise Unsupported("its labels are neither texts nor whole numbers")


def _write_imputer(graph: Graph, operator: Any) -> None:
    model, value = operator.raw_operator, operator.inputs[0].full_name
    _check_imputer(model, operator)
    value = graph.cast(value, DOUBLE)
    missing = graph.node("IsNaN", [value])
    filled = graph.node("Where", [missing, graph.constant([model.statistics_.astype(np.float64)]), value])
    if model.indicator_ is not None:
        marks = graph.cast(missing, DOUBLE)
        which = graph.constant(model.indicator_.features_, INT64)
        marks = graph.node("Gather", [marks, which], axis=1)
        filled = graph.node("Concat", [filled, marks], axis=1)
    graph.node("Identity", [filled], operator.outputs[0].full_name)


def _check_imputer(model: Any, operator: Any) -> None:
    numeric = getattr(model.statistics_, "dtype", np.dtype(object)).kind == "f"
    if not numeric or type(operator.inputs[0].type).__name__ == "StringTensorType":
        raise Unsupported("it fills gaps in texts")
    if model.missing_values is None or model.missing_values == model.missing_values:
        raise Unsupported("it fills in for another value than NaN")
    if np.isnan(model.statistics_).any():
        raise Unsupported("a column is nothing but gaps")


# --- in skl2onnx ---------------------------------------------------------------------------------

Convert = Callable[[Any, Any, Any], None]


def _converter(of: Callable[[Any], Scored], write: Callable[[Scored, Graph, Any], None]) -> Convert:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        model = operator.raw_operator
        scored = of(model)
        if container.get_options(model, {"raw_scores": False})["raw_scores"]:
            scored = replace(scored, raw=True)
        write(scored, Graph(scope, container, FLOAT if scored.forest.floats else DOUBLE), operator)

    return convert


def _impute(scope: Any, operator: Any, container: Any) -> None:
    _write_imputer(Graph(scope, container), operator)


def _numbers(model: Any) -> Any:
    """The type of a model's numbers: xgboost has single precision."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    return FloatTensorType if type(model).__module__.startswith("xgboost") else DoubleTensorType


def _classifier_shape(operator: Any) -> None:
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    rows, model = operator.inputs[0].get_first_dimension(), operator.raw_operator
    kind, _ = _labels(model)
    operator.outputs[0].type = (StringTensorType if kind == STRING else Int64TensorType)([rows])
    operator.outputs[1].type = _numbers(model)([rows, len(model.classes_)])


def _regressor_shape(operator: Any) -> None:
    numbers = _numbers(operator.raw_operator)
    operator.outputs[0].type = numbers([operator.inputs[0].get_first_dimension(), 1])


def _imputer_shape(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    width = len(model.statistics_) + (len(model.indicator_.features_) if model.indicator_ is not None else 0)
    operator.outputs[0].type = DoubleTensorType([rows, width])


_TREES: tuple[tuple[str, tuple[str, ...], Callable[[Any], Scored]], ...] = (
    ("sklearn.tree", ("DecisionTree", "ExtraTree"), _forest),
    ("sklearn.ensemble", ("RandomForest", "ExtraTrees"), _forest),
    ("sklearn.ensemble", ("GradientBoosting",), _boosted),
    ("sklearn.ensemble", ("HistGradientBoosting",), _histogram),
    ("xgboost", ("XGB", "XGBRF"), _xgboost),
    ("lightgbm", ("LGBM",), _lightgbm),
)


def _tree_classes(modules: frozenset[str]) -> Iterator[tuple[type, bool, Callable[[Any], Scored]]]:
    for module, names, scored in _TREES:
        if module.partition(".")[0] in modules:
            found = importlib.import_module(module)
            for name in names:
                yield getattr(found, f"{name}Classifier"), True, scored
                yield getattr(found, f"{name}Regressor"), False, scored


def register(modules: frozenset[str]) -> None:
    """Give skl2onnx our converters, for models of the libraries that are loaded."""
    from skl2onnx import update_registered_converter
    from sklearn.impute import SimpleImputer

    for kind, is_classifier, scored in _tree_classes(modules):
        shape = _classifier_shape if is_classifier else _regressor_shape
        write = _write_classifier if is_classifier else _write_regressor
        options: dict[str, list[bool]] = {"raw_scores": [True, False]}
        options |= {"zipmap": [True, False]} if is_classifier else {}
        update_registered_converter(
            kind, f"Nb2prod{kind.__name__}", shape, _converter(scored, write), options=options
        )
    update_registered_converter(SimpleImputer, "Nb2prodSimpleImputer", _imputer_shape, _impute)


def as_onnx(model: Any, inputs: list[tuple[str, Any]], *, raw: bool) -> Any:
    """A fitted model as an ONNX model, `raw` with scores for probabilities.

    skl2onnx raises errors of many kinds where it cannot; NameError for an option that a model has not.

    skl2onnx knows version 3 of ONNX's operators for machine learning; TreeEnsemble came with version 5, which
    has the older ones as they were.
    """
    options = {"raw_scores": True} if raw else {}
    try:
        made = _to_onnx(model, inputs, {**options, "zipmap": False} if hasattr(model, "classes_") else {})
    except NameError:  # there are classifiers without probabilities
        made = _to_onnx(model, inputs, options)
    for opset in made.opset_import:
        if opset.domain == "ai.onnx.ml":
            opset.version = 5
    return made


def _to_onnx(model: Any, inputs: list[tuple[str, Any]], options: dict[str, Any]) -> Any:
    from skl2onnx import to_onnx

    # skl2onnx hands a pipeline's option `zipmap` on to its last step, and no other
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    given = {id(last): options} if options else None
    return to_onnx(model, initial_types=inputs, options=given, target_opset={"": 21, "ai.onnx.ml": 3})
