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
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return importlib.import_module(f"{name}.runtime")


class PackageModel(PythonModel):
    """Predicts with the package that lies under the model's artifacts."""

    def load_context(self, context: PythonModelContext) -> None:
        """Import the package under a name of its own, so that several versions fit one process."""
        path = Path(context.artifacts["package"])
        name = f"_{path.name}_{abs(hash(str(path))):x}"
        self._runtime = _import(path, name)
        self._predictor = self._runtime.load()

    def predict(
        self, context: PythonModelContext, model_input: Any, params: dict[str, Any] | None = None
    ) -> Any:
        """A list with one prediction for each row, record, text or value of the input."""
        return self._predictor.predict(self._instances(model_input))

    def _instances(self, model_input: Any) -> list[Any]:
        if hasattr(model_input, "columns"):
            rows = self._runtime.to_instances(model_input, "frame")
            if self._predictor.kind in self._runtime.FIELD_KINDS:
                return rows
            return [next(iter(row.values())) for row in rows]
        if isinstance(model_input, dict | str):
            return [self._runtime.to_wire(model_input)]
        return [self._runtime.to_wire(row) for row in model_input]


mlflow.models.set_model(PackageModel())
