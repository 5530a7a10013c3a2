"""Running demos for tests: a desk with two actors and a clock that can be moved, and pictures to upload."""

import inspect
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceswap_lab.actors.cast import Actor
from faceswap_lab.serve.demo import Demo, Place
from faceswap_lab.serve.desk import Desk
from faceswap_lab.serve.limits import Limits

ACTORS = (7, 33)
GRADIOS_WARNINGS = pytest.mark.filterwarnings(
    # It counts its calls with pandas, in words that pandas means to give up.
    "ignore:.*no_silent_downcasting",
    "ignore:The copy keyword is deprecated",
    # FastAPI silences this one, with filters that another thread may replace at the same time.
    "ignore:The 'alias' attribute with value:UserWarning",
)
NAME, PASSWORD = "jo", "correct horse"


@dataclass
class Running:
    """A demo for a test: its desk, and by how many seconds its clock is ahead."""

    demo: Demo
    desk: Desk
    ahead: list[float]

    def later(self, seconds: float) -> int:
        """Let time pass, then sweep; returns how much was deleted."""
        self.ahead[0] += seconds
        return self.desk.visits.sweep()


@contextmanager
def running(root: Path, place: Place | None = None, *, max_bytes: int = 2_000_000, **limits: Any) -> Iterator[Running]:
    """A demo in a lab of its own."""
    _as_written()
    ahead = [0.0]
    desk = Desk(root / "demo", limits=Limits(max_bytes=max_bytes, **limits), actors=ACTORS, warm=1)
    desk.visits._clock = lambda: time.time() + ahead[0]
    with Demo(desk, place or Place()) as demo:
        yield Running(demo=demo, desk=desk, ahead=ahead)


def _as_written() -> None:
    """The checks of types that every test has hide from Gradio that a handler is a generator: those two go without."""
    from faceswap_lab.serve.site.handlers import Handlers

    for name in ("welcome", "swap"):
        setattr(Handlers, name, inspect.unwrap(getattr(Handlers, name)))


def client(running: Running, folder: Path, **more: Any) -> Any:
    """A gradio_client that sends nothing but what it is asked to, and puts results into `folder`."""
    from gradio_client import Client

    return Client(running.demo.address, download_files=str(folder), analytics_enabled=False, verbose=False, **more)


def sent(path: Path) -> Any:
    """A file as gradio_client sends it."""
    from gradio_client import handle_file

    return handle_file(path)


def refused() -> type[Exception]:
    """What gradio_client raises for what the demo refuses."""
    from gradio_client.exceptions import AppError

    return AppError


def turned_away() -> type[Exception]:
    """What gradio_client raises without the right login."""
    from gradio_client.exceptions import AuthenticationError

    return AuthenticationError


def users_file(root: Path) -> Path:
    """A file with one user who may log in."""
    from faceswap_lab.serve.login import add_user

    add_user(root / "users.txt", NAME, PASSWORD)
    return root / "users.txt"


def upload(path: Path, *, seed: int = 33, side: int = 256) -> Path:
    """A picture of an actor that says nothing of its origin, so that the gate takes it for a real person's."""
    Image.fromarray(Actor(seed).portrait(side)).save(path)
    return path


def noise(path: Path, num_bytes: int) -> Path:
    """A picture of about so many bytes, which can't be compressed."""
    side = round((num_bytes / 3) ** 0.5) + 16
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return path


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded picture."""
    return Image.open(io.BytesIO(data)).size
