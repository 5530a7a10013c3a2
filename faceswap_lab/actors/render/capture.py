"""Simulates sensor, lens and codec on a rendered image: white balance, blur, noise, JPEG, H.264.

It is applied after the clean render, so that a take exists with and without it. White balance and noise act on linear light
(display values to the power 2.2); noise is shot noise, growing with the square root of light, over a floor. The capture seed
selects the camera; noise is seeded per frame. JPEG and H.264 are the real codecs, so their output depends on the installed
library versions; everything else depends on the seeds alone.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import av
import cv2
import numpy as np

from faceswap_lab.faces.frame import Image

CaptureKind = Literal["plain", "clean", "phone", "webcam", "broadcast", "lowlight", "photo"]
CAPTURES: tuple[CaptureKind, ...] = get_args(CaptureKind)
"""plain: only the view's sensor noise; clean: no degradation; the others are cameras, see `camera_of`."""

_GROUP = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera: red and blue gain, blur (sigma in pixels of a 256-pixel image), sharpening, shot noise at full light and noise
    floor (fractions of full light), JPEG quality or None, H.264 rate factor (CRF) or None."""

    red: float
    blue: float
    blur: float
    sharpen: float
    shot: float
    floor: float
    jpeg: int | None
    h264: int | None


def check_capture(kind: str) -> CaptureKind:
    """Returns `kind`; raises ValueError listing the known kinds if it is unknown."""
    if kind not in CAPTURES:
        raise ValueError(f"no capture {kind!r}; choose from {', '.join(CAPTURES)}")
    return kind


def camera_of(kind: CaptureKind, seed: int) -> Camera:
    """A random camera of this kind. Raises ValueError for "plain" and "clean", which are no cameras."""
    draw = np.random.default_rng([61, *kind.encode(), seed])
    warm, tint = draw.normal(0, 0.5), draw.normal(0, 0.25)

    def camera(spread: float, blur: float, sharpen: float, shot: float, floor: float, **codec: int) -> Camera:
        noisy = float(np.exp(draw.normal(0, 0.25)))
        return Camera(
            red=float(1 + spread * (warm + tint)),
            blue=float(1 - spread * (warm - tint)),
            blur=blur * float(draw.uniform(0.7, 1.3)),
            sharpen=sharpen,
            shot=shot * noisy,
            floor=floor * noisy,
            jpeg=codec.get("jpeg"),
            h264=codec.get("h264"),
        )

    if kind == "phone":
        return camera(0.06, 0.45, 0.6, 0.010, 0.0015, h264=int(draw.integers(22, 29)))
    if kind == "webcam":
        return camera(0.12, 0.75, 0.3, 0.022, 0.0040, h264=int(draw.integers(29, 37)))
    if kind == "broadcast":
        return camera(0.03, 0.50, 0.4, 0.006, 0.0008, h264=int(draw.integers(20, 25)))
    if kind == "lowlight":
        return camera(0.15, 0.60, 0.2, 0.045, 0.0120, h264=int(draw.integers(24, 32)))
    if kind == "photo":
        return camera(0.05, 0.40, 0.4, 0.008, 0.0010, jpeg=int(draw.integers(55, 96)))
    raise ValueError(f"capture {kind!r} is no camera")


def group_of(kind: CaptureKind, row: int) -> range:
    """The frames that must be processed together: the codec's group of pictures (GOP), else the frame alone."""
    if kind in ("plain", "clean", "photo"):
        return range(row, row + 1)
    start = row - row % _GROUP
    return range(start, start + _GROUP)


def encodes_groups(kind: CaptureKind) -> bool:
    """Whether a frame's pixels depend on the other frames of its group, and so on where the take ends."""
    return len(group_of(kind, 0)) > 1


def develop(images: Sequence[Image], kind: CaptureKind, *, seed: int, first: int, fps: float) -> list[Image]:
    """Applies a camera of this kind to consecutive frames, the first of which has index `first`."""
    if kind in ("plain", "clean"):
        return list(images)
    camera = camera_of(kind, seed)
    taken = [_expose(image, camera, np.random.default_rng([62, seed, first + k])) for k, image in enumerate(images)]
    if camera.jpeg is not None:
        taken = [jpeg(image, camera.jpeg) for image in taken]
    return taken if camera.h264 is None else _h264(taken, camera.h264, fps)


def _expose(image: Image, camera: Camera, draw: np.random.Generator) -> Image:
    """White balance, lens blur and noise in linear light, then in-camera sharpening."""
    light: Any = (image.astype(np.float32) / 255) ** 2.2
    light *= np.array([camera.red, 1.0, camera.blue], np.float32)
    sigma = camera.blur * image.shape[0] / 256
    if sigma > 0.05:
        light = cv2.GaussianBlur(light, (0, 0), sigma)
    spread = np.sqrt(camera.shot**2 * light.clip(0, 1) + camera.floor**2)
    light = light + spread * draw.standard_normal(light.shape, np.float32)
    display = light.clip(0, 1) ** np.float32(1 / 2.2)
    if camera.sharpen:
        display = display + camera.sharpen * (display - cv2.GaussianBlur(display, (0, 0), 1.0))
    return np.asarray((display.clip(0, 1) * 255).round(), np.uint8)


def jpeg(image: Image, quality: int) -> Image:
    """The RGB image after JPEG compression of a quality 0..100. OpenCV's default: colour at half resolution."""
    written, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert written, "OpenCV was built with JPEG"
    read: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.uint8)


def _h264(images: Sequence[Image], rate_factor: int, fps: float) -> list[Image]:
    """Encodes and decodes one closed GOP; odd sizes are padded by a repeated row or column for the encoder only."""
    height, width = images[0].shape[:2]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        # One thread: otherwise the encoder's decisions, and thus the pixels, would depend on the machine.
        options = {"crf": str(rate_factor), "preset": "veryfast", "g": str(_GROUP), "bf": "0", "threads": "1"}
        stream = output.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        for image in images:
            padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as stored:
        stored.streams.video[0].thread_type = "NONE"
        frames = [frame.to_ndarray(format="rgb24")[:height, :width] for frame in stored.decode(video=0)]
    assert len(frames) == len(images)
    return [np.ascontiguousarray(frame) for frame in frames]
