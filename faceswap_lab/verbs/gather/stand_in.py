"""Stand-in material for a faceset: an imitation of a user's folder, rendered with actors and exported."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from faceswap_lab.actors.cast import Actor
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame
from faceswap_lab.files import lab_root, user_path
from faceswap_lab.trust import export
from faceswap_lab.trust.consent.gate import Subject
from faceswap_lab.trust.marks.metadata import Lineage


def film_material(
    folder: str | Path, *, hero: int = 7, friend: int = 21, clips: int = 3, photos: int = 24, size: int = 320
) -> Path:
    """Film actor `hero` into `folder`: `clips` of speech of 4 seconds, `photos` of varied poses, and typical flaws of a real shoot.

    These are a photograph out of focus, one from too far away, one saved twice, one with the face cut off, one of a wall, and two
    of `friend`. Everything is marked and logged as an export of an actor. Returns the folder.
    """
    place = user_path(folder)
    for number in range(clips):
        take = Actor(hero).perform("speech", seconds=4, fps=5, seed=300 + number, size=size)
        _let_out(take, place / f"clip {number + 1}.mp4", hero)
    views = Actor(hero).perform("range", seconds=photos / 25, fps=25, seed=310, size=size)
    for number, frame in enumerate(views.frames()):
        _let_out(frame, place / "photos" / f"photo {number + 1:03d}.jpg", hero)
    first, second = views[0], views[1]
    _let_out(_with(first, cv2.GaussianBlur(first.image, (0, 0), size / 50)), place / "out of focus.jpg", hero)
    _let_out(_with(second, cv2.resize(second.image, (64, 64), interpolation=cv2.INTER_AREA)), place / "from far away.png", hero)
    _let_out(second, place / "saved twice.png", hero)
    _let_out(_with(first, np.ascontiguousarray(first.image[:, : size * 18 // 32])), place / "half a face.png", hero)
    _let_out(_with(first, np.full((size, size, 3), (150, 140, 130), np.uint8)), place / "a wall.png", hero)
    for number, frame in enumerate(Actor(friend).perform("range", seconds=0.08, fps=25, seed=320, size=size).frames()):
        _let_out(frame, place / f"a friend {number + 1}.jpg", friend)
    return place


def _with(frame: Frame, image: np.ndarray) -> Frame:
    return replace(frame, image=image)


def _let_out(shown: Footage | Frame, path: Path, seed: int) -> None:
    actor = Subject(name=Actor(seed).subject)
    export.export(shown, path, lineage=Lineage(run="", source=actor, target=actor, trained=False), root=lab_root())
