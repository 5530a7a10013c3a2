"""Issuing grants and lineages. `admit` issues the grants of admitted files; the handles of runs those of their results ("derived"),
and what is to be said of these when they leave."""

from dataclasses import replace
from pathlib import Path

from faceswap_lab.faces.footage import Grant
from faceswap_lab.seals import seal_of
from faceswap_lab.trust.marks.metadata import Lineage


def issue(root: Path, grant: Grant) -> Grant:
    """The grant under the seal of the lab `root`. Who calls this answers for what it says."""
    lab = root.resolve()
    return replace(grant, lab=lab, seal=seal_of(lab, grant.text))


def issue_lineage(root: Path, lineage: Lineage) -> Lineage:
    """The lineage of a run's result under the same seal. Who calls this answers for what it says."""
    return replace(lineage, seal=seal_of(root.resolve(), lineage.text))
