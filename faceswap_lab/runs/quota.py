"""How much the runs of a lab may take together: `FACESWAP_LAB_QUOTA`, such as "50 GB"; empty or not set: no limit."""

import os
import re
from pathlib import Path

from pydantic import ByteSize, TypeAdapter

from faceswap_lab.errors import RunError

VARIABLE = "FACESWAP_LAB_QUOTA"
# ByteSize reads the beginning of a text and leaves the rest: of "1,5 GB" it makes one byte.
_SIZE = re.compile(r"\d+(\.\d+)?\s*(([KMGT]I?)?B)?", re.IGNORECASE)
_NUM_NAMED = 5


def quota() -> int | None:
    """Bytes that all runs together may take, None without a limit. ValueError for a text that is no size."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not _SIZE.fullmatch(text):
        raise ValueError(f'{VARIABLE} is a size such as "50 GB" or "800 MiB", got {text!r}')
    return int(TypeAdapter(ByteSize).validate_python(text))


def size_of(folder: Path) -> int:
    """Bytes of all files below `folder`, links not followed; 0 if there is no such folder. A file that goes meanwhile counts 0."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except FileNotFoundError:
                continue  # a worker renames its temporary files at any moment
    return total


def size_text(num_bytes: float) -> str:
    """Bytes for people: "0 B", "3.9 MiB", "1.2 GiB"."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def require_room(root: Path, *, freed: int = 0) -> None:
    """Raise RunError, naming the biggest, if the runs of the lab take more than the quota. `freed` bytes are about to go.

    Looks at the disk only where there is a quota.
    """
    limit = quota()
    if limit is None:
        return
    runs = root / "runs"
    folders = [folder for folder in runs.iterdir() if folder.is_dir()] if runs.is_dir() else []
    sizes = {folder.name: size_of(folder) for folder in folders}
    used = sum(sizes.values()) - freed
    if used > limit:
        biggest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:_NUM_NAMED]
        named = ", ".join(f"{name} {size_text(sizes[name])}" for name in biggest)
        raise RunError(
            expected=f"runs of at most {size_text(limit)} in all ({VARIABLE})",
            got=f"{size_text(used)}; the biggest: {named}",
            remedy="`faceswap-lab runs prune --unfinished` or `--older-than DAYS` lists what may go; remove it or raise the quota; "
            "then the same call goes on",
        )
