"""Who may talk to whom: what the network rules permit is what docs/cloud.md lists and its drawing shows, and nothing besides."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.manifests import KUBERNETES, TREES, Manifest, pods, resolve
from tests.reach import Peer, Port, reach

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs/cloud.md"
DRAWING = ROOT / "docs/pictures/cloud.svg"

HIGH = (1024, 8786, 8787, 8788, 8888, 6443, 29500, 40000, 65535)
PORTS: list[Port] = [*(("TCP", number) for number in (22, 53, 80, 443, *HIGH)), ("UDP", 53), ("UDP", 443), ("UDP", 40000)]
OUTSIDE = [
    Peer(name="operator", namespace="dask-operator", labels={"app.kubernetes.io/name": "dask-kubernetes-operator"}),
    Peer(name="name server", namespace="kube-system", labels={"k8s-app": "kube-dns"}),
    Peer(name="ingress controller", namespace="front", room={"faceswap-lab/ingress": "true"}),
    Peer(name="API server", address="192.0.2.1"),
    Peer(name="object store", address="198.51.100.7"),
    Peer(name="internet", address="203.0.113.9"),
    Peer(name="stranger", namespace="elsewhere", labels={"app.kubernetes.io/name": "jupyterlab", "dask.org/component": "worker"}),
    Peer(name="metadata service", address="169.254.169.254"),
    Peer(name="service", namespace="faceswap-serving", labels={"app.kubernetes.io/name": "service"}),
    # Whoever is let into a namespace without being one of its own: labels that no rule knows.
    Peer(name="newcomer", namespace="faceswap-lab", labels={"app.kubernetes.io/name": "newcomer"}),
]
NAMES = {"jupyterlab": "JupyterLab", "scheduler": "scheduler", "worker": "worker", "report": "report"}


def found_in(*trees: str) -> list[Manifest]:
    return [each for tree in trees for each in resolve(KUBERNETES / tree)]


def peers(found: list[Manifest]) -> list[Peer]:
    inside = [Peer(name=NAMES[pod.role], namespace=pod.namespace, labels=pod.labels) for pod in pods(found)]
    return [*inside, *OUTSIDE]


def spoken(ways: dict[tuple[str, str], frozenset[Port]]) -> dict[tuple[str, str], str]:
    """Ports as the guide writes them."""
    high = frozenset(("TCP", number) for number in HIGH)
    texts = {}
    for pair, ports in ways.items():
        numbers = ", ".join(str(number) for number in sorted({number for _, number in ports}))
        texts[pair] = "1024 to 65535" if ports == high else numbers
    return texts


def computed(*trees: str) -> dict[tuple[str, str], str]:
    found = found_in(*trees)
    return spoken(reach(found, peers(found), PORTS))


ROW = re.compile(r"^\| ([\w ]+) \| ([\w ]+) \| ([\d, to]+) \|", re.MULTILINE)


def listed(text: str) -> dict[tuple[str, str], str]:
    """The guide's table; a row of `every pod` stands for each of them."""
    rows: dict[tuple[str, str], str] = {}
    for sender, receiver, ports in ROW.findall(text):
        senders = [*NAMES.values(), "service", "newcomer"] if sender == "every pod" else [sender]
        rows |= {(each, receiver): ports for each in senders}
    return rows


def drawn(text: str) -> dict[tuple[str, str], str]:
    """The arrows of the drawing, by what they say they join."""
    arrows = [each.attrib for each in ElementTree.fromstring(text).iter() if "data-from" in each.attrib]
    return {(each["data-from"], each["data-to"]): each["data-over"] for each in arrows}


def test_the_guide_lists_just_what_the_rules_permit() -> None:
    assert listed(GUIDE.read_text()) == computed("overlays/ingress", *(tree for tree in TREES if tree.startswith("clusters/")))


def test_the_drawing_shows_just_what_the_guide_lists() -> None:
    arrows = drawn(DRAWING.read_text())
    everyone = {pair: ports for pair, ports in listed(GUIDE.read_text()).items() if pair[1] == "name server"}
    assert arrows == {pair: ports for pair, ports in listed(GUIDE.read_text()).items() if pair not in everyone}
    assert f"pictures/{DRAWING.name}" in GUIDE.read_text()
    labels = [each.text for each in ElementTree.fromstring(DRAWING.read_text()).iter() if each.attrib.get("class") == "over"]
    assert sorted(labels) == sorted(arrows.values())


def test_without_the_overlay_nobody_comes_in_from_outside() -> None:
    standing = computed("base", "clusters/base")
    assert standing == {pair: ports for pair, ports in listed(GUIDE.read_text()).items() if pair[0] != "ingress controller"}
    assert {sender for sender, receiver in standing if receiver in NAMES.values()} == {
        "JupyterLab",
        "scheduler",
        "worker",
        "operator",
    }


@pytest.mark.parametrize("name", ["internet", "stranger", "metadata service"])
def test_strangers_are_in_no_pair(name: str) -> None:
    assert not [pair for pair in computed("overlays/ingress", "clusters/base") if name in pair]


def test_serving_and_the_lab_do_not_talk() -> None:
    assert {pair for pair in computed("overlays/ingress", "clusters/base") if "service" in pair} == {("service", "name server")}


# --- the computation itself --------------------------------------------------------------------------------------------

A, B = Peer(name="a", namespace="x", labels={"is": "a"}), Peer(name="b", namespace="x", labels={"is": "b"})
FAR = Peer(name="far", namespace="y", labels={"is": "a"})
DENY = "{podSelector: {}, policyTypes: [Ingress, Egress]}"


def between(*specs: str, who: tuple[Peer, ...] = (A, B, FAR)) -> set[tuple[str, str, int]]:
    rules: list[dict[str, Any]] = [
        {"kind": "NetworkPolicy", "metadata": {"namespace": "x", "name": str(number)}, "spec": yaml.safe_load(spec)}
        for number, spec in enumerate(specs)
    ]
    ways = reach(rules, who, [("TCP", 1), ("TCP", 2)])
    return {(*pair, number) for pair, ports in ways.items() for _, number in ports}


def test_one_side_is_not_enough() -> None:
    out = "{podSelector: {matchLabels: {is: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {is: b}}}]}]}"
    come = (
        "{podSelector: {matchLabels: {is: b}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}], ports: [{port: 2}]}]}"
    )
    assert between(DENY) == set()
    assert between(DENY, out) == set()
    assert between(DENY, come) == set()
    assert between(DENY, out, come) == {("a", "b", 2)}


def test_who_is_chosen_by_no_rule_is_open() -> None:
    only_b = "{podSelector: {matchLabels: {is: b}}, policyTypes: [Ingress]}"
    assert between(only_b, who=(A, B)) == {(sender, "a", port) for sender in ("a", "b") for port in (1, 2)}


def test_a_selector_of_pods_alone_means_the_same_namespace() -> None:
    come = (
        "{podSelector: {matchLabels: {is: b}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {is: a}}}]}]}"
    )
    anywhere = come.replace("{podSelector: {matchLabels: {is: a}}}", "{namespaceSelector: {}, podSelector: {matchLabels: {is: a}}}")
    assert {sender for sender, receiver, _ in between(come) if receiver == "b"} == {"a"}
    assert {sender for sender, receiver, _ in between(anywhere) if receiver == "b"} == {"a", "far"}


def test_ranges_of_ports_and_addresses_end_where_they_say() -> None:
    host, next_ = Peer(name="host", address="10.0.0.3"), Peer(name="next", address="10.0.0.4")
    out = (
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/30}}], ports: [{port: 2, endPort: 9}]}]}"
    )
    assert between(DENY, out, who=(A, host, next_)) == {("a", "host", 2)}


def test_a_forgotten_rule_changes_the_table() -> None:
    found = [each for each in found_in("overlays/ingress", "clusters/base") if each["metadata"]["name"] != "default-deny"]
    assert spoken(reach(found, peers(found), PORTS)) != listed(GUIDE.read_text())
