"""Rendered samples in tar files, as WebDataset reads them: `000123.png`, `000123.json` and `000123.npz` belong together.

The same samples give the same bytes: no times, no owners. The version that wrote a shard stands in the tar's global header, which
other readers skip.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceswap_lab.actors.cast import Take
from faceswap_lab.actors.render.render import Rendered
from faceswap_lab.actors.render.truth_maps import LABELS
from faceswap_lab.actors.splits import split_of
from faceswap_lab.errors import MediaError

FORMAT = 1
"""Version of what a sample holds. A reader refuses another."""

_HEADER = "FACESWAPLAB.format"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One sample as it lies in a shard: its number as text, and its members by ending ("png", "truth.png", "json", "npz")."""

    key: str
    members: Mapping[str, bytes]

    @property
    def facts(self) -> dict[str, Any]:
        """What is true of the picture, but for the maps."""
        facts: dict[str, Any] = json.loads(self.members["json"])
        return facts

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The maps by name; see `arrays_of`."""
        with np.load(io.BytesIO(self.members["npz"]), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def facts_of(take: Take, row: int, rendered: Rendered) -> dict[str, Any]:
    """What is true of a frame, as JSON values: angles in radians, points in pixels, matrices by rows."""
    view = rendered.scene.view
    return {
        "synthetic": True,
        "actor": take.actor.seed,
        "split": split_of(take.actor.seed),
        "as": None if take.source is None else take.source.seed,
        "take": take.origin,
        "frame": row,
        "time_s": row / take.fps,
        "size": list(take.size),
        "box": _rounded(rendered.box),
        "head_pose": {name: round(value, 6) for name, value in asdict(rendered.head_pose).items()},
        "actions": {name: round(value, 5) for name, value in rendered.actions.items()},
        "gaze": dict(zip(("right", "left"), _rounded(rendered.gaze, 5), strict=True)),
        "points": {str(each): _points(rendered, each) for each in (5, 68, 106, 468)},
        "camera": {
            "fov_deg": view.fov_deg,
            "matrix": _rounded(rendered.camera, 5),
            "head_to_camera": _rounded(rendered.head_to_camera, 7),
        },
        "light": asdict(view.light),
        "labels": list(LABELS),
    }


def arrays_of(rendered: Rendered) -> dict[str, np.ndarray]:
    """The maps, small: labels and face mask (0..255) as bytes, normals as signed bytes of 1/127, depth in metres and albedo
    (linear) as half floats."""
    maps = rendered.maps
    return {
        "labels": maps.labels,
        "face_mask": np.round(rendered.face_mask * 255).astype(np.uint8),
        "depth": rendered.depth.astype(np.float16),
        "normals": np.round(maps.normals * 127).astype(np.int8),
        "albedo": maps.albedo.astype(np.float16),
    }


def _points(rendered: Rendered, point_set: Any) -> dict[str, Any]:
    found = rendered.points(point_set)
    return {"xy": _rounded(found.xy), "visible": [int(each) for each in found.visible]}


def _rounded(values: np.ndarray, digits: int = 3) -> Any:
    return np.asarray(values, np.float64).round(digits).tolist()


def to_json(facts: Mapping[str, Any]) -> bytes:
    """Facts as a member's bytes."""
    return (json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def to_npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as a member's bytes; numpy dates all members 1980, so that the same arrays are the same bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, **dict(sorted(arrays.items())))  # type: ignore[arg-type]
    return file.getvalue()


@contextmanager
def writing(path: Path) -> Iterator["ShardWriter"]:
    """A shard to add samples to. The caller gives a temporary path and renames it when the block has ended well."""
    with (
        path.open("wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={_HEADER: str(FORMAT)}) as tar,
    ):
        yield ShardWriter(tar)


class ShardWriter:
    """Adds samples to an open tar."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, number: int, members: Mapping[str, bytes]) -> None:
        """Sample `number` with its members, in the order of their names."""
        for ending, content in sorted(members.items()):
            entry = tarfile.TarInfo(f"{number:06d}.{ending}")
            entry.size = len(content)
            entry.mode = 0o644
            self._tar.addfile(entry, io.BytesIO(content))


def read_shard(path: Path) -> Iterator[Sample]:
    """The samples of a shard in order. Raises MediaError for a file that is no shard, is torn, or has another format."""
    try:
        with tarfile.open(path, "r:") as tar:
            _check_format(path, tar)
            key, members = "", dict[str, bytes]()
            for entry in tar:
                number, _, ending = entry.name.partition(".")
                if number != key and members:
                    yield Sample(key=key, members=members)
                    members = {}
                file = tar.extractfile(entry)
                if file is None:
                    raise MediaError(expected=f"plain files in {path.name}", got=entry.name, remedy="render it again")
                key, members[ending] = number, file.read()
            if members:
                yield Sample(key=key, members=members)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise MediaError(expected=f"a whole shard {path.name}", got=str(error), remedy="render it again") from error


def _check_format(path: Path, tar: tarfile.TarFile) -> None:
    found = tar.pax_headers.get(_HEADER)
    if found != str(FORMAT):
        raise MediaError(
            expected=f"a shard of format {FORMAT}",
            got=f"{path.name} of format {found}" if found else f"{path.name}, a tar of another program",
            remedy="render it again with this version, or read it with the version that wrote it",
        )
