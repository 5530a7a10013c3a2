"""The manifests of environments/kubernetes: they fit the schemas, keep the rules, and name nothing that isn't there.

No cluster and no kubectl is needed; where kubectl is installed, it has to read the trees as the tests do. Each rule is shown a
manifest that breaks it.
"""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from dask_kubernetes.operator.validation import validate_cluster_name

from tests import policies
from tests.manifests import KUBERNETES, TREES, Manifest, documents, pods, resolve, with_pods

ROOT = Path(__file__).parent.parent
CLUSTERS = [tree for tree in TREES if tree.startswith("clusters/")]
VERSIONS = ("1.30", "1.37")
"""The oldest and the newest Kubernetes whose schemas the manifests fit."""

trees = pytest.mark.parametrize("tree", TREES)


def whole(tree: str) -> list[Manifest]:
    """A tree, and for a cluster what stands before it is applied."""
    return [*resolve(KUBERNETES / "base"), *resolve(KUBERNETES / tree)] if tree in CLUSTERS else resolve(KUBERNETES / tree)


def test_there_are_trees_to_look_at() -> None:
    assert TREES == ["base", "clusters/base", "clusters/plain", "clusters/single-gpu", "clusters/spot", "overlays/ingress"]
    named = {name for tree in TREES for name in (each["kind"] for each in resolve(KUBERNETES / tree))}
    assert {"DaskCluster", "Deployment", "CronJob", "NetworkPolicy", "PodDisruptionBudget", "ResourceQuota"} <= named


def test_every_file_belongs_to_a_tree() -> None:
    listed = set()
    for path in KUBERNETES.rglob("kustomization.yaml"):
        listed |= {path, *((path.parent / name).resolve() for name in documents(path)[0]["resources"])}
    assert set(KUBERNETES.rglob("*.yaml")) == {path for path in listed if path.is_file()}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
@trees
def test_kubectl_reads_the_tree_as_the_tests_do(tree: str) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(KUBERNETES / tree)], capture_output=True, text=True, check=True)
    key = lambda each: (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])  # noqa: E731
    assert sorted(yaml.safe_load_all(done.stdout), key=key) == sorted(resolve(KUBERNETES / tree), key=key)


# --- schemas ----------------------------------------------------------------------------------------------------------


def closed(schema: Any) -> Any:
    """An OpenAPI schema in which unknown fields are errors: the API server would drop them without a word."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    return kept


@cache
def dask_validator() -> jsonschema.Draft202012Validator:
    """Checks a DaskCluster by the schema in the wheel that the operator is made of."""
    text = files("dask_kubernetes").joinpath("operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml").read_text()
    (definition,) = yaml.safe_load_all(text)
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"] |= {"apiVersion": {"const": "kubernetes.dask.org/v1"}, "kind": {"const": "DaskCluster"}}
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(closed(schema))


def check(manifest: Manifest) -> None:
    """ValidationError if the manifest does not fit its schema, in any of the versions."""
    if manifest["kind"] == "DaskCluster":
        dask_validator().validate(manifest)
        validate_cluster_name(manifest["metadata"]["name"])
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


@trees
def test_every_manifest_fits_its_schema(tree: str) -> None:
    found = resolve(KUBERNETES / tree)
    assert found
    for each in [*found, *with_pods(found)]:
        check(each)


def misspelt(manifest: Manifest, *way: str | int) -> Manifest:
    changed = copy.deepcopy(manifest)
    place: Any = changed
    for part in way[:-1]:
        place = place[part]
    place[f"{way[-1]}s"] = place.pop(way[-1])
    return changed


@pytest.mark.parametrize(
    ("tree", "kind", "way"),
    [
        ("base", "Deployment", ("spec", "template", "spec", "containers", 0, "image")),
        ("base", "NetworkPolicy", ("spec", "podSelector")),
        ("base", "CronJob", ("spec", "schedule")),
        ("clusters/base", "DaskCluster", ("spec", "idleTimeout")),
        ("clusters/base", "DaskCluster", ("spec", "worker", "spec", "tolerations")),
        ("clusters/base", "DaskCluster", ("spec", "worker", "spec", "containers", 0, "resources")),
        ("clusters/base", "DaskCluster", ("spec", "scheduler", "service", "ports", 0, "port")),
    ],
)
def test_a_misspelt_field_is_noticed(tree: str, kind: str, way: tuple[str | int, ...]) -> None:
    manifest = next(each for each in resolve(KUBERNETES / tree) if each["kind"] == kind)
    check(manifest)
    with pytest.raises(jsonschema.ValidationError):
        check(misspelt(manifest, *way))


# --- rules ------------------------------------------------------------------------------------------------------------

RULES = [
    policies.runs_as_root,
    policies.has_privileges,
    policies.lacks_limits,
    policies.floats,
    policies.tells_secrets,
    policies.is_open,
    policies.wastes_gpus,
    policies.speaks_to_the_api,
    policies.may_too_much,
    policies.mounts_nothing,
    policies.exceeds,
]


@trees
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rules_are_kept(tree: str, rule: policies.Rule) -> None:
    assert rule(whole(tree)) == []


GOOD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: small, namespace: here}
spec:
  replicas: 1
  selector: {matchLabels: {app.kubernetes.io/name: small}}
  template:
    metadata: {labels: {app.kubernetes.io/name: small}}
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 7, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: one
          image: example.org/one:1.2
          resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 1, memory: 1Gi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
"""
ROOM = """
- {kind: Namespace, metadata: {name: here}}
- {kind: NetworkPolicy, metadata: {name: deny, namespace: here}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}
- {kind: ResourceQuota, metadata: {name: quota, namespace: here}, spec: {hard: {requests.cpu: 2, pods: 2}}}
- {kind: LimitRange, metadata: {name: limits, namespace: here}, spec: {limits: [{type: Container, max: {memory: 1Gi}}]}}
"""
POD = ("spec", "template", "spec")
ONE = (*POD, "containers", 0)
BROKEN: dict[str, tuple[policies.Rule, tuple[str | int, ...], Any]] = {
    "root": (policies.runs_as_root, (*POD, "securityContext", "runAsUser"), 0),
    "no user": (policies.runs_as_root, (*POD, "securityContext"), {"runAsNonRoot": True}),
    "root in one container": (policies.runs_as_root, (*ONE, "securityContext", "runAsUser"), 0),
    "capability": (policies.has_privileges, (*ONE, "securityContext", "capabilities"), {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    "writable": (policies.has_privileges, (*ONE, "securityContext", "readOnlyRootFilesystem"), False),
    "escalation": (policies.has_privileges, (*ONE, "securityContext", "allowPrivilegeEscalation"), True),
    "node's network": (policies.has_privileges, (*POD, "hostNetwork"), True),
    "node's folder": (policies.has_privileges, (*POD, "volumes"), [{"name": "node", "hostPath": {"path": "/"}}]),
    "no limits": (policies.lacks_limits, (*ONE, "resources", "limits"), {"cpu": 1}),
    "no requests": (policies.lacks_limits, (*ONE, "resources"), {"limits": {"cpu": 1, "memory": "1Gi"}}),
    "latest": (policies.floats, (*ONE, "image"), "example.org:5000/one:latest"),
    "no tag": (policies.floats, (*ONE, "image"), "example.org:5000/one"),
    "another version": (policies.floats, (*ONE, "image"), "registry.example/faceswap-lab/lab:0.0.9"),
    "secret": (policies.tells_secrets, (*ONE, "env"), [{"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}]),
    "gpu": (policies.wastes_gpus, (*ONE, "resources", "limits", "nvidia.com/gpu"), "1"),
    "token": (policies.speaks_to_the_api, (*POD, "automountServiceAccountToken"), True),
    "token by default": (policies.speaks_to_the_api, (*POD, "automountServiceAccountToken"), None),
    "lost volume": (policies.mounts_nothing, (*ONE, "volumeMounts"), [{"name": "data", "mountPath": "/data"}]),
    "unused volume": (policies.mounts_nothing, (*POD, "volumes"), [{"name": "data", "emptyDir": {}}]),
    "too large": (policies.exceeds, (*ONE, "resources", "limits", "memory"), "2Gi"),
    "too many": (policies.exceeds, ("spec", "replicas"), 3),
    "too much together": (policies.exceeds, (*ONE, "resources", "requests", "cpu"), "2001m"),
}


def changed(way: tuple[str | int, ...], value: Any) -> list[Manifest]:
    found = [*yaml.safe_load(ROOM), yaml.safe_load(GOOD)]
    place: Any = found[-1]
    for part in way[:-1]:
        place = place[part]
    place[way[-1]] = value
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_manifest_breaks_no_rule(rule: policies.Rule) -> None:
    found = changed(("kind",), "Deployment")
    assert rule(found) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_noticed(name: str) -> None:
    rule, way, value = BROKEN[name]
    assert rule(changed(way, value))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (policies.tells_secrets, "{kind: Secret, metadata: {name: keys}, stringData: {token: x}}"),
        (policies.is_open, "{kind: Namespace, metadata: {name: elsewhere}}"),
        (policies.speaks_to_the_api, "{kind: ServiceAccount, metadata: {name: someone, namespace: here}}"),
        (
            policies.may_too_much,
            "{kind: Role, metadata: {name: r}, rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]}",
        ),
        (policies.may_too_much, "{kind: Role, metadata: {name: r}, rules: [{apiGroups: [apps], resources: [x], verbs: ['*']}]}"),
        (policies.may_too_much, "{kind: ClusterRole, metadata: {name: r}}"),
        (policies.selects_nothing, "{kind: Service, metadata: {name: s, namespace: here}, spec: {selector: {app: nobody}}}"),
        (
            policies.selects_nothing,
            "{kind: PodDisruptionBudget, metadata: {name: s, namespace: there}, "
            "spec: {selector: {matchLabels: {app.kubernetes.io/name: small}}}}",
        ),
    ],
)
def test_a_bad_manifest_beside_a_good_one_is_noticed(rule: policies.Rule, text: str) -> None:
    wrong = rule([*changed(("kind",), "Deployment"), yaml.safe_load(text)])
    assert wrong
    assert rule(changed(("kind",), "Deployment")) == []


def test_a_quota_of_gpus_holds_for_all_workers_together() -> None:
    found = whole("clusters/spot")
    (cluster,) = [each for each in found if each["kind"] == "DaskCluster"]
    cluster["spec"]["worker"]["replicas"] = 9
    assert "faceswap-lab: requests.nvidia.com/gpu" in policies.exceeds(found)


def test_a_worker_pod_with_two_gpus_is_noticed() -> None:
    found = whole("clusters/base")
    (cluster,) = [each for each in found if each["kind"] == "DaskCluster"]
    for kind in ("requests", "limits"):
        cluster["spec"]["worker"]["spec"]["containers"][0]["resources"][kind]["nvidia.com/gpu"] = "2"
    assert len(policies.wastes_gpus(found)) == 1


@trees
def test_every_selector_chooses_somebody(tree: str) -> None:
    elsewhere = [each for name in ("base", *CLUSTERS) for each in resolve(KUBERNETES / name)]
    assert policies.selects_nothing(resolve(KUBERNETES / tree), elsewhere=elsewhere) == []


# --- names ------------------------------------------------------------------------------------------------------------

GUIDE = ROOT / "docs/cloud.md"
MADE_BY_YOU = re.compile(r"^\| (Secret|StorageClass|IngressClass) \| `([\w-]+)` \|", re.MULTILINE)


def made_by_you() -> set[tuple[str, str]]:
    """What the guide tells its reader to make before a tree is applied."""
    return set(MADE_BY_YOU.findall(GUIDE.read_text()))


def references(found: list[Manifest]) -> Iterator[tuple[str, str]]:
    """Kind and name of everything that a manifest takes for granted."""
    for pod in pods(found):
        yield "ServiceAccount", pod.spec["serviceAccountName"]
        for volume in pod.spec.get("volumes", ()):
            for key, kind, name in (
                ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
                ("secret", "Secret", "secretName"),
                ("configMap", "ConfigMap", "name"),
            ):
                if key in volume:
                    yield kind, volume[key][name]
        for container in pod.containers:
            yield from (("Secret", each["secretRef"]["name"]) for each in container.get("envFrom", ()) if "secretRef" in each)
            sources = [each["valueFrom"]["secretKeyRef"] for each in container.get("env", ()) if "valueFrom" in each]
            yield from (("Secret", each["name"]) for each in sources)
    for each in found:
        match each["kind"]:
            case "PersistentVolumeClaim":
                yield "StorageClass", each["spec"]["storageClassName"]
            case "RoleBinding":
                yield each["roleRef"]["kind"], each["roleRef"]["name"]
                yield from ((subject["kind"], subject["name"]) for subject in each["subjects"])
            case "Ingress":
                yield "IngressClass", each["spec"]["ingressClassName"]
                yield from (("Secret", tls["secretName"]) for tls in each["spec"]["tls"])
                for rule in each["spec"]["rules"]:
                    yield from (("Service", path["backend"]["service"]["name"]) for path in rule["http"]["paths"])


@trees
def test_everything_that_is_named_is_there_or_made_by_you(tree: str) -> None:
    found = whole(tree)
    there = {(each["kind"], each["metadata"]["name"]) for each in found} | made_by_you()
    assert not set(references(found)) - there


def test_the_guide_asks_for_nothing_that_no_manifest_needs() -> None:
    assert made_by_you() == {each for tree in TREES for each in references(whole(tree))} & made_by_you()
    assert len(made_by_you()) == 8


def test_a_name_that_is_nowhere_is_noticed() -> None:
    found = whole("base")
    (lab,) = [each for each in found if each["kind"] == "Deployment"]
    lab["spec"]["template"]["spec"]["serviceAccountName"] = "nobody"
    assert ("ServiceAccount", "nobody") in set(references(found)) - made_by_you()


# --- what a cluster has to be ------------------------------------------------------------------------------------------

cluster_trees = pytest.mark.parametrize("tree", CLUSTERS)


def cluster_of(tree: str) -> Manifest:
    (found,) = resolve(KUBERNETES / tree)
    return found


@cluster_trees
def test_a_cluster_ends_by_itself_and_starts_on_pools_of_its_own(tree: str) -> None:
    spec = cluster_of(tree)["spec"]
    assert 0 < spec["idleTimeout"] <= 3600
    assert spec["scheduler"]["spec"]["nodeSelector"] == {"faceswap-lab/pool": "cpu"}
    assert spec["worker"]["spec"]["nodeSelector"]["faceswap-lab/pool"] == "gpu"
    assert any(each["key"] == policies.GPU for each in spec["worker"]["spec"]["tolerations"])
    assert spec["worker"]["spec"]["containers"][0]["args"][:3] == ["dask", "cuda", "worker"]


@cluster_trees
def test_the_operator_can_ask_whether_it_is_idle_and_find_its_services(tree: str) -> None:
    manifest = cluster_of(tree)
    scheduler = manifest["spec"]["scheduler"]
    values = {each["name"]: each["value"] for each in scheduler["spec"]["containers"][0]["env"]}
    assert "distributed.http.scheduler.api" in json.loads(values["DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"])
    ports = {each["name"]: each["port"] for each in scheduler["service"]["ports"]}
    assert ports == {"tcp-comm": 8786, "http-dashboard": 8787}
    assert scheduler["service"]["selector"]["dask.org/cluster-name"] == manifest["metadata"]["name"]


@cluster_trees
def test_all_but_the_plain_one_speak_tls_1_3_to_the_scheduler_by_its_name(tree: str) -> None:
    manifest = cluster_of(tree)
    for role in ("scheduler", "worker"):
        container = manifest["spec"][role]["spec"]["containers"][0]
        values = {each["name"]: each["value"] for each in container["env"]}
        encrypted = "--protocol=tls" in container["args"]
        assert encrypted == (tree != "clusters/plain")
        assert encrypted == (values.get("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION") == "True")
        assert encrypted == any(each["name"] == "tls" for each in container["volumeMounts"])
        assert values["DASK_DISTRIBUTED__COMM__TLS__MIN_VERSION"] == "1.3"
    address = values.get("DASK_SCHEDULER_ADDRESS")
    name = manifest["metadata"]["name"]
    assert address == (f"tls://{name}-scheduler.faceswap-lab.svc.cluster.local:8786" if encrypted else None)


@trees
def test_workers_mount_the_lab_where_jupyterlab_does(tree: str) -> None:
    places = set()
    for pod in pods(whole(tree)):
        claims = {
            each["name"]: each["persistentVolumeClaim"]["claimName"]
            for each in pod.spec["volumes"]
            if "persistentVolumeClaim" in each
        }
        mounts = [mount for container in pod.containers for mount in container["volumeMounts"]]
        places |= {(pod.role, claims[mount["name"]], mount["mountPath"]) for mount in mounts if mount["name"] in claims}
    roles = {"jupyterlab", "report", *(["worker"] if tree in CLUSTERS else [])}
    assert places == {(role, "lab", "/lab") for role in roles}
