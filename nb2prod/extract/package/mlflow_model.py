"""This package as an MLflow model (pyfunc, from code). Needs mlflow, and no nb2prod."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext


def _import(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(
        name, path / "__init__.py", submodule_search_locations=[str(path)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return importlib.import_module(f"{name}.runtime")


class _Predict:
    """In a class of its own: of a PythonModel's `predict`, MLflow wants type hints of its own kind."""

    def load_context(self, context: PythonModelContext) -> None:
        """Import the package under a name of its own, so that several versions fit one process."""
        path = Path(context.artifacts["package"])
        name = f"_{path.name}_{abs(hash(str(path))):x}"
        self._runtime = _import(path, name)
        self._predictor = self._runtime.load()
        self._nulls = {f["name"]: None for f in self._predictor.contract["fields"] if f["nullable"]}

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """A list with one prediction for each row, record, text or value of the input."""
        return self._predictor.predict(self._instances(model_input))

    def _instances(self, model_input: Any) -> list[Any]:
        if hasattr(model_input, "columns"):
            rows = self._runtime.to_instances(model_input, "frame")
            if self._predictor.kind in self._runtime.FIELD_KINDS:
                # a column that may be null is optional in the signature: without it, all are null
                return [{**self._nulls, **row} for row in rows]
            return [next(iter(row.values())) for row in rows]
        if isinstance(model_input, dict | str):
            return [self._runtime.to_wire(model_input)]
        return [self._runtime.to_wire(row) for row in model_input]


class PackageModel(_Predict, PythonModel):
    """Predicts with the package that lies under the model's artifacts."""


mlflow.models.set_model(PackageModel())
