"""Composed frames: the pictures of a target with a swap's patches laid on, each compared with what it was when it was made."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

from faceswap_lab.errors import MediaError
from faceswap_lab.faces.frame import Frame
from faceswap_lab.faces.patches.patch import Patch, lay
from faceswap_lab.faces.patches.store import PatchFile


@runtime_checkable
class Pictures(Protocol):
    """The frames that patches are laid on: those of a clip, or an excerpt of one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """As of `faces.footage.Footage`."""
        ...

    def close(self) -> None:
        """As of `faces.footage.Clip`."""
        ...


class Composed:
    """The frames of `file`, composed when they are read; they carry `origin`. MediaError if they are not the frames that were made.

    The target's file is the same to the byte, or it isn't opened. But its pixels are what a decoder makes of it: another version
    may make others, and patches on those would be a picture that nobody made.
    """

    def __init__(self, file: PatchFile, under: Pictures, origin: str) -> None:
        self.file, self._under, self._origin = file, under, origin

    def read(self, number: int) -> Frame:
        """Frame `number`."""
        (patches,) = self.file.patches(number, number + 1)
        return self._laid(number, self._under[number], patches)

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """Frames `start` to `stop`, in order."""
        under = self._under.frames(start, stop)
        for number, (frame, patches) in enumerate(zip(under, self.file.patches(start, stop), strict=True), start):
            yield self._laid(number, frame, patches)

    def close(self) -> None:
        """Closes the target's file; the next read reopens it."""
        self._under.close()

    def _laid(self, number: int, frame: Frame, patches: list[Patch]) -> Frame:
        # A still is its clip's own picture; a frame that was decoded is nobody else's.
        image = frame.image if frame.image.flags.writeable else frame.image.copy()
        try:
            for patch in patches:
                lay(image, patch)
        except ValueError as error:
            raise self._other(number, str(error)) from error
        if not self.file.matches(number, image):
            raise self._other(number, "other pixels")
        time_s = float(self.file.table["time_s"][number] - self.file.table["time_s"][0])
        return replace(frame, image=image, origin=self._origin, index=number, time_s=time_s)

    def _other(self, number: int, got: str) -> MediaError:
        return MediaError(
            expected=f"frame {number} of the target as it was decoded when {self.file.path.name} was made",
            got=got,
            remedy="use the versions of av (FFmpeg) and pillow in the run's record, or make the swap again with force=True",
        )
