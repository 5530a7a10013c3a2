"""Reads the Kustomize trees of environments/kubernetes, and the pods that come of them.

A small reader on purpose: lists of resources and JSON patches. What it doesn't know it refuses, so that nothing is left out unseen.
"""

import copy
import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dask_kubernetes.operator.controller import controller

Manifest = dict[str, Any]

ROOT = Path(__file__).parent.parent
KUBERNETES = ROOT / "environments/kubernetes"
TREES = sorted(
    path.parent.relative_to(KUBERNETES).as_posix()
    for path in KUBERNETES.rglob("kustomization.yaml")
    if path.parent.parent.name != "base"
)
"""What can be applied: base, the clusters, the overlays."""


def documents(path: Path) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def resolve(folder: Path) -> list[Manifest]:
    """All manifests of a Kustomize tree, patched."""
    (settings,) = documents(folder / "kustomization.yaml")
    unknown = settings.keys() - {"apiVersion", "kind", "resources", "patches"}
    if unknown or settings["kind"] != "Kustomization":
        raise ValueError(f"{folder}: this reader does not know {sorted(unknown) or settings['kind']}")
    found: list[Manifest] = []
    for name in settings["resources"]:
        place = folder / name
        found += resolve(place) if place.is_dir() else documents(place)
    for each in settings.get("patches", ()):
        _patch(found, each["target"], yaml.safe_load(each["patch"]))
    return found


def _patch(found: list[Manifest], target: Mapping[str, str], steps: list[Manifest]) -> None:
    chosen = [each for each in found if each["kind"] == target["kind"] and each["metadata"]["name"] == target["name"]]
    if len(chosen) != 1:
        raise ValueError(f"{target} names {len(chosen)} manifests")
    for step in steps:
        _change(chosen[0], step)


def _change(manifest: Any, step: Manifest) -> None:
    """One step of a JSON patch (RFC 6902)."""
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
    place = manifest
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    key = (len(place) if last == "-" else int(last)) if isinstance(place, list) else last
    match step["op"]:
        case "test" if place[key] != step["value"]:
            raise ValueError(f"{step['path']} is {place[key]!r}, expected {step['value']!r}")
        case "test":
            pass
        case "add" if isinstance(place, list):
            place.insert(key, copy.deepcopy(step["value"]))
        case "replace" | "add":
            if step["op"] == "replace":
                place[key]  # KeyError or IndexError if there is nothing to replace
            place[key] = copy.deepcopy(step["value"])
        case "remove":
            del place[key]
        case other:
            raise ValueError(f"this reader does not know the step {other}")


def expanded(manifest: Manifest) -> list[Manifest]:
    """Deployments and service that the operator makes of a DaskCluster, by the operator's own functions."""
    manifest = copy.deepcopy(manifest)
    name, namespace, spec = manifest["metadata"]["name"], manifest["metadata"]["namespace"], manifest["spec"]
    scheduler = controller.build_scheduler_deployment_spec(
        name, spec["scheduler"]["spec"], {}, spec["scheduler"].get("metadata", {}).get("labels", {})
    )
    service = controller.build_scheduler_service_spec(name, spec["scheduler"]["service"], {}, {})
    worker = controller.build_worker_deployment_spec(
        f"{name}-default", namespace, name, "0", spec["worker"]["spec"], {}, spec["worker"].get("metadata", {}).get("labels", {})
    )
    worker["spec"]["replicas"] = spec["worker"]["replicas"]
    for each in (scheduler, service, worker):
        each["metadata"] = each["metadata"] | {"namespace": namespace}
    return [scheduler, service, worker]


def with_pods(found: list[Manifest]) -> list[Manifest]:
    """The manifests with every DaskCluster replaced by what becomes of it."""
    return [piece for each in found for piece in (expanded(each) if each["kind"] == "DaskCluster" else [each])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of a workload: which, how many of it, its labels and its specification."""

    name: str
    namespace: str
    count: int
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def role(self) -> str:
        """The name by which the documentation calls it."""
        return self.labels.get("dask.org/component") or self.labels["app.kubernetes.io/name"]


def pods(found: list[Manifest]) -> Iterator[Pod]:
    for each in with_pods(found):
        match each["kind"]:
            case "Deployment":
                template, count = each["spec"]["template"], each["spec"]["replicas"]
            case "CronJob":
                template, count = each["spec"]["jobTemplate"]["spec"]["template"], 1
            case "Pod" | "Job" | "StatefulSet" | "DaemonSet" | "ReplicaSet":
                raise ValueError(f"this reader does not know {each['kind']}")
            case _:
                continue
        yield Pod(
            name=each["metadata"]["name"],
            namespace=each["metadata"]["namespace"],
            count=count,
            labels=template["metadata"]["labels"],
            spec=template["spec"],
        )


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector chooses who has these labels; only matchLabels are known."""
    if selector.keys() - {"matchLabels"}:
        raise ValueError(f"this reader does not know the selector {selector}")
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def quantity(text: str | int) -> float:
    """A Kubernetes quantity ("250m", "8Gi") as a number."""
    units = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    unit = next((unit for unit in units if fnmatch.fnmatch(str(text), f"*{unit}")), "")
    return float(str(text).removesuffix(unit)) * units.get(unit, 1)
