"""`cluster`: the workers of a cluster, and what they are doing."""

import argparse
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_cluster, add_command, add_group, cluster_of


def offer(commands: Any) -> None:
    """Adds the noun and its command."""
    cluster = add_group(commands, "cluster", "the workers of a cluster")
    show = add_command(
        cluster,
        "show",
        _show,
        "connect to a cluster, check its versions, and show its workers, their devices, memory and load",
        "faceswap-lab cluster show --compute tcp://127.0.0.1:8786",
        "faceswap-lab cluster show --compute tls://scheduler:8786 --ca ca.pem --cert me.pem --key me-key.pem --json",
        lab="",
    )
    add_cluster(show, required=True)


def _show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.compute.show import rows

    with cluster_of(options) as cluster:
        return rows(cluster)
