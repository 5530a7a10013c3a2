"""What a manifest may not do: each rule is a function over a tree that lists what breaks it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import faceswap_lab
from tests.manifests import Manifest, Pod, matches, pods, quantity, with_pods

Rule = Callable[[list[Manifest]], list[str]]

GPU = "nvidia.com/gpu"
OWN = "registry.example/faceswap-lab/"


def each_container(found: list[Manifest]) -> Iterator[tuple[Pod, str, Manifest]]:
    for pod in pods(found):
        for container in pod.containers:
            yield pod, f"{pod.name}/{container['name']}", container


def runs_as_root(found: list[Manifest]) -> list[str]:
    wrong = []
    for pod, where, container in each_container(found):
        security = pod.spec.get("securityContext", {}) | container.get("securityContext", {})
        user = security.get("runAsUser")
        if not security.get("runAsNonRoot") or not isinstance(user, int) or user == 0:
            wrong.append(f"{where}: user {user}")
    return wrong


def has_privileges(found: list[Manifest]) -> list[str]:
    """What the level `restricted` of Kubernetes forbids, and a root file system that can be written."""
    wrong = []
    for pod, where, container in each_container(found):
        security = pod.spec.get("securityContext", {}) | container.get("securityContext", {})
        closed = (
            security.get("allowPrivilegeEscalation") is False
            and security.get("readOnlyRootFilesystem") is True
            and security.get("capabilities", {}) == {"drop": ["ALL"]}
            and security.get("seccompProfile", {}).get("type") == "RuntimeDefault"
            and not security.get("privileged")
        )
        shared = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(key)]
        mounted = [each["name"] for each in pod.spec.get("volumes", ()) if "hostPath" in each]
        if not closed or shared or mounted:
            wrong.append(where)
    return wrong


def lacks_limits(found: list[Manifest]) -> list[str]:
    wrong = []
    for _, where, container in each_container(found):
        for kind in ("requests", "limits"):
            missing = {"cpu", "memory"} - container.get("resources", {}).get(kind, {}).keys()
            wrong += [f"{where}: no {kind} of {name}" for name in sorted(missing)]
    return wrong


def floats(found: list[Manifest]) -> list[str]:
    """Images without a fixed version, and own images of another version than this package."""
    wrong: list[str] = []
    for _, where, container in each_container(found):
        image = container["image"]
        name, _, tag = image.rpartition("/")[2].partition(":")
        own = image.startswith(OWN) and tag != faceswap_lab.__version__
        if "@sha256:" not in image and (not tag or tag == "latest" or own):
            wrong.append(f"{where}: {image} ({name})")
    return wrong


def tells_secrets(found: list[Manifest]) -> list[str]:
    """Secrets as manifests, and variables that hold one; the path of a file, which begins with a slash, is none."""
    wrong = [each["metadata"]["name"] for each in found if each["kind"] == "Secret"]
    for _, where, container in each_container(found):
        for variable in container.get("env", ()):
            telling = any(word in variable["name"].upper() for word in ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL"))
            if telling and not variable.get("value", "/").startswith("/"):
                wrong.append(f"{where}: {variable['name']}")
    return wrong


def is_open(found: list[Manifest]) -> list[str]:
    """Namespaces without a rule that denies everything both ways, without a quota or without limits."""
    wrong = []
    for space in (each["metadata"]["name"] for each in found if each["kind"] == "Namespace"):
        inside = [each for each in found if each["metadata"].get("namespace") == space]
        denies = any(
            each["kind"] == "NetworkPolicy" and each["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
            for each in inside
        )
        kinds = {each["kind"] for each in inside}
        wrong += [
            f"{space}: {what}"
            for what, there in (("network", denies), *((k, k in kinds) for k in ("ResourceQuota", "LimitRange")))
            if not there
        ]
    return wrong


def wastes_gpus(found: list[Manifest]) -> list[str]:
    """GPUs elsewhere than on Dask workers; a worker pod with more than one (the operator couldn't remove it by name)."""
    wrong = []
    for pod, where, container in each_container(found):
        resources = container.get("resources", {})
        asked = {kind: quantity(resources.get(kind, {}).get(GPU, 0)) for kind in ("requests", "limits")}
        allowed = 1 if pod.labels.get("dask.org/component") == "worker" else 0
        if asked["requests"] != asked["limits"] or asked["limits"] > allowed:
            wrong.append(f"{where}: {asked}")
    return wrong


def speaks_to_the_api(found: list[Manifest]) -> list[str]:
    """Pods that get a token of the API server, but for the one that makes clusters; accounts that would give one."""
    token = "automountServiceAccountToken"
    accounts = [each["metadata"]["name"] for each in found if each["kind"] == "ServiceAccount" and each.get(token) is not False]
    return accounts + [pod.name for pod in pods(found) if pod.spec.get(token) is not (pod.role == "jupyterlab")]


def may_too_much(found: list[Manifest]) -> list[str]:
    """Roles of the whole cluster, wildcards, and roles that read Secrets, run commands in pods or give rights away."""
    closed = {"*", "secrets", "pods/exec", "pods/attach", "roles", "rolebindings", "serviceaccounts/token"}
    wrong = [each["metadata"]["name"] for each in found if each["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    rules = [(each["metadata"]["name"], rule) for each in found if each["kind"] == "Role" for rule in each["rules"]]
    wrong += [name for name, rule in rules if closed & {*rule["resources"], *rule["apiGroups"]} or "*" in rule["verbs"]]
    return wrong


def mounts_nothing(found: list[Manifest]) -> list[str]:
    """Mounts of volumes that the pod doesn't have, and volumes that nobody mounts."""
    wrong = []
    for pod in pods(found):
        there = {each["name"] for each in pod.spec.get("volumes", ())}
        used = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", ())}
        wrong += [f"{pod.name}: {name}" for name in sorted(there ^ used)]
    return wrong


def exceeds(found: list[Manifest]) -> list[str]:
    """Containers above the LimitRange of their namespace, and namespaces whose pods together are above the quota."""
    wrong = []
    for limit in (each for each in found if each["kind"] == "LimitRange"):
        most = {key: quantity(value) for key, value in limit["spec"]["limits"][0]["max"].items()}
        for pod, where, container in each_container(found):
            limits = container.get("resources", {}).get("limits", {})
            if pod.namespace == limit["metadata"]["namespace"]:
                wrong += [f"{where}: {key}" for key in most if quantity(limits.get(key, 0)) > most[key]]
    for quota in (each for each in found if each["kind"] == "ResourceQuota"):
        space = quota["metadata"]["namespace"]
        hard = quota["spec"]["hard"]
        wrong += [f"{space}: {key}" for key, most_of_it in hard.items() if asked(found, space, key) > quantity(most_of_it)]
    return wrong


def asked(found: list[Manifest], space: str, key: str) -> float:
    """What the pods of a namespace ask of one line of a quota, all together; init containers run before and count alone."""
    kind, _, resource = key.partition(".")
    inside = [pod for pod in pods(found) if pod.namespace == space]
    if key == "pods":
        return sum(pod.count for pod in inside)
    if kind not in ("requests", "limits"):
        return 0

    def amount(container: Manifest) -> float:
        return quantity(container.get("resources", {}).get(kind, {}).get(resource, 0))

    each = [max([sum(map(amount, pod.spec["containers"])), *map(amount, pod.spec.get("initContainers", ()))]) for pod in inside]
    return sum(pod.count * most for pod, most in zip(inside, each, strict=True))


def selects_nothing(found: list[Manifest], *, elsewhere: Sequence[Manifest] = ()) -> list[str]:
    """Services, budgets and network rules whose selector chooses no pod of this tree or of those named."""
    there = [*pods(found), *pods([*elsewhere])]
    wrong = []
    for each in with_pods(found):
        spec: dict[str, Any] = each.get("spec", {})
        match each["kind"]:
            case "Service":
                selector = {"matchLabels": spec["selector"]}
            case "PodDisruptionBudget":
                selector = spec["selector"]
            case "NetworkPolicy" if spec["podSelector"]:
                selector = spec["podSelector"]
            case _:
                continue
        if not any(matches(selector, pod.labels) and pod.namespace == each["metadata"]["namespace"] for pod in there):
            wrong.append(f"{each['kind']} {each['metadata']['name']}")
    return wrong
