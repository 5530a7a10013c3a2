"""Writing a file that leaves the lab: under a hidden temporary name, and never over a file that is not an older one of its kind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from faceswap_lab.errors import MediaError, storing
from faceswap_lab.faces.frame import hidden_beside


@contextmanager
def outgoing(path: Path, what: str, is_older: Callable[[Path], bool]) -> Iterator[Path]:
    """A hidden temporary path beside the destination; removed unless it was moved into place.

    Raises MediaError if there is a file that `is_older` does not take for an older one of its kind, which `what` names.
    """
    if path.exists() and not is_older(path):
        raise MediaError(
            expected=f"a new name, or {what} to replace",
            got=f"{path.name}, which is another file",
            remedy="choose another name",
        )
    temporary = hidden_beside(path, uuid4().hex[:8])
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
