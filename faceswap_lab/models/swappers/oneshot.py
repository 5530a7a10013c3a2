"""The one-shot swapper: any source's face on any target, from one picture or a few, learned from true swaps of actors.

Geometry moves, the network heals: the source's mesh is brought into the target's pose and expression by what true swaps taught
(`oneshot.shape`), the source's own pixels are draped over it (`oneshot.drape`), and a network relights them, fills what no picture
shows and decides where the target stays (`oneshot.net`). Limitations: detail that no source picture shows is invented from the
face's other half; gaze is the target's, but seen through the mesh, which has no irises.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from faceswap_lab.errors import FaceError
from faceswap_lab.faces import align
from faceswap_lab.models.oneshot.drape import Picture
from faceswap_lab.models.oneshot.examples import TEMPLATE, Look, look_of, moved_points, nearest_first, portrait_of
from faceswap_lab.models.oneshot.net import Draped, OneshotNet, OneshotNetConfig
from faceswap_lab.models.oneshot.shape import Shape, ShapeConfig
from faceswap_lab.models.protocols import Card, Crops, Needs, Source, Swapped
from faceswap_lab.models.weights.tensor_file import read_tensors, unreadable, write_tensors

Tone = Literal["source", "target"]

_REMEDY = "train it again with `faceswap-lab train --recipe oneshot`, or reinstall the package for the bundled one"
_REDUCED = torch.float16  # on CUDA


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A source as the network knows it: crops with their points, and the code of the face's shape."""

    pictures: tuple[Picture, ...]
    code: Float[Tensor, "1 c"]


class OneshotSwapper:
    """Implements `protocols.Swapper`; codes are the sources' pictures. `tone` says whose skin tone the faces get."""

    def __init__(self, net: OneshotNet, shape: Shape, card: Card, tone: Tone = "source") -> None:
        self._net, self._shape = net.eval(), shape.eval()
        self.card, self.tone = card, tone
        self.needs = Needs(template=TEMPLATE, size=net.config.size, source="crop", point_set=468)

    @property
    def net(self) -> OneshotNet:
        """The network that heals, ready for inference."""
        return self._net

    @property
    def device(self) -> torch.device:
        """The device of the network that heals; geometry is computed on the host."""
        return next(self._net.parameters()).device

    def providers(self) -> dict[str, str]:
        """None: it runs in torch."""
        return {}

    def with_tone(self, tone: Tone) -> "OneshotSwapper":
        """The same networks with another convention of skin tone."""
        return OneshotSwapper(self._net, self._shape, self.card, tone)

    def encode(self, sources: Sequence[Source]) -> tuple[Known, ...]:
        """What is known of each source. Raises FaceError for a source without a face that has 468 points."""
        with _one_thread():
            return tuple(self._known(source) for source in sources)

    def _known(self, source: Source) -> Known:
        pictures = []
        for frame, faces in zip(source.frames, source.faces, strict=True):
            if not len(faces) or faces.landmarks is None or faces.point_set != 468:
                continue
            matrix = align.frame_to_crop(faces.keypoints[0], template=TEMPLATE, size=self.needs.size)
            points = np.asarray(align.transform_points(matrix, faces.landmarks[0]), np.float32)
            pictures.append(Picture(image=align.crop(frame.image, matrix, self.needs.size), points=points))
        if not pictures:
            raise FaceError(
                expected=f"a face of {source.subject} with 468 points",
                got=f"none in {len(source.frames)} frames",
                remedy="pass the faces through Engine.landmarks, and choose pictures that show the face",
            )
        with torch.inference_mode():
            codes = self._shape.encode(torch.from_numpy(np.stack([picture.points for picture in pictures])))
        return Known(pictures=tuple(pictures), code=codes.mean(0, keepdim=True))

    def __call__(self, crops: Crops, codes: tuple[Known, ...], which: Int64[np.ndarray, " n"]) -> Swapped:
        """Pixels 0..1 and mask of every crop, on the crops' device. Raises FaceError if the crops have no 468 landmarks."""
        if crops.landmarks is None or crops.landmarks.shape[1:] != (468, 2):
            raise FaceError(expected="crops with 468 landmarks", got="none", remedy="pass the faces through Engine.landmarks first")
        if not len(crops):
            return Swapped(pixels=crops.pixels, mask=crops.pixels[:, :1])
        device = crops.pixels.device
        with _one_thread():
            seen = self._seen(crops, crops.landmarks, [codes[row] for row in which])
            with torch.inference_mode(), torch.autocast(device.type, _REDUCED, enabled=device.type == "cuda"):
                drawn = _drawn(self._net, seen)
        return Swapped(pixels=drawn[:, :3].to(crops.pixels.dtype), mask=drawn[:, 3:].to(crops.pixels.dtype))

    def _seen(self, crops: Crops, landmarks: Float[np.ndarray, "n 468 2"], sources: Sequence[Known]) -> Draped:
        levels = crops.pixels.permute(0, 2, 3, 1).float().mul(255).round().clamp(0, 255).to("cpu", torch.uint8).numpy()
        looks, portraits = list[Look](), list[np.ndarray]()
        for target, points, source in zip(levels, landmarks.astype(np.float32), sources, strict=True):
            wanted = moved_points(self._shape, source.code, points)
            looks.append(look_of(target, points, wanted, source.pictures))
            portraits.append(portrait_of(nearest_first(points, source.pictures)[0].image))
        device = crops.pixels.device
        return Draped(
            target=_pixels(levels, device),
            moved=_pixels([look.moved for look in looks], device),
            source=_pixels([look.draped for look in looks], device),
            shown=_pixels([look.shown[..., None] for look in looks], device),
            place=2 * _pixels([look.place for look in looks], device) - 1,
            portrait=_pixels(portraits, device),
            keeps_tone=torch.full((len(looks),), float(self.tone == "target"), device=device),
        )

    def save(self, path: Path) -> None:
        """Writes both networks, their configs and the card as one file. WeightsError if a weight is not finite.

        The network's weights are rounded to half precision, which halves the file; a test holds its pictures to within a level.
        """
        tensors = {f"net.{name}": value.half() for name, value in self._net.state_dict().items()}
        tensors |= {f"shape.{name}": value for name, value in self._shape.state_dict().items()}
        about = {"card": asdict(self.card), "net": asdict(self._net.config), "shape": asdict(self._shape.config)}
        write_tensors(path, tensors, about, _REMEDY)

    @classmethod
    def load(cls, path: Path, device: torch.device, tone: Tone = "source") -> "OneshotSwapper":
        """Reads the output of `save`. Raises WeightsError for any other file, and for weights that are not finite."""
        expected = "a one-shot swapper's safetensors file with its card"
        tensors, about = read_tensors(path, {"card", "net", "shape"}, expected=expected, remedy=_REMEDY)
        try:
            net = OneshotNet(OneshotNetConfig(**{**about["net"], "widths": tuple(about["net"]["widths"])}))
            shape = Shape(ShapeConfig(**about["shape"]))
            for part, module in (("net.", net), ("shape.", shape)):
                module.load_state_dict({name.removeprefix(part): each for name, each in tensors.items() if name.startswith(part)})
            card = Card(**{**about["card"], "subjects": tuple(about["card"]["subjects"])})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise unreadable(path, error, expected=expected, remedy=_REMEDY) from error
        return cls(net.to(device), shape, card, tone)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of the geometry and of convolutions are rounded otherwise with more threads. A swap would have other bytes where its
    frames are parted among workers, or gone on with on another machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _drawn(net: OneshotNet, seen: Draped) -> Float32[Tensor, "n 4 s s"]:
    """The network's answers; on the CPU face by face, since a larger batch is rounded otherwise too."""
    if seen.target.device.type != "cpu":
        return net(seen).float()  # type: ignore[no-any-return]
    return torch.cat([net(seen[row : row + 1]).float() for row in range(len(seen))])


def _pixels(levels: Sequence[np.ndarray] | np.ndarray, device: torch.device) -> Float32[Tensor, "n c s s"]:
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(list(levels)))).to(device)
    return stacked.permute(0, 3, 1, 2).float() / 255
