"""The work behind `gather`: every detected face is kept with its measurements, or dropped with the reason."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float

from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.errors import FaceError, LabError
from faceswap_lab.faces import align, quality
from faceswap_lab.faces.faceset import SPLITS, Row
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import read_still, write_still
from faceswap_lab.files import encodable, put_in_place, sha256_file
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.progress import Progress
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.admit import Refused
from faceswap_lab.trust.consent.manifest import find_entries
from faceswap_lab.verbs.gather import layouts, sightings
from faceswap_lab.verbs.gather.contact_sheet import contact_sheet
from faceswap_lab.verbs.gather.layouts import Material
from faceswap_lab.verbs.gather.looking import look_on
from faceswap_lab.verbs.gather.selection import Identified, When, find_doubles, identify, split
from faceswap_lab.verbs.gather.sightings import Sightings, look_through
from faceswap_lab.verbs.library import CROPS, DROPPED, FACES, SHEET
from faceswap_lab.verbs.recipes import FacesetRecipe

_BATCH = 100


@dataclass(slots=True, kw_only=True)
class _Face:
    """A candidate for the set. `row` is its row in the sightings."""

    row: int
    person: str
    when: When
    crop: str
    temporary: Path
    frame_to_crop: np.ndarray


class Gathering:
    """The steps of one run."""

    def __init__(
        self,
        *,
        run: Run,
        recipe: FacesetRecipe,
        clips: list[Clip],
        refused: list[Refused],
        found: layouts.Found,
        compute: Cluster | None = None,
    ) -> None:
        self.run, self.recipe, self.clips, self.refused, self.found = run, recipe, clips, refused, found
        self.compute = compute
        self.material = {each.path.resolve(): each for each in found.material}
        self.by_source = {clip.grant.sha256: clip for clip in clips}
        self.dropped: list[dict[str, Any]] = [
            {"source": each.sha256, "file": each.path.name, "reason": "refused", "detail": str(each.error)[:500]}
            for each in refused
        ]
        self.dropped += [
            {"source": "", "file": path.name, "reason": "not looked at", "detail": why} for path, why in found.passed_over
        ]

    def work(self) -> None:
        """Detect, identify, crop, deduplicate, split and write; FaceError if no face is left."""
        start = perf_counter()
        seen = self._look()
        subjects = {source: clip.subject for source, clip in self.by_source.items()}
        who = identify(seen, subjects, self.recipe)
        for row in np.flatnonzero(np.array(who.reason, dtype="U40") != ""):
            self._drop(seen, int(row), who.reason[row], who.detail[row])
        faces = self._cut(seen, who)
        faces = self._without_doubles(seen, faces)
        rows = self._rows(seen, faces)
        if not rows:
            raise self._nothing()
        self._put(rows, faces)
        self._write(FACES, _lines([asdict(row) for row in rows]))
        self._write(DROPPED, _lines(self.dropped))
        with self.run.write(SHEET) as path:
            path.write_bytes(contact_sheet(rows, self.run.path / "artifacts"))
        self._finish(rows, who, perf_counter() - start)

    def _look(self) -> Sightings:
        """All faces in all sources, read from disk where an earlier attempt has stored them."""
        folder, parts, done = self.run.path / "work", [], 0
        if self.compute is not None:
            look_on(self.run, self.clips, self.compute)
        total = sum(_num_places(clip, self.recipe.every_s) for clip in self.clips)
        line, engine = Progress("faces", total, unit="frames"), OfflineEngine()
        for clip in self.clips:
            for num_frames, part in look_through(clip, self.recipe, engine, folder):
                parts.append(part)
                done += num_frames
                line.update(done, clip.path.name)
        self.run.emit("looked", frames=done, seconds=round(line.close(), 2))
        self.run.flush()
        return Sightings.concat(parts)

    def _cut(self, seen: Sightings, who: Identified) -> list[_Face]:
        """Crops of the candidates, in `work/`: pixels are written only now, and only theirs."""
        folder = self.run.path / "work" / "crops"
        folder.mkdir(parents=True, exist_ok=True)
        chosen = [row for row, person in enumerate(who.person) if person]
        line, faces = Progress("crops", len(chosen), unit="faces"), []
        used: Counter[tuple[str, int]] = Counter()
        for done, row in enumerate(chosen, 1):
            source, frame = str(seen.source[row]), int(seen.frame[row])
            number = used[source, frame]
            used[source, frame] += 1
            stem = f"{source[:12]}-{frame:06d}-{number}"
            matrix = align.frame_to_crop(seen.keypoints[row], template=self.recipe.template, size=self.recipe.size)
            temporary = folder / f"{stem}.png"
            if not temporary.is_file():
                write_still(temporary, align.crop(self.by_source[source][frame].image, matrix, self.recipe.size))
            faces.append(
                _Face(
                    row=row,
                    person=who.person[row],
                    when=self._when(source, float(seen.time_s[row])),
                    crop=f"{CROPS}/{stem}.png",
                    temporary=temporary,
                    frame_to_crop=matrix,
                )
            )
            if done == len(chosen) or str(seen.source[chosen[done]]) != source:
                self.by_source[source].close()
            line.update(done)
        line.close()
        return faces

    def _when(self, source: str, time_s: float) -> When:
        known = self.material.get(self.by_source[source].path, Material(path=self.by_source[source].path))
        return When(sequence=known.sequence or source, time_s=known.time_s + time_s)

    def _without_doubles(self, seen: Sightings, faces: list[_Face]) -> list[_Face]:
        thumbnails = [quality.face_thumbnail(read_still(face.temporary), template=self.recipe.template) for face in faces]
        merit = [min(float(seen.side[face.row]), self.recipe.size) * min(float(seen.sharpness[face.row]), 1.5) for face in faces]
        doubles = find_doubles(thumbnails, merit, [face.person for face in faces], self.recipe.near_duplicate_max)
        for number, (better, differs) in doubles.items():
            self._drop(
                seen, faces[number].row, "duplicate", f"of {faces[better].crop}, difference {differs:.3f}", of=faces[better].crop
            )
        return [face for number, face in enumerate(faces) if number not in doubles]

    def _rows(self, seen: Sightings, faces: list[_Face]) -> list[Row]:
        """The set's rows; faces between two splits are dropped."""
        entries = find_entries(self.run.root, self.by_source)
        splits = split([face.when for face in faces], self.recipe)
        rows: list[Row] = []
        for face, part in zip(faces, splits, strict=True):
            if part is None:
                self._drop(seen, face.row, "between two splits", f"within {self.recipe.gap_s:g} s of another split's stretch")
                continue
            source = str(seen.source[face.row])
            clip, entry = self.by_source[source], entries[source]
            rows.append(
                Row(
                    number=len(rows),
                    person=face.person,
                    subject=clip.subject,
                    source=source,
                    uri=entry.uri,
                    licence=entry.manifest.licence,
                    entry=entry.label,
                    frame=int(seen.frame[face.row]),
                    time_s=round(float(seen.time_s[face.row]), 6),
                    box=_rounded(seen.box[face.row]),
                    keypoints=tuple(map(_rounded, seen.keypoints[face.row])),
                    frame_to_crop=tuple(tuple(map(float, line)) for line in face.frame_to_crop),
                    side=round(float(seen.side[face.row]), 1),
                    sharpness=round(float(seen.sharpness[face.row]), 3),
                    yaw_deg=round(float(seen.yaw_deg[face.row]), 1),
                    split=part,
                    crop=face.crop,
                    sha256=sha256_file(face.temporary),
                )
            )
        return rows

    def _put(self, rows: list[Row], faces: list[_Face]) -> None:
        """Move crops into place as `Run.write` does, but with one event segment for many."""
        temporaries = {face.crop: face.temporary for face in faces}
        folder = self.run.path / "artifacts" / CROPS
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            for row in some:
                self.run.emit("artifact", name=row.crop, sha256=row.sha256, bytes=temporaries[row.crop].stat().st_size)
            self.run.flush()
            for row in some:
                place = self.run.path / "artifacts" / row.crop
                # Copied, so that the crops are still in `work/` if this attempt is interrupted.
                hidden = place.with_name(f".part-{place.name}")
                shutil.copyfile(temporaries[row.crop], hidden)
                put_in_place(hidden, place)

    def _drop(self, seen: Sightings, row: int, reason: str, detail: str, **more: str) -> None:
        self.dropped.append(
            {
                "source": str(seen.source[row]),
                "file": self.by_source[str(seen.source[row])].path.name,
                "frame": int(seen.frame[row]),
                "time_s": round(float(seen.time_s[row]), 6),
                "box": _rounded(seen.box[row]),
                "reason": reason,
                "detail": detail,
                **more,
            }
        )

    def _write(self, name: str, text: str) -> None:
        with self.run.write(name) as path:
            path.write_text(text, encoding="utf-8")

    def _reasons(self) -> dict[str, int]:
        return dict(Counter(str(each["reason"]) for each in self.dropped).most_common())

    def _nothing(self) -> FaceError:
        told = ", ".join(f"{count} {reason}" for reason, count in self._reasons().items())
        return FaceError(
            expected="at least one face to keep",
            got=f"none from {len(self.clips)} files ({told or 'nothing was seen'})",
            remedy="give larger, sharper or more frontal pictures, or relax the recipe's thresholds",
        )

    def _finish(self, rows: list[Row], who: Identified, seconds: float) -> None:
        doubts = list(who.doubts)
        splits = Counter(row.split for row in rows)
        for name, share in zip(SPLITS, self.recipe.shares, strict=True):
            if share and not splits[name]:
                doubts.append(f"no face in {name}: give more files, or a smaller stretch_s than {self.recipe.stretch_s:g}")
        for doubt in doubts:
            print(f"{self.run.id}: {doubt}", flush=True)
        self.run.finish(
            name=self.recipe.name,
            layout=self.found.layout,
            num_faces=len(rows),
            faces_per_identity=dict(Counter(row.person for row in rows).most_common(1000)),
            splits={name: splits[name] for name in SPLITS},
            num_files=len(self.clips),
            num_refused=len(self.refused),
            same_bytes=len(self.found.material) - len(self.clips) - len(self.refused),
            dropped=self._reasons(),
            identities=[asdict(identity) for identity in who.identities[:1000]],
            doubts=doubts,
            seconds={"gather": round(seconds, 2)},
        )


def _num_places(clip: Clip, every_s: float) -> int:
    """Number of frames to process; 1 for an unreadable file, which is reported when it is processed."""
    try:
        return len(sightings.places(clip, every_s))
    except LabError:
        return 1
    finally:
        clip.close()


def _rounded(values: Float[np.ndarray, " n"]) -> tuple[float, ...]:
    return tuple(round(float(value), 2) for value in values)


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    """A JSON list with one row per line, to be readable by people too."""
    return "[\n" + ",\n".join(encodable(json.dumps(row, ensure_ascii=False, allow_nan=False)) for row in rows) + "\n]\n"
