"""Lossless video files, one after the other, as one: packets are copied, no pixel is decoded."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from faceswap_lab.errors import MediaError
from faceswap_lab.faces.decode import ffmpeg_errors, open_container, video_stream
from faceswap_lab.faces.frame import written_whole

# What Matroska counts in.
_TICK = Fraction(1, 1000)


def join(path: Path, parts: Sequence[Path], times_s: Sequence[float]) -> Path:
    """Writes the frames of `parts` (what `video.encode` made `lossless`) as one .mkv, the i-th shown at `times_s[i]`.

    Every frame of such a file stands alone, so the joined one holds to the bit what one encoding of all frames would hold. Times
    count from the first. Returns `path`, which appears only when it is whole. ValueError if there are no parts, or other than one
    time for each frame; MediaError for parts that cannot be read.
    """
    if not parts or len(set(times_s)) != len(times_s) or list(times_s) != sorted(times_s):
        raise ValueError(f"parts are at least one, and times rise, got {len(parts)} parts and {len(times_s)} times")
    ticks = [round((Fraction(time_s) - Fraction(times_s[0])) / _TICK) for time_s in times_s]
    number = 0
    with written_whole(path) as temporary, av.open(str(temporary), "w") as output:
        stream = None
        for part in parts:
            with ffmpeg_errors(part), open_container(part) as container:
                given = video_stream(part, container)
                if stream is None:
                    stream = output.add_stream_from_template(given)
                    stream.time_base, stream.rate = _TICK, given.average_rate
                for packet in container.demux(given):
                    if not packet.size:
                        continue
                    if number == len(ticks):
                        raise ValueError(f"the parts hold more frames than the {len(ticks)} times")
                    length = round(packet.duration * packet.time_base / _TICK) if packet.duration else 1
                    packet.time_base, packet.pts, packet.dts = _TICK, ticks[number], ticks[number]
                    packet.duration = ticks[number + 1] - ticks[number] if number + 1 < len(ticks) else length
                    packet.stream = stream
                    output.mux(packet)
                    number += 1
        if number != len(ticks):
            raise MediaError(
                expected=f"{len(ticks)} frames in {len(parts)} parts", got=str(number), remedy="remove the parts and make them anew"
            )
    return path
