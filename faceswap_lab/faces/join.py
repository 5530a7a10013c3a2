"""Concatenates lossless video files by stream copy: packets are copied, nothing is decoded."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av

from faceswap_lab.errors import MediaError
from faceswap_lab.faces.decode import ffmpeg_errors, open_container, video_stream
from faceswap_lab.faces.frame import check_metadata, container_tags, written_whole

# Matroska's default time base.
_TICK = Fraction(1, 1000)


def join(path: Path, parts: Sequence[Path], times_s: Sequence[float], *, metadata: Mapping[str, str] | None = None) -> Path:
    """Writes the frames of `parts` (`lossless` output of `video.encode`) to one .mkv, the i-th shown at `times_s[i]`.

    Such files contain keyframes only, so the joined frames are bit-identical to those of a single encode. Times count from the
    first. `metadata` as for `video.encode`. The same parts give the same bytes. Returns `path`, which is written atomically.
    ValueError if there are no parts, or not exactly one time for each frame;
    MediaError for parts that cannot be read.
    """
    if not parts or len(set(times_s)) != len(times_s) or list(times_s) != sorted(times_s):
        raise ValueError(f"expected one or more parts and ascending times, got {len(parts)} parts and {len(times_s)} times")
    ticks = [round((Fraction(time_s) - Fraction(times_s[0])) / _TICK) for time_s in times_s]
    number = 0
    with written_whole(path) as temporary, av.open(str(temporary), "w", options={"fflags": "bitexact"}) as output:
        output.metadata.update(container_tags(check_metadata(metadata or {})))
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
                        raise ValueError(f"the parts have more frames than the {len(ticks)} times")
                    length = round(packet.duration * packet.time_base / _TICK) if packet.duration else 1
                    packet.time_base, packet.pts, packet.dts = _TICK, ticks[number], ticks[number]
                    packet.duration = ticks[number + 1] - ticks[number] if number + 1 < len(ticks) else length
                    packet.stream = stream
                    output.mux(packet)
                    number += 1
        if number != len(ticks):
            raise MediaError(
                expected=f"{len(ticks)} frames in {len(parts)} parts", got=str(number), remedy="delete and encode the parts again"
            )
    return path
