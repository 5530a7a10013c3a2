"""Who may talk to whom under a set of NetworkPolicies, computed as Kubernetes defines it.

A connection needs two permissions: the sender's to go out and the receiver's to come in. A side that no rule of that direction
chooses is open.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from tests.manifests import Manifest, matches

Port = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A pod, or with an address and no namespace, something outside the cluster."""

    name: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None
    room: Mapping[str, str] = field(default_factory=dict)
    """Labels of the namespace, beyond its name."""


def reach(found: list[Manifest], peers: Iterable[Peer], ports: Iterable[Port]) -> dict[tuple[str, str], frozenset[Port]]:
    """The ports over which each peer may begin a connection to each, by their names; pairs without any are left out.

    What is outside is not asked what it lets in or out, so that two peers outside are no pair.
    """
    rules = [each for each in found if each["kind"] == "NetworkPolicy"]
    everyone, tried = list(peers), list(ports)
    ways: dict[tuple[str, str], frozenset[Port]] = {}
    governed = {each["metadata"]["namespace"] for each in rules}
    for sender in everyone:
        for receiver in everyone:
            if not {sender.namespace, receiver.namespace} & governed:
                continue
            open_ = {
                port
                for port in tried
                if allows(rules, "Egress", sender, receiver, port) and allows(rules, "Ingress", receiver, sender, port)
            }
            if open_:
                pair = (sender.name, receiver.name)
                ways[pair] = ways.get(pair, frozenset()) | open_
    return ways


def allows(rules: list[Manifest], direction: str, one: Peer, other: Peer, port: Port) -> bool:
    """Whether the side of `one` permits the connection with `other`, which goes out of it ("Egress") or comes in ("Ingress")."""
    mine = [
        each["spec"]
        for each in rules
        if each["metadata"]["namespace"] == one.namespace and direction in each["spec"]["policyTypes"]
    ]
    mine = [spec for spec in mine if matches(spec["podSelector"], one.labels)]
    key, side = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    named = [rule for spec in mine for rule in spec.get(key, ())]
    return not mine or any(_includes(rule, side, one, other) and _covers(rule, port) for rule in named)


def _includes(rule: Manifest, side: str, one: Peer, other: Peer) -> bool:
    return side not in rule or any(_is(each, one, other) for each in rule[side])


def _is(who: Mapping[str, Any], one: Peer, other: Peer) -> bool:
    if unknown := who.keys() - {"ipBlock", "namespaceSelector", "podSelector"}:
        raise ValueError(f"this reader does not know {unknown}")
    if "ipBlock" in who:
        if "except" in who["ipBlock"]:
            raise ValueError("this reader does not know exceptions of an address range")
        return other.address is not None and ip_address(other.address) in ip_network(who["ipBlock"]["cidr"])
    if other.namespace is None:
        return False
    if "namespaceSelector" in who:
        here = matches(who["namespaceSelector"], {**other.room, "kubernetes.io/metadata.name": other.namespace})
    else:
        here = other.namespace == one.namespace
    return here and matches(who.get("podSelector", {}), other.labels)


def _covers(rule: Manifest, port: Port) -> bool:
    protocol, number = port
    return "ports" not in rule or any(
        each.get("protocol", "TCP") == protocol
        and ("port" not in each or each["port"] <= number <= each.get("endPort", each["port"]))
        for each in rule["ports"]
    )
