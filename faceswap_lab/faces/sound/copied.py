"""Stream copy of a sound track: its packets are copied, nothing is decoded."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from faceswap_lab.faces.decode import ffmpeg_errors, open_container, timeline_start

# Matroska takes any text for a language: only a code of ISO 639 is one.
_LANGUAGE = re.compile(r"[a-z]{2,3}")


def describe(stream: Any, template: Any) -> None:
    """Gives an output stream the language code and the disposition of another, and none of its texts.

    A title such as "Jane Doe lavalier" names a person whom the picture may not show.
    """
    language = {key.lower(): text for key, text in template.metadata.items()}.get("language", "")
    stream.metadata.clear()
    if _LANGUAGE.fullmatch(language):
        stream.metadata["language"] = language
    stream.disposition = template.disposition


class CopiedTrack:
    """Stream copy of one audio track of a file, from `at_s` (s on the file's clock) onwards.

    Each track opens the file separately: if tracks are poorly interleaved, no packets have to be buffered.
    """

    def __init__(self, path: Path, number: int, at_s: float, *, keep_early: bool) -> None:
        self._path, self._keep_early = path, keep_early
        with ffmpeg_errors(path):
            self._container = open_container(path)
        self._shift = timeline_start(self._container) + Fraction(at_s)
        self._stream = self._container.streams.audio[number]
        self._packet_iterator = self._packets()
        self._next: Any = next(self._packet_iterator, None)
        self._out: Any = None

    def __enter__(self) -> "CopiedTrack":
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def add_to(self, output: Any) -> None:
        """Adds a stream with the same codec, language and disposition to `output`."""
        self._out = output.add_stream_from_template(self._stream)
        describe(self._out, self._stream)

    @property
    def is_over(self) -> bool:
        """Whether no packets are left."""
        return self._next is None

    def until(self, end_s: float) -> Iterator[Any]:
        """The packets that start before `end_s`, with timestamps; both relative to the track's start."""
        while self._next is not None and self._start_of(self._next) < end_s:
            packet, self._next = self._next, next(self._packet_iterator, None)
            ticks = round(self._shift / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.pts - ticks, self._out
            yield packet

    def finish(self) -> Iterator[Any]:
        """What is left to write after the last picture: nothing of a copied track."""
        return iter(())

    def _packets(self) -> Iterator[Any]:
        """The audible packets and the one before, which decoders need: .mp4 hides it, in Matroska it would shift the video."""
        early: Any = None
        with ffmpeg_errors(self._path):
            for packet in self._container.demux(self._stream):
                if not packet.size or packet.pts is None:
                    continue
                if self._start_of(packet) < 0:
                    early = packet
                    continue
                if early is not None and self._keep_early:
                    yield early
                early = None
                yield packet
        if early is not None and self._keep_early and self._start_of(early) + (early.duration or 0) * early.time_base > 0:
            yield early

    def _start_of(self, packet: Any) -> Fraction:
        when: Fraction = packet.pts * packet.time_base - self._shift
        return when
