"""What the demo shows before anybody asks: portraits of the actors, stills of their performances, and one finished example.

All of it is rendered once, in the background, exported with its mark, and kept in the lab's cache.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from faceswap_lab.errors import LabError
from faceswap_lab.serve.site.gallery import Offer
from faceswap_lab.serve.site.results import Shown

Pictures = list[tuple[Path, str]]

_log = logging.getLogger(__name__)


class House:
    """The house's pictures and its example, which `start` makes in a thread of its own."""

    def __init__(self, sources: Sequence[Offer], takes: Sequence[Offer], *, folder: Path, example: Callable[[], Shown]) -> None:
        if not sources or not takes:
            raise ValueError("a demo needs at least one face and one performance to choose from")
        self.sources, self.takes, self.folder = tuple(sources), tuple(takes), folder
        self._make_example = example
        self._made: dict[str, Path] = {}
        self._example: Shown | None = None
        self._failed: Exception | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._make, name="demo-house", daemon=True)

    def start(self) -> None:
        """Begin to render; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more, and let go whoever waits."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for what is under way: a picture, or the example, which the desk ends when it closes."""
        if self._thread.is_alive():
            self._thread.join()

    def pictures(self) -> Iterator[tuple[Pictures, Pictures]]:
        """Sources and performances with their captions, as far as they are made, again whenever there are more; then ends.

        Those that aren't made yet come last and are left out, so that a picture's number is that of its offer.
        """
        wanted, seen = len(self.sources) + len(self.takes), -1
        while seen < wanted:
            with self._changed:
                self._changed.wait_for(partial(self._more_than, seen))
                seen, over = len(self._made), self._over
                found = self._ready(self.sources), self._ready(self.takes)
            yield found
            if over:
                return

    def example(self) -> Shown:
        """The example, once it is made. LabError if it could not be made, or if the demo stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._example is not None or self._over)
            if self._example is None:
                expected, got = "an example", "none: it could not be rendered here"
                raise LabError(
                    expected=expected, got=got, remedy="make a result of your own; the demo's log says why"
                ) from self._failed
            return self._example

    def _more_than(self, seen: int) -> bool:
        return self._over or len(self._made) > seen

    @property
    def _over(self) -> bool:
        return (
            self._ended
            or self._failed is not None
            or (self._example is not None and len(self._made) == len(self.sources + self.takes))
        )

    def _ready(self, offers: Sequence[Offer]) -> Pictures:
        found: Pictures = []
        for offer in offers:
            if offer.key not in self._made:
                break
            found.append((self._made[offer.key], offer.caption))
        return found

    def _make(self) -> None:
        """The first few faces, the performances, the example, and the rest."""
        try:
            for offer in (*self.sources[:5], *self.takes):
                self._make_one(offer)
            if not self._ended:
                self._example = self._make_example()
                self._tell()
            for offer in self.sources[5:]:
                self._make_one(offer)
        except Exception as error:  # shown to whoever waits; the demo works without it
            self._failed = error
            if not self._ended:
                _log.exception("the demo's gallery could not be rendered")
        finally:
            self._tell()

    def _make_one(self, offer: Offer) -> None:
        if self._ended:
            return
        path = self.folder / offer.file
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            offer.make(path)
        with self._changed:
            self._made[offer.key] = path
            self._changed.notify_all()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
