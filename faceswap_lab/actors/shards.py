"""Rendered samples in tar shards in WebDataset layout: `000123.png`, `000123.json` and `000123.npz` form one sample.

Output is byte-reproducible: no timestamps, no owners. The format version is in the tar's global PAX header, which other readers
ignore.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from faceswap_lab.actors.cast import Take
from faceswap_lab.actors.render.render import Rendered
from faceswap_lab.actors.render.truth_maps import LABELS
from faceswap_lab.actors.splits import split_of
from faceswap_lab.errors import MediaError

FORMAT = 1
"""Version of the sample format. Readers refuse any other."""

_HEADER = "FACESWAPLAB.format"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One sample as stored in a shard: its number as text, and its members by extension ("png", "truth.png", "json", "npz")."""

    key: str
    members: Mapping[str, bytes]

    @property
    def facts(self) -> dict[str, Any]:
        """Ground truth of the image, except the maps."""
        facts: dict[str, Any] = json.loads(self.members["json"])
        return facts

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The maps by name; see `arrays_of`."""
        with np.load(io.BytesIO(self.members["npz"]), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def facts_of(take: Take, row: int, rendered: Rendered) -> dict[str, Any]:
    """Ground truth of a frame as JSON values: angles in radians, points in pixels, matrices row-major."""
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
    """The maps in compact types: labels and face mask (0..255) as uint8, normals as int8 in units of 1/127, depth in metres and
    linear albedo as float16."""
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
    """Encodes facts as a shard member."""
    return (json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def to_npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Encodes arrays as a shard member; numpy dates all zip entries 1980, so equal arrays give equal bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, **dict(sorted(arrays.items())))  # type: ignore[arg-type]
    return file.getvalue()


@contextmanager
def writing(path: Path) -> Iterator["ShardWriter"]:
    """Opens a shard for writing. The caller passes a temporary path and renames it once the block has succeeded."""
    with (
        path.open("wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={_HEADER: str(FORMAT)}) as tar,
    ):
        yield ShardWriter(tar)


class ShardWriter:
    """Appends samples to an open tar."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, number: int, members: Mapping[str, bytes]) -> None:
        """Appends sample `number`; its members are sorted by name."""
        for extension, content in sorted(members.items()):
            entry = tarfile.TarInfo(f"{number:06d}.{extension}")
            entry.size = len(content)
            entry.mode = 0o644
            self._tar.addfile(entry, io.BytesIO(content))


def read_shard(path: Path) -> Iterator[Sample]:
    """The samples of a shard in order. Raises MediaError for a file that is no shard, is truncated, or has another format."""
    try:
        with path.open("rb") as file:
            for key, members in index_of(file, path.name).items():
                yield read_sample(file, key, members)
    except OSError as error:
        raise _not_whole(path.name, error) from error


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member lies in its shard, in bytes."""

    start: int
    size: int


def index_of(file: IO[bytes], name: str) -> dict[str, dict[str, Member]]:
    """Where each sample's members lie in an open shard, by sample and extension; only headers are read.

    Raises MediaError as `read_shard`; `name` is the shard's, for messages.
    """
    found: dict[str, dict[str, Member]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            _check_format(name, tar)
            for entry in tar:
                if not entry.isreg():
                    raise MediaError(expected=f"plain files in {name}", got=entry.name, remedy="render it again")
                key, _, extension = entry.name.partition(".")
                found.setdefault(key, {})[extension] = Member(entry.offset_data, entry.size)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _not_whole(name, error) from error
    return found


def read_sample(file: IO[bytes], key: str, members: Mapping[str, Member]) -> Sample:
    """A sample of an open shard by its place in `index_of`. MediaError if the file ends before it."""
    content = {}
    for extension, member in members.items():
        file.seek(member.start)
        content[extension] = file.read(member.size)
        if len(content[extension]) != member.size:
            raise _not_whole(f"the shard of {key}.{extension}", EOFError("unexpected end of data"))
    return Sample(key=key, members=content)


def _not_whole(name: str, error: Exception) -> MediaError:
    return MediaError(expected=f"a whole shard {name}", got=str(error), remedy="render it again")


def _check_format(name: str, tar: tarfile.TarFile) -> None:
    found = tar.pax_headers.get(_HEADER)
    if found != str(FORMAT):
        raise MediaError(
            expected=f"a shard of format {FORMAT}",
            got=f"{name} of format {found}" if found else f"{name}, a tar written by another program",
            remedy="render it again with this version, or read it with the version that wrote it",
        )
