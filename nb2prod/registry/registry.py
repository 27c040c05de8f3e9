"""Releases in MLflow: one registered model and one experiment for each notebook name."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nb2prod.domain import Bundle, Contract, Release, Report, to_json
from nb2prod.errors import UsageError
from nb2prod.registry import record
from nb2prod.registry.calls import IMPATIENT, knock, mlflow_calls
from nb2prod.registry.model import save_model

CONTENT = "nb2prod.content"
BUNDLE = "nb2prod.bundle"
NOTEBOOK = "nb2prod.notebook"
CHAMPION = "champion"
REPORT = "report.json"


@dataclass(frozen=True)
class Registry:
    """MLflow at `tracking_uri`. `artifact_root` is where artifacts lie, None to leave that to the server.

    `cache` holds the packages of releases on local disk: `cache`/MODEL/VERSION-RUN/MODEL. Every method
    raises RegistryError: NB400 if MLflow cannot be reached, NB401 if the disk is full.
    """

    tracking_uri: str
    artifact_root: Path | None
    cache: Path

    # --- reading ---------------------------------------------------------------------------------

    def find(self, model_name: str, content: str) -> Release | None:
        """The newest release of this very content, its package on disk; None if there is none."""
        with self._calls() as client:
            found = [v for v in self._versions(client, model_name) if v.tags.get(CONTENT) == content]
            return self._fetched(client, found[-1]) if found else None

    def get(self, model_name: str, version: int | str = CHAMPION) -> Release:
        """A release by version or alias, its package on disk; UsageError NB402 if there is none."""
        with self._calls() as client:
            versions = self._versions(client, model_name)
            aliases = self._aliases(client, model_name) if versions else {}
            wanted = str(aliases.get(str(version), version))
            found = [v for v in versions if str(v.version) == wanted]
            if found:
                return self._fetched(client, found[-1])
        known = ", ".join([*(str(v.version) for v in versions), *sorted(aliases)]) or "none"
        message = f"{model_name} has no version or alias {version!r}"
        raise UsageError(message, code="NB402", hint=f"Its versions: {known}.")

    def versions(self, model_name: str) -> tuple[Release, ...]:
        """All releases, oldest first. Their packages may not be on disk yet: `get` brings one there."""
        with self._calls() as client:
            versions = self._versions(client, model_name)
            aliases = self._aliases(client, model_name) if versions else {}
            return tuple(self._release(version, aliases) for version in versions)

    def champion(self, model_name: str) -> Release | None:
        """The release that serves, its package on disk; None if there is none."""
        with self._calls() as client:
            versions = self._versions(client, model_name)
            number = self._aliases(client, model_name).get(CHAMPION) if versions else None
            found = [v for v in versions if int(v.version) == number]
            return self._fetched(client, found[-1]) if found else None

    def report(self, release: Release) -> Report:
        """The report that proved a release."""
        with self._calls() as client, tempfile.TemporaryDirectory(prefix="nb2prod-report-") as work:
            file = client.download_artifacts(release.run_id, REPORT, work)
            return Report.from_json(json.loads(Path(file).read_text("utf-8")))

    # --- writing ---------------------------------------------------------------------------------

    def register(
        self,
        bundle: Bundle,
        report: Report,
        package: Path,
        executed: Path,
        *,
        content: str,
        notebook_path: Path,
    ) -> Release:
        """Store a proven bundle as the next version of its model. All of it is stored, or nothing is.

        `package` is the package's folder, `executed` the executed notebook, `content` the key by which
        `find` knows it again. Raises ValueError if the report is not of this bundle or has not passed.
        """
        if not report.passed or report.bundle_digest != bundle.digest:
            raise ValueError(
                f"the report does not prove {bundle.name}: only a proven bundle becomes a release"
            )
        tags = {CONTENT: content, BUNDLE: bundle.digest, NOTEBOOK: bundle.notebook_digest}
        with self._calls() as client, _Undo() as undo:
            run = self._run(client, bundle.name, tags, notebook_path, undo)
            contract = Contract.from_json(json.loads((package / "contract.json").read_text("utf-8")))
            record.log(client, run.info.run_id, report, contract)
            self._log_artifacts(client, run, contract, report, package, executed)
            release = self._release(self._version(client, bundle.name, run, tags, undo), {})
            self._keep(package, release.path, undo)
            client.set_terminated(run.info.run_id, "FINISHED")
            return release

    def promote(self, release: Release, alias: str = CHAMPION) -> Release:
        """The release, now known by the alias, which no other version of its model has any more."""
        with self._calls() as client:
            client.set_registered_model_alias(release.model_name, alias, str(release.version))
        return replace(release, aliases=tuple(sorted({*release.aliases, alias})))

    # --- MLflow ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _calls(self) -> Iterator[Any]:
        client = self._client
        with mlflow_calls(self.tracking_uri, self._settings):
            yield client

    @property
    def _settings(self) -> Mapping[str, str]:
        # or MLflow's own default experiment would point into the folder where we happen to run
        root = self.artifact_root
        return {"_MLFLOW_SERVER_ARTIFACT_ROOT": root.resolve().as_uri()} if root is not None else {}

    @functools.cached_property
    def _client(self) -> Any:
        """MLflow's client, once it is sure that someone answers."""
        with mlflow_calls(self.tracking_uri, {**self._settings, **IMPATIENT}):
            from mlflow import MlflowClient

            if self.tracking_uri.startswith("sqlite:///"):
                Path(self.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            knock(self.tracking_uri)
            client = MlflowClient(self.tracking_uri, self.tracking_uri)
            client.search_registered_models(max_results=1)
        return client

    def _versions(self, client: Any, model_name: str) -> list[Any]:
        """The model's versions that are ready, oldest first."""
        if not client.search_registered_models(f"name = '{model_name}'", max_results=1):
            return []
        found = client.search_model_versions(f"name = '{model_name}'", max_results=10_000)
        ready = [version for version in found if version.status == "READY" and CONTENT in version.tags]
        return sorted(ready, key=lambda version: int(version.version))

    def _aliases(self, client: Any, model_name: str) -> dict[str, int]:
        """Version by alias. MLflow's searches leave them out of versions."""
        aliases = client.get_registered_model(model_name).aliases
        return {alias: int(version) for alias, version in aliases.items()}

    def _release(self, version: Any, aliases: Mapping[str, int]) -> Release:
        number = int(version.version)
        return Release(
            model_name=version.name,
            version=number,
            content=version.tags[CONTENT],
            bundle_digest=version.tags[BUNDLE],
            run_id=version.run_id,
            path=self._path(version.name, number, version.run_id),
            aliases=tuple(sorted(alias for alias, pointed in aliases.items() if pointed == number)),
        )

    def _path(self, model_name: str, version: int, run_id: str) -> Path:
        """With the run in it: version 1 of another server, or after a clean-up, is another release."""
        return self.cache / model_name / f"{version}-{run_id[:8]}" / model_name

    def _run(self, client: Any, name: str, tags: Mapping[str, str], notebook: Path, undo: _Undo) -> Any:
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            root = (self.artifact_root / name).resolve().as_uri() if self.artifact_root is not None else None
            experiment = client.get_experiment(client.create_experiment(name, artifact_location=root))
        all_tags = {
            **tags,
            "mlflow.source.name": str(notebook),
            "mlflow.source.type": "NOTEBOOK",
            **_commit(notebook),
        }
        run = client.create_run(experiment.experiment_id, tags=all_tags)
        undo.add(lambda: _delete_run(client, run))
        return run

    def _log_artifacts(
        self, client: Any, run: Any, contract: Contract, report: Report, package: Path, executed: Path
    ) -> None:
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".model-", dir=self.cache) as work:
            report_file = Path(work, REPORT)
            report_file.write_text(json.dumps(to_json(report), indent=1, ensure_ascii=False), "utf-8")
            save_model(package, contract, run.info.run_id, Path(work, "model"))
            client.log_artifacts(run.info.run_id, str(Path(work, "model")), "model")
            client.log_artifact(run.info.run_id, str(report_file))
            client.log_artifact(run.info.run_id, str(executed))

    def _version(self, client: Any, name: str, run: Any, tags: Mapping[str, str], undo: _Undo) -> Any:
        if not client.search_registered_models(f"name = '{name}'", max_results=1):
            client.create_registered_model(name)
        source = f"{run.info.artifact_uri}/model"
        version = client.create_model_version(name, source, run_id=run.info.run_id, tags=dict(tags))
        undo.add(lambda: client.delete_model_version(name, version.version))
        return version

    # --- packages on disk ------------------------------------------------------------------------

    def _keep(self, package: Path, target: Path, undo: _Undo) -> None:
        undo.add(lambda: shutil.rmtree(target.parent, ignore_errors=True))
        with _appearing(target) as work:
            shutil.copytree(package, work, ignore=shutil.ignore_patterns("__pycache__"))

    def _fetched(self, client: Any, version: Any) -> Release:
        release = self._release(version, self._aliases(client, version.name))
        if not release.path.is_dir():
            from mlflow.artifacts import download_artifacts

            uri = client.get_model_version_download_uri(version.name, version.version)
            with _appearing(release.path) as work:
                model = download_artifacts(uri, dst_path=str(work.parent), tracking_uri=self.tracking_uri)
                (Path(model) / "artifacts" / version.name).rename(work)
        return release


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A path to fill that becomes `target` at the end, whole; another process may have been faster."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as work:
        yield Path(work, target.name)
        if not target.is_dir():
            Path(work, target.name).rename(target)


class _Undo(contextlib.AbstractContextManager["_Undo"]):
    """Takes back what has been done, newest first, if what follows fails."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], Any]] = []

    def add(self, step: Callable[[], Any]) -> None:
        """What to do if anything fails from now on."""
        self._steps.append(step)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            return
        for step in reversed(self._steps):
            # what failed may well fail again; the first error is the one to tell
            with contextlib.suppress(Exception):
                step()


def _delete_run(client: Any, run: Any) -> None:
    """Mark the run as failed and deleted, and free what it has stored on this disk."""
    if run.info.artifact_uri.startswith("file:"):
        from mlflow.utils.file_utils import local_file_uri_to_path

        shutil.rmtree(Path(local_file_uri_to_path(run.info.artifact_uri)).parent, ignore_errors=True)
    client.set_terminated(run.info.run_id, "FAILED")
    client.delete_run(run.info.run_id)


def _commit(notebook: Path) -> dict[str, str]:
    command = ["git", "-C", str(notebook.parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"mlflow.source.git.commit": done.stdout.strip()} if done.returncode == 0 else {}
