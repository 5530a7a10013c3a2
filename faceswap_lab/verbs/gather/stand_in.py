"""Stand-in material for a faceset: an imitation of a user's folder, rendered with actors and exported."""

from pathlib import Path

from faceswap_lab.actors.cast import Actor
from faceswap_lab.files import lab_root, user_path
from faceswap_lab.trust.export import export_take

_FLAWED = (
    ("out of focus.jpg", 0, "out of focus"),
    ("from far away.png", 1, "far away"),
    ("saved twice.png", 1, "none"),
    ("half a face.png", 0, "cut off"),
    ("a wall.png", 0, "a wall"),
)
"""File name, view and flaw."""


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
        export_take(take, place / f"clip {number + 1}.mp4", root=lab_root())
    views = Actor(hero).perform("range", seconds=photos / 25, fps=25, seed=310, size=size)
    for number in range(len(views)):
        export_take(views, place / "photos" / f"photo {number + 1:03d}.jpg", root=lab_root(), index=number)
    for name, index, flaw in _FLAWED:
        export_take(views, place / name, root=lab_root(), index=index, flaw=flaw)
    others = Actor(friend).perform("range", seconds=0.08, fps=25, seed=320, size=size)
    for number in range(len(others)):
        export_take(others, place / f"a friend {number + 1}.jpg", root=lab_root(), index=number)
    return place
