"""MLflow: a store of files, without a server. The lab's runs are one experiment, found again by a tag with the run's id."""

import os
from pathlib import Path
from typing import Any

from faceswap_lab.runs.tracking.choice import missing
from faceswap_lab.runs.tracking.tracker import Facts, Point, Tracker

EXPERIMENT = "faceswap_lab"
TAG = "faceswap_lab.run"

_ALLOW_FILES = "MLFLOW_ALLOW_FILE_STORE"
"""Since MLflow 3 its store of files has to be asked for. The other one is a database, which mlflow-skinny cannot open."""


class MLflow:
    """Numbers as metrics with step and time, the recipe's numbers as parameters."""

    def __init__(self, client: Any, entities: Any) -> None:
        self._client, self._entities = client, entities
        self._id = ""
        self._is_finished = False

    def start(self, facts: Facts, *, fresh: bool) -> None:
        """The run with this tag, set going again, or a new one; with `fresh`, the older one is deleted."""
        experiment = self._experiment()
        found = self._client.search_runs([experiment], filter_string=f"tags.`{TAG}` = '{facts.id}'")
        if fresh:
            for older in found:
                self._client.delete_run(older.info.run_id)
        if found and not fresh:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(experiment, run_name=facts.id, tags={TAG: facts.id, "verb": facts.verb}).info.run_id
        parameters = [self._entities.Param(name, f"{value:g}") for name, value in facts.numbers.items()]
        self._client.log_batch(self._id, params=parameters)

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        return str(self._client.create_experiment(EXPERIMENT) if found is None else found.experiment_id)

    def log(self, point: Point) -> None:
        """One metric for each number."""
        at = int(point.time_s * 1000)
        metrics = [self._entities.Metric(name, value, at, point.step) for name, value in point.values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def finish(self, point: Point) -> None:
        """The key figures as metrics; the run is finished."""
        self.log(point)
        self._client.set_terminated(self._id, status="FINISHED", end_time=int(point.time_s * 1000))
        self._is_finished = True

    def close(self, *, stopped: bool) -> None:
        """Everything is on disk already; a run that was stopped says so."""
        if stopped and self._id and not self._is_finished:
            self._client.set_terminated(self._id, status="KILLED")


def open_tracker(place: Path) -> Tracker:
    """The tracker. LabError without the library."""
    os.environ[_ALLOW_FILES] = "true"
    try:
        from mlflow import entities
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise missing("mlflow", error) from error
    return MLflow(MlflowClient(tracking_uri=place.resolve().as_uri()), entities)


def shown_by(place: Path) -> str:
    """MLflow's own server, of the whole package `mlflow`."""
    return f"{_ALLOW_FILES}=true mlflow ui --backend-store-uri '{place.resolve().as_uri()}'"
