"""A package as an MLflow model on disk."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from nb2prod.domain import Contract
from nb2prod.registry.signature import input_example, signature_of


def save_model(package: Path, contract: Contract, run_id: str, dest: Path) -> None:
    """Write the model (pyfunc, from code) to `dest`: the package, its signature, example and pins.

    The model carries the package as it is; loading it needs MLflow and the package's own
    requirements, and no nb2prod.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    pyfunc.save_model(
        path=str(dest),
        python_model=str(package / "mlflow_model.py"),
        artifacts={"package": str(package)},
        mlflow_model=Model(artifact_path="model", run_id=run_id),
        signature=signature_of(contract),
        input_example=input_example(contract),
        pip_requirements=requirements(package),
    )


def requirements(package: Path) -> list[str]:
    """What an environment needs to load the model: the package's pins, and MLflow."""
    lines = (package / "requirements.txt").read_text("utf-8").split("\n")
    own = [pin for line in lines if (pin := line.partition("#")[0].strip())]
    return [
        *own,
        *(
            []
            if any(pin.startswith("mlflow==") for pin in own)
            else [f"mlflow=={metadata.version('mlflow')}"]
        ),
    ]
