"""A CronJob of Kubernetes, under the rules of environments/kubernetes: its lab, its volume, its account, no rights."""

import json
import shutil
import subprocess
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from faceswap_lab.errors import ScheduleError
from faceswap_lab.files import VERSION
from faceswap_lab.pipelines.schedules.job import Job

OWNER = {"app.kubernetes.io/part-of": "faceswap-lab", "app.kubernetes.io/managed-by": "faceswap-lab"}
LAB = "/lab"
"""Where the images of environments/images have the lab's folder."""

NOTICES = "/etc/faceswap-lab/notices"
"""Where a pod that sends notices finds notices.toml: the Secret `notices`, mounted."""

_Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
_Image = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9./:_-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$")
]
_Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$")]


class Placement(BaseModel):
    """Where in a cluster the pod runs, and what it may take. Anything else than these fields is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    namespace: _Label = "faceswap-lab"
    image: _Image = f"registry.example/faceswap-lab/lab:{VERSION}"
    account: _Label = "report"
    cpu: _Quantity = "4"
    memory: _Quantity = "16Gi"
    hours: Annotated[int, Field(ge=1)] = 12


def placement(**given: Any) -> Placement:
    """The placement with these changes. ScheduleError that names the field if one of them is not what Kubernetes would take."""
    try:
        made = Placement(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        field, got = ".".join(map(str, first["loc"])), repr(first["input"])
        remedy = f"correct --{field}: an image needs a tag or a digest, a quantity is written as 500m or 4Gi"
        raise ScheduleError(expected=f"a {field} for a CronJob ({first['msg']})", got=got, remedy=remedy) from error
    if made.image.endswith(":latest"):
        raise ScheduleError(expected="a fixed version of the image", got=made.image, remedy="name a version, or a digest")
    return made


def manifest(job: Job, place: Placement) -> dict[str, Any]:
    """The CronJob. Times are in the schedule's zone, and a run that still goes on keeps the next from being started."""
    labels = {"app.kubernetes.io/name": f"schedule-{job.name}", **OWNER}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"schedule-{job.name}", "namespace": place.namespace, "labels": labels},
        "spec": {
            "schedule": job.when.expression,
            "timeZone": job.when.zone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": place.hours * 3600,
                    "ttlSecondsAfterFinished": 604800,
                    "template": {"metadata": {"labels": labels}, "spec": _pod(job, place)},
                }
            },
        },
    }


def _pod(job: Job, place: Placement) -> dict[str, Any]:
    told = bool(job.notify)
    volumes: list[dict[str, Any]] = [
        {"name": "lab", "persistentVolumeClaim": {"claimName": "lab"}},
        {"name": "home", "emptyDir": {"sizeLimit": "4Gi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Gi"}},
    ]
    if told:
        volumes.append({"name": "notices", "secret": {"secretName": "notices", "defaultMode": 0o440}})
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "serviceAccountName": place.account,
        "nodeSelector": {"faceswap-lab/pool": "cpu"},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(job, place)],
        "volumes": volumes,
    }


def _container(job: Job, place: Placement) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [
        {"name": "lab", "mountPath": LAB},
        {"name": "home", "mountPath": "/home/lab"},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # the pod's own
    ]
    variables = [{"name": "FACESWAP_LAB_ROOT", "value": LAB}]
    if job.notify:
        mounts.append({"name": "notices", "mountPath": NOTICES, "readOnly": True})
        variables.append({"name": "FACESWAP_LAB_NOTICES", "value": f"{NOTICES}/notices.toml"})
    return {
        "name": "pipeline",
        "image": place.image,
        # Kubernetes puts variables in place of $(NAME), and $( in place of $$(.
        "command": [word.replace("$(", "$$(") for word in job.words],
        "env": variables,
        "resources": {
            "requests": {"cpu": place.cpu, "memory": place.memory},
            "limits": {"cpu": place.cpu, "memory": place.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def as_yaml(found: dict[str, Any]) -> str:
    """For `kubectl apply -f -`."""
    import yaml

    # Aliases would save the two lines of labels, and make the file harder to read.
    dumper = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    return str(yaml.dump(found, Dumper=dumper, sort_keys=False, allow_unicode=True, width=1000))


def install(found: dict[str, Any]) -> str:
    """Have the cluster check the CronJob, then apply it; returns what kubectl says."""
    text = json.dumps(found)
    _kubectl("apply", "--dry-run=server", "-f", "-", given=text)
    return _kubectl("apply", "-f", "-", given=text).strip()


def remove(name: str, namespace: str) -> bool:
    """Delete the CronJob; False if there is none of that name. A run that it started goes on."""
    if not any(each["name"] == name for each in installed(namespace)):
        return False
    _kubectl("delete", "cronjob", f"schedule-{name}", "-n", namespace, "--cascade=orphan")
    return True


def installed(namespace: str) -> list[dict[str, str]]:
    """The CronJobs of the namespace that this command has made."""
    selector = f"app.kubernetes.io/managed-by={OWNER['app.kubernetes.io/managed-by']}"
    found = json.loads(_kubectl("get", "cronjobs", "-n", namespace, "-l", selector, "-o", "json"))["items"]
    return [
        {
            "name": each["metadata"]["name"].removeprefix("schedule-"),
            "kind": "kubernetes",
            "when": f"{each['spec']['schedule']} {each['spec'].get('timeZone', '')}".strip(),
            "command": " ".join(each["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]),
        }
        for each in found
    ]


def _kubectl(*words: str, given: str | None = None) -> str:
    program = shutil.which("kubectl")
    if program is None:
        remedy = "install it, or print the CronJob without --install and apply it where there is one"
        raise ScheduleError(expected="the program kubectl", got="none", remedy=remedy)
    done = subprocess.run([program, *words], input=given, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        got = done.stderr.strip() or f"exit code {done.returncode}"
        raise ScheduleError(expected=f"kubectl {words[0]} to work", got=got, remedy="see `kubectl config current-context`")
    return done.stdout
