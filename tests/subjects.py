"""People for the tests of the gate, of admit and of export: two actors, and anybody with an entry in a manifest."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from faceswap_lab import seals
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Clip, Grant
from faceswap_lab.faces.frame import Frame
from faceswap_lab.files import sha256_file
from faceswap_lab.runs.index import NAME as INDEX
from faceswap_lab.trust import audit, subjects
from faceswap_lab.trust.consent.gate import Subject
from faceswap_lab.trust.consent.manifest import USES
from faceswap_lab.trust.export import Exported, export
from faceswap_lab.trust.grants import issue, issue_lineage
from faceswap_lab.trust.likeness import Judged, Likeness
from faceswap_lab.trust.marks.metadata import Lineage

DAY = date(2026, 6, 1)
LAB_FILES = frozenset({seals.KEY, audit.ANCHOR, subjects.TABLE, INDEX})
"""Hidden files that a lab keeps in `runs/`."""
ACTOR, OTHER_ACTOR = Subject(seed=7), Subject(seed=21)
STRANGER = Likeness(
    judged=(Judged(judge="test", sha256="ab" * 32, num_faces=1, share=0.0, cosine=0.1, rule="from a cosine of 1", rate="never"),),
    num_frames=1,
    every=1,
)
"""What judges say of a result in which they recognise nobody."""
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
    grant = Grant(path=root / name, sha256=sha256, subject=who, basis="consent", uses=frozenset(USES))
    return Subject(grant=issue(root, grant))


def noise(num_frames: int) -> Iterator[Frame]:
    """Frames of noise: no face at all is needed to test the way out."""
    for index in range(num_frames):
        yield Frame(image=np.roll(PICTURE, index, axis=1), origin="test:noise", index=index, time_s=index / 25)


def result(
    root: Path,
    *,
    num_frames: int = 1,
    run: str = "swap-12345678",
    source: Subject = ACTOR,
    target: Subject = OTHER_ACTOR,
    **more: Any,
) -> tuple[Clip, Lineage]:
    """What a swap run gives to be exported: its result, of noise, under the grant that it issues, and the lineage."""
    path = root / "runs" / run / "artifacts" / f"result-{num_frames}.mkv"
    path.parent.mkdir(parents=True, exist_ok=True)
    video.encode(path, noise(num_frames), fps=25, lossless=True)
    grant = Grant(
        path=path,
        sha256=sha256_file(path),
        subject=f"{source.name} on {target.name}",
        basis="derived",
        entry=f"runs/{run}",
        parents=(*source.origins, *target.origins),
    )
    clip = Clip(issue(root, grant))
    given = {"trained": True, "inputs": {"weights": "ab" * 32}, "likeness": STRANGER if target.grant else None} | more
    return clip, issue_lineage(root, Lineage(run=run, source=source, target=target, result=clip.grant, **given))


def exported(root: Path, path: Path, *, lossless: bool = False, **made: Any) -> Exported:
    """The export of such a result."""
    clip, lineage = result(root, **made)
    return export(clip, path, lineage=lineage, root=root, lossless=lossless)
