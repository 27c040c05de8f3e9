"""Fitted trees of every library as one thing, and that as ONNX's TreeEnsemble.

All in doubles, so that a row falls to the same side of each threshold as it does in the library. Where that
rounds its input to single precision first, so does the graph (`Forest.single`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LEQ, LT = 0, 1
"""When a row goes left: at the threshold or below it, or below it."""


class Unsupported(Exception):
    """A model that has no faithful form here; the text says why."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree by its nodes, the root first. A leaf has no `left` (-1) and its `value`.

    `missing_left` says for each node whether NaN goes left. `target` is the score that its leaves add to.
    """

    feature: Any
    threshold: Any
    left: Any
    right: Any
    missing_left: Any
    value: Any
    target: int = 0

    @property
    def leaves(self) -> Any:
        """Which nodes are leaves."""
        return self.left < 0


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees whose leaves add up to `targets` scores, beginning at `base`.

    `tables`: the leaves hold a row of scores each, and the forest's are their mean. `floats`: scores are
    added up in single precision, and answers are made of them in it.
    """

    trees: Sequence[Tree]
    targets: int
    base: Any = 0.0
    mode: int = LEQ
    single: bool = False
    tables: bool = False
    floats: bool = False


# --- scikit-learn --------------------------------------------------------------------------------


def sklearn_tree(tree: Any, value: Any, target: int = 0) -> Tree:
    """A tree of sklearn's exact splitter, with a value for each node."""
    missing = getattr(tree, "missing_go_to_left", None)
    return Tree(
        tree.feature,
        tree.threshold,
        tree.children_left,
        tree.children_right,
        missing.astype(bool) if missing is not None else np.zeros(tree.node_count, bool),
        value,
        target,
    )


def forest_of(model: Any) -> Forest:
    """A decision tree, random forest or extra trees: the mean of what the trees' leaves hold."""
    trees = [one.tree_ for one in getattr(model, "estimators_", [model])]
    if model.n_outputs_ != 1:
        raise Unsupported("it answers several outputs at once")
    width = trees[0].value.shape[2]
    made = [sklearn_tree(tree, tree.value[:, 0, :]) for tree in trees]
    return Forest(made, width, single=True, tables=True)


def boosted_of(model: Any) -> Forest:
    """Gradient boosting of sklearn's exact splitter."""
    if model.init_ != "zero" and not type(model.init_).__name__.startswith("Dummy"):
        raise Unsupported("its first guess is a model of its own")
    rate, stages = model.learning_rate, model.estimators_
    trees = [
        sklearn_tree(one.tree_, one.tree_.value[:, 0, 0] * rate, k)
        for stage in stages
        for k, one in enumerate(stage)
    ]
    base = model._raw_predict_init(np.zeros((1, model.n_features_in_))).ravel()
    return Forest(trees, stages.shape[1], base, single=True)


def histogram_of(model: Any) -> Forest:
    """Gradient boosting over histograms."""
    if model.is_categorical_ is not None:
        raise Unsupported("it splits by categories itself: encode them in a step before it")
    trees = []
    for stage in model._predictors:
        for k, one in enumerate(stage):
            nodes, leaf = one.nodes, one.nodes["is_leaf"].astype(bool)
            trees.append(
                Tree(
                    nodes["feature_idx"].astype(int),
                    nodes["num_threshold"],
                    np.where(leaf, -1, nodes["left"].astype(int)),
                    np.where(leaf, -1, nodes["right"].astype(int)),
                    nodes["missing_go_to_left"].astype(bool),
                    nodes["value"],
                    k,
                )
            )
    return Forest(trees, model.n_trees_per_iteration_, np.ravel(model._baseline_prediction))


# --- xgboost and lightgbm ------------------------------------------------------------------------


def xgboost_of(model: Any) -> tuple[Forest, str]:
    """The trees of an xgboost model in single precision, and the name of its objective."""
    if model.missing is not None and model.missing == model.missing:
        raise Unsupported(f"it takes {model.missing} for missing")
    learner = json.loads(model.get_booster().save_raw("json"))["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise Unsupported(f"the booster {booster['name']} has no such form")
    rounds = booster["model"]["iteration_indptr"]
    best = _best(learner)
    last = rounds[best + 1] if best is not None else rounds[-1]
    targets = booster["model"]["tree_info"][:last]
    trees = [
        _xgboost_tree(tree, k) for tree, k in zip(booster["model"]["trees"][:last], targets, strict=True)
    ]
    count = max(targets, default=0) + 1
    objective = learner["objective"]["name"]
    base = np.atleast_1d(json.loads(learner["learner_model_param"]["base_score"])).astype(np.float64)
    if objective in ("binary:logistic", "reg:logistic"):
        base = np.log(base / (1 - base))
    # xgboost begins at the base, and adds the trees in their order
    bases = [_leaf(value, k) for k, value in enumerate(np.broadcast_to(base, (count,)))]
    return Forest([*bases, *trees], count, mode=LT, single=True, floats=True), objective


def _leaf(value: float, target: int) -> Tree:
    """A tree that is one leaf."""
    none = np.array([-1])
    return Tree(np.array([0]), np.array([0.0]), none, none, np.array([False]), np.array([value]), target)


def _best(learner: Any) -> int | None:
    """The round that early stopping chose."""
    found = learner.get("attributes", {}).get("best_iteration")
    return int(found) if found is not None else None


def _xgboost_tree(tree: Any, target: int) -> Tree:
    if any(tree["split_type"]) or int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise Unsupported("it splits by categories itself, or has several scores in a leaf")
    conditions = np.array(tree["split_conditions"], np.float32).astype(np.float64)
    left = np.array(tree["left_children"])
    return Tree(
        np.array(tree["split_indices"]),
        conditions,
        left,
        np.array(tree["right_children"]),
        np.array(tree["default_left"]).astype(bool),
        conditions,
        target,
    )


def lightgbm_of(model: Any) -> tuple[Forest, str]:
    """The trees of a lightgbm model, and its objective with its parameters."""
    best = model.booster_.best_iteration
    dumped = model.booster_.dump_model(num_iteration=best if best > 0 else None)
    if dumped.get("average_output") or model.get_params().get("linear_tree"):
        raise Unsupported("its trees are averaged, or hold linear models")
    count = dumped["num_tree_per_iteration"]
    trees = [_lightgbm_tree(one["tree_structure"], i % count) for i, one in enumerate(dumped["tree_info"])]
    return Forest(trees, count), dumped.get("objective") or ""


def _lightgbm_tree(root: Any, target: int) -> Tree:
    nodes = [*_walk(root)]
    numbers = {id(node): i for i, node in enumerate(nodes)}

    def column(name: str, other: Any) -> Any:
        return np.array([node.get(name, other) for node in nodes])

    def child(name: str) -> Any:
        return np.array([numbers[id(node[name])] if name in node else -1 for node in nodes])

    inner = [node for node in nodes if "left_child" in node]
    if any(node["decision_type"] != "<=" for node in inner):
        raise Unsupported("it splits by categories itself: encode them in a step before it")
    if any(node["missing_type"] == "Zero" for node in inner):
        raise Unsupported("it takes zero for missing")
    threshold = column("threshold", 0.0).astype(np.float64)
    # where the training data held no NaN, lightgbm takes it for 0
    as_zero = column("missing_type", "None") == "None"
    missing = np.where(as_zero, threshold >= 0, column("default_left", False))
    features, values = column("split_feature", 0), column("leaf_value", 0.0).astype(np.float64)
    return Tree(features, threshold, child("left_child"), child("right_child"), missing, values, target)


def _walk(node: Any) -> Iterator[Any]:
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo += [node[name] for name in ("right_child", "left_child") if name in node]


# --- as ONNX -------------------------------------------------------------------------------------


@dataclass
class _Attributes:
    """The attributes of a TreeEnsemble as it grows."""

    modes: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    children: dict[str, list[int]] = field(
        default_factory=lambda: {"true": [], "false": [], "true leaf": [], "false leaf": []}
    )
    missing: list[int] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, tree: Tree, target: int, weights: Any, mode: int) -> None:
        leaves = tree.leaves
        inner = np.flatnonzero(~leaves)
        place = np.empty(len(leaves), int)
        place[inner] = np.arange(len(inner)) + len(self.modes)
        place[leaves] = np.arange(leaves.sum()) + len(self.targets)
        self.roots.append(len(self.modes))
        if not len(inner):  # a root that is a leaf: a node whose ways both end there
            self._node(mode, 0, 0.0, False, (int(place[0]),) * 2, (1, 1))
        for i in inner:
            ends = int(tree.left[i]), int(tree.right[i])
            self._node(
                mode,
                int(tree.feature[i]),
                float(tree.threshold[i]),
                bool(tree.missing_left[i]),
                (int(place[ends[0]]), int(place[ends[1]])),
                (int(leaves[ends[0]]), int(leaves[ends[1]])),
            )
        self.targets += [target] * int(leaves.sum())
        self.weights += [float(weight) for weight in weights]

    def _node(
        self,
        mode: int,
        feature: int,
        split: float,
        missing: bool,
        ends: tuple[int, int],
        leaf: tuple[int, int],
    ) -> None:
        self.modes.append(mode)
        self.features.append(feature)
        self.splits.append(split)
        self.missing.append(int(missing))
        for name, end, is_leaf in zip(("true", "false"), ends, leaf, strict=True):
            self.children[name].append(end)
            self.children[f"{name} leaf"].append(is_leaf)


def attributes(forest: Forest) -> tuple[dict[str, Any], Any]:
    """The attributes of the TreeEnsemble node, and the table of the leaves' rows (None without `tables`).

    With a table, the node has one output for each tree: the number of the leaf that a row fell into.
    """
    from onnx import numpy_helper

    made, rows = _Attributes(), 0
    for number, tree in enumerate(forest.trees):
        count = int(tree.leaves.sum())
        if forest.tables:
            made.add(tree, number, range(rows, rows + count), forest.mode)
        else:
            made.add(tree, tree.target, tree.value[tree.leaves], forest.mode)
        rows += count
    table = np.concatenate([tree.value[tree.leaves] for tree in forest.trees]) if forest.tables else None
    dtype = np.float32 if forest.floats else np.float64
    return {
        "n_targets": len(forest.trees) if forest.tables else forest.targets,
        "aggregate_function": 1,
        "post_transform": 0,
        "tree_roots": made.roots,
        "nodes_modes": numpy_helper.from_array(np.array(made.modes, np.uint8), "modes"),
        "nodes_featureids": made.features,
        "nodes_splits": numpy_helper.from_array(np.array(made.splits, dtype), "splits"),
        "nodes_truenodeids": made.children["true"],
        "nodes_trueleafs": made.children["true leaf"],
        "nodes_falsenodeids": made.children["false"],
        "nodes_falseleafs": made.children["false leaf"],
        "nodes_missing_value_tracks_true": made.missing,
        "leaf_targetids": made.targets,
        "leaf_weights": numpy_helper.from_array(np.array(made.weights, dtype), "weights"),
    }, table
