"""The converting process: loads a package, sees what its models are asked, and writes them as ONNX.

Run as a module, with the path of a job file. What it finds is not yet proven: the package is asked again.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from nb2prod.domain import Accelerated, to_json
from nb2prod.validation.onnx.converters import as_onnx, register
from nb2prod.validation.onnx.layout import Layout, joined, layout_of, whole
from nb2prod.validation.onnx.packed import packed
from nb2prod.validation.onnx.trees import Unsupported
from nb2prod.validation.onnx.trial import Trial, assign, explore, speeds

LIBRARIES = frozenset({"sklearn", "xgboost", "lightgbm"})

METHODS = ("predict", "predict_proba", "transform", "decision_function", "score_samples")
"""What a session may take over."""

MAX_ROWS = 2_000
"""Rows of what a model was asked that are kept."""

MIN_SPEEDUP = 1.2
SLOW = f"as ONNX it is not {MIN_SPEEDUP} times as fast"


class Watched:
    """A model, and what each of its methods was given by the package's own code."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.seen: dict[str, list[Any]] = {}
        self._inside = False
        for name in METHODS:
            if callable(method := getattr(model, name, None)):
                setattr(model, name, self._watching(name, method))

    def release(self) -> None:
        """Give the model its own methods back."""
        for name in METHODS:
            vars(self.model).pop(name, None)

    def _watching(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*args: Any, **kwargs: Any) -> Any:
            outermost, self._inside = not self._inside, True
            try:
                if outermost and len(args) == 1 and not kwargs:
                    self.seen.setdefault(name, []).append(args[0])
                return method(*args, **kwargs)
            finally:
                self._inside = not outermost

        return watching


def main(job_file: str) -> None:
    """Try each model of the package, and write what became of them where the job says."""
    job = json.loads(Path(job_file).read_text("utf-8"))
    warnings.simplefilter("ignore")
    found: dict[str, Watched] = {}
    package, predictor = _load(Path(job["package"]), found)
    for case in pickle.loads(Path(job["cases"]).read_bytes()):
        for request in predictor.decode(case["instances"]):
            predictor.run(request)
    register(LIBRARIES & sys.modules.keys())
    models = [
        tried(key, watched, package, Path(job["folder"])) for key, watched in found.items() if watched.seen
    ]
    Path(job["result"]).write_text(json.dumps(to_json(models)), "utf-8")


def _load(package: Path, found: dict[str, Watched]) -> tuple[ModuleType, Any]:
    """The package's module for stand-ins, and its predictor; its models are watched from the beginning."""
    name = f"_proof_of_{package.name}"
    runtime = import_runtime(package, name)
    load_state = runtime.load_state

    def watching(key: str) -> Any:
        value = load_state(key)
        if type(value).__module__.partition(".")[0] in LIBRARIES and hasattr(value, "__dict__"):
            found[key] = Watched(value)
        return value

    runtime.load_state = watching
    return sys.modules[f"{name}.accelerated"], runtime.load()


def tried(key: str, watched: Watched, package: ModuleType, folder: Path) -> Accelerated:
    watched.release()
    model = watched.model
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    try:
        return _converted(key, kind, watched, package, folder)
    except Unsupported as error:
        return Accelerated(key, kind, why=str(error))
    except Exception as error:  # skl2onnx and onnxruntime have errors of many kinds for what they don't know
        text = " ".join(str(error).split())
        return Accelerated(key, kind, why=f"{type(error).__name__}: {text}"[:300])


def _converted(key: str, kind: str, watched: Watched, package: ModuleType, folder: Path) -> Accelerated:
    model, given = watched.model, [one for parts in watched.seen.values() for one in parts]
    if not hasattr(model, "fit"):
        raise Unsupported(f"a {type(model).__name__} has no form in ONNX here; an estimator has")
    layout = layout_of(given[0])
    rows = whole(layout, joined([one for one in given if layout.fits(one)], MAX_ROWS))
    if not len(rows):
        raise Unsupported("the rows that it was asked have gaps in their texts, or infinities")
    data, trial = _first(model, layout, rows, package, [*watched.seen])
    explore(trial)
    inputs = trial.inputs()
    serving = {
        "class": f"{type(model).__module__}:{type(model).__qualname__}",
        "inputs": inputs,
        "methods": trial.answers,
    }
    before, after, most = speeds(
        trial, package.StandIn(package.Accelerated(trial.session, serving, lambda: model))
    )
    if before < MIN_SPEEDUP * after:
        return Accelerated(key, kind, why=SLOW, before_ms=before, after_ms=after)
    inputs["rows"] = most
    file = f"state/{key}.onnx"
    (folder / file).write_bytes(data)
    return Accelerated(
        key, kind, "", file, len(data), hashlib.sha256(data).hexdigest(), tuple(trial.answers), trial.left,
        trial.difference, trial.compared, before, after, most, serving,
    )  # fmt: skip


def _first(
    model: Any, layout: Layout, rows: Any, package: ModuleType, methods: Sequence[str]
) -> tuple[bytes, Trial]:
    """The first form of a model that gives its answers: with whole numbers as doubles, or as they are."""
    failed: Exception | None = None
    for made in _forms(model, layout, raw="decision_function" in methods and "predict_proba" not in methods):
        try:
            data = made()
            trial = Trial(model, package.session_of(data), layout, rows, package)
            assign(trial, iter(methods))
            return data, trial
        except Exception as error:  # of skl2onnx, onnxruntime or ours: the next form may do
            failed = failed or error
    assert failed is not None
    raise failed


def _forms(model: Any, layout: Layout, raw: bool) -> Iterator[Callable[[], bytes]]:
    from sklearn.compose import ColumnTransformer

    model = getattr(model, "best_estimator_", model)  # a search over parameters answers by what it found
    parts = model.get_params(deep=True).values() if hasattr(model, "get_params") else ()
    made = partial(as_onnx, raw=raw)
    by_name = any(isinstance(part, ColumnTransformer) for part in (model, *parts))
    if not layout.texts and not (by_name and layout.columns is not None):
        yield lambda: packed(model, layout, made, split=False, whole=frozenset())
        return
    yield lambda: packed(model, layout, made, split=True, whole=frozenset())
    integers = frozenset(at for at in layout.numbers if "int" in layout.dtypes[at].lower())
    if integers:
        yield lambda: packed(model, layout, made, split=True, whole=integers)


def import_runtime(package: Path, name: str) -> Any:
    """The runtime module of a package that is imported under a name."""
    import importlib
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return importlib.import_module(f"{name}.runtime")


if __name__ == "__main__":
    main(sys.argv[1])
