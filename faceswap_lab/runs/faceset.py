"""The verb `gather`: one's own files in, a Run with a faceset out; every face that is not in it is listed with the reason.

runs/faceset-3f9a1c22/
  artifacts/crops/*.png    the faces, aligned; the name says file, frame and number in the frame
  artifacts/faces.json     a row for each, see `faces.faceset.Row`
  artifacts/dropped.json   what was seen and left out, and files that were refused: source, frame, reason, detail
  artifacts/sheet.jpg      a contact sheet
  work/                    numbers of faces seen so far; gone when the run is finished
  names.json               names given by hand, left_out.json faces marked by hand: annotations, see `runs.library`
"""

import base64
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float

from faceswap_lab.errors import ConsentError, FaceError, LabError, MediaError
from faceswap_lab.faces import align, quality
from faceswap_lab.faces.faceset import SPLITS, Row
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import Image, inline_jpeg, read_still, write_still
from faceswap_lab.models.opencv import OfflineEngine
from faceswap_lab.runs import layouts, sightings
from faceswap_lab.runs.layouts import Material
from faceswap_lab.runs.library import CROPS, DROPPED, FACES, SHEET
from faceswap_lab.runs.people import file_record
from faceswap_lab.runs.progress import Progress
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.runs.recipes import FacesetRecipe
from faceswap_lab.runs.root import lab_root
from faceswap_lab.runs.run import Run
from faceswap_lab.runs.selection import Identified, When, find_doubles, identify, split
from faceswap_lab.runs.sightings import Sightings, look_through
from faceswap_lab.trust import doors
from faceswap_lab.trust.consent import find_entries
from faceswap_lab.trust.doors import Party, Refused
from faceswap_lab.trust.records import canonical, put_in_place, sha256_file, sha256_text

USES = ("evaluate", "train")
"""What a faceset is for: its faces are told apart by a recogniser, and weights are fitted to them."""

_BATCH = 100
_TILE, _COLUMNS, _SHEET_ROWS = 64, 12, 8


def gather(
    recipe: FacesetRecipe | str,
    *paths: str | Path,
    who: str | None = None,
    basis: str | None = None,
    uses: Sequence[str] = USES,
    again: bool = False,
) -> Run:
    """Make a faceset from files and folders; blocks with one progress line. `recipe` may be just the set's name.

    Files with a manifest entry come in under it; the others are declared, as in `admit`, with `who`, `basis` and `uses`. A file
    that is refused or cannot be read is listed and passed over. The same finished call returns its Run; an interrupted one goes on
    where it stopped. Raises MediaError if there is no file, ConsentError if every file is refused, FaceError if no face is left.
    """
    recipe = FacesetRecipe(name=recipe) if isinstance(recipe, str) else recipe
    root = lab_root()
    found = layouts.find([Path(path).expanduser() for path in paths], recipe.layout)
    clips, refused = doors.admit_all([each.path for each in found.material], root=root, who=who, basis=basis, uses=uses)
    clips, refused = _allowed(clips, refused, root)
    if not clips:
        raise _nobody(refused)
    clips.sort(key=lambda clip: clip.grant.sha256)
    inputs = {f"file {number:05d}": file_record(clip) for number, clip in enumerate(clips, 1)}
    if refused:
        inputs["refused"] = sha256_text(canonical(sorted([each.path.name, each.sha256] for each in refused)))
    run = Run.start(root, "faceset", to_json(replace(recipe, layout=found.layout)), inputs, again=again)
    if not run.finished:
        with run:
            _Gathering(run=run, recipe=recipe, clips=clips, refused=refused, found=found).work()
    # Numbers about faces that were not kept stay no longer than they are needed; a kill may have left them.
    shutil.rmtree(run.path / "work", ignore_errors=True)
    return run


def enlist(path: str | Path, *, who: str | None, basis: str | None, uses: Sequence[str] = USES) -> dict[str, Any]:
    """Write manifest rows for a FaceForensics++ folder: paths, digests and the set's own splits; no picture is opened.

    The licence is the user's to state (`basis`), and whom it speaks of (`who`). Returns manifests and counts. Raises MediaError if
    that layout is not there, ConsentError without a sound declaration.
    """
    listed = layouts.find_ffpp(Path(path).expanduser())
    line = Progress("digests", len(listed), unit="clips")
    files = []
    for number, each in enumerate(listed, 1):
        files.append(doors.File(path=each.path, sha256=sha256_file(each.path), uri=each.uri, split=each.split))
        line.update(number)
    line.close()
    entries = doors.enlist(files, root=lab_root(), who=who, basis=basis, uses=uses, source=f"FaceForensics++ at {Path(path).name}")
    return {
        "manifests": sorted({entry.name for entry in entries.values()}),
        "files": len(entries),
        "same_bytes": len(listed) - len(entries),
        "splits": dict(Counter(entry.split or "none" for entry in entries.values())),
        "subjects": sorted({entry.subject for entry in entries.values()}),
    }


def _allowed(clips: list[Clip], refused: list[Refused], root: Path) -> tuple[list[Clip], list[Refused]]:
    """The gate, before a pixel is read. What it says depends on the manifest alone, so one file of each is asked for."""
    errors: dict[str, ConsentError | None] = {}
    allowed, refused = [], list(refused)
    for clip in clips:
        manifest = clip.grant.entry.rpartition(":")[0]
        if manifest not in errors:
            errors[manifest] = None
            try:
                party = Party(subject=clip.subject, grant=clip.grant)
                doors.check_evaluate(party, root=root)
                doors.check_train(party, root=root)
            except ConsentError as error:
                errors[manifest] = error
        if refusal := errors[manifest]:
            refused.append(Refused(path=clip.path, sha256=clip.grant.sha256, error=refusal))
        else:
            allowed.append(clip)
    return allowed, refused


def _nobody(refused: Sequence[Refused]) -> LabError:
    """All were refused: the first reason stands for them, as the error it was."""
    first = next((each for each in refused if isinstance(each.error, ConsentError)), refused[0])
    kind = ConsentError if isinstance(first.error, ConsentError) else MediaError
    return kind(
        expected="at least one file that may be looked at",
        got=f"{len(refused)} refused, the first {first.path.name}: expected {first.error.expected}, got {first.error.got}",
        remedy=first.error.remedy,
    )


@dataclass(slots=True, kw_only=True)
class _Face:
    """One that may stay, on its way into the set. `row` is its row among the sightings."""

    row: int
    person: str
    when: When
    crop: str
    temporary: Path
    frame_to_crop: np.ndarray


class _Gathering:
    """One run's work, step by step."""

    def __init__(self, *, run: Run, recipe: FacesetRecipe, clips: list[Clip], refused: list[Refused], found: layouts.Found) -> None:
        self.run, self.recipe, self.clips, self.refused, self.found = run, recipe, clips, refused, found
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
            path.write_bytes(_sheet(rows, self.run.path / "artifacts"))
        self._finish(rows, who, perf_counter() - start)

    def _look(self) -> Sightings:
        """Every face in every source, from the disk where an earlier attempt has looked."""
        folder, parts, done = self.run.path / "work", [], 0
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
        """Crops of those who may stay, in `work/`: only now are pixels written, and only theirs."""
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
        return When(strand=known.strand or source, time_s=known.time_s + time_s)

    def _without_doubles(self, seen: Sightings, faces: list[_Face]) -> list[_Face]:
        prints = [quality.fingerprint(read_still(face.temporary), template=self.recipe.template) for face in faces]
        merit = [min(float(seen.side[face.row]), self.recipe.size) * min(float(seen.sharpness[face.row]), 1.5) for face in faces]
        doubles = find_doubles(prints, merit, [face.person for face in faces], self.recipe.like)
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
        """Crops into their places: as `Run.write`, with one segment of events for many."""
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
                # Copied, so that an attempt which is stopped here finds its crops in `work/` again.
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
            remedy="give larger, sharper or more frontal pictures, or lower the recipe's bounds",
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
            people=dict(Counter(row.person for row in rows).most_common(1000)),
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
    """Frames to look at; 1 for a file that cannot be read, which is told of when its turn comes."""
    try:
        return len(sightings.places(clip, every_s))
    except LabError:
        return 1
    finally:
        clip.close()


def _rounded(values: Float[np.ndarray, " n"]) -> tuple[float, ...]:
    return tuple(round(float(value), 2) for value in values)


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    """A JSON list, a row a line: both a program and a person can read it."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows) + "\n]\n"


def _sheet(rows: Sequence[Row], folder: Path) -> bytes:
    """A contact sheet as JPEG: each person's faces from the right profile to the left, evenly picked where there are too many."""
    people = [person for person, _ in Counter(row.person for row in rows).most_common(_SHEET_ROWS)]
    lines = max(1, _SHEET_ROWS // len(people))
    strips: list[Image] = []
    for person in people:
        own = sorted((row for row in rows if row.person == person), key=lambda row: (row.yaw_deg, row.number))
        places = np.unique(np.linspace(0, len(own) - 1, min(len(own), lines * _COLUMNS)).round().astype(int))
        tiles = [_tile(folder / own[place].crop) for place in places]
        blank = np.full((_TILE, _TILE, 3), 255, np.uint8)
        tiles += [blank] * (-len(tiles) % _COLUMNS)
        strips += [np.concatenate(tiles[start : start + _COLUMNS], axis=1) for start in range(0, len(tiles), _COLUMNS)]
    picture = np.ascontiguousarray(np.concatenate(strips))
    return base64.b64decode(inline_jpeg(picture, max_side=_TILE * _COLUMNS, max_bytes=58_000).partition(",")[2])


def _tile(path: Path) -> Image:
    image = read_still(path)
    scale = _TILE / image.shape[0]
    matrix = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    return align.crop(image, matrix, _TILE)
