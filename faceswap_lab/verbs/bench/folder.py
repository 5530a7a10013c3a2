"""A folder of pictures as a method: the results of any other tool, one PNG for each target picture, flat or in CASIA's layout."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faceswap_lab.actors.tracks import TrackPair
from faceswap_lab.errors import MediaError
from faceswap_lab.faces.frame import Image, read_still, still_format
from faceswap_lab.files import canonical, sha256_file, sha256_text
from faceswap_lab.models import metrics
from faceswap_lab.trust.export_dataset import MANIFEST
from faceswap_lab.verbs.bench.methods import Outcome

CASIA = {
    "all_simple": ("frontal",),
    "all_cross_ethnicity": ("skin_tone_gap",),
    "all_cross_attribute": ("profile", "expression", "light", "occlusion"),
}
"""CASIA's folders, and the tracks that are written into each. It has no video."""

_RESULTS = "swap_results"
_MOST_NAMED = 6
_LEAST_BACKGROUND = 14.0
_HEAD = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFolder:
    """The pictures of a folder by the name that `TrackPair.pictures` gives them; `digest` is that of all names and contents."""

    name: str
    path: Path
    files: Mapping[str, Path]
    digest: str

    @property
    def facts(self) -> Mapping[str, str]:
        """Where the pictures came from."""
        return {"pictures": f"{len(self.files)} files of {self.path.name}", "sha256": self.digest}

    def swap(self, pair: TrackPair) -> Outcome:
        """See `Method`. MediaError for a picture that is missing, animated, of another size, or not this target."""
        take, truth = pair.take(), pair.truth()
        images = []
        for name, index in zip(pair.pictures, pair.frames, strict=True):
            target = take.rendered(index).image
            images.append(self._picture(name, target, metrics.changed_region(target, truth.rendered(index).image)))
        return Outcome(images=images)

    def _picture(self, name: str, target: Image, region: metrics.Mask) -> Image:
        path = self.files.get(name)
        if path is None:
            raise MediaError(expected=f"{name}.png", got="no such file", remedy="let the tool write it, or leave the pair failed")
        with path.open("rb") as file:
            found = still_format(file.read(_HEAD))
        if found != "PNG":
            raise MediaError(
                expected=f"a PNG in {path.name}", got=found or "another kind of file", remedy="write PNG: it is lossless"
            )
        image = read_still(path)
        if image.shape != target.shape:
            wanted, got = (f"{shape[1]} x {shape[0]} pixels" for shape in (target.shape, image.shape))
            raise MediaError(
                expected=f"{path.name} of {wanted}", got=got, remedy="paste the face back into the whole target picture"
            )
        _require_target(path.name, image, target, region)
        return image


def _require_target(name: str, image: Image, target: Image, region: metrics.Mask) -> None:
    """MediaError for a picture whose surroundings are not the target's: another pair's, or no result of this benchmark at all."""
    grown = cv2.dilate(region.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    if grown.all():
        return
    likeness = metrics.psnr(image, target, ~grown)
    if likeness < _LEAST_BACKGROUND:
        raise MediaError(
            expected=f"the target of {name} with another face",
            got=f"another picture: its surroundings have a PSNR of {likeness:.1f} dB to the target's",
            remedy="check which target the tool was given",
        )


def opened_folder(path: Path, pairs: Sequence[TrackPair], name: str = "") -> ResultFolder:
    """The folder at `path` with results of these pairs, flat or in CASIA's layout (then of the method `name`, if it has several).

    Raises MediaError if there is no such folder, for a file that is no result of these pairs, by name, and if nothing is there. A
    picture that is missing or can't be used doesn't raise: its pair is counted as failed.
    """
    if not path.is_dir():
        raise MediaError(expected="a folder of PNG files", got=f"{path}, which is none", remedy="name the folder with the results")
    root = _method_in(path, name)
    casia = root is not None
    named = {casia_name(pair): pair.pictures[0] for pair in pairs if pair.track != "video"} if casia else {}
    wanted = named or {f"{picture}.png": picture for pair in pairs for picture in pair.pictures}
    here = root or path
    found = {each.relative_to(here).as_posix(): each for each in sorted(here.rglob("*")) if each.is_file()}
    found = {file: each for file, each in found.items() if not each.name.startswith(".") and each.name != MANIFEST}
    _require_known(here, [file for file in found if file not in wanted], wanted)
    if not found:
        raise MediaError(
            expected=f"pictures such as {next(iter(wanted))} in {here}",
            got="none",
            remedy="write each result under the name of its target",
        )
    files = {wanted[file]: each for file, each in found.items()}
    digest = sha256_text(canonical({picture: sha256_file(each) for picture, each in files.items()}))
    return ResultFolder(name=name or here.resolve().name, path=here, files=files, digest=digest)


def casia_name(pair: TrackPair) -> str:
    """A result's path in CASIA's layout, below its method's folder."""
    folder = next(folder for folder, tracks in CASIA.items() if pair.track in tracks)
    return f"{folder}/{pair.source}-{pair.target}.png"


def _method_in(path: Path, name: str) -> Path | None:
    """The method's folder in CASIA's layout: `path` itself, or the one in it or in its `swap_results`; None for a flat folder."""
    if any((path / folder).is_dir() for folder in CASIA):
        return path
    inside = path / _RESULTS if (path / _RESULTS).is_dir() else path
    methods = sorted(each for each in inside.iterdir() if any((each / folder).is_dir() for folder in CASIA))
    if not methods:
        return None
    fitting = [each for each in methods if each.name == name] if name else methods
    if len(fitting) != 1:
        raise MediaError(
            expected=f"one method in {inside.name}" + (f" called {name}" if name else ""),
            got=", ".join(each.name for each in methods),
            remedy="name one of them (--score-as NAME)",
        )
    return fitting[0]


def _require_known(folder: Path, unknown: Sequence[str], wanted: Mapping[str, str]) -> None:
    """MediaError that names files which belong to no pair, with the name that each may have been meant to have."""
    if not unknown:
        return
    told = []
    for file in unknown[:_MOST_NAMED]:
        near = difflib.get_close_matches(file, list(wanted), n=1)
        told.append(f"{file} (did you mean {near[0]}?)" if near else file)
    more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
    raise MediaError(
        expected=f"in {folder} only results of this plan's pairs, such as {next(iter(wanted))}",
        got=f"{', '.join(told)}{more}",
        remedy="rename them after their targets, remove them, or choose the plan and tracks that they were made for",
    )
