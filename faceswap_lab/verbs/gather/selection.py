"""Selecting the faces of a faceset: one identity or many, no near-duplicates, and no neighbouring frames in different splits."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from faceswap_lab.faces import quality
from faceswap_lab.faces.faceset import SPLITS, Split
from faceswap_lab.faces.quality import FaceThumbnail
from faceswap_lab.files import sha256_text
from faceswap_lab.models.clusters import Clusters, cluster
from faceswap_lab.verbs.gather.sightings import Sightings
from faceswap_lab.verbs.recipes import FacesetRecipe

NEARLY = 0.5
"""If another group is at least this fraction of the chosen one's size, size alone does not tell who is meant."""

_CLOSER_LOOK = 0.98
_LOOKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A group of one identity: its label in the set, number of faces, mean cosine within it and to the nearest other group (None if
    there is none)."""

    person: str
    subject: str
    faces: int
    within: float
    nearest_other: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identified:
    """`person` for each sighting (empty: not kept, with reason and detail), the people, and doubts for manual review."""

    person: list[str]
    reason: list[str]
    detail: list[str]
    identities: tuple[Identity, ...]
    doubts: tuple[str, ...]


def identify(seen: Sightings, subjects: Mapping[str, str], recipe: FacesetRecipe) -> Identified:
    """Assign identities. `subjects` maps a source to the person named in its manifest.

    With identities "one", each subject's files are clustered separately, because their manifests cover that person only.
    """
    person, reason, detail = [""] * len(seen), list(map(str, seen.reason)), list(map(str, seen.detail))
    identities: list[Identity] = []
    doubts: list[str] = []
    kept = np.flatnonzero(seen.reason == "")
    if recipe.identities == "many":
        found = cluster(seen.embedding[kept], [str(source) for source in seen.source[kept]], same_person=recipe.same_person)
        for row, label in zip(kept, found.labels, strict=True):
            person[row] = f"person-{label + 1}"
        for label in range(len(found.sizes)):
            of = {subjects[str(seen.source[row])] for row in kept[found.labels == label]}
            identities.append(_identity(found, label, f"person-{label + 1}", ", ".join(sorted(of))))
        return Identified(person=person, reason=reason, detail=detail, identities=tuple(identities), doubts=())
    for subject in sorted(set(subjects.values())):
        rows = np.array([row for row in kept if subjects[str(seen.source[row])] == subject], np.int64)
        found = cluster(seen.embedding[rows], [str(source) for source in seen.source[rows]], same_person=recipe.same_person)
        chosen = recipe.which - 1
        for row, label in zip(rows, found.labels, strict=True):
            if label == chosen:
                person[row] = subject
                continue
            reason[row] = "another person"
            if chosen < len(found.sizes):
                cosine = f"mean cosine {found.between[label, chosen]:.2f} to {subject}'s faces"
                detail[row] = f"in group {label + 1} of {len(found.sizes)}, {cosine}"
        if chosen < len(found.sizes):
            identities.append(_identity(found, chosen, subject, subject))
            doubts += _doubts(found, chosen, subject)
        elif len(rows):
            doubts.append(f"{subject}: there are {len(found.sizes)} groups, none number {recipe.which}")
    return Identified(person=person, reason=reason, detail=detail, identities=tuple(identities), doubts=tuple(doubts))


def _identity(found: Clusters, label: int, person: str, subject: str) -> Identity:
    others = np.delete(found.between[label], label)
    return Identity(
        person=person,
        subject=subject,
        faces=int(found.sizes[label]),
        within=round(float(found.within[label]), 3),
        nearest_other=round(float(others.max()), 3) if len(others) else None,
    )


def _doubts(found: Clusters, chosen: int, subject: str) -> list[str]:
    rivals = np.delete(found.sizes, chosen)
    if not len(rivals) or rivals.max() < NEARLY * found.sizes[chosen]:
        return []
    return [
        f"{subject}: the group taken has {found.sizes[chosen]} faces, another {rivals.max()}; look at the sheet, and if it is the "
        f"wrong one, gather with which={2 if chosen == 0 else 1}"
    ]


def find_doubles(
    thumbnails: Sequence[FaceThumbnail], merit: Sequence[float], identities: Sequence[str], near_duplicate_max: float
) -> dict[int, tuple[int, float]]:
    """Near-duplicates of better faces of the same person: number to (the better one's number, difference).

    The best of a group of duplicates is kept, whichever file it is from. Only the `_LOOKS` most similar thumbnails are compared in
    detail.
    """
    doubles: dict[int, tuple[int, float]] = {}
    vectors = np.stack([quality.thumbnail_vector(each) for each in thumbnails]) if thumbnails else np.zeros((0, 1), np.float32)
    kept: dict[str, list[int]] = defaultdict(list)
    stacks: dict[str, np.ndarray] = {}
    for number in sorted(range(len(thumbnails)), key=lambda n: (-merit[n], n)):
        mine = kept[identities[number]]
        stack = stacks.setdefault(identities[number], np.zeros((64, vectors.shape[1]), np.float32))
        cosines = stack[: len(mine)] @ vectors[number]
        for place in np.argsort(-cosines, kind="stable")[:_LOOKS]:
            if cosines[place] < _CLOSER_LOOK:
                break
            differs = quality.difference(thumbnails[mine[place]], thumbnails[number])
            if differs <= near_duplicate_max:
                doubles[number] = (mine[place], differs)
                break
        if number not in doubles:
            if len(mine) == len(stack):
                stacks[identities[number]] = stack = np.concatenate([stack, np.zeros_like(stack)])
            stack[len(mine)] = vectors[number]
            mine.append(number)
    return doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """A face's position for splitting: its sequence (a file, or the clip that stills were taken from) and time."""

    sequence: str
    time_s: float

    def unit(self, stretch_s: float) -> tuple[str, int]:
        """The stretch, which is never divided between splits."""
        return self.sequence, int(self.time_s // stretch_s)


def split(moments: Sequence[When], recipe: FacesetRecipe) -> list[Split | None]:
    """The split of each face; None if it is too close to another split's stretch of the same sequence.

    Stretches are taken in the order of a hash of seed and sequence, each assigned to the split that lacks most of its share, so
    that neither the order nor the names of the files matter. With three stretches or more, each split with a share gets one.
    """
    units = _units(moments, recipe)
    counts = Counter(units)
    order = sorted(counts, key=lambda unit: sha256_text(f"{recipe.seed}:{unit[0]}:{unit[1]}"))
    wanted = {name: share * len(moments) for name, share in zip(SPLITS, recipe.shares, strict=True) if share > 0}
    chosen: dict[tuple[str, int], Split] = {}
    have: Counter[str] = Counter()
    for unit in order:
        name: Split = max(wanted, key=lambda each: wanted[each] - have[each])
        chosen[unit] = name
        have[name] += counts[unit]
    if len(order) >= len(wanted):
        _fill(chosen, order, list(wanted), counts)
    edges = _edges(chosen, recipe.stretch_s)
    return [
        None if any(abs(moment.time_s - edge) < recipe.gap_s for edge in edges[moment.sequence]) else chosen[unit]
        for moment, unit in zip(moments, units, strict=True)
    ]


def _units(moments: Sequence[When], recipe: FacesetRecipe) -> list[tuple[str, int]]:
    """The stretch of each moment. A remainder at a sequence's end shorter than the gap is merged with the previous stretch."""
    units = [moment.unit(recipe.stretch_s) for moment in moments]
    ends: dict[str, float] = {}
    for moment in moments:
        ends[moment.sequence] = max(ends.get(moment.sequence, 0.0), moment.time_s)
    known = set(units)
    last = {sequence: int(end // recipe.stretch_s) for sequence, end in ends.items()}
    short = {
        (sequence, number)
        for sequence, number in last.items()
        if (sequence, number - 1) in known and ends[sequence] - number * recipe.stretch_s < recipe.gap_s
    }
    return [(sequence, number - 1) if (sequence, number) in short else (sequence, number) for sequence, number in units]


def _fill(
    chosen: dict[tuple[str, int], Split], order: list[tuple[str, int]], wanted: list[Split], counts: Counter[tuple[str, int]]
) -> None:
    """Give each split without a stretch the smallest one of the split that has the most."""
    for name in wanted:
        if name in chosen.values():
            continue
        per_split = Counter(chosen.values())
        giver = max(per_split, key=lambda each: per_split[each])
        smallest = min((unit for unit in order if chosen[unit] == giver), key=lambda unit: counts[unit])
        chosen[smallest] = name


def _edges(chosen: Mapping[tuple[str, int], Split], stretch_s: float) -> dict[str, list[float]]:
    """Sequence to the times at which one split's stretch ends and another's begins."""
    edges: dict[str, list[float]] = defaultdict(list)
    for (sequence, number), name in chosen.items():
        if chosen.get((sequence, number + 1), name) != name:
            edges[sequence].append((number + 1) * stretch_s)
    return edges
