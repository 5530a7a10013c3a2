"""The class of swap runs: the result as footage, its people, and its export."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from faceswap_lab.errors import RunError
from faceswap_lab.faces.footage import Clip, Excerpt, Grant
from faceswap_lab.faces.sound.tracks import Sound
from faceswap_lab.files import sha256_file, user_path
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.export import export
from faceswap_lab.trust.marks.metadata import Lineage
from faceswap_lab.verbs.swap.destination import chosen_sound

if TYPE_CHECKING:
    from faceswap_lab.verbs.people import Person

RESULT = "result.mkv"


class SwapRun(Run):
    """A swap run, as returned by `lab.swap`."""

    VERB: ClassVar[str | None] = "swap"
    RESULT_VERSION: ClassVar[int] = 2

    def footage(self) -> Clip:
        """The frames, lossless, still subject to the consents of both people. RunError if the swap is not finished."""
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
        """(source, target), reopened. RunError if the swap is not finished or its record is invalid."""
        self.require_finished()
        return self._person("source"), self._person("target")

    def lineage(self) -> Lineage:
        """Whose face is on whom, for the gate and the mark."""
        from faceswap_lab.verbs.people import subject_of

        source, target = self.people()
        trained = self.inputs["swapper"] != "warp"
        return Lineage(run=self.id, source=subject_of(source), target=subject_of(target), trained=trained, inputs=self.inputs)

    def export(self, path: str | Path, *, sound: Sound | None = None) -> Path:
        """Export the result: checked by the gate, marked and logged, with the target's colour tags and range.

        `.mp4` for a clip, `.png` or `.jpg` for a still. `sound` "copy" copies all sound tracks of the target (of an excerpt, the
        matching stretch of them), "encode" encodes them as AAC, "none" leaves them out; titles never travel. None: "copy", but
        "none" where a real person gets a face that is not real, because a voice identifies too; a printed line says so.
        Raises ConsentError if a consent has been withdrawn or has expired since, MediaError for another suffix, and for sound that
        .mp4 cannot contain.
        """
        _, target = self.people()
        shown, about, destination = self.footage(), self.lineage(), user_path(path)
        if not isinstance(target, Clip | Excerpt):
            return export(shown, destination, lineage=about, root=self.root).path
        return export(
            shown,
            destination,
            lineage=about,
            root=self.root,
            audio_from=target.path if target.has_audio else None,
            audio_at_s=target.start_s,
            sound=chosen_sound(sound, target, about, self.root),
            colour=target[0].colour,
        ).path

    def _person(self, side: str) -> "Person":
        # Imported here, so that listing runs does not import the renderer.
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
    """The actors and admitted files that a derived file goes back to, for the gate, through any number of swaps."""
    from faceswap_lab.verbs.people import subject_of

    subject = subject_of(person)
    return subject.grant.parents if subject.grant is not None and subject.grant.basis == "derived" else (subject.origin,)
