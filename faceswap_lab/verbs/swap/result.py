"""The handle of a swap run: its frames as footage, whose face is on whom, and the way out."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from faceswap_lab.errors import RunError
from faceswap_lab.faces.footage import Clip, Excerpt, Grant
from faceswap_lab.files import sha256_file
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.export import export
from faceswap_lab.trust.marks.metadata import Lineage

if TYPE_CHECKING:
    from faceswap_lab.verbs.people import Person

RESULT = "result.mkv"


class SwapRun(Run):
    """What `lab.swap` returns."""

    VERB: ClassVar[str | None] = "swap"
    RESULT_VERSION: ClassVar[int] = 1

    def footage(self) -> Clip:
        """The frames, lossless, with the consents of both people going along. RunError if the swap is not finished."""
        source, target = self.people()
        path = self.artifact(RESULT)
        return Clip(
            Grant(
                path=path,
                sha256=sha256_file(path),
                subject=f"{source.subject} on {target.subject}",
                basis="derived",
                basis_text=f"made by run {self.id}",
                entry=f"runs/{self.id}",
                parents=(*_origins(source), *_origins(target)),
            )
        )

    def people(self) -> "tuple[Person, Person]":
        """(source, target), opened again. RunError if the swap is not finished or its record names nobody."""
        self.require_finished()
        return self._person("source"), self._person("target")

    def lineage(self) -> Lineage:
        """Whose face is on whom: what the gate is asked and the mark says."""
        from faceswap_lab.verbs.people import subject_of

        source, target = self.people()
        trained = self.inputs["swapper"] != "warp"
        return Lineage(run=self.id, source=subject_of(source), target=subject_of(target), trained=trained, inputs=self.inputs)

    def export(self, path: str | Path) -> Path:
        """Let the result out: through the gate, marked and logged, with the target's sound, colour tags and range.

        `.mp4` for a clip, `.png` or `.jpg` for a still. Every sound track of the target is copied; of an excerpt, the stretch that
        belongs to its frames. Raises ConsentError if what was agreed has since been withdrawn or has run out.
        """
        _, target = self.people()
        shown, about, destination = self.footage(), self.lineage(), Path(path)
        if not isinstance(target, Clip | Excerpt):
            return export(shown, destination, lineage=about, root=self.root).path
        return export(
            shown,
            destination,
            lineage=about,
            root=self.root,
            audio_from=target.path if target.has_audio else None,
            audio_at_s=target.start_s,
            colour=target[0].colour,
        ).path

    def _person(self, side: str) -> "Person":
        # Here and not above: whoever lists runs does not wait for the renderer.
        from faceswap_lab.verbs.people import reopened

        try:
            return reopened(self.inputs[side], self)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise RunError(
                expected=f"a record of the {side} of {self.id}",
                got=f"{self.inputs.get(side, 'none')[:200]} ({error})",
                remedy="restore run.json from a backup, or swap with force=True",
            ) from error


def _origins(person: "Person") -> tuple[str, ...]:
    """What the gate judges a derived file by: actors and admitted files, through any number of swaps."""
    from faceswap_lab.verbs.people import subject_of

    subject = subject_of(person)
    return subject.grant.parents if subject.grant is not None and subject.grant.basis == "derived" else (subject.origin,)
