"""A link through a relay, for people who can't reach this machine: Gradio's, or one of your own."""

import contextlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from faceswap_lab.errors import LabError

WARNING = """--share sends the demo through a relay: {relay}.
  Whoever runs that relay can see and change every picture, name and password that passes; whoever has the link can try to log in.
  The link works until the demo stops{limit}. Nothing leaves this machine before you share; stop the demo to end it.
  Gradio fetches a program for this (frpc, from cdn-media.huggingface.co) the first time and runs it here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """Where the link leads through: `server`, "HOST:PORT" of your own, or Gradio's; `certificate` is that of its authority (PEM).

    ValueError for a server without a port, and for a certificate without a server.
    """

    server: str = ""
    certificate: Path | None = None

    def __post_init__(self) -> None:
        host, _, port = self.server.rpartition(":")
        if self.server and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"a relay is HOST:PORT, got {self.server!r}")
        if self.certificate is not None and not self.server:
            raise ValueError("a certificate is for a relay of your own; name it with its HOST:PORT")

    @property
    def warning(self) -> str:
        """What sharing means, to be printed before it begins."""
        relay = self.server or "of Gradio's, a third party"
        return WARNING.format(relay=relay, limit="" if self.server else ", and for a week at most")

    def open(self, port: int) -> str:
        """The link's address. LabError if the relay can't be reached or its program can't be fetched."""
        from gradio import networking

        try:
            certificate = None if self.certificate is None else str(self.certificate)
            return networking.setup_tunnel("127.0.0.1", port, secrets.token_urlsafe(32), self.server or None, certificate)
        except Exception as error:  # Gradio raises whatever its parts do
            raise LabError(
                expected=f"a link through {self.server or 'Gradio’s relay'}",
                got=str(error)[:300] or type(error).__name__,
                remedy="check the way there, name your own relay with --share-server, or serve with --host behind a proxy",
            ) from error


def close_links(port: int) -> None:
    """End the links to a port of this machine."""
    from gradio import tunneling

    for tunnel in [each for each in tunneling.CURRENT_TUNNELS if each.local_port == port]:
        with contextlib.suppress(OSError):
            tunnel.kill()  # type: ignore[no-untyped-call]
        tunneling.CURRENT_TUNNELS.remove(tunnel)
