"""The demo in the browser: `lab.demo()` and `faceswap-lab demo`. It serves until it is stopped."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from faceswap_lab.compute.security import names_loopback
from faceswap_lab.compute.show import proxied
from faceswap_lab.files import cache_folder, lab_root, user_path
from faceswap_lab.serve.desk import Desk
from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.login import Logins, one_user, read_users, require_login
from faceswap_lab.serve.sharing import Relay, close_links
from faceswap_lab.serve.site.server import Server, bound
from faceswap_lab.serve.sources import ACTORS, Source

if TYPE_CHECKING:
    from faceswap_lab.serve.site.guard import Gate
    from faceswap_lab.serve.site.house import House

T = TypeVar("T")

_TEMP = "GRADIO_TEMP_DIR"
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104  # compared with, not bound to


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a demo is served, and to whom. `login` None asks for one wherever others could come in; `users` is a file of
    `faceswap-lab demo --add-user`. ValueError for one of certificate and key without the other."""

    host: str = "127.0.0.1"
    port: int = 0
    login: bool | None = None
    users: Path | None = None
    relay: Relay | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS needs a certificate and its key")
        require_login(self.host, login=self.asks, share=self.relay is not None)

    @property
    def asks(self) -> bool:
        """Whether visitors have to log in."""
        if self.login is not None:
            return self.login
        return self.users is not None or self.relay is not None or not names_loopback(self.host)


class Demo:
    """A running demo: `address`, and `link` if it is shared. `stop` ends it; in a `with` block it ends with the block.

    `name` and `password` are those of a login made for this start, and empty otherwise. In a notebook it shows itself.
    """

    def __init__(self, desk: Desk, place: Place) -> None:
        self.place, self.link, self.name, self.password = place, "", "", ""
        self._house: House | None = None
        with ExitStack() as stack:
            stack.callback(self._close, desk)
            listening = bound(place.host, place.port)
            stack.callback(listening.close)
            self.port = int(listening.getsockname()[1])
            self._proxied = proxied(self.port) if place.relay is None and names_loopback(place.host) else ""
            stack.enter_context(_temporary(desk.arrivals))
            self._server = self._serving(desk, listening, stack)
            self.root = desk.root
            if place.relay is not None:
                print(place.relay.warning, file=sys.stderr, flush=True)
                self.link = place.relay.open(self.port)
                stack.callback(close_links, self.port)
            self._closing = stack.pop_all()

    @property
    def address(self) -> str:
        """Where this machine's browser finds it."""
        host = "127.0.0.1" if self.place.host in _EVERYWHERE else self.place.host
        return f"http{'s' if self.place.certificate else ''}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._server.running

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until it has stopped serving."""
        self._server.wait(seconds)

    def stop(self) -> None:
        """End it: what is under way is stopped, and nothing of this process is left, nor of what visitors uploaded."""
        self._closing.close()

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _serving(self, desk: Desk, listening: socket.socket, stack: ExitStack) -> Server:
        from faceswap_lab.serve.site.application import Site, application
        from faceswap_lab.serve.site.handlers import Handlers
        from faceswap_lab.serve.site.page import page
        from faceswap_lab.serve.site.visitors import Visitors

        house = self._house = _house(desk)
        visitors = Visitors(keep_s=desk.limits.keep_s)
        site = Site(gate=self._gate(desk.limits), visitors=visitors, check=self._check(desk.limits), root_path=self._proxied)
        handlers = Handlers(desk, house, visitors)
        app = _within_a_loop(lambda: application(page(handlers, keep_s=desk.limits.keep_s), site))
        server = Server(app, listening, certificate=self.place.certificate, key=self.place.key)
        stack.callback(server.stop)
        server.start()
        house.start()
        stack.callback(house.stop)
        return server

    def _close(self, desk: Desk) -> None:
        """The desk ends the job under way, for which the house may be waiting."""
        desk.close()
        if self._house is not None:
            self._house.join()

    def _gate(self, limits: Limits) -> "Gate":
        from faceswap_lab.serve.site.guard import Gate

        own = ("127.0.0.1", "localhost", "[::1]", self.place.host)
        here = names_loopback(self.place.host) and self.place.relay is None and not self._proxied
        return Gate(
            login=self.place.asks, max_bytes=limits.max_bytes, hosts=own if here else (), tls=self.place.certificate is not None
        )

    def _check(self, limits: Limits) -> Callable[[str, str, str], bool] | None:
        if not self.place.asks:
            return None
        if self.place.users is not None:
            return Logins(read_users(self.place.users), limits).check
        users, self.name, self.password = one_user()
        return Logins(users, limits).check

    def _repr_html_(self) -> str:
        """The page itself where the notebook's server passes it on; else a link, for a browser on this machine."""
        shown = self._proxied
        goal = escape(self.link or (f"{shown}/" if shown else self.address))
        link = f'<a href="{goal}" target="_blank" rel="noopener">{goal}</a>'
        login = f" · name {escape(self.name)}, password {escape(self.password)}" if self.password else ""
        frame = (
            f'<iframe src="{escape(shown)}/" title="faceswap_lab demo" width="100%" height="820" style="border:0"></iframe>'
            if shown
            else ""
        )
        return f"<div><b>demo</b> · {link}{login}{frame}</div>"

    def __repr__(self) -> str:
        return f"Demo({self.link or self.address}{'' if self.running else ', stopped'})"


def demo(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    login: bool | None = None,
    users: str | Path | None = None,
    share: bool = False,
    share_server: str = "",
    share_certificate: str | Path | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    actors: Sequence[int] = ACTORS,
    sources: Sequence[str | Path] = (),
    swapper: str = "oneshot",
    keep_minutes: float = 60.0,
    max_mb: float = 50.0,
    root: str | Path | None = None,
) -> Demo:
    """Start the demo and return at once: a page on which anybody who reaches it puts an actor's face on a picture.

    It listens on this machine alone unless `host` says more; `port` 0 takes a free one. Visitors have to log in wherever others
    could come in, or if `users` (a file of `faceswap-lab demo --add-user`) is given; without a file a name and a password are made
    for this start. `share` sends it through a relay, Gradio's or that of `share_server` ("HOST:PORT"), and prints what that means.

    `swapper` is "oneshot", "warp" or "inswapper:FILE.onnx": a trained pair knows two people, and a demo has many. `sources` are
    files of this lab, offered beside the `actors`; each visitor's upload and what is made of it are deleted after
    `keep_minutes`. `root` is the demo's own lab, by default the folder `demo` of this one. Raises LabError for a place that can't
    be served, ConsentError for a source that nobody agreed to offer.
    """
    relay = Relay(server=share_server, certificate=_path(share_certificate)) if share else None
    if not share and (share_server or share_certificate):
        raise ValueError("share_server and share_certificate are for share=True")
    place = Place(
        host=host, port=port, login=login, users=_path(users), relay=relay, certificate=_path(tls_cert), key=_path(tls_key)
    )
    home = lab_root()
    files = [Source.file(user_path(each), home) for each in sources]
    limits = Limits(keep_s=60 * keep_minutes, max_bytes=round(1e6 * max_mb))
    desk = Desk(user_path(root) if root is not None else home / "demo", limits=limits, actors=actors, files=files, swapper=swapper)
    return Demo(desk, place)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else user_path(given)


def _house(desk: Desk) -> "House":
    """Gallery and example, kept in the lab's cache."""
    from functools import partial

    from faceswap_lab.serve.site.gallery import offered_sources, offered_takes, performances
    from faceswap_lab.serve.site.house import House
    from faceswap_lab.serve.site.results import example, is_shipped

    folder, given = cache_folder() / "demo", list(desk.sources.values())
    takes = performances(given)
    made = partial(example, desk, source=given[0].name, take=takes[0], folder=folder)
    at_once = is_shipped(desk.swapper, given[0].name, takes[0])
    return House(offered_sources(given, desk.root), offered_takes(takes, desk.root), folder=folder, example=made, at_once=at_once)


def _within_a_loop(build: Callable[[], T]) -> T:
    """What `build` makes in a thread with an event loop that is then closed: where none runs, Gradio leaves one behind."""

    async def built() -> T:
        return build()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(built())).result()


@contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """While it is open, Gradio puts what it receives and what it shows into `folder`."""
    before = os.environ.get(_TEMP)
    os.environ[_TEMP] = str(folder)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_TEMP, None)
        else:
            os.environ[_TEMP] = before
