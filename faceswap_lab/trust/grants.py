"""Issuing grants. `admit` issues those of admitted files; the handles of runs those of their results ("derived")."""

from dataclasses import replace
from pathlib import Path

from faceswap_lab.faces.footage import Grant
from faceswap_lab.seals import seal_of


def issue(root: Path, grant: Grant) -> Grant:
    """The grant under the seal of the lab `root`. Who calls this answers for what it says."""
    lab = root.resolve()
    return replace(grant, lab=lab, seal=seal_of(lab, grant.text))
