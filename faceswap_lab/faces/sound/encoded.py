"""A sound track that is decoded and encoded as AAC, for containers that cannot hold it as it is."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from faceswap_lab.faces.decode import ffmpeg_errors, open_container, timeline_start
from faceswap_lab.faces.sound.copied import describe

CODEC = "aac"
_RATE = 48_000
_KBIT_PER_CHANNEL = 96
# Layouts that FFmpeg's AAC encoder knows, by number of channels; others are mixed down to stereo.
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1(side)", 8: "7.1"}


class EncodedTrack:
    """One audio track of a file as AAC, 48 kHz, from `at_s` (s on the file's clock) onwards.

    Gaps are filled with silence, so that sound and pictures stay together. Each track opens the file separately, as `CopiedTrack`.
    """

    def __init__(self, path: Path, number: int, at_s: float) -> None:
        self._path = path
        with ffmpeg_errors(path):
            self._container = open_container(path)
        self._shift = timeline_start(self._container) + Fraction(at_s)
        self._stream = self._container.streams.audio[number]
        self._layout = _LAYOUTS.get(self._stream.codec_context.layout.nb_channels, "stereo")
        self._frame_iterator = self._frames()
        self._next: Any = next(self._frame_iterator, None)
        self._out: Any = None

    def __enter__(self) -> "EncodedTrack":
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def add_to(self, output: Any) -> None:
        """Adds a stream of AAC with the track's language and disposition to `output`."""
        self._out = output.add_stream(CODEC, rate=_RATE, layout=self._layout)
        self._out.codec_context.bit_rate = 1000 * _KBIT_PER_CHANNEL * self._out.codec_context.layout.nb_channels
        describe(self._out, self._stream)

    @property
    def is_over(self) -> bool:
        """Whether no sound is left."""
        return self._next is None

    def until(self, end_s: float) -> Iterator[Any]:
        """The packets of sound that starts before `end_s` (s, relative to the track's start)."""
        while self._next is not None and self._next.pts * self._next.time_base < end_s:
            frame, self._next = self._next, next(self._frame_iterator, None)
            yield from self._out.encode(frame)

    def finish(self) -> Iterator[Any]:
        """The packets that the encoder still holds."""
        yield from self._out.encode(None)

    def _frames(self) -> Iterator[Any]:
        """Blocks of samples as the encoder takes them, timed from 0 at the track's start."""
        graph = self._graph()
        with ffmpeg_errors(self._path):
            for frame in self._container.decode(self._stream):
                if frame.pts is None:
                    continue
                frame.pts -= round(self._shift / frame.time_base)
                graph.push(frame)
                yield from _pulled(graph)
            graph.push(None)
            yield from _pulled(graph)

    def _graph(self) -> Any:
        graph = av.filter.Graph()
        # `async` fills gaps and drops overlaps; `first_pts` starts with silence where sound begins after the pictures.
        chain = [
            ("atrim", "start=0"),
            ("aresample", f"{_RATE}:async=1000:first_pts=0"),
            ("aformat", f"sample_fmts=fltp:sample_rates={_RATE}:channel_layouts={self._layout}"),
            ("asetnsamples", "n=1024:p=0"),
        ]
        with ffmpeg_errors(self._path):
            nodes = [graph.add_abuffer(template=self._stream), *(graph.add(*each) for each in chain), graph.add("abuffersink")]
            graph.link_nodes(*nodes).configure()
        return graph


def _pulled(graph: Any) -> Iterator[Any]:
    """What the filters have finished."""
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
