"""The class of swap runs: the result as footage, its people, and its export."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from faceswap_lab.errors import RunError
from faceswap_lab.faces.footage import Clip, Excerpt, Grant
from faceswap_lab.runs.call import without_pack
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.consent.gate import Subject
from faceswap_lab.trust.export import export
from faceswap_lab.trust.grants import issue
from faceswap_lab.trust.marks.metadata import Lineage, Unchanged

if TYPE_CHECKING:
    from faceswap_lab.verbs.people import Person

RESULT = "result.mkv"


class SwapRun(Run):
    """A swap run, as returned by `lab.swap`."""

    VERB: ClassVar[str | None] = "swap"
    RESULT_VERSION: ClassVar[int] = 2

    @staticmethod
    def counted(recipe: Any) -> Any:
        """See `RunReader.counted`: the path of an engine's pack is a hint."""
        return without_pack(recipe)

    def footage(self) -> Clip:
        """The frames, lossless, still subject to the consents of both people. RunError if the swap is not finished."""
        source, target = self._subjects()
        path = self.artifact(RESULT)
        grant = Grant(
            path=path,
            sha256=self.record.artifacts[RESULT],
            subject=f"{source.name} on {target.name}",
            basis="derived",
            basis_text=f"made by run {self.id}",
            entry=f"runs/{self.id}",
            parents=(*source.origins, *target.origins),
        )
        return Clip(issue(self.root, grant))

    def people(self) -> "tuple[Person, Person]":
        """(source, target), reopened. RunError if the swap is not finished or its record is invalid."""
        self.require_finished()
        return self._person("source"), self._person("target")

    def trained_on(self) -> tuple[Subject, ...]:
        """The people that the swapper's weights learned from; none for a swapper that needed no training here."""
        from faceswap_lab.verbs.train.result import TrainRun

        return TrainRun.open(self.inputs["swapper"], self.root).subjects() if self.inputs["swapper"].startswith("train-") else ()

    def lineage(self) -> Lineage:
        """Whose face is on whom, for the gate and the mark."""
        source, target = self._subjects()
        return Lineage(
            run=self.id,
            source=source,
            target=target,
            trained=self.inputs["swapper"] != "warp",
            result=self.footage().grant,
            trained_on=self.trained_on(),
            unchanged=Unchanged(frames=self.summary["num_frames_without_face"], faces=self.summary["num_faces_left"]),
            inputs=self.inputs,
        )

    def _subjects(self) -> tuple[Subject, Subject]:
        from faceswap_lab.verbs.people import subject_of

        source, target = self.people()
        return subject_of(source), subject_of(target)

    def export(self, path: str | Path, *, accept_frames: int = 0, accept_faces: int = 0) -> Path:
        """Export the result: checked by the gate, marked and logged, with the target's sound, colour tags and range.

        `.mp4` for a clip, `.png` or `.jpg` for a still. All sound tracks of the target are copied; for an excerpt, the matching
        stretch of them. Raises ConsentError if a consent has been withdrawn or has expired since, or that of somebody on whom the
        swapper was trained. If a real person was to be anonymised and some frames or faces were left as they were, it raises
        ConsentError with their numbers, unless these are accepted.
        """
        accept = Unchanged(frames=accept_frames, faces=accept_faces)
        _, target = self.people()
        shown, about, destination = self.footage(), self.lineage(), Path(path)
        if not isinstance(target, Clip | Excerpt):
            return export(shown, destination, lineage=about, root=self.root, accept=accept).path
        return export(
            shown,
            destination,
            lineage=about,
            root=self.root,
            audio_from=target.path if target.has_audio else None,
            audio_at_s=target.start_s,
            colour=target[0].colour,
            accept=accept,
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
