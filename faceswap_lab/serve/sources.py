"""Whose face the demo offers: actors, and files that the operator names and whose manifest allows it.

The actors are of the split "train". A demo is shown, talked about and picked by taste: a test person who is chosen because visitors
like them is a test person no more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from faceswap_lab.actors.splits import split_of
from faceswap_lab.errors import ConsentError
from faceswap_lab.faces.footage import Clip, digest
from faceswap_lab.trust.admit import admit, reopen
from faceswap_lab.trust.consent.basis import parse_basis
from faceswap_lab.trust.consent.manifest import Entry, find_entry

if TYPE_CHECKING:
    from faceswap_lab.actors.cast import Actor

ACTORS = (7, 21, 32, 15, 33, 48, 54, 60)
"""The seeds that are offered by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One that may be chosen, by its `name`: an actor by `seed`, or the operator's `path`, listed in a manifest of the lab `lab`.

    ValueError unless it is one of both, or for an actor of another split than "train".
    """

    name: str
    seed: int | None = None
    path: Path | None = None
    lab: Path | None = None
    is_synthetic: bool = True

    def __post_init__(self) -> None:
        if (self.seed is None) == (self.path is None) or (self.path is None) != (self.lab is None):
            raise ValueError(f"a source is an actor's seed, or a file and its lab, got {self}")
        if self.seed is not None and split_of(self.seed) != "train":
            raise ValueError(f"the demo offers actors of the split train, got {self.seed}, one of the split {split_of(self.seed)}")

    @classmethod
    def actor(cls, seed: int) -> "Source":
        """The actor of a seed."""
        return cls(name=f"actor:{seed}", seed=seed)

    @classmethod
    def file(cls, path: Path, lab: Path, *, name: str = "") -> "Source":
        """A file that the lab's manifests list with the use "swap-source"; its name is that of the person, unless another is given.

        ConsentError for any other file.
        """
        entry = _entry(path, lab)
        if "swap-source" not in entry.manifest.consent.uses:
            allowed = ", ".join(sorted(entry.manifest.consent.uses)) or "none"
            raise ConsentError(
                expected=f"'swap-source' among the uses of {entry.label}", got=allowed, remedy="ask them, or offer an actor"
            )
        return cls(name=name or entry.subject, path=path.resolve(), lab=lab, is_synthetic=entry.synthetic)

    def person(self, root: Path) -> "Actor | Clip":
        """The source for a swap in the lab `root`. A file's consent is read anew, where it was given, and then holds there too.

        ConsentError if it was withdrawn, or has expired.
        """
        if self.seed is not None:
            # The web server names sources without ever rendering one.
            from faceswap_lab.actors.cast import Actor

            return Actor(self.seed)
        assert self.path is not None
        assert self.lab is not None
        reopen(self.path, root=self.lab)
        entry = _entry(self.path, self.lab)
        consent = entry.manifest.consent
        basis = consent.text if _says(consent.text, consent.kind) else f"{consent.kind}: {consent.text}"
        basis += f"; expires {consent.expires.isoformat()}" if consent.expires else ""
        basis += f"; partners {', '.join(sorted(consent.partners))}" if consent.partners else ""
        return admit(self.path, root=root, who=entry.subject, basis=basis, uses=consent.uses, source=f"offered as {entry.label}")


def _entry(path: Path, lab: Path) -> Entry:
    entry = find_entry(lab, digest(path))
    if entry is None:
        remedy = f"admit it there first: faceswap-lab admit {path.name} --who … --basis … --uses swap-source"
        raise ConsentError(expected=f"a manifest entry in {lab} for {path.name}", got="none", remedy=remedy)
    return entry


def _says(text: str, kind: str) -> bool:
    try:
        return parse_basis(text)[0] == kind
    except ConsentError:
        return False
