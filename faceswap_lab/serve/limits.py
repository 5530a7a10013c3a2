"""What the demo takes from a visitor, and for how long it keeps it: sizes, times and numbers, each with a sensible default."""

from dataclasses import dataclass, fields

from faceswap_lab.faces.frame import MAX_PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a demo. ValueError unless all are above zero (`max_waiting` may be 0), and pictures no larger than the lab decodes.

    `max_bytes` of an upload; `max_pixels` of a picture and `max_frame_pixels` of a clip's frame; `max_frames` and `max_seconds` of
    a clip. `keep_s` seconds after it came, an upload and everything made of it are deleted. `max_waiting` jobs wait for the one
    device; a job ends after `max_job_s` seconds, or once nobody has asked for it for `unattended_s`. All visits together take at
    most `max_stored_bytes` on disk. After `max_wrong` wrong passwords a name and an address are locked.
    """

    max_bytes: int = 50_000_000
    max_pixels: int = 24_000_000
    max_frame_pixels: int = 2_100_000
    max_frames: int = 500
    max_seconds: float = 20.0
    keep_s: float = 3600.0
    max_waiting: int = 20
    max_job_s: float = 300.0
    unattended_s: float = 20.0
    max_stored_bytes: int = 4_000_000_000
    max_wrong: int = 10

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{each.name} must be a number, got {type(value).__name__}")
            # Also false for nan.
            if not (value >= 0 if each.name == "max_waiting" else value > 0):
                raise ValueError(f"{each.name} must be above 0, got {value}")
        if self.max_pixels > MAX_PIXELS:
            raise ValueError(f"max_pixels must be at most {MAX_PIXELS}, what the lab decodes, got {self.max_pixels}")
