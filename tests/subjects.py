"""People for the tests of the gate, of admit and of export: two actors, and anybody with an entry in a manifest."""

import json
from datetime import date
from pathlib import Path

import numpy as np

from faceswap_lab.faces.footage import Grant
from faceswap_lab.trust.consent.gate import Subject
from faceswap_lab.trust.consent.manifest import USES

DAY = date(2026, 6, 1)
ACTOR, OTHER_ACTOR = Subject(name="actor:7"), Subject(name="actor:21")
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def entry(
    root: Path, name: str, who: str, uses: list[str], *, kind: str = "consent", partners: tuple[str, ...] = (), more: str = ""
) -> Subject:
    """A person with a manifest entry for a file that nobody will open."""
    sha256 = f"{abs(hash(name)):064x}"[-64:]
    folder = root / "data_manifests"
    folder.mkdir(exist_ok=True)
    listed = f"partners = {json.dumps(list(partners))}\n" if partners else ""
    (folder / f"{name}.toml").write_text(
        f'version = 1\nsubject = "{who}"\nsource = "test"\nlicence = "test"\n\n[consent]\nkind = "{kind}"\ntext = "{kind}: test"\n'
        f"date = 2026-01-01\nuses = {json.dumps(uses)}\n{listed}{more}"
    )
    (folder / f"{name}.csv").write_text(f"uri,sha256\n{name}.png,{sha256}\n")
    return Subject(name=who, grant=Grant(path=root / name, sha256=sha256, subject=who, basis="consent", uses=frozenset(USES)))
